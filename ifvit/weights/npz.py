"""Write and read `.npz` files of named floating-point arrays: completely or not at all, never with a pickle."""

from __future__ import annotations

import io
import math
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ifvit.weights.atomic import write_atomically
from ifvit.weights.errors import WeightsError

MAX_BYTES = 2**30  # of all arrays of a file, unpacked; LoFTR's network has 46 MB
_HEADER_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def write_npz(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray], comment: str = "") -> None:
    """Write `arrays` to `path`, completely or not at all; raises as `write_atomically`.

    comment: for the archive, ignored by `np.load`; ASCII of at most 65,535 characters.
    """

    def write(file: BinaryIO) -> None:
        # Not np.savez(**arrays): an array with the name "file" would become its first argument.
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            archive.comment = comment.encode("ascii")
            for name, array in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)

    write_atomically(path, write)


def read_arrays(path: Path) -> tuple[dict[str, np.ndarray], bytes]:
    """Name -> array of a `.npz` file, checked before it is unpacked, and the archive's comment.

    Raises:
        WeightsError: an array is not floating point, needs a pickle, or is too large; the message has no file name.
        Exception: of any class, where the archive is damaged.
    """
    arrays = {}
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
        total = sum(info.file_size for info in infos)
        if total > MAX_BYTES:
            raise WeightsError(f"unpacks to {total:,} bytes; at most {MAX_BYTES:,} are read. This is no LoFTR file")
        for info in infos:
            name = info.filename.removesuffix(".npy")
            if name == info.filename:
                raise WeightsError(f"holds {name!r}, which is not a NumPy array. Expected arrays only")
            if name in arrays:
                raise WeightsError(f"holds the array {name!r} twice. Convert the checkpoint again")
            arrays[name] = _array(name, archive.read(info))
        return arrays, archive.comment


def _array(name: str, data: bytes) -> np.ndarray:
    """The array of an archive member. It is parsed here, because NumPy allocates the header's size before it reads."""
    member = io.BytesIO(data)
    version = np.lib.format.read_magic(member)
    if version not in _HEADER_READERS:
        raise WeightsError(f"the array {name!r} is in NumPy file version {version}; 1.0 or 2.0 was expected")
    shape, fortran, dtype = _HEADER_READERS[version](member)
    if dtype.kind != "f":
        raise WeightsError(f"the array {name!r} is of type {dtype}; floating point was expected")
    body = data[member.tell() :]
    if any(n < 0 for n in shape) or math.prod(shape) * dtype.itemsize != len(body):
        raise WeightsError(f"the array {name!r} claims shape {shape} of {dtype} but holds {len(body):,} bytes")
    return np.frombuffer(body, dtype).reshape(shape, order="F" if fortran else "C")
