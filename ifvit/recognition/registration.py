"""Two prints in, the first laid on the second, or the reason why they cannot be.

The network looks at the pair in several views (`views`), each of which turns one of the prints. All views' matches
decide how the prints lie (`alignment`), for the truth is seen by several: on unseen synthetic fingers and a small
network of 8x8 cells 95 % of pairs were laid within 8.2 px, where the one view of the prints as they are left 10.4. Then
A is warped into B's frame; what it does not cover is background.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ifvit import geometry
from ifvit.config import DenseConfig
from ifvit.image import Canvas
from ifvit.models.dense import DenseModel
from ifvit.recognition.alignment import Cause, Matches, Refusal, agreement, align, consensus, errors, transform
from ifvit.recognition.inputs import local_box, local_sides
from ifvit.recognition.thin_plate import Bend, bend_of
from ifvit.recognition.views import Sides, search, view_angles

__all__ = ["Aligned", "Cause", "Refusal", "Registered", "Registrar", "Roi"]

TURNS = 6  # 60 degrees apart, of which the nearest is never more than 30 away
SKIN_MM = 0.4  # how far skin may be bent from what a homography tells
EXACTNESS = 1 / 3  # standard deviation of a right match, in tolerances
SMALLEST_SHARE = 0.15  # of the smaller print's ridges that the other must show


class Roi(NamedTuple):
    """A box of `height` x `width` px from row `top` and column `left` on."""

    top: int
    left: int
    height: int
    width: int

    def cut(self, image: np.ndarray) -> np.ndarray:
        """This part of an image (H, W)."""
        return image[self.top : self.top + self.height, self.left : self.left + self.width]


class Aligned(NamedTuple):
    """A in B's frame.

    map_ba: float32 (H, W, 2), the point of A, px, at each pixel of B; grey_a: uint8 (H, W), A seen there; ridges_a:
    bool (H, W), its ridges; overlap: bool (H, W), where both show ridges; share: of the smaller print's ridges that lie
    in the overlap, (0, 1]; roi: of 90x90 px (or the frame, where that is smaller) about the middle of the overlap.
    """

    map_ba: np.ndarray
    grey_a: np.ndarray
    ridges_a: np.ndarray
    overlap: np.ndarray
    share: float
    roi: Roi

    def warp(self, image: np.ndarray, outside: float) -> np.ndarray:
        """Another image of A, (H, W) in A's frame like its enhanced ridges, by the same map; see `warped`."""
        return warped(image, self.map_ba, outside)


class Registered(NamedTuple):
    """A pair: the homography A -> B, float64 (3, 3), and the aligned prints, or the refusal in their place.

    matches: those of the view that decided, px of both frames; inliers: bool (M,), which of them agree; turned_a,
    turned_b: rad, how far that view turned either print (at most one of them); bend: of the skin beyond the homography,
    from B's frame into that of A laid on it, where one was asked for.
    """

    homography: np.ndarray | None
    aligned: Aligned | None
    refusal: Refusal | None
    matches: Matches
    inliers: np.ndarray
    turned_a: float
    turned_b: float
    bend: Bend | None = None

    def to_b(self, points: np.ndarray) -> np.ndarray:
        """Where points (..., 2) px of A lie in B.

        Raises:
            ValueError: the pair was refused.
        """
        if self.homography is None:
            raise ValueError(f"the pair was not registered: {self.refusal}")
        there = transform(self.homography, points)
        return there if self.bend is None else self.bend.inverse(there)


class Registrar:
    """Registers pairs of prints with a trained Module 1. One program is compiled for a frame.

    Args:
        model, variables: Module 1 and its {'params': ..., 'batch_stats': ...}.
        dense: its config, for the threshold, border and number of matches.
        frame: (height, width) px of the prints, multiples of the stride; the canvases given must have it.
        ppi: of the frame, that of the model's training.
        turns: into how many angles the circle is divided; 1 looks at the prints as they are.
        bend: whether skin distortion is followed beyond the homography. It helps where matches are exact to a pixel or
            two; matches of cells of 16 px it makes worse.
        at_once: pairs in one batch. A pair has the same bits whatever the others in it are (on one kind of device; for
            another `at_once` it differs by rounding).

    Raises:
        ValueError: the frame does not fit the stride, or ppi, turns or at_once are not positive.
    """

    def __init__(
        self,
        model: DenseModel,
        variables: Any,
        dense: DenseConfig,
        frame: tuple[int, int],
        ppi: float,
        *,
        turns: int = TURNS,
        bend: bool = False,
        at_once: int = 1,
    ):
        model.grid(*frame)
        if not (ppi > 0 and turns > 0 and at_once > 0):
            raise ValueError(f"ppi, turns and at_once are positive, got {ppi}, {turns} and {at_once}")
        self._model, self._variables, self._dense = model, jax.device_put(variables), dense
        self._frame, self._ppi = tuple(frame), ppi
        self._angles, self._bends, self._at_once = view_angles(turns), bend, at_once
        spacing = model.fine_stride if model.has_fine else model.stride
        self.tolerance = spacing / 2 + SKIN_MM / 25.4 * ppi  # px; a match that is off by less may be right

    def register(self, a: Canvas, b: Canvas) -> Registered:
        """One pair. Errors as in `register_many`."""
        return next(self.register_many([(a, b)]))

    def register_many(self, pairs: Iterable[tuple[Canvas, Canvas]]) -> Iterator[Registered]:
        """Each pair (a, b), in order; taken in by and by, `at_once` at a time.

        Raises:
            ValueError: a canvas does not have the frame.
        """
        pairs = iter(pairs)
        while some := list(islice(pairs, self._at_once)):
            full = some + [some[-1]] * (self._at_once - len(some))
            sides = Sides(*self._stacked([a for a, _ in full]), *self._stacked([b for _, b in full]))
            views = jax.device_get(search(self._model, self._dense, self._angles, self._variables, sides))
            for k, (a, b) in enumerate(some):
                yield self._registered(a, b, [_matches(*view) for view in zip(*(v[k] for v in views), strict=True)])

    def _stacked(self, canvases: list[Canvas]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        for canvas in canvases:
            if canvas.grey.shape != self._frame or canvas.ridges.shape != self._frame:
                raise ValueError(f"a print of {canvas.grey.shape} px for a frame of {self._frame}")
        greys, ridges = ([getattr(canvas, name) for canvas in canvases] for name in ("grey", "ridges"))
        return np.stack(greys), np.stack(ridges), np.array([canvas.background for canvas in canvases], np.uint8)

    def _registered(self, a: Canvas, b: Canvas, views: list[Matches]) -> Registered:
        start, best = self._decided(views)
        matches = views[best]
        others = [view for k, view in enumerate(views) if k != best]
        more = Matches(*map(np.concatenate, zip(*others, strict=True))) if others else None
        alignment = align(matches, self._frame, self.tolerance, more=more, start=start, trials=len(views))
        registered = Registered(None, None, alignment.refusal, matches, alignment.inliers, *self._angles[best])
        if alignment.homography is None:
            return registered
        bend = self._bend(alignment.homography, matches) if self._bends else None
        aligned = lay(a, b, alignment.homography, bend)
        if isinstance(aligned, Refusal):
            return registered._replace(refusal=aligned)
        return registered._replace(homography=alignment.homography, aligned=aligned, bend=bend)

    def _decided(self, views: list[Matches]) -> tuple[np.ndarray | None, int]:
        """The similarity that most of all views' matches agree with, None where no view has one, and the view whose
        matches agree with it most. Neighbouring views see the truth too, so each is asked about what the others found.
        """
        everything = Matches(*map(np.concatenate, zip(*views, strict=True)))
        found = [consensus(view, self.tolerance) for view in views]
        found = [homography for homography in found if homography is not None]
        if not found:
            return None, int(np.argmax([len(view.confidence) for view in views]))
        start = max(found, key=lambda homography: agreement(homography, everything, self.tolerance))
        return start, int(np.argmax([agreement(start, view, self.tolerance) for view in views]))

    def _bend(self, homography: np.ndarray, matches: Matches) -> Bend | None:
        near = Matches(*(values[errors(homography, matches) < self.tolerance] for values in matches))
        laid = transform(homography, near.points_a)
        return bend_of(near.points_b, laid, near.confidence, EXACTNESS * self.tolerance, self._frame, self._ppi)


def _matches(points_a: np.ndarray, points_b: np.ndarray, confidence: np.ndarray) -> Matches:
    made = confidence > 0
    return Matches(*(values[made].astype(np.float64) for values in (points_a, points_b, confidence)))


def lay(
    a: Canvas, b: Canvas, homography: np.ndarray, bend: Bend | None = None, least_share: float = SMALLEST_SHARE
) -> Aligned | Refusal:
    """A laid on B, or the refusal where too little of them overlaps."""
    y, x = np.mgrid[: b.grey.shape[0], : b.grey.shape[1]].astype(np.float64)
    points = np.stack([x, y], axis=-1)
    map_ba = transform(np.linalg.inv(homography), points if bend is None else bend(points)).astype(np.float32)
    ridges_a = warped(a.ridges, map_ba, 0)
    overlap = ridges_a & b.ridges
    share = float(overlap.sum() / max(1, min(a.ridges.sum(), b.ridges.sum())))
    if share < least_share:
        text = f"the prints would overlap in {100 * share:.0f} % of the smaller one"
        return Refusal(Cause.small_overlap, text)
    return Aligned(map_ba, warped(a.grey, map_ba, a.background), ridges_a, overlap, share, roi_of(overlap))


def warped(image: np.ndarray, map_ba: np.ndarray, outside: float) -> np.ndarray:
    """The image (H, W) of A seen at the points of map_ba (H2, W2, 2), bilinear; `outside` where A's frame ends.

    uint8 is rounded, bool is the nearer of both, anything else becomes float32.
    """
    seen = np.asarray(_sampled(jnp.asarray(image, jnp.float32), jnp.asarray(map_ba, jnp.float32), float(outside)))
    if image.dtype == bool:
        return seen > 0.5
    return np.clip(np.round(seen), 0, 255).astype(np.uint8) if image.dtype == np.uint8 else seen


_sampled = jax.jit(geometry.sample)


def roi_of(overlap: np.ndarray) -> Roi:
    """The box about the middle of an overlap, bool (H, W), that lies within the frame: Module 2's local input."""
    top, left = (int(at[0]) for at in _box(overlap[None]))
    return Roi(top, left, *local_sides(overlap.shape))


_box = jax.jit(local_box)
