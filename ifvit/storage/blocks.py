"""The results of long work in blocks on disk, so that the work continues where it was stopped.

    FOLDER/key.json     what the results depend on; work with another key is refused
    FOLDER/00000.npz    the results of the first items: arrays with a row for each item

A block is complete or absent, and the dtypes and shapes of its arrays are checked when it is read. If a process is
killed, a disk is full or a file is damaged, only that block is computed again.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ifvit.errors import CheckpointError, DataError
from ifvit.progress import Progress
from ifvit.storage.files import outside_cause, write_whole
from ifvit.storage.json_files import read_json, write_json

KEY = "key.json"
_HEADER_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def claim(folder: Path, key: Mapping[str, Any], otherwise: str) -> None:
    """Write the key into a new folder, or check that the folder has this key.

    key: what the results depend on, a tree that JSON can store. otherwise: the words for other results in the message.

    Raises:
        DataError: the folder has another key (the message says where the keys differ), or its key is damaged.
        OSError: the key cannot be written.
    """
    try:
        stored = read_json(folder / KEY)
    except CheckpointError as error:
        raise DataError(f"{folder / KEY} is damaged; name another --out") from error
    if stored is not None and stored != key:
        before = stored if isinstance(stored, dict) else {}
        changed = [name for name in key.keys() | before.keys() if key.get(name) != before.get(name)]
        raise DataError(f"{folder} holds {otherwise} ({', '.join(sorted(changed))} differ); name another --out")
    write_json(folder / KEY, key)


class ArraySpec(NamedTuple):
    """The dtype of an array of a block, and the shape of one of its rows."""

    dtype: str
    shape: tuple[int, ...] = ()


class Blocks:
    """The blocks of a folder, each of `size` items; the last one may have fewer. specs: of their arrays, by name."""

    def __init__(self, folder: Path, specs: Mapping[str, ArraySpec], size: int):
        self._folder, self._specs, self._size = folder, specs, size

    def read_or_compute(
        self, count: int, compute: Callable[[np.ndarray], Mapping[str, np.ndarray]], progress: Progress
    ) -> Iterator[Mapping[str, np.ndarray]]:
        """The blocks of items 0..count-1, in order; a block that is missing or damaged is computed and stored.

        compute: from the numbers of items, int (n,), to the arrays of their block, each with n rows.

        Raises:
            OSError: a block cannot be written, or read for a reason that is not in its content. Earlier blocks stay.
        """
        for number, rows in enumerate(self._rows(count)):
            try:
                block = self.read(number, len(rows))
                progress.skip(len(rows))
            except DataError:
                arrays = compute(rows)
                block = {name: np.asarray(arrays[name], spec.dtype) for name, spec in self._specs.items()}
                self._write(number, block)
                progress.step(len(rows))
            yield block

    def _write(self, number: int, block: Mapping[str, np.ndarray]) -> None:
        # NumPy's types take the names of arrays for its setting `allow_pickle`.
        write_whole(self.path(number), lambda file: np.savez_compressed(file, **block))  # type: ignore[arg-type]

    def read_all(self, count: int, digest: Any = None) -> Iterator[Mapping[str, np.ndarray]]:
        """The blocks of items 0..count-1, in order. digest: a hash that is updated with the content of their files.

        Raises:
            DataError: a block is missing or damaged; the message names it.
            OSError: a block cannot be read for a reason that is not in its content.
        """
        for number, rows in enumerate(self._rows(count)):
            yield self.read(number, len(rows), digest)

    def _rows(self, count: int) -> Iterator[np.ndarray]:
        """The numbers of each block's items."""
        for start in range(0, count, self._size):
            yield np.arange(start, min(start + self._size, count))

    def path(self, number: int) -> Path:
        """The file of a block."""
        return self._folder / f"{number:05d}.npz"

    def read(self, number: int, rows: int, digest: Any = None) -> dict[str, np.ndarray]:
        """A block with this number of rows. Raises as `read_all`."""
        path = self.path(number)
        try:
            with open(path, "rb") as file:
                # The limit on the size: compression never makes such arrays larger than this.
                content = file.read(2**16 + 2 * sum(_bytes(spec, rows) + 2**10 for spec in self._specs.values()))
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                block = {name: _array(archive, name, spec, rows) for name, spec in self._specs.items()}
        except FileNotFoundError as error:
            raise DataError(f"{path}: is not there") from error
        except Exception as error:  # on a damaged file zipfile, zlib and NumPy raise errors of many classes
            if outside_cause(error):
                raise  # the block may be good: it is neither computed again nor reported as damaged
            raise DataError(f"{path}: damaged, or no block of this kind ({error or type(error).__name__})") from error
        if digest is not None:
            digest.update(content)
        return block


def _bytes(spec: ArraySpec, rows: int) -> int:
    """The size of an array of so many rows, bytes."""
    return rows * math.prod(spec.shape) * np.dtype(spec.dtype).itemsize


def _array(archive: zipfile.ZipFile, name: str, spec: ArraySpec, rows: int) -> np.ndarray:
    """An array of a block. Its header is checked before memory of its size is used.

    Raises:
        ValueError, KeyError: it is missing or damaged, or does not fit `spec`.
    """
    with archive.open(f"{name}.npy") as member:
        version = np.lib.format.read_magic(member)
        if version not in _HEADER_READERS:
            raise ValueError(f"{name} is in NumPy file version {version}")
        shape, fortran, dtype = _HEADER_READERS[version](member)
        if dtype != np.dtype(spec.dtype) or shape != (rows, *spec.shape) or (fortran and len(shape) > 1):
            raise ValueError(f"{name} is {dtype} {shape}, expected {spec.dtype} {(rows, *spec.shape)}")
        size = _bytes(spec, rows)
        content = member.read(size + 1)  # beyond the end, so that zipfile compares the checksum
    if len(content) != size:
        raise ValueError(f"{name} holds {len(content)} bytes, expected {size}")
    return np.frombuffer(content, dtype).reshape(shape)
