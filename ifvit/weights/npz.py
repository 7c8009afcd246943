"""Write and read `.npz` files of named floating-point arrays: whole or not at all, never with a pickle."""

from __future__ import annotations

import io
import math
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ifvit.weights.errors import WeightsError

MAX_BYTES = 2**30  # all arrays of a file together, unpacked; LoFTR's whole network is 46 MB
_HEADER_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def write_npz(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray]) -> None:
    """Write `arrays` to `path`, making its folder if need be.

    The file appears whole or not at all: it is written beside its place under another name, forced to disk,
    and renamed. Raises `WeightsError` when it cannot be written; nothing is left behind then, and an earlier
    file stays.
    """
    path = Path(path)
    if not path.name:
        raise WeightsError(f"{str(path)!r} is no file name. Give the converted file a name ending in .npz")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "wb") as file:
                # Not np.savez(**arrays): an array called "file" would be taken for its first argument.
                with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
                    for name, array in arrays.items():
                        with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                            np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as err:
        raise WeightsError(
            f"{path}: cannot be written ({err.strerror or err}). Choose another place, or make room or rights there"
        ) from err


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Name -> array of a `.npz` file, checked before it is unpacked. Names are returned as they are.

    Raises `WeightsError` (without the file's name) for arrays that are not floating point, that would need a
    pickle, or that are too large; a damaged archive may raise any other exception.
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
    return arrays


def _array(name: str, data: bytes) -> np.ndarray:
    """The array in one member. Parsed here because NumPy allocates what the header claims before it reads."""
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
