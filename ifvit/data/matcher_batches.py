"""Batches of pairs for Module 2: which impressions, laid on one another, and which class each print's finger is."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import jax
import numpy as np

from ifvit.config import Config
from ifvit.data.aligned_pairs import NO_CLASS, AlignedBatch, PreparedBatch, draw_slips, lay_sheets, render_laid
from ifvit.data.batches import PURPOSE, TRAIN, Batches, BatchSpec, RenderedBatches, Renewal
from ifvit.data.finger_pool import FingerPool
from ifvit.data.prepared import Prepared
from ifvit.data.rendered_pairs import FingerIndices, draw_pairs
from ifvit.errors import DataError


class AlignedRenderedBatches(RenderedBatches):
    """Pairs of impressions of a pool's synthetic fingers, laid on one another. A finger's class is its place among the
    pool's trained ones; where `data.renew` fills the place with another finger its class begins anew (`renewed`).
    """

    def __init__(self, config: Config, pool: Callable[[], FingerPool], chosen: np.ndarray, place: BatchSpec):
        super().__init__(config, pool, chosen, place)
        self._labels = np.full(config.data.fingers, NO_CLASS, np.int32)
        if place.stream == TRAIN:
            self._labels[chosen] = place.first_class + np.arange(len(chosen))
            self.classes = len(chosen)
            if config.data.renew:
                # More than there are places, each is filled by the last.
                each = min(config.data.renew, len(chosen))
                self.renewal = Renewal(place.first_class, len(chosen), each)

    def on_device(self, n: int, prepared: FingerIndices) -> AlignedBatch:
        pool = self._grown()
        if self._trains:
            pool.move_to(n)
        key = jax.random.fold_in(self._key, n)
        settings = self._data.pairs
        draws = draw_pairs(key, self.size, data=self._data), draw_slips(key, self.size, settings=settings)
        pairs, *enhanced = render_laid(draws, pool.skins, prepared, self._data, self._sharding)
        labels = (self._labels[side] for side in (prepared.finger_a, prepared.finger_b))
        return AlignedBatch(pairs, *enhanced, *jax.device_put(tuple(labels), self._sharding))


class PreparedBatches(Batches):
    """Pairs of real prints that were aligned beforehand, both of them of `chosen`, (N,) prints of `prepared`; those
    that could not be are left out. A finger's class is its place among those of `chosen`.

    Raises:
        DataError: there is no genuine pair, or no impostor pair where `data.pairs.impostor_share` asks for some.
    """

    def __init__(self, config: Config, prepared: Prepared, chosen: np.ndarray, place: BatchSpec):
        identities = np.unique(prepared.identity[chosen])
        super().__init__(place.size, len(identities), config.data.threads)
        self._prepared, self._prints, self._sharding = prepared, len(chosen), place.sharding
        self._settings = config.data.pairs
        self._seed, self._key = place.seed(config.seed), place.key(config.seed)
        self._labels = np.full(len(prepared), NO_CLASS, np.int32)
        self._range = NO_CLASS, NO_CLASS
        if place.stream == TRAIN:
            self._labels[chosen] = place.first_class + np.searchsorted(identities, prepared.identity[chosen])
            self.classes = len(identities)
            self._range = place.first_class, place.first_class + self.classes - 1
        both = np.isin(prepared.first, chosen) & np.isin(prepared.second, chosen)
        laid = both & ~prepared.failed
        self._pairs = np.flatnonzero(laid & ~prepared.genuine), np.flatnonzero(laid & prepared.genuine)
        self._refuse_none(place, both)
        # Looked up once per epoch rather than once per batch; two kinds, and the end of an epoch.
        self._order = lru_cache(maxsize=4)(self._shuffled)

    def __len__(self) -> int:
        return self._prints

    def _refuse_none(self, place: BatchSpec, both: np.ndarray) -> None:
        impostors, genuine = map(len, self._pairs)
        asked = self._settings.impostor_share > 0
        if genuine and (impostors or not asked):
            return
        kind, wanted = ("impostor", ~self._prepared.genuine) if genuine else ("genuine", self._prepared.genuine)
        there = int((both & wanted).sum())
        why = f"none of {there} could be registered" if there else f"its {self.fingers} fingers have none"
        raise DataError(
            f"data: no {kind} pair of prepared prints {PURPOSE[place.stream]}{place.of}: {why}; hold out others "
            "(val_fingers), or prepare more" + (", or set data.pairs.impostor_share=0" if genuine else "")
        )

    def _shuffled(self, genuine: bool, epoch: int) -> np.ndarray:
        rng = np.random.default_rng([*self._seed, 2 + genuine, epoch])
        return rng.permutation(self._pairs[genuine])

    def choose(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Batch n's pairs, numbers of `prepared`'s, and which of them change sides; (B,) each.

        Place p of all batches is pair p of the genuine ones, in a new order every epoch, or the impostors' pair p
        likewise.
        """
        rng = np.random.default_rng([*self._seed, 1, n])
        genuine = rng.random(self.size) >= self._settings.impostor_share
        swapped = rng.random(self.size) < 0.5
        chosen = np.empty(self.size, np.int64)
        for k, (place, kind) in enumerate(zip(n * self.size + np.arange(self.size), genuine.tolist(), strict=True)):
            epoch, at = divmod(int(place), len(self._pairs[kind]))
            chosen[k] = self._order(kind, epoch)[at]
        return chosen, swapped

    def on_host(self, n: int) -> PreparedBatch:
        held = self._prepared
        chosen, swapped = self.choose(n)
        sides = np.where(swapped, (held.second[chosen], held.first[chosen]), (held.first[chosen], held.second[chosen]))
        labels = self._labels[sides]
        if (labels < self._range[0]).any() or (labels > self._range[1]).any():
            raise AssertionError("a print of another part of the split")
        map_ba = np.where(swapped[:, None, None, None], held.to_second[chosen], held.to_first[chosen])
        looks = [(held.grey[k], held.enhanced[k], held.ridges_of(k), held.background[k]) for k in sides]
        return PreparedBatch(*looks[0], *looks[1], map_ba, held.genuine[chosen], *labels)

    def on_device(self, n: int, prepared: PreparedBatch) -> AlignedBatch:
        placed = jax.device_put(prepared, self._sharding)
        return lay_sheets(jax.random.fold_in(self._key, n), placed, self._settings)
