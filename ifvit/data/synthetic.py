"""The embedded default: synthetic fingers, grown once per seed and count and cached outside the repository."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path

import jax
import numpy as np

from ifvit import image
from ifvit.progress import Progress
from ifvit.synthesis.ridges import grow_finger, render_master

FRAME_MM = (24.4, 20.3)  # height and width of a whole finger: 480 x 400 px at 500 ppi
RECIPE = 1  # raise it when ifvit.synthesis grows other fingers, so that old caches are not taken for new
STREAM = 3  # of random numbers under the run's seed; the loader's are 1 and 2


def cache_folder(cache_dir: str | None) -> Path:
    """`cache_dir`, or the user's cache folder ($XDG_CACHE_HOME/ifvit, ~/.cache/ifvit)."""
    if cache_dir:
        return Path(cache_dir)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ifvit"


def grown_canvases(
    seed: int, count: int, ppi: float, height: int, width: int, cache_dir: str | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Canvases of `count` fingers at `ppi`: grey uint8 (N, height, width), ridges bool, background uint8 (N,).

    From the cache when it is there and whole. A damaged cache is grown anew, one that cannot be written done without.
    """
    grey, ridges = _cached_masters(seed, count, ppi, cache_folder(cache_dir))
    canvases = [image.place(g, r, height, width) for g, r in zip(grey, ridges, strict=True)]
    return (
        np.stack([c.grey for c in canvases]),
        np.stack([c.ridges for c in canvases]),
        np.array([c.background for c in canvases], np.uint8),
    )


def _cached_masters(seed: int, count: int, ppi: float, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    path = folder / f"synthetic-{RECIPE}-seed{seed}-{count}-{ppi:g}ppi.npz"
    if path.exists():
        masters = _read(path, count)
        if masters:
            return masters
        print(f"{path}: damaged, growing the fingers anew", file=sys.stderr)
    grey, ridges = _grow(seed, count, ppi)
    try:
        _write(path, grey, ridges)
    except OSError as error:
        print(f"{path}: not cached ({error.strerror}); the next run grows the fingers again", file=sys.stderr)
    return grey, ridges


def _grow(seed: int, count: int, ppi: float) -> tuple[np.ndarray, np.ndarray]:
    height, width = (round(mm / 25.4 * ppi) for mm in FRAME_MM)
    key = jax.random.fold_in(jax.random.key(seed), STREAM)
    progress = Progress("growing synthetic fingers (once, then cached)", count)
    grey, ridges = [], []
    for k in range(count):
        master = grow_finger(jax.random.fold_in(key, k), height=height, width=width, ppi=ppi)
        grey.append(np.asarray(render_master(master.ridges, master.mask)))
        ridges.append(np.asarray(master.mask))
        progress.step()
    return np.stack(grey), np.stack(ridges)


def _digest(grey: np.ndarray, ridges: np.ndarray) -> str:
    return hashlib.sha256(grey.tobytes() + ridges.tobytes()).hexdigest()


def _read(path: Path, count: int) -> tuple[np.ndarray, np.ndarray] | None:
    """The cached masters, or None when the file is damaged."""
    try:
        with np.load(path, allow_pickle=False) as held:
            grey, ridges, digest = held["grey"], held["ridges"], str(held["digest"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
    return (grey, ridges) if digest == _digest(grey, ridges) and len(grey) == count else None


def _write(path: Path, grey: np.ndarray, ridges: np.ndarray) -> None:
    """Whole or not at all, so that concurrent runs and a kill leave no half file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez_compressed(file, grey=grey, ridges=ridges, digest=_digest(grey, ridges))
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
