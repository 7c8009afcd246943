"""The impressions of batch n, and how they become pairs on the device.

Batch n depends on (seed, n) only. So a run that resumes at step n needs no replay, and the number of threads has no
effect.
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
from ifvit.data.aligned_pairs import AlignedBatch
from ifvit.data.finger_pool import FingerPool
from ifvit.data.impressions import Impressions
from ifvit.data.rendered_pairs import FingerIndices, draw_pairs, render_pairs
from ifvit.data.warped_pairs import Canvases, CanvasSide, TrainingPairs, make_pairs
from ifvit.errors import DataError
from ifvit.pair import Pair

TRAIN, VALIDATE = 1, 2  # streams of random numbers under the run's seed
PURPOSE = {TRAIN: "to train on", VALIDATE: "to validate on"}
READ_AHEAD = 4  # batches that are prepared in advance


@dataclass(frozen=True)
class BatchSpec:
    """What batches of one source are made for."""

    size: int  # pairs in a batch
    sharding: Sharding  # how a batch is split over the devices
    stream: int  # of random numbers: TRAIN or VALIDATE
    source: str = ""  # in a mixture: the name of the source
    first_class: int = 0  # the number of the source's first class among those of all sources

    @property
    def of_source(self) -> str:
        """The source, as a part of a message; empty without a mixture."""
        return f" of {self.source}" if self.source else ""

    def seed(self, seed: int) -> tuple[int, ...]:
        """The seed of NumPy's generators, without the number of the batch."""
        return (seed, self.stream, *self._number())

    def key(self, seed: int) -> jax.Array:
        """The key from which the keys of the batches are folded."""
        key = jax.random.fold_in(jax.random.key(seed), self.stream)
        for number in self._number():
            key = jax.random.fold_in(key, number)
        return key

    def _number(self) -> tuple[int, ...]:
        # The name, not its position: so a further source does not change the batches of this one.
        return (zlib.crc32(self.source.encode()),) if self.source else ()


class Renewal(NamedTuple):
    """Which classes get new fingers during training, as `data.finger_pool` replaces them.

    Before batch n > 0 these are the classes first + k for k = (n - 1) * each .. n * each - 1, modulo count.
    """

    first: int  # the first class
    count: int  # type: ignore[assignment]  # number of classes; it hides tuple.count, which nothing calls
    each: int  # classes that are replaced before a batch


class Batches:
    """Batches of pairs. The inputs of a batch are prepared on the host in advance; the pairs are made on the device.

    Subclasses define both steps.

    size: pairs in a batch.
    fingers: number of identities.
    parts: of a mixture: the batches of each source, by name; else empty.
    classes: number of identities that Module 2 learns to distinguish.
    renewal: which of these classes are replaced during training; None: none.
    waited_s: the time that `iterate` waited for the host since this was last set to 0, s.
    """

    classes = 0
    renewal: Renewal | None = None

    def __init__(self, size: int, fingers: int, threads: int):
        self.size, self.fingers, self._threads = size, fingers, threads
        self.parts: Mapping[str, Batches] = {}
        self.waited_s = 0.0

    def __len__(self) -> int:
        """The number of impressions."""
        raise NotImplementedError

    def on_host(self, n: int) -> Any:
        """The inputs of batch n, as NumPy arrays."""
        raise NotImplementedError

    def on_device(self, n: int, inputs: Any) -> Any:
        """The pairs of batch n (`TrainingPairs`; for Module 2 `AlignedBatch`), made on the device from its inputs."""
        raise NotImplementedError

    def iterate(self, start: int, stop: int) -> Iterator[Any]:
        """Batches start..stop-1. Each is sent to the device before it is needed."""
        if start >= stop:
            return
        numbers = grain.MapDataset.range(start, stop).map(lambda n: (int(n), self.on_host(int(n))))
        options = grain.ReadOptions(num_threads=self._threads, prefetch_buffer_size=READ_AHEAD if self._threads else 0)
        host = iter(numbers.to_iter_dataset(options))
        upcoming = self.on_device(*next(host))
        for _ in range(start + 1, stop):
            current = upcoming
            begin_s = time.monotonic()
            batch = next(host)
            self.waited_s += time.monotonic() - begin_s
            upcoming = self.on_device(*batch)
            yield current
        yield upcoming


class DrawnBatches(Batches):
    """Batches of pairs of chosen impressions, numbered like `identity`: (N,) int, equal for one finger."""

    def __init__(self, config: Config, identity: np.ndarray, chosen: np.ndarray, spec: BatchSpec):
        super().__init__(spec.size, len(set(identity[chosen])), config.data.threads)
        self._data, self._sharding = config.data, spec.sharding
        self._identity, self._impressions = identity, chosen
        self._seed, self._key = spec.seed(config.seed), spec.key(config.seed)
        if config.data.pairs.impostor_share > 0 and self.fingers < 2:
            raise DataError(
                "data.pairs.impostor_share: pairs of different fingers need two fingers, there is one "
                f"{PURPOSE[spec.stream]}{spec.of_source}; hold out others, or set data.pairs.impostor_share=0"
            )
        # An order is computed once per epoch, not once per batch.
        self._order = lru_cache(maxsize=2)(self._shuffled)

    def __len__(self) -> int:
        return len(self._impressions)

    def _shuffled(self, epoch: int) -> np.ndarray:
        """The impressions in the order of an epoch."""
        return np.random.default_rng([*self._seed, 0, epoch]).permutation(self._impressions)

    def _impostors(self, rng: np.random.Generator, index_a: np.ndarray) -> np.ndarray:
        """For each impression a random impression of another finger."""
        identity = self._identity
        index_b = rng.choice(self._impressions, len(index_a))
        while (same := identity[index_b] == identity[index_a]).any():
            index_b[same] = rng.choice(self._impressions, same.sum())
        return index_b

    def choose(self, n: int) -> tuple[Pair[np.ndarray], np.ndarray]:
        """Batch n's impressions: (B,) indices of each side, and (B,) bool, which pairs are genuine.

        In each epoch A runs once through all impressions, in a new order. B is the same impression, or that of another
        finger.
        """
        positions = n * self.size + np.arange(self.size)
        count = len(self._impressions)
        index_a = np.array([self._order(int(p // count))[p % count] for p in positions])
        rng = np.random.default_rng([*self._seed, 1, n])
        genuine = rng.random(self.size) >= self._data.pairs.impostor_share
        index_b = index_a.copy()
        if not genuine.all():
            index_b[~genuine] = self._impostors(rng, index_a[~genuine])
        return Pair(index_a, index_b), genuine


class CopiedBatches(DrawnBatches):
    """Pairs of an impression and a warped copy of it, both with simulated wear."""

    def __init__(self, config: Config, prints: Impressions, chosen: np.ndarray, spec: BatchSpec):
        super().__init__(config, prints.identity, chosen, spec)
        self._prints = prints

    def on_host(self, n: int) -> Canvases[np.ndarray]:
        indices, genuine = self.choose(n)
        # An impression that occurs several times is decoded only once.
        canvases = {k: self._prints.canvas(k) for k in np.unique(indices).tolist()}

        def stacked(index: np.ndarray) -> CanvasSide[np.ndarray]:
            chosen = [canvases[k] for k in index.tolist()]
            grey, ridges = np.stack([canvas.grey for canvas in chosen]), np.stack([canvas.ridges for canvas in chosen])
            return CanvasSide(grey, ridges, np.array([canvas.background for canvas in chosen], np.uint8))

        return Canvases(indices.map(stacked), genuine)

    def on_device(self, n: int, inputs: Canvases[np.ndarray]) -> TrainingPairs:
        device_inputs = jax.device_put(inputs, self._sharding)
        key = jax.random.fold_in(self._key, n)
        return make_pairs(key, device_inputs, frame=self._data.frame, settings=self._data.pairs)


class RenderedBatches(DrawnBatches):
    """Pairs of impressions of a pool's synthetic fingers."""

    def __init__(self, config: Config, pool: Callable[[], FingerPool], chosen: np.ndarray, spec: BatchSpec):
        super().__init__(config, np.arange(config.data.fingers), chosen, spec)
        # The pool is grown at the first batch, after all checks of the run.
        self._pool, self._is_training = pool, spec.stream == TRAIN

    def on_host(self, n: int) -> FingerIndices[np.ndarray]:
        indices, genuine = self.choose(n)
        return FingerIndices(indices.map(lambda index: index.astype(np.int32)), genuine)

    def on_device(self, n: int, inputs: FingerIndices[np.ndarray]) -> TrainingPairs | AlignedBatch:
        pool = self._pool()
        if self._is_training:
            pool.move_to(n)
        draws = draw_pairs(jax.random.fold_in(self._key, n), self.size, data=self._data)
        return render_pairs(draws, pool.skins, inputs, self._data, self._sharding)


class MixedBatches(Batches):
    """Batches with pairs of several sources; the number of pairs of a source is the same in each batch."""

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

    def on_device(self, n: int, inputs: list[Any]) -> Any:
        pairs = zip(self.parts.values(), inputs, strict=True)
        return self._join(*(part.on_device(n, part_inputs) for part, part_inputs in pairs))
