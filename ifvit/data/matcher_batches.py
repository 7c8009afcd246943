"""Batches of aligned pairs for Module 2, with the class of each print's finger."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import jax
import numpy as np

from ifvit.comparison.module2_inputs import PrintImages
from ifvit.config import Config
from ifvit.data.aligned_pairs import (
    NO_CLASS,
    AlignedBatch,
    PreparedBatch,
    draw_registration_noise,
    make_aligned_pairs,
    render_aligned,
)
from ifvit.data.batches import PURPOSE, TRAIN, Batches, BatchSpec, RenderedBatches, Renewal
from ifvit.data.finger_pool import FingerPool
from ifvit.data.prepared import Prepared
from ifvit.data.rendered_pairs import FingerIndices, draw_pairs
from ifvit.errors import DataError
from ifvit.pair import Pair


class AlignedRenderedBatches(RenderedBatches):
    """Aligned pairs of impressions of a pool's synthetic fingers.

    The class of a finger is its position among the pool's fingers for training. If `data.renew` replaces the finger,
    its class is reset (`matcher_step.renew_classes`).
    """

    def __init__(self, config: Config, pool: Callable[[], FingerPool], chosen: np.ndarray, spec: BatchSpec):
        super().__init__(config, pool, chosen, spec)
        self._labels = np.full(config.data.fingers, NO_CLASS, np.int32)
        if spec.stream == TRAIN:
            self._labels[chosen] = spec.first_class + np.arange(len(chosen))
            self.classes = len(chosen)
            if config.data.renew:
                # If more are replaced than the pool has, each position is filled once, by the last.
                each = min(config.data.renew, len(chosen))
                self.renewal = Renewal(spec.first_class, len(chosen), each)

    def on_device(self, n: int, inputs: FingerIndices[np.ndarray]) -> AlignedBatch:
        pool = self._pool()
        if self._is_training:
            pool.move_to(n)
        key = jax.random.fold_in(self._key, n)
        settings = self._data.pairs
        draws = draw_pairs(key, self.size, data=self._data), draw_registration_noise(key, self.size, settings=settings)
        pairs, enhanced = render_aligned(draws, pool.skins, inputs, self._data, self._sharding)
        labels = inputs.fingers.map(lambda finger: self._labels[finger])
        return AlignedBatch(pairs, enhanced, jax.device_put(labels, self._sharding))


class PreparedBatches(Batches):
    """Pairs of real prints that were aligned beforehand. Pairs that could not be aligned are left out.

    The class of a finger is its position among the fingers of `chosen`.

    Args:
        chosen: (N,) int, prints of `prepared`; both prints of a pair are among them.

    Raises:
        DataError: there is no genuine pair, or no impostor pair although `data.pairs.impostor_share` needs some.
    """

    def __init__(self, config: Config, prepared: Prepared, chosen: np.ndarray, spec: BatchSpec):
        identities = np.unique(prepared.identity[chosen])
        super().__init__(spec.size, len(identities), config.data.threads)
        self._prepared, self._prints, self._sharding = prepared, len(chosen), spec.sharding
        self._settings = config.data.pairs
        self._seed, self._key = spec.seed(config.seed), spec.key(config.seed)
        self._labels = np.full(len(prepared), NO_CLASS, np.int32)
        self._range = NO_CLASS, NO_CLASS
        if spec.stream == TRAIN:
            self._labels[chosen] = spec.first_class + np.searchsorted(identities, prepared.identity[chosen])
            self.classes = len(identities)
            self._range = spec.first_class, spec.first_class + self.classes - 1
        within = np.isin(prepared.first, chosen) & np.isin(prepared.second, chosen)
        registered = within & ~prepared.failed
        self._pairs = np.flatnonzero(registered & ~prepared.genuine), np.flatnonzero(registered & prepared.genuine)
        self._check_pairs(spec, within)
        # An order is computed once per epoch. Four: of genuine and impostor pairs, and of two epochs at a change.
        self._order = lru_cache(maxsize=4)(self._shuffled)

    def __len__(self) -> int:
        return self._prints

    def _check_pairs(self, spec: BatchSpec, within: np.ndarray) -> None:
        """Raise a DataError if a kind of pairs that the run needs is missing.

        within: (P,) bool, the pairs of chosen prints.
        """
        impostors, genuine = map(len, self._pairs)
        needs_impostors = self._settings.impostor_share > 0
        if genuine and (impostors or not needs_impostors):
            return
        kind, is_kind = ("impostor", ~self._prepared.genuine) if genuine else ("genuine", self._prepared.genuine)
        count = int((within & is_kind).sum())
        reason = f"none of {count} could be registered" if count else f"its {self.fingers} fingers have none"
        raise DataError(
            f"data: no {kind} pair of prepared prints {PURPOSE[spec.stream]}{spec.of_source}: {reason}; hold out "
            "others (val_fingers), or prepare more" + (", or set data.pairs.impostor_share=0" if genuine else "")
        )

    def _shuffled(self, genuine: bool, epoch: int) -> np.ndarray:
        """The pairs of a kind in the order of an epoch."""
        rng = np.random.default_rng([*self._seed, 2 + genuine, epoch])
        return rng.permutation(self._pairs[genuine])

    def choose(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Batch n's pairs: (B,) int, numbers of the prepared pairs, and (B,) bool, which of them swap A and B.

        Position p, counted over all batches, gets genuine pair p or impostor pair p. Each kind has a new order in every
        epoch.
        """
        rng = np.random.default_rng([*self._seed, 1, n])
        genuine = rng.random(self.size) >= self._settings.impostor_share
        swapped = rng.random(self.size) < 0.5
        chosen = np.empty(self.size, np.int64)
        positions = n * self.size + np.arange(self.size)
        for k, (position, kind) in enumerate(zip(positions.tolist(), genuine.tolist(), strict=True)):
            epoch, rank = divmod(position, len(self._pairs[kind]))
            chosen[k] = self._order(kind, epoch)[rank]
        return chosen, swapped

    def on_host(self, n: int) -> PreparedBatch[np.ndarray]:
        prepared = self._prepared
        chosen, swapped = self.choose(n)
        first, second = prepared.first[chosen], prepared.second[chosen]
        sides = Pair(*np.where(swapped, (second, first), (first, second)))
        labels = sides.map(lambda side: self._labels[side])
        if np.min(labels) < self._range[0] or np.max(labels) > self._range[1]:
            raise AssertionError("a print of another part of the split")
        map_ba = np.where(swapped[:, None, None, None], prepared.to_second[chosen], prepared.to_first[chosen])

        def images(side: np.ndarray) -> PrintImages[np.ndarray]:
            return PrintImages(
                prepared.grey[side], prepared.enhanced[side], prepared.ridges_of(side), prepared.background[side]
            )

        return PreparedBatch(sides.map(images), map_ba, prepared.genuine[chosen], labels)

    def on_device(self, n: int, inputs: PreparedBatch[np.ndarray]) -> AlignedBatch:
        device_inputs = jax.device_put(inputs, self._sharding)
        return make_aligned_pairs(jax.random.fold_in(self._key, n), device_inputs, self._settings)
