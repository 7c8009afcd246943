"""Write and read `.safetensors` files: LoFTR's own names and PyTorch's layout, for exchange with other programs."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

from ifvit.weights.atomic import write_atomically
from ifvit.weights.errors import WeightsError, prefix_errors
from ifvit.weights.npz import MAX_BYTES
from ifvit.weights.tensors import DTYPES

MAX_HEADER_BYTES = 2**22  # LoFTR's is 22 kB
_LENGTH_BYTES = 8  # of the header's length, little-endian, which stands before the header
_NAMES = {  # dtype in the header -> NumPy's name
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}


def is_safetensors(path: Path) -> bool:
    """Whether the file begins like a `.safetensors` file."""
    with prefix_errors(path), open(path, "rb") as file:
        return file.read(_LENGTH_BYTES + 1)[_LENGTH_BYTES:] == b"{"


def write_safetensors(
    path: str | os.PathLike[str], tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]
) -> None:
    """Write `tensors` in PyTorch's layout to `path`, completely or not at all; raises as `write_atomically`."""
    # The library writes the memory of an array without regard to its strides.
    data = save({name: np.asarray(t, order="C") for name, t in tensors.items()}, {"format": "pt", **metadata})
    header, body = _ordered_header(data)

    def write(file: BinaryIO) -> None:
        file.write(header)
        file.write(body)

    write_atomically(path, write)


def _ordered_header(data: bytes) -> tuple[bytes, memoryview]:
    """The header and the body of a file, with the metadata sorted.

    The library writes the metadata in random order; sorted, the same weights give the same file.
    """
    end = _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES], "little")
    header = json.loads(data[_LENGTH_BYTES:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _LENGTH_BYTES)  # so that the numbers begin at a multiple of eight bytes
    return len(text).to_bytes(_LENGTH_BYTES, "little") + text, memoryview(data)[end:]


def read_safetensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Name -> array of a `.safetensors` file (bfloat16 and float8 as in ml_dtypes), and its metadata.

    Raises:
        WeightsError: the file cannot be read safely and completely; the message names it.
    """
    with prefix_errors(path):
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise WeightsError(f"is {size:,} bytes; at most {MAX_BYTES:,} are read. This is no LoFTR file")
        data = path.read_bytes()
        metadata = _metadata(data)
        try:
            entries = deserialize(data)
        except SafetensorError as err:
            raise WeightsError(
                f"the .safetensors file is damaged or cut short ({str(err)[:200]}). Download or copy it again"
            ) from err
        return {name: _array(name, view) for name, view in entries}, metadata


def _metadata(data: bytes) -> dict[str, str]:
    """The header's metadata. Checks first that the header has a reasonable size and no name twice."""
    length = int.from_bytes(data[:_LENGTH_BYTES], "little")
    if len(data) < _LENGTH_BYTES or length > len(data) - _LENGTH_BYTES:
        raise WeightsError("is no .safetensors file, or cut short within its header. Download or copy it again")
    if length > MAX_HEADER_BYTES:
        raise WeightsError(f"its header is {length:,} bytes; at most {MAX_HEADER_BYTES:,} are read. No LoFTR file")
    # Of two entries with one name the library uses the last without an error.
    header = json.loads(data[_LENGTH_BYTES : _LENGTH_BYTES + length], object_pairs_hook=_unique_keys)
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    return metadata if isinstance(metadata, dict) else {}


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A dictionary of the pairs. Raises `WeightsError` where a key occurs twice."""
    tree: dict[str, object] = {}
    for name, value in pairs:
        if name in tree:
            raise WeightsError(f"its header holds {name!r} twice. Save the file again")
        tree[name] = value
    return tree


def _array(name: str, view: Mapping[str, Any]) -> np.ndarray:
    """The array of an entry. Raises `WeightsError` where its dtype is not floating point."""
    dtype = DTYPES.get(_NAMES.get(view["dtype"], ""))
    if dtype is None:
        raise WeightsError(f"{name!r} is of type {view['dtype']}; floating point of 8 to 64 bits was expected")
    return np.frombuffer(view["data"], dtype).reshape(view["shape"])
