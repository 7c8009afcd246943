"""Batches of pairs for Module 2: which impressions, laid on one another, and which class each print's finger is."""

from __future__ import annotations

from collections.abc import Callable

import jax
import numpy as np

from ifvit.config import Config
from ifvit.data.batches import TRAIN, Place, RenderedBatches, Renewal
from ifvit.data.laid import NO_CLASS, LaidPairs, draw_slips, render_laid
from ifvit.data.pool import Pool
from ifvit.data.rendered import Picks, draw_pairs


class LaidRenderedBatches(RenderedBatches):
    """Pairs of impressions of a pool's synthetic fingers, laid on one another. A finger's class is its place among the
    pool's trained ones; where `data.renew` fills the place with another finger its class begins anew (`renewed`).
    """

    def __init__(self, config: Config, pool: Callable[[], Pool], chosen: np.ndarray, place: Place):
        super().__init__(config, pool, chosen, place)
        self._labels = np.full(config.data.fingers, NO_CLASS, np.int32)
        if place.stream == TRAIN:
            self._labels[chosen] = place.first_class + np.arange(len(chosen))
            self.classes = len(chosen)
            if config.data.renew:
                # More than there are places, each is filled by the last.
                each = min(config.data.renew, len(chosen))
                self.renewal = Renewal(place.first_class, len(chosen), each)

    def on_device(self, n: int, prepared: Picks) -> LaidPairs:
        pool = self._grown()
        if self._trains:
            pool.move_to(n)
        key = jax.random.fold_in(self._key, n)
        settings = self._data.pairs
        draws = draw_pairs(key, self.size, data=self._data), draw_slips(key, self.size, settings=settings)
        pairs, *enhanced = render_laid(draws, pool.waves, prepared, self._data, self._sharding)
        labels = (self._labels[side] for side in (prepared.finger_a, prepared.finger_b))
        return LaidPairs(pairs, *enhanced, *jax.device_put(tuple(labels), self._sharding))
