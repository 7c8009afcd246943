"""A guess of the alignment of two prints, by a trained Module 1.

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
from ifvit.registration.similarity import PointMatches, agreement, consensus, errors, fitted
from ifvit.storage.recent import Recent

TURNS = 4  # in steps of 90 degrees: every angle is at most 45 degrees from one of them
SKIN_MM = 0.4  # the distortion of skin that a similarity does not include
NOWHERE = np.array([[1.0, 0.0, 1e6], [0.0, 1.0, 1e6], [0.0, 0.0, 1.0]])  # a homography without an overlap: no guess
CACHE_BYTES = 2**28  # of the views of prints that stay in memory


class Guess(NamedTuple):
    """Module 1's guess for a pair, in px of both canvases."""

    homography: np.ndarray  # (3, 3) float64, from B to A; `NOWHERE` if there is no guess
    matches: PointMatches  # M matches, of the view that agrees best with the guess
    agree: np.ndarray  # (M,) bool, which matches agree with the guess

    @property
    def found(self) -> bool:
        """Whether there is a guess."""
        return not np.array_equal(self.homography, NOWHERE)

    def swapped(self) -> Guess:
        """The same for (B, A)."""
        homography = np.linalg.inv(self.homography) if self.found else self.homography
        return Guess(homography, self.matches.swapped(), self.agree)


class Module1Search:
    """Guesses the alignment of prints by a trained Module 1. One program is compiled for a frame.

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

    def guess_many(self, pairs: Iterable[tuple[Canvas, Canvas]]) -> Iterator[Guess]:
        """The guess for each pair (a, b), in order; `at_once` pairs are read at a time.

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
            for k in range(len(batch)):
                yield self._guess([_matches(*view) for view in zip(*(v[k] for v in views), strict=True)])

    def _views_of(self, canvas: Canvas) -> PrintViews:
        """The views of a print; those of the latest prints stay in memory.

        Raises:
            ValueError: the canvas does not have the frame.
        """
        if canvas.grey.shape != self._frame or canvas.ridges.shape != self._frame:
            raise ValueError(f"a print of {canvas.grey.shape} px for a frame of {self._frame}")
        arrays = canvas.grey, canvas.ridges, np.uint8(canvas.background)
        return self._print_views.get(canvas, lambda: print_views(self._model, self._turns, self._variables, *arrays))

    def _guess(self, views: list[PointMatches]) -> Guess:
        """The guess for a pair, from the matches of each view."""
        best = self._best(views)
        if best is None:
            matches = max(views, key=lambda view: len(view.confidence))
            return Guess(NOWHERE, matches, np.zeros(len(matches.confidence), bool))
        matches = max(views, key=lambda view: agreement(best, view, self.tolerance))
        return Guess(np.linalg.inv(best), matches, errors(best, matches) < self.tolerance)

    def _best(self, views: list[PointMatches]) -> np.ndarray | None:
        """The similarity from A to B with which most matches of all views agree; None if no view has one."""
        all_matches = PointMatches(*map(np.concatenate, zip(*views, strict=True)))
        starts = [consensus(view, self.tolerance) for view in views]
        fits = [fitted(start, all_matches, self.tolerance) for start in starts if start is not None]
        return max(fits, key=lambda fit: agreement(fit, all_matches, self.tolerance), default=None)


def _matches(points_a: np.ndarray, points_b: np.ndarray, confidence: np.ndarray) -> PointMatches:
    """The matches of a view without its padding."""
    present = confidence > 0
    return PointMatches(*(values[present].astype(np.float64) for values in (points_a, points_b, confidence)))
