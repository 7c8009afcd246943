"""Which impressions make batch n, and their way to the device.

Batch n is a function of (seed, n) alone: a run that resumes at step n asks for batch n and needs no replay, and the
number of threads changes nothing.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import grain.python as grain
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Sharding

from ifvit.config import Config
from ifvit.data.finger_pool import FingerPool
from ifvit.data.impressions import Impressions
from ifvit.data.rendered_pairs import FingerIndices, draw_pairs, render_pairs
from ifvit.data.warped_pairs import Canvases, TrainingPairs, make_pairs
from ifvit.errors import DataError

TRAIN, VALIDATE = 1, 2  # streams of random numbers under one seed
PURPOSE = {TRAIN: "to train on", VALIDATE: "to validate on"}
READ_AHEAD = 4  # batches


@dataclass(frozen=True)
class BatchSpec:
    """Where batches stand: their size, the devices they are split over, their stream of random numbers, TRAIN or
    VALIDATE, in a mixture the name of their source, and where their classes begin among those of all sources.
    """

    size: int
    sharding: Sharding
    stream: int
    source: str = ""
    first_class: int = 0

    @property
    def of(self) -> str:
        """The source, for a message."""
        return f" of {self.source}" if self.source else ""

    def seed(self, seed: int) -> tuple[int, ...]:
        """What NumPy's generators begin with."""
        return (seed, self.stream, *self._number())

    def key(self, seed: int) -> jax.Array:
        """The key that those of the batches are folded from."""
        key = jax.random.fold_in(jax.random.key(seed), self.stream)
        for number in self._number():
            key = jax.random.fold_in(key, number)
        return key

    def _number(self) -> tuple[int, ...]:
        # By its name, so that another source beside it changes nothing.
        return (zlib.crc32(self.source.encode()),) if self.source else ()


class Renewal(NamedTuple):
    """Before batch n > 0 the classes at places (n - 1) * each .. n * each - 1, modulo count, become other fingers;
    places are counted from class `first` on. As `data.pool` fills them.
    """

    first: int
    count: int
    each: int


class Batches:
    """Batches of pairs. What one is made of is prepared on the host, ahead of time, and what becomes of it on the
    device: subclasses say how.

    size: pairs a batch; fingers: the number of identities; parts: a mixture's sources by name, of one source none;
    classes: how many of the identities Module 2 is to tell apart; renewal: which of these become others on the way.
    """

    classes = 0
    renewal: Renewal | None = None

    def __init__(self, size: int, fingers: int, threads: int):
        self.size, self.fingers, self._threads = size, fingers, threads
        self.parts: Mapping[str, Batches] = {}
        self.waited_s = 0.0  # time that `pairs` spent waiting for the host, since it was last set to 0

    def __len__(self) -> int:
        """The number of impressions."""
        raise NotImplementedError

    def on_host(self, n: int) -> Any:
        """What batch n is made of, as NumPy arrays."""
        raise NotImplementedError

    def on_device(self, n: int, prepared: Any) -> Any:
        """Batch n's pairs (`TrainingPairs`, for Module 2 `AlignedBatch`), made on the device."""
        raise NotImplementedError

    def pairs(self, start: int, stop: int) -> Iterator[Any]:
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


class DrawnBatches(Batches):
    """Batches of pairs from some of the identities' impressions."""

    def __init__(self, config: Config, identity: np.ndarray, chosen: np.ndarray, place: BatchSpec):
        super().__init__(place.size, len(set(identity[chosen])), config.data.threads)
        self._data, self._sharding = config.data, place.sharding
        self._identity, self._chosen = identity, chosen
        self._seed, self._key = place.seed(config.seed), place.key(config.seed)
        if config.data.pairs.impostor_share > 0 and self.fingers < 2:
            raise DataError(
                "data.pairs.impostor_share: pairs of different fingers need two fingers, there is one "
                f"{PURPOSE[place.stream]}{place.of}; hold out others, or set data.pairs.impostor_share=0"
            )
        # Looked up once per epoch rather than once per batch.
        self._order = lru_cache(maxsize=2)(self._shuffled)

    def __len__(self) -> int:
        return len(self._chosen)

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
        places = n * self.size + np.arange(self.size)
        count = len(self._chosen)
        first = np.array([self._order(int(p // count))[p % count] for p in places])
        rng = np.random.default_rng([*self._seed, 1, n])
        genuine = rng.random(self.size) >= self._data.pairs.impostor_share
        second = first.copy()
        if not genuine.all():
            second[~genuine] = self._others(rng, first[~genuine])
        return first, second, genuine


class CopiedBatches(DrawnBatches):
    """Pairs of an impression and a warped, worn copy of it."""

    def __init__(self, config: Config, prints: Impressions, chosen: np.ndarray, place: BatchSpec):
        super().__init__(config, prints.identity, chosen, place)
        self._prints = prints

    def on_host(self, n: int) -> Canvases:
        first, second, genuine = self.choose(n)
        # An impression that is on both sides is looked up, and so perhaps decoded, once.
        canvases = {k: self._prints.canvas(k) for k in {*first.tolist(), *second.tolist()}}
        sides = []
        for side in (first, second):
            shown = [canvases[k] for k in side.tolist()]
            sides += [np.stack([canvas.grey for canvas in shown]), np.stack([canvas.ridges for canvas in shown])]
            sides.append(np.array([canvas.background for canvas in shown], np.uint8))
        return Canvases(*sides, genuine)

    def on_device(self, n: int, prepared: Canvases) -> TrainingPairs:
        placed = jax.device_put(prepared, self._sharding)
        key = jax.random.fold_in(self._key, n)
        return make_pairs(key, placed, frame=self._data.frame, settings=self._data.pairs)


class RenderedBatches(DrawnBatches):
    """Pairs of impressions of a pool's synthetic fingers."""

    def __init__(self, config: Config, pool: Callable[[], FingerPool], chosen: np.ndarray, place: BatchSpec):
        super().__init__(config, np.arange(config.data.fingers), chosen, place)
        # Grown when it is first asked for, once nothing can be refused any more.
        self._grown, self._trains = pool, place.stream == TRAIN

    def on_host(self, n: int) -> FingerIndices:
        first, second, genuine = self.choose(n)
        return FingerIndices(first.astype(np.int32), second.astype(np.int32), genuine)

    def on_device(self, n: int, prepared: FingerIndices) -> TrainingPairs:
        pool = self._grown()
        if self._trains:
            pool.move_to(n)
        draws = draw_pairs(jax.random.fold_in(self._key, n), self.size, data=self._data)
        return render_pairs(draws, pool.skins, prepared, self._data, self._sharding)


class MixedBatches(Batches):
    """Batches of which every one holds the same number of pairs of each source."""

    def __init__(self, parts: Mapping[str, Batches], threads: int, sharding: Sharding):
        sources = parts.values()
        super().__init__(sum(part.size for part in sources), sum(part.fingers for part in sources), threads)
        self.parts = parts
        self.classes = sum(part.classes for part in sources)
        self.renewal = next((part.renewal for part in sources if part.renewal), None)
        self._join = jax.jit(
            lambda *pairs: jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *pairs), out_shardings=sharding
        )

    def __len__(self) -> int:
        return sum(map(len, self.parts.values()))

    def on_host(self, n: int) -> list[Any]:
        return [part.on_host(n) for part in self.parts.values()]

    def on_device(self, n: int, prepared: list[Any]) -> Any:
        return self._join(*(part.on_device(n, some) for part, some in zip(self.parts.values(), prepared, strict=True)))
