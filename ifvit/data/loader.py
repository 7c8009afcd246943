"""Which impressions make batch n, and their way to the device.

Batch n is a function of (seed, n) alone: a run that resumes at step n asks for batch n and needs no replay, and the
number of threads changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from typing import Any

import grain.python as grain
import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from ifvit.config import Config, Source
from ifvit.data.pairs import Canvases, Pairs, make_pairs
from ifvit.data.pool import RECIPE, Pool
from ifvit.data.rendered import Picks, draw_pairs, render_pairs
from ifvit.data.sources import DataError, Impressions, load, split

TRAIN, VALIDATE = 1, 2  # streams of random numbers under one seed
PURPOSE = {TRAIN: "to train on", VALIDATE: "to validate on"}
READ_AHEAD = 4  # batches


class Batches:
    """Batches of pairs from some of the identities' impressions; `stream` separates training from validation.

    What a batch is made of is prepared on the host, ahead of time, and what becomes of it on the device: subclasses say
    how.
    """

    def __init__(self, config: Config, identity: np.ndarray, chosen: np.ndarray, stream: int, sharding: NamedSharding):
        self._data, self._size, self._threads = config.data, config.trainer.batch_size, config.data.threads
        self._identity, self._chosen, self._sharding = identity, chosen, sharding
        self._seed = (config.seed, stream)
        self._key = jax.random.fold_in(jax.random.key(config.seed), stream)
        if config.data.pairs.impostor_share > 0 and self.fingers < 2:
            raise DataError(
                "data.pairs.impostor_share: pairs of different fingers need two fingers, there is one "
                f"{PURPOSE[stream]}; change data.val_fingers, or set data.pairs.impostor_share=0"
            )
        self.waited_s = 0.0  # time that `pairs` spent waiting for the host, since it was last set to 0
        # Looked up once per epoch rather than once per batch.
        self._order = lru_cache(maxsize=2)(self._shuffled)

    def __len__(self) -> int:
        """The number of impressions."""
        return len(self._chosen)

    @property
    def fingers(self) -> int:
        """The number of identities."""
        return len(set(self._identity[self._chosen]))

    def on_host(self, n: int) -> Any:
        """What batch n is made of, as NumPy arrays."""
        raise NotImplementedError

    def on_device(self, n: int, prepared: Any) -> Pairs:
        """Batch n's pairs, made on the device of what `on_host` prepared."""
        raise NotImplementedError

    def _shuffled(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([*self._seed, 0, epoch]).permutation(self._chosen)

    def _others(self, rng: np.random.Generator, first: np.ndarray) -> np.ndarray:
        """For each impression a random one of another finger."""
        identity = self._identity
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
        genuine = rng.random(self._size) >= self._data.pairs.impostor_share
        second = first.copy()
        if not genuine.all():
            second[~genuine] = self._others(rng, first[~genuine])
        return first, second, genuine

    def pairs(self, start: int, stop: int) -> Iterator[Pairs]:
        """Batches start..stop-1; each is on its way to the device before it is asked for."""
        if start >= stop:
            return
        numbers = grain.MapDataset.range(start, stop).map(lambda n: (int(n), self.on_host(int(n))))
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


class CopiedBatches(Batches):
    """Pairs of an impression and a warped, worn copy of it."""

    def __init__(
        self, config: Config, impressions: Impressions, chosen: np.ndarray, stream: int, sharding: NamedSharding
    ):
        super().__init__(config, impressions.identity, chosen, stream, sharding)
        self._impressions = impressions

    def on_host(self, n: int) -> Canvases:
        first, second, genuine = self.choose(n)
        sides = [(s.grey[k], s.ridges[k], s.background[k]) for s in [self._impressions] for k in (first, second)]
        return Canvases(*sides[0], *sides[1], genuine)

    def on_device(self, n: int, prepared: Canvases) -> Pairs:
        placed = jax.device_put(prepared, self._sharding)
        key = jax.random.fold_in(self._key, n)
        return make_pairs(key, placed, frame=self._data.frame, settings=self._data.pairs)


class RenderedBatches(Batches):
    """Pairs of impressions of a pool's synthetic fingers."""

    def __init__(
        self, config: Config, pool: Callable[[], Pool], chosen: np.ndarray, stream: int, sharding: NamedSharding
    ):
        super().__init__(config, np.arange(config.data.fingers), chosen, stream, sharding)
        # Grown when it is first asked for, once nothing can be refused any more.
        self._grown, self._trains = pool, stream == TRAIN

    def on_host(self, n: int) -> Picks:
        first, second, genuine = self.choose(n)
        return Picks(first.astype(np.int32), second.astype(np.int32), genuine)

    def on_device(self, n: int, prepared: Picks) -> Pairs:
        pool = self._grown()
        if self._trains:
            pool.move_to(n)
        draws = draw_pairs(jax.random.fold_in(self._key, n), self._size, data=self._data)
        return render_pairs(draws, pool.waves, prepared, self._data, self._sharding)


@dataclass(frozen=True)
class Supply:
    """A run's data: `fingerprint` says what it is, for comparison on resume; `batches` of a stream, TRAIN or VALIDATE,
    raises DataError where it has too few fingers.
    """

    fingerprint: str
    batches: Callable[[int], Batches]


def supply(config: Config, sharding: NamedSharding) -> Supply:
    """The configured data, read, or about to be grown.

    Raises:
        DataError: nothing found, or too many files unusable.
    """
    data = config.data
    if data.source is Source.synthetic:
        everywhere = NamedSharding(sharding.mesh, PartitionSpec())
        chosen = np.split(np.arange(data.fingers), [data.fingers - int(data.val_fingers)])
        make = partial(RenderedBatches, config, cache(partial(Pool, data, config.seed, everywhere)))
        fingerprint = f"synthetic fingers {data.fingers}, seed {config.seed}, recipe {RECIPE}"
    else:
        impressions = load(data)
        chosen = split(impressions, data.val_fingers)
        make = partial(CopiedBatches, config, impressions)
        fingerprint = impressions.fingerprint
    mine = dict(zip((TRAIN, VALIDATE), chosen, strict=True))
    return Supply(fingerprint, lambda stream: make(mine[stream], stream, sharding))
