"""How two prints lie on one another, as a trained Module 1 guesses it.

The network looks at the pair in several views (`views`), each of which turns one of the prints. In each of them the
similarity is sought with which most of the view's matches agree (`alignment`). It is fitted to the matches of all
views, for the truth is seen by several, and the one with which most of these agree is the guess. Where ridges are
compared (`ridge_matcher`) it is one guess among others, so that a wrong one costs nothing.
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
from ifvit.registration.module1_views import PrintViews, search, see
from ifvit.registration.similarity import PointMatches, agreement, consensus, errors, fitted, transform, turned_about
from ifvit.storage.recent import Recent

TURNS = 6  # 60 degrees apart, of which the nearest is never more than 30 away
SKIN_MM = 0.4  # how far skin may be bent from what a similarity tells
GUESS_TURNS = np.deg2rad((-6.0, 0.0, 6.0))  # of the guess, about the middle of the overlap; `elastic` adds 3 degrees
GUESSES = len(GUESS_TURNS)
NOWHERE = np.array([[1.0, 0.0, 1e6], [0.0, 1.0, 1e6], [0.0, 0.0, 1.0]])  # a guess under which nothing overlaps
REMEMBERED = 2**28  # bytes of what the network sees of prints that are kept
STEP = 4  # px between the points that tell the middle of the overlap


class Guesses(NamedTuple):
    """What Module 1 says of a pair; px of both canvases.

    homographies: float64 (GUESSES, 3, 3), from B to A; `NOWHERE` where there is no guess.
    matches: those of the view that agrees best.
    agree: bool (M,), which of these agree with the guess.
    """

    homographies: np.ndarray
    matches: PointMatches
    agree: np.ndarray

    @property
    def count(self) -> int:
        """How many guesses there are."""
        return 0 if np.array_equal(self.homographies[0], NOWHERE) else GUESSES

    def swapped(self) -> Guesses:
        """The same of (B, A)."""
        there = self.homographies if not self.count else np.linalg.inv(self.homographies)
        return Guesses(there, self.matches.swapped(), self.agree)


class Module1Search:
    """Guesses how prints lie on one another, by a trained Module 1. One program is compiled for a frame.

    Args:
        model, variables: Module 1 and its {'params': ..., 'batch_stats': ...}.
        dense: its config, for the threshold, border and number of matches.
        frame: (height, width) px of the prints, multiples of the stride; the canvases given must have it.
        ppi: of the frame, that of the model's training.
        turns: into how many angles the circle is divided; 1 looks at the prints as they are.
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
        at_once: int = 1,
    ):
        model.grid(*frame)
        if not (ppi > 0 and turns > 0 and at_once > 0):
            raise ValueError(f"ppi, turns and at_once are positive, got {ppi}, {turns} and {at_once}")
        self._model, self._variables, self._dense = model, jax.device_put(variables), dense
        self._frame, self._turns, self._at_once = tuple(frame), turns, at_once
        self._seen = Recent(REMEMBERED)
        spacing = model.fine_stride if model.has_fine else model.stride
        self.tolerance = spacing / 2 + SKIN_MM / 25.4 * ppi  # px; a match that is off by less may be right

    def guesses_many(self, pairs: Iterable[tuple[Canvas, Canvas]]) -> Iterator[Guesses]:
        """The guesses for each pair (a, b), in order; taken in by and by, `at_once` at a time.

        Raises:
            ValueError: a canvas does not have the frame.
        """
        pairs = iter(pairs)
        while batch := list(islice(pairs, self._at_once)):
            full = batch + [batch[-1]] * (self._at_once - len(batch))
            sides = tuple(tuple(map(self._see, side)) for side in zip(*full, strict=True))
            views = jax.device_get(search(self._model, self._dense, self._frame, self._turns, self._variables, sides))
            for k, (a, b) in enumerate(batch):
                yield self._guesses(a, b, [_matches(*view) for view in zip(*(v[k] for v in views), strict=True)])

    def _see(self, canvas: Canvas) -> PrintViews:
        """What the network sees of a print; that of the last prints is kept."""
        if canvas.grey.shape != self._frame or canvas.ridges.shape != self._frame:
            raise ValueError(f"a print of {canvas.grey.shape} px for a frame of {self._frame}")
        shown = canvas.grey, canvas.ridges, np.uint8(canvas.background)
        return self._seen.get(canvas, lambda: see(self._model, self._turns, self._variables, *shown))

    def _guesses(self, a: Canvas, b: Canvas, views: list[PointMatches]) -> Guesses:
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
        """The similarity from A to B with which most matches of all views agree; None where no view has one."""
        everything = PointMatches(*map(np.concatenate, zip(*views, strict=True)))
        found = [consensus(view, self.tolerance) for view in views]
        found = [fitted(start, everything, self.tolerance) for start in found if start is not None]
        return max(found, key=lambda guess: agreement(guess, everything, self.tolerance), default=None)


def _matches(points_a: np.ndarray, points_b: np.ndarray, confidence: np.ndarray) -> PointMatches:
    present = confidence > 0
    return PointMatches(*(values[present].astype(np.float64) for values in (points_a, points_b, confidence)))


def overlap_middle(ridges_a: np.ndarray, ridges_b: np.ndarray, to_a: np.ndarray) -> np.ndarray:
    """The mean of the points (2,) of B where both prints show ridges under a homography from B to A; that of B's ridges
    where nothing overlaps.
    """
    rows, cols = (STEP * places for places in np.nonzero(ridges_b[::STEP, ::STEP]))
    points = np.stack([cols, rows], axis=-1).astype(np.float64)
    there = transform(to_a, points)
    height, width = ridges_a.shape
    col, row = np.rint(np.clip(np.nan_to_num(there, nan=-1.0), -1, max(height, width))).astype(int).T
    inside = (row >= 0) & (row < height) & (col >= 0) & (col < width)
    both = inside & ridges_a[np.where(inside, row, 0), np.where(inside, col, 0)]
    chosen = points[both] if both.any() else points
    return chosen.mean(0) if len(chosen) else np.array(ridges_b.shape[::-1]) / 2
