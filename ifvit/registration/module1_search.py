"""Guesses of the alignment of two prints, by a trained Module 1.

The network matches the pair in several views (`module1_views`); each view turns one of the prints. For each view, the
similarity is found with which most of the view's matches agree (`similarity`). It is fitted to the matches of all
views, because several views show the true alignment. The similarity with which most of these matches agree is the
guess. `registrar` tries it among other guesses, so a wrong one does no harm.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple

import jax
import numpy as np

from ifvit.config import DenseConfig
from ifvit.image import Canvas
from ifvit.models.dense import DenseModel
from ifvit.registration.module1_views import PrintViews, match_views, print_views
from ifvit.registration.similarity import PointMatches, agreement, consensus, errors, fitted, transform, turned_about
from ifvit.storage.recent import Recent

TURNS = 6  # in steps of 60 degrees: every angle is at most 30 degrees from one of them
SKIN_MM = 0.4  # the distortion of skin that a similarity does not include
GUESS_TURNS = np.deg2rad((-6.0, 0.0, 6.0))  # of the guess, about the middle of the overlap; `elastic` adds 3 degrees
GUESSES = len(GUESS_TURNS)
NOWHERE = np.array([[1.0, 0.0, 1e6], [0.0, 1.0, 1e6], [0.0, 0.0, 1.0]])  # a homography without an overlap: no guess
CACHE_BYTES = 2**28  # of the views of prints that stay in memory
STEP = 4  # px between the points by which the middle of the overlap is computed


class Guesses(NamedTuple):
    """Module 1's guesses for a pair, in px of both canvases."""

    homographies: np.ndarray  # (GUESSES, 3, 3) float64, from B to A; `NOWHERE` if there is no guess
    matches: PointMatches  # M matches, of the view that agrees best with the guess
    agree: np.ndarray  # (M,) bool, which matches agree with the guess

    @property
    def count(self) -> int:  # type: ignore[override]  # hides tuple.count, which nothing uses
        """The number of guesses."""
        return 0 if np.array_equal(self.homographies[0], NOWHERE) else GUESSES

    def swapped(self) -> Guesses:
        """The same for (B, A)."""
        homographies = self.homographies if not self.count else np.linalg.inv(self.homographies)
        return Guesses(homographies, self.matches.swapped(), self.agree)


class Module1Search:
    """Guesses of the alignment of prints, by a trained Module 1. One program is compiled for a frame.

    tolerance: px; a match may be correct if its error is smaller.

    Args:
        model, variables: Module 1 and its {'params': ..., 'batch_stats': ...}.
        dense: its config, for the threshold, border and number of matches.
        frame: (height, width) px of the prints, multiples of the stride; all canvases have this frame.
        ppi: of the frame, as in the model's training.
        turns: the number of angles into which the circle is divided; with 1 the prints are not turned.
        at_once: pairs in one batch. A pair has the same bits with any other pairs in its batch, on one kind of device;
            with another `at_once` it differs by rounding.

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
        at_once: int = 1,
    ):
        model.grid(*frame)
        if not (ppi > 0 and turns > 0 and at_once > 0):
            raise ValueError(f"ppi, turns and at_once are positive, got {ppi}, {turns} and {at_once}")
        self._model, self._variables, self._dense = model, jax.device_put(variables), dense
        self._frame, self._turns, self._at_once = tuple(frame), turns, at_once
        self._print_views = Recent(CACHE_BYTES)
        spacing = model.fine_stride if model.has_fine else model.stride
        self.tolerance = spacing / 2 + SKIN_MM / 25.4 * ppi

    def guesses_many(self, pairs: Iterable[tuple[Canvas, Canvas]]) -> Iterator[Guesses]:
        """The guesses for each pair (a, b), in order; `at_once` pairs are read at a time.

        Raises:
            ValueError: a canvas does not have the frame.
        """
        pairs = iter(pairs)
        while batch := list(islice(pairs, self._at_once)):
            full = batch + [batch[-1]] * (self._at_once - len(batch))
            sides = tuple(tuple(map(self._views_of, side)) for side in zip(*full, strict=True))
            views = jax.device_get(
                match_views(self._model, self._dense, self._frame, self._turns, self._variables, sides)
            )
            for k, (a, b) in enumerate(batch):
                yield self._guesses(a, b, [_matches(*view) for view in zip(*(v[k] for v in views), strict=True)])

    def _views_of(self, canvas: Canvas) -> PrintViews:
        """The views of a print; those of the latest prints stay in memory.

        Raises:
            ValueError: the canvas does not have the frame.
        """
        if canvas.grey.shape != self._frame or canvas.ridges.shape != self._frame:
            raise ValueError(f"a print of {canvas.grey.shape} px for a frame of {self._frame}")
        arrays = canvas.grey, canvas.ridges, np.uint8(canvas.background)
        return self._print_views.get(canvas, lambda: print_views(self._model, self._turns, self._variables, *arrays))

    def _guesses(self, a: Canvas, b: Canvas, views: list[PointMatches]) -> Guesses:
        """The guesses for a pair, from the matches of each view."""
        best = self._best(views)
        if best is None:
            matches = max(views, key=lambda view: len(view.confidence))
            return Guesses(np.stack([NOWHERE] * GUESSES), matches, np.zeros(len(matches.confidence), bool))
        matches = max(views, key=lambda view: agreement(best, view, self.tolerance))
        to_a = np.linalg.inv(best)
        middle = overlap_middle(a.ridges, b.ridges, to_a)
        turned = np.stack([to_a @ turned_about(angle, middle) for angle in GUESS_TURNS])
        return Guesses(turned, matches, errors(best, matches) < self.tolerance)

    def _best(self, views: list[PointMatches]) -> np.ndarray | None:
        """The similarity from A to B with which most matches of all views agree; None if no view has one."""
        all_matches = PointMatches(*map(np.concatenate, zip(*views, strict=True)))
        guesses = [consensus(view, self.tolerance) for view in views]
        fits = [fitted(start, all_matches, self.tolerance) for start in guesses if start is not None]
        return max(fits, key=lambda fit: agreement(fit, all_matches, self.tolerance), default=None)


def _matches(points_a: np.ndarray, points_b: np.ndarray, confidence: np.ndarray) -> PointMatches:
    """The matches of a view without its padding."""
    present = confidence > 0
    return PointMatches(*(values[present].astype(np.float64) for values in (points_a, points_b, confidence)))


def overlap_middle(ridges_a: np.ndarray, ridges_b: np.ndarray, to_a: np.ndarray) -> np.ndarray:
    """The mean point (2,) of the overlap, px of B, under a homography from B to A; that of B's ridges if there is none.

    ridges_a, ridges_b: bool (H, W), where each print shows ridges.
    """
    rows, cols = (STEP * indices for indices in np.nonzero(ridges_b[::STEP, ::STEP]))
    points = np.stack([cols, rows], axis=-1).astype(np.float64)
    in_a = transform(to_a, points)
    height, width = ridges_a.shape
    col, row = np.rint(np.clip(np.nan_to_num(in_a, nan=-1.0), -1, max(height, width))).astype(int).T
    inside = (row >= 0) & (row < height) & (col >= 0) & (col < width)
    overlap = inside & ridges_a[np.where(inside, row, 0), np.where(inside, col, 0)]
    chosen = points[overlap] if overlap.any() else points
    return chosen.mean(0) if len(chosen) else np.array(ridges_b.shape[::-1]) / 2
