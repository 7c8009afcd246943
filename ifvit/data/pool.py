"""The synthetic fingers of a run: a finger is a number, grown from the run's seed, and needs no file.

On the device lies a pool of them, master patterns as int8. The last `data.val_fingers` are held out. Of the others
`data.renew` a step are replaced by new fingers, grown there and then, so that a long run meets any number of them;
which fingers the pool holds at step n is a function of n alone. What is grown at the start is also cached on disk.
"""

from __future__ import annotations

import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Sharding

from ifvit.cache import Cache, cache_folder
from ifvit.config import DataConfig
from ifvit.progress import Progress
from ifvit.synthesis.orientation import FRAME_HEIGHT, FRAME_WIDTH
from ifvit.synthesis.ridges import grow_fingers, pack

# Raise it when a key gives another finger or impression: old caches, sets and runs are then not taken for new ones.
RECIPE = 3
STREAM = 3  # of random numbers under the run's seed; the loader's are 1 and 2
BLOCK = 32  # fingers grown in one go, and kept in one file of 6 MB
KIND = "fingers"  # of cache file
CACHE_LIMIT = 4 * 2**30  # bytes: 22,000 fingers


def finger_keys(seed: int, numbers: np.ndarray) -> jax.Array:
    """The keys (N,) of fingers `numbers` (N,) of a run's seed."""
    return _folded(jax.random.fold_in(jax.random.key(seed), STREAM), numbers)


@jax.jit
def _folded(key: jax.Array, numbers: jax.Array) -> jax.Array:
    return jax.vmap(partial(jax.random.fold_in, key))(numbers)


def grow_packed(seed: int, numbers: np.ndarray) -> jax.Array:
    """The packed waves (N, 480, 400) int8 of fingers `numbers` (N,)."""
    return _packed(finger_keys(seed, numbers))


@jax.jit
def _packed(keys: jax.Array) -> jax.Array:
    return pack(grow_fingers(keys).wave)


@partial(jax.jit, donate_argnums=0)
def _placed(waves: jax.Array, slots: jax.Array, new: jax.Array) -> jax.Array:
    """The pool with `new` waves in `slots`; a slot beyond the pool is ignored."""
    return waves.at[slots].set(new, mode="drop")


class Pool:
    """`data.fingers` master patterns on the device.

    waves: int8 (F, 480, 400), as `ridges.pack` makes them. Slots 0 to F - data.val_fingers - 1 are trained on.
    """

    def __init__(self, data: DataConfig, seed: int, sharding: Sharding | None = None):
        self._seed, self._sharding, self._renew = seed, sharding, data.renew
        self._trained = data.fingers - int(data.val_fingers)
        self._step = 0
        waves = grown(seed, data.fingers, Cache(cache_folder(data.cache_dir), KIND, CACHE_LIMIT))
        # A copy of its own: the pool is overwritten in place when it is renewed.
        self.waves = jax.device_put(jnp.array(waves), sharding)

    def numbers_at(self, step: int) -> np.ndarray:
        """Which finger each trained slot holds once `renew` of them were replaced `step` times, (T,) int64.

        The k-th replacement fills slot k modulo T, with the k-th finger beyond the pool's first ones.
        """
        slots, renewals = np.arange(self._trained), step * self._renew
        last = renewals - 1 - (renewals - 1 - slots) % self._trained  # the latest replacement of each slot
        first_new = len(self.waves)
        return np.where(last >= 0, first_new + last, slots)

    def move_to(self, step: int) -> None:
        """Hold the fingers of `step`."""
        before, now = self.numbers_at(self._step), self.numbers_at(step)
        changed = np.flatnonzero(before != now)
        size = min(self._renew, self._trained)
        for start in range(0, len(changed), size or 1):
            slots = changed[start : start + size]
            # Always the same shape, so that nothing is compiled anew.
            padded = np.pad(slots, (0, size - len(slots)), constant_values=len(self.waves))
            numbers = np.pad(now[slots], (0, size - len(slots)))
            # Grown on one device and copied: the same bits whatever the number of devices.
            new = jax.device_put(grow_packed(self._seed, numbers), self._sharding)
            self.waves = _placed(self.waves, padded, new)
        self._step = step


def grown(seed: int, count: int, cache: Cache) -> np.ndarray:
    """The packed waves of fingers 0..count-1, (count, 480, 400) int8, from the cache as far as they are there."""
    waves = np.empty((count, FRAME_HEIGHT, FRAME_WIDTH), np.int8)
    keeps = waves.nbytes <= CACHE_LIMIT
    if not keeps:
        print(f"{count} fingers take more than the cache's {CACHE_LIMIT / 2**30:g} GB: not cached", file=sys.stderr)
    missing = []
    for start in range(0, count, BLOCK):
        held = cache.read(_block_name(seed, start)) if keeps else None
        part = waves[start : start + BLOCK]
        if held and held["waves"].shape == (BLOCK, *waves.shape[1:]) and held["waves"].dtype == np.int8:
            part[:] = held["waves"][: len(part)]
        else:
            missing.append(start)
    progress = Progress("growing synthetic fingers (once, then cached)", BLOCK * len(missing))
    for start in missing:
        # The whole block, also where fewer are wanted: one compilation, and a file that a larger run can use.
        block = np.asarray(grow_packed(seed, np.arange(start, start + BLOCK)))
        waves[start : start + BLOCK] = block[: count - start]
        if keeps:
            cache.write(_block_name(seed, start), waves=block)
        progress.step(BLOCK)
    return waves


def _block_name(seed: int, start: int) -> str:
    # Another backend, or JAX, rounds otherwise: a run must not depend on who filled the cache.
    return f"recipe{RECIPE}-{jax.default_backend()}-jax{jax.__version__}-seed{seed}-{start}"
