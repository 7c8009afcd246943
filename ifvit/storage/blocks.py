"""Long work kept on disk block by block, so that it goes on where it was stopped.

    FOLDER/key.json     what the work is; the folder is refused to another
    FOLDER/00000.npz    what was made of the first things: arrays with a row for each

A block stands in its place whole or not at all, and is believed only where its arrays are what they must be: a kill, a
full disk or a damaged file costs that block.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ifvit.errors import DataError
from ifvit.progress import Progress
from ifvit.storage.checkpoint import CheckpointError, read_json, write_json
from ifvit.storage.files import outside_cause, write_whole

KEY = "key.json"
_HEADER_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def claim(folder: Path, key: Mapping[str, Any], otherwise: str) -> None:
    """Make the folder this work's, or see that it is. key: what the result follows from, as JSON has it.

    Raises:
        DataError: it is another work's, which `otherwise` names; says in what they differ.
    """
    try:
        held = read_json(folder / KEY)
    except CheckpointError as error:
        raise DataError(f"{folder / KEY} is damaged; name another --out") from error
    if held is not None and held != key:
        before = held if isinstance(held, dict) else {}
        changed = [name for name in key.keys() | before.keys() if key.get(name) != before.get(name)]
        raise DataError(f"{folder} holds {otherwise} ({', '.join(sorted(changed))} differ); name another --out")
    write_json(folder / KEY, key)


class ArraySpec(NamedTuple):
    """What an array of a block must be: its dtype, and the shape of a row."""

    dtype: str
    shape: tuple[int, ...] = ()


class Blocks:
    """The blocks of a folder: of `size` things each, the last of what is left; `kinds` of their arrays by name."""

    def __init__(self, folder: Path, kinds: Mapping[str, ArraySpec], size: int):
        self._folder, self._kinds, self._size = folder, kinds, size

    def made(
        self, count: int, make: Callable[[np.ndarray], Mapping[str, np.ndarray]], progress: Progress
    ) -> Iterator[Mapping[str, np.ndarray]]:
        """The blocks of things 0..count-1, in order. One that is not there, or damaged, is made of the things'
        numbers, and kept.

        Raises:
            OSError: one cannot be read for want of a right, or written; those before it are kept.
        """
        for number, rows in enumerate(self._rows(count)):
            try:
                block = self.read(number, len(rows))
                progress.skip(len(rows))
            except DataError:
                made = make(rows)
                block = {name: np.asarray(made[name], kind.dtype) for name, kind in self._kinds.items()}
                write_whole(self.path(number), lambda file, block=block: np.savez_compressed(file, **block))
                progress.step(len(rows))
            yield block

    def held(self, count: int, digest: Any = None) -> Iterator[Mapping[str, np.ndarray]]:
        """The blocks of things 0..count-1, all of which must be there; a hash `digest` is fed with their files.

        Raises:
            DataError: one is missing or damaged; names it.
        """
        for number, rows in enumerate(self._rows(count)):
            yield self.read(number, len(rows), digest)

    def _rows(self, count: int) -> Iterator[np.ndarray]:
        for start in range(0, count, self._size):
            yield np.arange(start, min(start + self._size, count))

    def path(self, number: int) -> Path:
        """The file of a block."""
        return self._folder / f"{number:05d}.npz"

    def read(self, number: int, rows: int, digest: Any = None) -> dict[str, np.ndarray]:
        """A block of so many rows. Errors as in `held`."""
        path = self.path(number)
        try:
            with open(path, "rb") as file:
                # Arrays of these kinds never compress to more than they are.
                content = file.read(2**16 + 2 * sum(_bytes(kind, rows) + 2**10 for kind in self._kinds.values()))
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                block = {name: _array(archive, name, kind, rows) for name, kind in self._kinds.items()}
        except FileNotFoundError as error:
            raise DataError(f"{path}: is not there") from error
        except Exception as error:  # a damaged zip makes zipfile, zlib and NumPy raise almost anything
            if outside_cause(error):
                raise  # the block may be whole: it is neither made anew nor called damaged
            raise DataError(f"{path}: damaged, or no block of this kind ({error or type(error).__name__})") from error
        if digest is not None:
            digest.update(content)
        return block


def _bytes(kind: ArraySpec, rows: int) -> int:
    return rows * math.prod(kind.shape) * np.dtype(kind.dtype).itemsize


def _array(archive: zipfile.ZipFile, name: str, kind: ArraySpec, rows: int) -> np.ndarray:
    """An array, its header seen before anything of its size is allocated or unpacked."""
    with archive.open(f"{name}.npy") as member:
        version = np.lib.format.read_magic(member)
        if version not in _HEADER_READERS:
            raise ValueError(f"{name} is in NumPy file version {version}")
        shape, fortran, dtype = _HEADER_READERS[version](member)
        if dtype != np.dtype(kind.dtype) or shape != (rows, *kind.shape) or (fortran and len(shape) > 1):
            raise ValueError(f"{name} is {dtype} {shape}, expected {kind.dtype} {(rows, *kind.shape)}")
        size = _bytes(kind, rows)
        content = member.read(size + 1)  # to the end, where the checksum is compared
    if len(content) != size:
        raise ValueError(f"{name} holds {len(content)} bytes, expected {size}")
    return np.frombuffer(content, dtype).reshape(shape)
