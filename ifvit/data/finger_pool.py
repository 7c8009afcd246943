"""The synthetic fingers of a run. A finger is a number; it is grown from the run's seed and needs no file.

The device holds a pool of fingers, packed by `synthesis.master.pack`. The last `data.val_fingers` of them are for
validation. Of the others `data.renew` are replaced by new fingers at each step, so that a long run trains on any number
of fingers. The fingers of the pool at step n depend on n only. The fingers of the start are also cached on disk.
"""

from __future__ import annotations

import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Sharding

from ifvit.cache_folder import cache_folder
from ifvit.config import DataConfig
from ifvit.progress import Progress
from ifvit.storage.cache import Cache
from ifvit.synthesis.creases import RASTER
from ifvit.synthesis.master import Skin, grow_fingers, pack
from ifvit.synthesis.orientation import FRAME_HEIGHT, FRAME_WIDTH

# Raise it when a key gives another finger or impression. Then old caches, sets and runs do not count as new ones.
RECIPE = 4
STREAM = 3  # stream of random numbers under the run's seed; those of `data.batches` are 1 and 2
BLOCK = 32  # fingers that are grown together and cached in one file of 15 MB
KIND = "fingers"  # name of this kind of cache files
CACHE_LIMIT = 4 * 2**30  # bytes: 9,100 fingers


def finger_keys(seed: int, numbers: np.ndarray) -> jax.Array:
    """The keys (N,) of the fingers `numbers` (N,) of a seed."""
    return _fold_numbers(jax.random.fold_in(jax.random.key(seed), STREAM), numbers)


@jax.jit
def _fold_numbers(key: jax.Array, numbers: jax.Array) -> jax.Array:
    return jax.vmap(partial(jax.random.fold_in, key))(numbers)


def grow_packed(seed: int, numbers: np.ndarray) -> Skin:
    """The packed skins of the fingers `numbers` (N,) of a seed, with a leading axis N."""
    return _grow_packed_keys(finger_keys(seed, numbers))


@jax.jit
def _grow_packed_keys(keys: jax.Array) -> Skin:
    return pack(grow_fingers(keys).skin)


@partial(jax.jit, donate_argnums=0)
def _replace_slots(skins: Skin, slots: jax.Array, new: Skin) -> Skin:
    """The pool with the skins `new` in `slots`. A slot beyond the pool is ignored."""
    return jax.tree.map(lambda old, leaf: old.at[slots].set(leaf, mode="drop"), skins, new)


class FingerPool:
    """The skins of F = `data.fingers` fingers on the device.

    skins: packed, with a leading axis F. Slots 0 to F - data.val_fingers - 1 are for training.
    """

    def __init__(self, data: DataConfig, seed: int, sharding: Sharding | None = None):
        self._seed, self._sharding, self._renew_count = seed, sharding, data.renew
        assert isinstance(data.val_fingers, int)
        self._count, self._train_count = data.fingers, data.fingers - data.val_fingers
        self._step = 0
        skins = grow_pool(seed, data.fingers, Cache(cache_folder(data.cache_dir), KIND, CACHE_LIMIT))
        # A copy, because the pool is overwritten in place when fingers are replaced.
        self.skins = jax.device_put(jax.tree.map(jnp.array, skins), sharding)

    def numbers_at(self, step: int) -> np.ndarray:
        """The finger in each of the T slots for training at step `step`, (T,) int64.

        Replacement k fills slot k modulo T with finger F + k.
        """
        slots, renewals = np.arange(self._train_count), step * self._renew_count
        last = renewals - 1 - (renewals - 1 - slots) % self._train_count  # the latest replacement of each slot
        return np.where(last >= 0, self._count + last, slots)

    def move_to(self, step: int) -> None:
        """Replace fingers so that the pool has those of step `step`."""
        old_numbers, new_numbers = self.numbers_at(self._step), self.numbers_at(step)
        changed = np.flatnonzero(old_numbers != new_numbers)
        size = min(self._renew_count, self._train_count)
        for start in range(0, len(changed), size or 1):
            slots = changed[start : start + size]
            # Always the same shape, so that nothing is compiled again.
            padded = np.pad(slots, (0, size - len(slots)), constant_values=self._count)
            numbers = np.pad(new_numbers[slots], (0, size - len(slots)))
            # Grown on one device and copied: so the bits do not depend on the number of devices.
            new = jax.device_put(grow_packed(self._seed, numbers), self._sharding)
            self.skins = _replace_slots(self.skins, padded, new)
        self._step = step


def grow_pool(seed: int, count: int, cache: Cache) -> Skin:
    """The packed skins of fingers 0..count-1 as NumPy arrays with that leading axis, from the cache where possible."""
    skins = Skin._make([np.empty((count, FRAME_HEIGHT, FRAME_WIDTH), np.int8), np.empty((count, *RASTER), np.uint8)])
    is_cacheable = sum(leaf.nbytes for leaf in skins) <= CACHE_LIMIT
    if not is_cacheable:
        print(f"{count} fingers take more than the cache's {CACHE_LIMIT / 2**30:g} GB: not cached", file=sys.stderr)
    missing = []
    for start in range(0, count, BLOCK):
        block = _read_block(cache, seed, start) if is_cacheable else None
        if block:
            _fill(skins, start, block)
        else:
            missing.append(start)
    progress = Progress("growing synthetic fingers (once, then cached)", BLOCK * len(missing))
    for start in missing:
        # Always a full block, even if fewer are needed: one compilation, and a file that a larger run can use.
        block = jax.tree.map(np.asarray, grow_packed(seed, np.arange(start, start + BLOCK)))
        _fill(skins, start, block)
        if is_cacheable:
            cache.write(_block_name(seed, start), **block._asdict())
        progress.step(BLOCK)
    return skins


def _read_block(cache: Cache, seed: int, start: int) -> Skin | None:
    """A block of fingers from the cache; None if it is missing or of another form."""
    arrays = cache.read(_block_name(seed, start))
    expected = {"wave": ((BLOCK, FRAME_HEIGHT, FRAME_WIDTH), np.int8), "creases": ((BLOCK, *RASTER), np.uint8)}
    if not arrays or {name: (leaf.shape, leaf.dtype) for name, leaf in arrays.items()} != expected:
        return None
    return Skin._make(arrays[name] for name in Skin._fields)


def _fill(skins: Skin, start: int, block: Skin) -> None:
    """Copy a block into `skins`, except the fingers beyond their end."""
    for leaf, part in zip(skins, block, strict=True):
        leaf[start : start + BLOCK] = part[: len(leaf) - start]


def _block_name(seed: int, start: int) -> str:
    # Other backends and versions of JAX round differently: a run must not depend on who wrote the cache.
    return f"recipe{RECIPE}-{jax.default_backend()}-jax{jax.__version__}-seed{seed}-{start}"
