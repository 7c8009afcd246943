"""The synthetic fingers of a run: a finger is a number, grown from the run's seed, and needs no file.

On the device lies a pool of them, as `ridges.pack` makes them. The last `data.val_fingers` are held out. Of the others
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

from ifvit.config import DataConfig
from ifvit.progress import Progress
from ifvit.storage.cache import Cache, cache_folder
from ifvit.synthesis.creases import RASTER
from ifvit.synthesis.master import Skin, grow_fingers, pack
from ifvit.synthesis.orientation import FRAME_HEIGHT, FRAME_WIDTH

# Raise it when a key gives another finger or impression: old caches, sets and runs are then not taken for new ones.
RECIPE = 4
STREAM = 3  # of random numbers under the run's seed; the loader's are 1 and 2
BLOCK = 32  # fingers grown in one go, and kept in one file of 15 MB
KIND = "fingers"  # of cache file
CACHE_LIMIT = 4 * 2**30  # bytes: 9,100 fingers


def finger_keys(seed: int, numbers: np.ndarray) -> jax.Array:
    """The keys (N,) of fingers `numbers` (N,) of a run's seed."""
    return _folded(jax.random.fold_in(jax.random.key(seed), STREAM), numbers)


@jax.jit
def _folded(key: jax.Array, numbers: jax.Array) -> jax.Array:
    return jax.vmap(partial(jax.random.fold_in, key))(numbers)


def grow_packed(seed: int, numbers: np.ndarray) -> Skin:
    """The packed skins of fingers `numbers` (N,), led by that axis."""
    return _packed(finger_keys(seed, numbers))


@jax.jit
def _packed(keys: jax.Array) -> Skin:
    return pack(grow_fingers(keys).skin)


@partial(jax.jit, donate_argnums=0)
def _placed(skins: Skin, slots: jax.Array, new: Skin) -> Skin:
    """The pool with `new` skins in `slots`; a slot beyond the pool is ignored."""
    return jax.tree.map(lambda old, leaf: old.at[slots].set(leaf, mode="drop"), skins, new)


class FingerPool:
    """`data.fingers` fingers' skins on the device.

    skins: packed, led by F = data.fingers. Slots 0 to F - data.val_fingers - 1 are trained on.
    """

    def __init__(self, data: DataConfig, seed: int, sharding: Sharding | None = None):
        self._seed, self._sharding, self._renew = seed, sharding, data.renew
        self._count, self._trained = data.fingers, data.fingers - int(data.val_fingers)
        self._step = 0
        skins = grown(seed, data.fingers, Cache(cache_folder(data.cache_dir), KIND, CACHE_LIMIT))
        # A copy of its own: the pool is overwritten in place when it is renewed.
        self.skins = jax.device_put(jax.tree.map(jnp.array, skins), sharding)

    def numbers_at(self, step: int) -> np.ndarray:
        """Which finger each trained slot holds once `renew` of them were replaced `step` times, (T,) int64.

        The k-th replacement fills slot k modulo T, with the k-th finger beyond the pool's first ones.
        """
        slots, renewals = np.arange(self._trained), step * self._renew
        last = renewals - 1 - (renewals - 1 - slots) % self._trained  # the latest replacement of each slot
        return np.where(last >= 0, self._count + last, slots)

    def move_to(self, step: int) -> None:
        """Hold the fingers of `step`."""
        before, now = self.numbers_at(self._step), self.numbers_at(step)
        changed = np.flatnonzero(before != now)
        size = min(self._renew, self._trained)
        for start in range(0, len(changed), size or 1):
            slots = changed[start : start + size]
            # Always the same shape, so that nothing is compiled anew.
            padded = np.pad(slots, (0, size - len(slots)), constant_values=self._count)
            numbers = np.pad(now[slots], (0, size - len(slots)))
            # Grown on one device and copied: the same bits whatever the number of devices.
            new = jax.device_put(grow_packed(self._seed, numbers), self._sharding)
            self.skins = _placed(self.skins, padded, new)
        self._step = step


def grown(seed: int, count: int, cache: Cache) -> Skin:
    """The packed skins of fingers 0..count-1, NumPy arrays led by `count`, from the cache as far as they are there."""
    skins = Skin(np.empty((count, FRAME_HEIGHT, FRAME_WIDTH), np.int8), np.empty((count, *RASTER), np.uint8))
    keeps = sum(leaf.nbytes for leaf in skins) <= CACHE_LIMIT
    if not keeps:
        print(f"{count} fingers take more than the cache's {CACHE_LIMIT / 2**30:g} GB: not cached", file=sys.stderr)
    missing = []
    for start in range(0, count, BLOCK):
        block = _cached(cache, seed, start) if keeps else None
        if block:
            _fill(skins, start, block)
        else:
            missing.append(start)
    progress = Progress("growing synthetic fingers (once, then cached)", BLOCK * len(missing))
    for start in missing:
        # The whole block, also where fewer are wanted: one compilation, and a file that a larger run can use.
        block = jax.tree.map(np.asarray, grow_packed(seed, np.arange(start, start + BLOCK)))
        _fill(skins, start, block)
        if keeps:
            cache.write(_block_name(seed, start), **block._asdict())
        progress.step(BLOCK)
    return skins


def _cached(cache: Cache, seed: int, start: int) -> Skin | None:
    """A block of fingers as the cache has it; None where it has none, or something else in its place."""
    found = cache.read(_block_name(seed, start))
    expected = Skin(((BLOCK, FRAME_HEIGHT, FRAME_WIDTH), np.int8), ((BLOCK, *RASTER), np.uint8))
    if not found or {name: (leaf.shape, leaf.dtype) for name, leaf in found.items()} != expected._asdict():
        return None
    return Skin(**found)


def _fill(skins: Skin, start: int, block: Skin) -> None:
    """Put a block in its place, as far as it is wanted."""
    for leaf, part in zip(skins, block, strict=True):
        leaf[start : start + BLOCK] = part[: len(leaf) - start]


def _block_name(seed: int, start: int) -> str:
    # Another backend, or JAX, rounds otherwise: a run must not depend on who filled the cache.
    return f"recipe{RECIPE}-{jax.default_backend()}-jax{jax.__version__}-seed{seed}-{start}"
