"""What was computed once, kept on disk: whole or absent, checked when it is read, and bounded."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from pathlib import Path

import numpy as np

from ifvit.errors import UserError
from ifvit.storage.files import outside_cause, write_whole

ABANDONED_S = 3600.0  # after so long a half-written file belongs to nobody any more


class CacheError(UserError):
    """There is no folder to cache in; the message says what to set."""


def cache_folder(cache_dir: str | None) -> Path:
    """`cache_dir`, or the user's cache folder ($XDG_CACHE_HOME/ifvit, ~/.cache/ifvit).

    Raises:
        CacheError: there is none.
    """
    if cache_dir:
        return Path(cache_dir)
    if chosen := os.environ.get("XDG_CACHE_HOME"):
        return Path(chosen) / "ifvit"
    try:
        return Path.home() / ".cache" / "ifvit"
    except RuntimeError as error:
        raise CacheError("data.cache_dir: this user has no home folder; set data.cache_dir=FOLDER") from error


class Cache:
    """Groups of arrays of one kind, a file `KIND-NAME.npz` each, in a folder that several runs, and other files, share.

    Together they take at most `limit` bytes, and a 64th of it for each further process that writes at the same time:
    what was not used for longest is removed. A damaged file counts as absent, and a folder that cannot be written is
    done without; both are said on standard error.
    """

    def __init__(self, folder: Path, kind: str, limit: int):
        self._folder, self._kind, self._limit = folder, kind, limit
        self._writable = True
        # To look through a folder of thousands of files at every write would take longer than the writing: room for
        # this many bytes is made ahead.
        self._ahead = limit // 64
        self._room = 0

    def read(self, name: str) -> dict[str, np.ndarray] | None:
        """The arrays kept under `name`, or None."""
        path, cause = self._path(name), None
        try:
            with np.load(path, allow_pickle=False) as archive:
                arrays = {key: archive[key] for key in archive.files}
            whole = str(arrays.pop("digest")) == _digest(arrays)
        except FileNotFoundError:
            return None
        except Exception as error:  # a damaged zip makes zipfile, zlib and NumPy raise almost anything
            whole, cause = False, outside_cause(error)
        if not whole:
            print(f"{path}: {f'cannot be read ({cause})' if cause else 'damaged'}, made anew", file=sys.stderr)
            return None
        _touch(path)
        return arrays

    def write(self, name: str, **arrays: np.ndarray) -> None:
        """Keep the arrays under `name`: whole or not at all, so that concurrent runs and a kill leave no half file."""
        if not self._writable:
            return
        try:
            path = self._path(name)
            write_whole(path, lambda file: np.savez(file, digest=_digest(arrays), **arrays))
            stat = _stat(path)
            self._room -= stat.st_size if stat else 0
            if self._room <= 0:
                self._make_room()
                self._room = self._ahead
        except OSError as error:
            self._writable = False  # said once, not for every file
            print(f"{self._folder}: cannot be written ({error.strerror}), so nothing is cached", file=sys.stderr)

    def _path(self, name: str) -> Path:
        return self._folder / f"{self._kind}-{name}.npz"

    def _make_room(self) -> None:
        """Remove what was used longest ago until there is room ahead, and what a killed run left half."""
        now, files = time.time(), []
        for path in self._folder.glob(f".{self._kind}-*.npz-*.tmp"):
            if (stat := _stat(path)) and now - stat.st_mtime > ABANDONED_S:
                path.unlink(missing_ok=True)
        for path in self._folder.glob(f"{self._kind}-*.npz"):
            if stat := _stat(path):
                files.append((stat.st_mtime, stat.st_size, path))
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= self._limit - self._ahead:
                return
            path.unlink(missing_ok=True)
            total -= size


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:  # another run removed it
        return None


def _touch(path: Path) -> None:
    """Say that it was used; a read-only cache cannot be told."""
    try:
        os.utime(path)
    except OSError:
        return


def _digest(arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).data)
    return digest.hexdigest()
