"""Write and read `.safetensors` files: LoFTR's own names and PyTorch's layout, for exchange with other programs."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

from ifvit.weights.atomic import write_whole
from ifvit.weights.errors import WeightsError, naming
from ifvit.weights.npz import MAX_BYTES
from ifvit.weights.tensors import DTYPES

MAX_HEADER_BYTES = 2**22  # LoFTR's is 22 kB
_LENGTH_BYTES = 8  # the header's length, little-endian, before the header
_NAMES = {
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
    """Whether the file begins as a `.safetensors` file does."""
    with naming(path), open(path, "rb") as file:
        return file.read(_LENGTH_BYTES + 1)[_LENGTH_BYTES:] == b"{"


def write_safetensors(
    path: str | os.PathLike[str], tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]
) -> None:
    """Write `tensors` to `path`, whole or not at all (`write_whole`, errors too), marked as PyTorch's layout."""
    # The library writes out the memory behind an array as it lies.
    data = save({name: np.asarray(t, order="C") for name, t in tensors.items()}, {"format": "pt", **metadata})
    header, body = _ordered_header(data)

    def write(file: BinaryIO) -> None:
        file.write(header)
        file.write(body)

    write_whole(path, write)


def _ordered_header(data: bytes) -> tuple[bytes, memoryview]:
    """The header with its metadata in order, which the library shuffles: the same weights make the same file."""
    end = _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES], "little")
    header = json.loads(data[_LENGTH_BYTES:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _LENGTH_BYTES)  # so that the numbers begin at a multiple of eight bytes
    return len(text).to_bytes(_LENGTH_BYTES, "little") + text, memoryview(data)[end:]


def read_safetensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Name -> array (bfloat16 and float8 as ml_dtypes has them) and the metadata of a `.safetensors` file.

    Raises `WeightsError`, naming the file, for whatever cannot be read safely and completely.
    """
    with naming(path):
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise WeightsError(f"is {size:,} bytes; at most {MAX_BYTES:,} are read. This is no LoFTR file")
        data = path.read_bytes()
        metadata = _metadata(data)
        try:
            held = deserialize(data)
        except SafetensorError as err:
            raise WeightsError(
                f"the .safetensors file is damaged or cut short ({str(err)[:200]}). Download or copy it again"
            ) from err
        return {name: _array(name, view) for name, view in held}, metadata


def _metadata(data: bytes) -> dict[str, str]:
    """The header's metadata, once it is sure that the header is of reasonable size and names nothing twice."""
    length = int.from_bytes(data[:_LENGTH_BYTES], "little")
    if len(data) < _LENGTH_BYTES or length > len(data) - _LENGTH_BYTES:
        raise WeightsError("is no .safetensors file, or cut short within its header. Download or copy it again")
    if length > MAX_HEADER_BYTES:
        raise WeightsError(f"its header is {length:,} bytes; at most {MAX_HEADER_BYTES:,} are read. No LoFTR file")
    # The library keeps the last of two entries of one name without a word.
    header = json.loads(data[_LENGTH_BYTES : _LENGTH_BYTES + length], object_pairs_hook=_no_doubles)
    held = header.get("__metadata__") if isinstance(header, dict) else None
    return held if isinstance(held, dict) else {}


def _no_doubles(pairs: list[tuple[str, object]]) -> dict[str, object]:
    seen: dict[str, object] = {}
    for name, value in pairs:
        if name in seen:
            raise WeightsError(f"its header holds {name!r} twice. Save the file again")
        seen[name] = value
    return seen


def _array(name: str, view: Mapping) -> np.ndarray:
    dtype = DTYPES.get(_NAMES.get(view["dtype"], ""))
    if dtype is None:
        raise WeightsError(f"{name!r} is of type {view['dtype']}; floating point of 8 to 64 bits was expected")
    return np.frombuffer(view["data"], dtype).reshape(view["shape"])
