"""Two prints laid on one another by their ridges alone: guesses, the elastic map, and how well the ridges agree.

Nothing is learned here. Guesses come from the flow of the ridges and from minutiae whose neighbourhoods look alike;
others, as of a trained Module 1, can be added. All go through one compiled program, which follows the skin's bend from
the best of them and keeps the map under which most ridges agree. Several pairs run side by side in threads, each by
the same program: so a pair has the same bits alone and among others.
"""

from __future__ import annotations

import enum
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ifvit.registration.agreement import CELL, Agreement, agreement_of
from ifvit.registration.elastic import (
    LEVELS,
    SIDE_MULTIPLE,
    ElasticMap,
    Ridges,
    first_level,
    refine,
    ridges_of,
    worth,
)
from ifvit.registration.minutia_pairing import PairedMinutiae, pair_minutiae
from ifvit.registration.minutia_search import Neighbourhoods, neighbourhoods, padded_minutiae, search_minutiae
from ifvit.registration.orientation_search import Spectra, orientation_field, search_orientation, spectra_of
from ifvit.registration.ridge_print import RidgePrint
from ifvit.storage.recent import Recent

OF_FLOW, OF_MINUTIAE = 3, 4  # guesses
CANDIDATES = 6  # that are followed until the last level, which the best of them alone goes through
SIDES = tuple(SIDE_MULTIPLE * k for k in (4, 6, 8, 10, 12, 16, 20, 26, 32))  # px; each frame is compiled once
REMEMBERED = 2**30  # bytes of prints' features that are kept: 110 to 200 prints
POINTS = 128  # carried through a map at once
CORES = os.cpu_count() or 1


class GuessSource(enum.StrEnum):
    """Where the guess came from that led to the map."""

    flow = "flow"
    minutiae = "minutiae"
    module1 = "module_1"


class Features(NamedTuple):
    """What is computed once of a print, on the device, in a frame."""

    ridges: Ridges
    spectra: Spectra
    neighbourhoods: Neighbourhoods


class RidgeAlignment(NamedTuple):
    """A laid on B; points are px of both prints at 500 ppi.

    elastic: the map that was found, NumPy arrays. inverted: whether it takes points of A to B, not of B to A.
    agreement: of the ridges under it, in the frame of the print that it begins from; NumPy arrays.
    paired: the minutiae of both prints.
    source: of the guess it began from.
    """

    elastic: ElasticMap
    inverted: bool
    agreement: Agreement
    paired: PairedMinutiae
    source: GuessSource

    def to_a(self, points: np.ndarray) -> np.ndarray:
        """Where points (..., 2) of B lie in A."""
        return _carried(self.elastic, points, self.inverted)

    def to_b(self, points: np.ndarray) -> np.ndarray:
        """Where points (..., 2) of A lie in B."""
        return _carried(self.elastic, points, not self.inverted)

    def swapped(self) -> RidgeAlignment:
        """The same of (B, A): B laid on A."""
        return self._replace(inverted=not self.inverted, paired=self.paired.swapped())

    def agreement_at(self, points: np.ndarray) -> np.ndarray:
        """The local agreement at points (..., 2) of B, 0 outside the overlap."""
        points = self.to_a(points) if self.inverted else points
        local = np.where(self.agreement.cover > 0.5, self.agreement.local, 0.0)
        col, row = (np.rint((points[..., k] - (CELL - 1) / 2) / CELL).astype(int) for k in (0, 1))
        inside = (row >= 0) & (row < local.shape[0]) & (col >= 0) & (col < local.shape[1])
        return np.where(inside, local[np.where(inside, row, 0), np.where(inside, col, 0)], 0.0)


def frame_of(prints: Iterable[RidgePrint]) -> tuple[int, int]:
    """The smallest (height, width) px of `SIDES` that holds each print."""
    height, width = np.array([shown.ridges.shape for shown in prints]).max(axis=0)
    return next(side for side in SIDES if side >= height), next(side for side in SIDES if side >= width)


class Registrar:
    """Aligns pairs of prints, each in the order in which it is given: (b, a) may be aligned otherwise than (a, b).

    frame: (height, width) px of `SIDES` that holds all prints; None takes the smallest one of each pair. It changes a
        pair's result by no more than rounding.
    """

    def __init__(self, frame: tuple[int, int] | None = None):
        self._frame = frame
        self._features = Recent(REMEMBERED)

    def align(self, a: RidgePrint, b: RidgePrint, guesses: np.ndarray | None = None) -> RidgeAlignment:
        """One pair; `guesses` (K, 3, 3) as of `align_many`."""
        return _aligned(a, b, *self._inputs(a, b, guesses))

    def align_many(
        self, pairs: Iterable[tuple[RidgePrint, RidgePrint]], guesses: Iterable[np.ndarray] | None = None
    ) -> Iterator[RidgeAlignment]:
        """Each pair (a, b), in order, as many at once as there are cores; taken in by and by.

        guesses: further ones of each pair, homographies (K, 3, 3) from B to A, px of the prints; the same K for all.
        """
        running: deque[Future[RidgeAlignment]] = deque()
        with ThreadPoolExecutor(CORES) as pool:
            each = ((pair, None) for pair in pairs) if guesses is None else zip(pairs, guesses, strict=True)
            for (a, b), more in each:
                running.append(pool.submit(_aligned, a, b, *self._inputs(a, b, more)))
                if len(running) > CORES:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()

    def _inputs(
        self, a: RidgePrint, b: RidgePrint, guesses: np.ndarray | None
    ) -> tuple[Features, Features, np.ndarray | None]:
        frame = self._frame or frame_of((a, b))
        guesses = None if guesses is None else np.asarray(guesses, np.float32)
        return self.features(a, frame), self.features(b, frame), guesses

    def features(self, shown: RidgePrint, frame: tuple[int, int]) -> Features:
        """A print's features in a frame; those of the last prints are kept."""
        return self._features.get(
            shown, lambda: _features(*_in_frame(shown, frame), *padded_minutiae(shown.minutiae)), frame
        )


def _aligned(
    a: RidgePrint, b: RidgePrint, features_a: Features, features_b: Features, guesses: np.ndarray | None
) -> RidgeAlignment:
    elastic, agreement, guess = jax.device_get(_align(features_a, features_b, guesses))
    to_a, to_b = partial(_carried, elastic, back=False), partial(_carried, elastic, back=True)
    paired = pair_minutiae(a.minutiae, b.minutiae, a.ridges, b.ridges, to_a, to_b)
    return RidgeAlignment(elastic, False, agreement, paired, _source(int(guess)))


def _source(guess: int) -> GuessSource:
    """Where a guess comes from, by its place in the list."""
    if guess < OF_FLOW:
        return GuessSource.flow
    return GuessSource.minutiae if guess < OF_FLOW + OF_MINUTIAE else GuessSource.module1


def _in_frame(shown: RidgePrint, frame: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A print's signal and mask, float32 of a frame that holds it."""
    room = [(0, full - length) for full, length in zip(frame, shown.ridges.shape, strict=True)]
    signal = np.where(shown.ridges, shown.enhanced / np.float32(127.5) - 1, 0)
    return np.pad(signal.astype(np.float32), room), np.pad(shown.ridges.astype(np.float32), room)


@jax.jit
def _features(
    signal: jax.Array, mask: jax.Array, points: jax.Array, directions: jax.Array, present: jax.Array
) -> Features:
    ridges = ridges_of(signal, mask)
    field = orientation_field(ridges)
    return Features(ridges, spectra_of(field), neighbourhoods(ridges, field, points, directions, present))


@jax.jit
def _align(a: Features, b: Features, more: np.ndarray | None) -> tuple[ElasticMap, Agreement, jax.Array]:
    """One pair's map, its agreement, and which guess it began from. more: further guesses (K, 3, 3)."""
    of_flow, _ = search_orientation(a.spectra, b.spectra, OF_FLOW)
    of_minutiae, _ = search_minutiae(a.neighbourhoods, b.neighbourhoods, OF_MINUTIAE)
    guesses = jnp.concatenate([of_flow, of_minutiae, *([] if more is None else [more])])
    candidates = first_level(a.ridges, b.ridges, guesses, CANDIDATES)
    maps = refine(a.ridges, b.ridges, candidates.maps, LEVELS[1:-1])
    agreements = jax.vmap(partial(agreement_of, a.ridges, b.ridges, spacing=2))(maps)
    best = worth(agreements.mean, agreements.area).argmax()
    chosen = jax.tree.map(lambda leaf: leaf[best][None], maps)
    elastic = jax.tree.map(lambda leaf: leaf[0], refine(a.ridges, b.ridges, chosen, LEVELS[-1:]))
    return elastic, agreement_of(a.ridges, b.ridges, elastic), candidates.guess[best]


def _carried(elastic: ElasticMap, points: np.ndarray, back: bool) -> np.ndarray:
    """Where a map, or its inverse (`back`), takes points (..., 2), float32. One program serves any number of them."""
    flat = np.asarray(points, np.float32).reshape(-1, 2)
    count = -(-max(len(flat), 1) // POINTS) * POINTS
    if count > POINTS:  # few numbers of points, so that few programs are compiled
        count = POINTS * 2 ** int(np.ceil(np.log2(count / POINTS)))
    room = np.zeros((count, 2), np.float32)
    room[: len(flat)] = flat
    return np.asarray(_carry(elastic, room, back))[: len(flat)].reshape(np.shape(points))


@partial(jax.jit, static_argnames="back")
def _carry(elastic: ElasticMap, points: jax.Array, back: bool) -> jax.Array:
    there = elastic.inverse if back else elastic
    return jnp.stack(there(points[:, 0], points[:, 1]), axis=-1)
