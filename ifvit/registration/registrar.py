"""Registration of two prints by their ridges: guesses, the elastic map, and how well the ridges agree under it.

No network is used here. Guesses come from the orientation of the ridges (`orientation_search`) and from minutiae with
similar neighbourhoods (`minutia_search`); guesses of a trained Module 1 can be added. One compiled program refines the
best guesses to elastic maps and takes the map with the best agreement. Several pairs run in parallel threads, each by
the same program: so the result of a pair has the same bits alone and among others.
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

OF_FLOW, OF_MINUTIAE = 3, 4  # the numbers of guesses by orientation and by minutiae
CANDIDATES = 6  # maps that are refined up to the last level; only the best one is refined there
SIDES = tuple(SIDE_MULTIPLE * k for k in (4, 6, 8, 10, 12, 16, 20, 26, 32))  # px; each frame is compiled once
CACHE_BYTES = 2**30  # of prints' features that stay in memory: 110 to 200 prints
POINTS = 128  # the least number of points for which the program that maps points is compiled
CORES = os.cpu_count() or 1


class GuessSource(enum.StrEnum):
    """The source of the guess from which the map was refined."""

    flow = "flow"
    minutiae = "minutiae"
    module1 = "module_1"


class Features(NamedTuple):
    """What is computed once for a print in a frame; arrays on the device."""

    ridges: Ridges
    spectra: Spectra
    neighbourhoods: Neighbourhoods


class RidgeAlignment(NamedTuple):
    """The alignment of A with B; points are px of both prints at 500 ppi."""

    elastic: ElasticMap  # NumPy arrays
    inverted: bool  # `elastic` maps points of A to B; else points of B to A
    agreement: Agreement  # of the ridges, in the frame of the print whose points `elastic` maps; NumPy arrays
    paired: PairedMinutiae
    source: GuessSource  # of the guess from which the map was refined

    def to_a(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 2) of B, mapped to A."""
        return _map_points(self.elastic, points, self.inverted)

    def to_b(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 2) of A, mapped to B."""
        return _map_points(self.elastic, points, not self.inverted)

    def swapped(self) -> RidgeAlignment:
        """The same for (B, A): the alignment of B with A."""
        return self._replace(inverted=not self.inverted, paired=self.paired.swapped())

    def agreement_at(self, points: np.ndarray) -> np.ndarray:
        """The local agreement at points (..., 2) of B; 0 outside the overlap."""
        points = self.to_a(points) if self.inverted else points
        local = np.where(self.agreement.cover > 0.5, self.agreement.local, 0.0)
        col, row = (np.rint((points[..., k] - (CELL - 1) / 2) / CELL).astype(int) for k in (0, 1))
        inside = (row >= 0) & (row < local.shape[0]) & (col >= 0) & (col < local.shape[1])
        return np.where(inside, local[np.where(inside, row, 0), np.where(inside, col, 0)], 0.0)


def frame_of(prints: Iterable[RidgePrint]) -> tuple[int, int]:
    """The smallest frame (height, width) px, with sides of `SIDES`, that is as large as each print."""
    height, width = np.array([ridge_print.ridges.shape for ridge_print in prints]).max(axis=0)
    return next(side for side in SIDES if side >= height), next(side for side in SIDES if side >= width)


class Registrar:
    """Aligns pairs of prints. The order of a pair matters: the alignment of (b, a) may differ from that of (a, b).

    frame: (height, width) px, with sides of `SIDES`, as large as all prints; None takes the smallest one for each pair.
        It changes a pair's result by no more than rounding.
    """

    def __init__(self, frame: tuple[int, int] | None = None):
        self._frame = frame
        self._features = Recent(CACHE_BYTES)

    def align_many(
        self, pairs: Iterable[tuple[RidgePrint, RidgePrint]], guesses: Iterable[np.ndarray] | None = None
    ) -> Iterator[RidgeAlignment]:
        """The alignment of each pair (a, b), in order; as many pairs are read and run in parallel as there are cores.

        guesses: further guesses for each pair, homographies (K, 3, 3) from B to A, px of the prints; K is the same for
            all pairs.
        """
        running: deque[Future[RidgeAlignment]] = deque()
        with ThreadPoolExecutor(CORES) as pool:
            inputs = ((pair, None) for pair in pairs) if guesses is None else zip(pairs, guesses, strict=True)
            for (a, b), extra in inputs:
                frame = self._frame or frame_of((a, b))
                features = self.features(a, frame), self.features(b, frame)
                homographies = None if extra is None else np.asarray(extra, np.float32)
                running.append(pool.submit(_align_pair, a, b, *features, homographies))
                if len(running) > CORES:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()

    def features(self, ridge_print: RidgePrint, frame: tuple[int, int]) -> Features:
        """A print's features in a frame; those of the latest prints stay in memory."""
        return self._features.get(
            ridge_print,
            lambda: _features(*_in_frame(ridge_print, frame), *padded_minutiae(ridge_print.minutiae)),
            frame,
        )


def _align_pair(
    a: RidgePrint, b: RidgePrint, features_a: Features, features_b: Features, guesses: np.ndarray | None
) -> RidgeAlignment:
    """The alignment of a pair; guesses: further ones (K, 3, 3)."""
    elastic, agreement, guess = jax.device_get(_align(features_a, features_b, guesses))
    to_a, to_b = partial(_map_points, elastic, inverse=False), partial(_map_points, elastic, inverse=True)
    paired = pair_minutiae(a.minutiae, b.minutiae, a.ridges, b.ridges, to_a, to_b)
    sources = [GuessSource.flow] * OF_FLOW + [GuessSource.minutiae] * OF_MINUTIAE
    source = sources[guess] if guess < len(sources) else GuessSource.module1
    return RidgeAlignment(elastic, False, agreement, paired, source)


def _in_frame(ridge_print: RidgePrint, frame: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A print's signal in [-1, 1] and mask, (height, width) float32, padded to a frame."""
    padding = [(0, full - length) for full, length in zip(frame, ridge_print.ridges.shape, strict=True)]
    signal = np.where(ridge_print.ridges, ridge_print.enhanced / np.float32(127.5) - 1, 0)
    return np.pad(signal.astype(np.float32), padding), np.pad(ridge_print.ridges.astype(np.float32), padding)


@jax.jit
def _features(
    signal: jax.Array, mask: jax.Array, points: jax.Array, directions: jax.Array, present: jax.Array
) -> Features:
    ridges = ridges_of(signal, mask)
    field = orientation_field(ridges)
    return Features(ridges, spectra_of(field), neighbourhoods(ridges, field, points, directions, present))


@jax.jit
def _align(a: Features, b: Features, extra: np.ndarray | None) -> tuple[ElasticMap, Agreement, jax.Array]:
    """A pair's map, its agreement, and the index of the guess it was refined from. extra: further guesses (K, 3, 3)."""
    of_flow, _ = search_orientation(a.spectra, b.spectra, OF_FLOW)
    of_minutiae, _ = search_minutiae(a.neighbourhoods, b.neighbourhoods, OF_MINUTIAE)
    guesses = jnp.concatenate([of_flow, of_minutiae, *([] if extra is None else [extra])])
    candidates = first_level(a.ridges, b.ridges, guesses, CANDIDATES)
    maps = refine(a.ridges, b.ridges, candidates.maps, LEVELS[1:-1])
    agreements = jax.vmap(partial(agreement_of, a.ridges, b.ridges, spacing=2))(maps)
    best = worth(agreements.mean, agreements.area).argmax()
    chosen = jax.tree.map(lambda leaf: leaf[best][None], maps)
    elastic = jax.tree.map(lambda leaf: leaf[0], refine(a.ridges, b.ridges, chosen, LEVELS[-1:]))
    return elastic, agreement_of(a.ridges, b.ridges, elastic), candidates.guess[best]


def _map_points(elastic: ElasticMap, points: np.ndarray, inverse: bool) -> np.ndarray:
    """Points (..., 2), mapped by an elastic map or by its inverse, float32."""
    flat = np.asarray(points, np.float32).reshape(-1, 2)
    count = -(-max(len(flat), 1) // POINTS) * POINTS
    if count > POINTS:  # padded to few different numbers, so that few programs are compiled
        count = POINTS * 2 ** int(np.ceil(np.log2(count / POINTS)))
    padded = np.zeros((count, 2), np.float32)
    padded[: len(flat)] = flat
    return np.asarray(_map_padded(elastic, padded, inverse))[: len(flat)].reshape(np.shape(points))


@partial(jax.jit, static_argnames="inverse")
def _map_padded(elastic: ElasticMap, points: jax.Array, inverse: bool) -> jax.Array:
    mapping = elastic.inverse if inverse else elastic
    return jnp.stack(mapping(points[:, 0], points[:, 1]), axis=-1)
