"""A cache of arrays on disk. Its files are complete or absent and checked when they are read; their size is limited."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from pathlib import Path

import numpy as np

from ifvit.storage.files import outside_cause, write_whole

ABANDONED_S = 3600.0  # s; an unfinished file that is older was left by a killed process


class Cache:
    """Groups of arrays, each in a file `KIND-NAME.npz`. Several runs may share the folder; it may have other files too.

    The files of this kind take at most `limit` bytes, and a 64th of it more for each further process that writes at the
    same time; the least recently used files are removed. A damaged file counts as absent. If the folder cannot be
    written, nothing is cached. Both cases are reported on standard error.
    """

    def __init__(self, folder: Path, kind: str, limit: int):
        self._folder, self.kind, self._limit = folder, kind, limit
        self._writable = True
        # Listing a folder of thousands of files takes longer than writing one, so it is not done at each write: space
        # for this many bytes is freed each time.
        self._spare = limit // 64  # bytes
        self._free = 0  # bytes that can be written before the folder is listed again

    def read(self, name: str) -> dict[str, np.ndarray] | None:
        """The arrays stored under `name`; None if they are missing or damaged."""
        path, cause = self._path(name), None
        try:
            with np.load(path, allow_pickle=False) as archive:
                arrays = {key: archive[key] for key in archive.files}
            intact = str(arrays.pop("digest")) == _digest(arrays)
        except FileNotFoundError:
            return None
        except Exception as error:  # on a damaged file zipfile, zlib and NumPy raise errors of many classes
            intact, cause = False, outside_cause(error)
        if not intact:
            print(f"{path}: {f'cannot be read ({cause})' if cause else 'damaged'}, made anew", file=sys.stderr)
            return None
        _touch(path)
        return arrays

    def write(self, name: str, **arrays: np.ndarray) -> None:
        """Store the arrays under `name`. The file is complete or absent, also after a kill or with concurrent runs."""
        if not self._writable:
            return
        try:
            path = self._path(name)
            # NumPy's types take the names of arrays for its setting `allow_pickle`.
            write_whole(path, lambda file: np.savez(file, digest=_digest(arrays), **arrays))  # type: ignore[arg-type]
            stat = _stat(path)
            self._free -= stat.st_size if stat else 0
            if self._free <= 0:
                self._remove_oldest()
                self._free = self._spare
        except OSError as error:
            self._writable = False  # one message, not one for each file
            print(f"{self._folder}: cannot be written ({error.strerror}), so nothing is cached", file=sys.stderr)

    def _path(self, name: str) -> Path:
        return self._folder / f"{self.kind}-{name}.npz"

    def _remove_oldest(self) -> None:
        """Remove the least recently used files until `_spare` bytes are free, and unfinished files of killed runs."""
        now, files = time.time(), []
        for path in self._folder.glob(f".{self.kind}-*.npz-*.tmp"):
            if (stat := _stat(path)) and now - stat.st_mtime > ABANDONED_S:
                path.unlink(missing_ok=True)
        for path in self._folder.glob(f"{self.kind}-*.npz"):
            if stat := _stat(path):
                files.append((stat.st_mtime, stat.st_size, path))
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= self._limit - self._spare:
                return
            path.unlink(missing_ok=True)
            total -= size


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:  # another run has removed it
        return None


def _touch(path: Path) -> None:
    """Set the time of last use to now; in a read-only cache nothing happens."""
    try:
        os.utime(path)
    except OSError:
        return


def _digest(arrays: dict[str, np.ndarray]) -> str:
    """A hash of the names, dtypes, shapes and bytes of the arrays."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).data)
    return digest.hexdigest()
