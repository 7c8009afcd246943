"""Which impressions make batch n, and their way to the device.

Batch n is a function of (seed, n) alone: a run that resumes at step n asks for batch n and needs no replay, and the
number of threads changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import lru_cache

import grain.python as grain
import jax
import numpy as np
from jax.sharding import Sharding

from ifvit.config import Config
from ifvit.data.pairs import Canvases, Pairs, make_pairs
from ifvit.data.sources import DataError, Impressions

TRAIN, VALIDATE = 1, 2  # streams of random numbers under one seed
PURPOSE = {TRAIN: "to train on", VALIDATE: "to validate on"}
READ_AHEAD = 4  # batches


class Batches:
    """Batches of pairs from some of the impressions; `stream` separates training from validation."""

    def __init__(self, config: Config, impressions: Impressions, chosen: np.ndarray, stream: int, sharding: Sharding):
        self._settings, self._frame = config.data.pairs, config.data.frame
        self._size, self._threads = config.trainer.batch_size, config.data.threads
        self._impressions, self._chosen, self._sharding = impressions, chosen, sharding
        self._seed = (config.seed, stream)
        self._key = jax.random.fold_in(jax.random.key(config.seed), stream)
        if self._settings.impostor_share > 0 and len(set(impressions.identity[chosen])) < 2:
            raise DataError(
                "data.pairs.impostor_share: pairs of different fingers need two fingers, there is one "
                f"{PURPOSE[stream]}; change data.val_fingers, or set data.pairs.impostor_share=0"
            )
        self.waited_s = 0.0  # time that `pairs` spent waiting for the host, since it was last set to 0
        # Looked up once per epoch rather than once per batch.
        self._order = lru_cache(maxsize=2)(self._shuffled)

    def _shuffled(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([*self._seed, 0, epoch]).permutation(self._chosen)

    def _others(self, rng: np.random.Generator, first: np.ndarray) -> np.ndarray:
        """For each impression a random one of another finger."""
        identity = self._impressions.identity
        second = rng.choice(self._chosen, len(first))
        while (same := identity[second] == identity[first]).any():
            second[same] = rng.choice(self._chosen, same.sum())
        return second

    def choose(self, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Batch n's impressions: indices of A, indices of B, and which pairs are genuine; (B,) each.

        A goes through a new order of all impressions every epoch; B is the same impression, or another finger's.
        """
        places = n * self._size + np.arange(self._size)
        count = len(self._chosen)
        first = np.array([self._order(int(p // count))[p % count] for p in places])
        rng = np.random.default_rng([*self._seed, 1, n])
        genuine = rng.random(self._size) >= self._settings.impostor_share
        second = first.copy()
        if not genuine.all():
            second[~genuine] = self._others(rng, first[~genuine])
        return first, second, genuine

    def canvases(self, n: int) -> Canvases:
        """Batch n on the host."""
        first, second, genuine = self.choose(n)
        sides = [(s.grey[k], s.ridges[k], s.background[k]) for s in [self._impressions] for k in (first, second)]
        return Canvases(*sides[0], *sides[1], genuine)

    def on_device(self, n: int, canvases: Canvases) -> Pairs:
        """Batch n's pairs, made on the device."""
        placed = jax.device_put(canvases, self._sharding)
        return make_pairs(jax.random.fold_in(self._key, n), placed, frame=self._frame, settings=self._settings)

    def pairs(self, start: int, stop: int) -> Iterator[Pairs]:
        """Batches start..stop-1; each is on its way to the device before it is asked for."""
        if start >= stop:
            return
        numbers = grain.MapDataset.range(start, stop).map(lambda n: (int(n), self.canvases(int(n))))
        options = grain.ReadOptions(num_threads=self._threads, prefetch_buffer_size=READ_AHEAD if self._threads else 0)
        host = iter(numbers.to_iter_dataset(options))
        upcoming = self.on_device(*next(host))
        for _ in range(start + 1, stop):
            current = upcoming
            asked = time.monotonic()
            batch = next(host)
            self.waited_s += time.monotonic() - asked
            upcoming = self.on_device(*batch)
            yield current
        yield upcoming
