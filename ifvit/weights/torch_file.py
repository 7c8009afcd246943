"""Read the tensors of a zip-format PyTorch checkpoint without PyTorch. No code of the file is run.

Such a file is a zip archive of uncompressed entries: `{root}/data.pkl` describes the objects, and `{root}/data/{key}`
are the raw numbers of its storages.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import cast

import numpy as np

from ifvit.weights.errors import WeightsError, prefix_errors, short_list
from ifvit.weights.tensors import Foreign, Storage, Tensor
from ifvit.weights.unpickle import MAX_PICKLE_BYTES, read_pickle
from ifvit.weights.wrappers import is_loftr

# Elements of all tensors together: LoFTR has 11.6 million. An expanded tensor may be far larger than its file.
MAX_ELEMENTS = 2**28
MAX_TENSORS = 100_000  # LoFTR has some 300; an optimiser and an average add three times as many
LONGEST_NAME, DEEPEST = 1000, 8  # characters of a dotted name; dictionaries above a tensor
_OLD_FORMAT = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"  # the start of old files: a pickled number


class TorchFile:
    """An open checkpoint.

    tensors: dotted name -> tensor; the name starts with the keys of the dictionaries above the tensor. An object of
    another class is included where its name is LoFTR's, so that `read` refuses it.
    """

    def __init__(self, archive: zipfile.ZipFile, file_bytes: int):
        self._archive = archive
        self._entries = _entries(archive, file_bytes)
        self.tensors = _tensors(read_pickle(archive.read(self._entries["data.pkl"])))

    def read(self, tensors: Mapping[str, object]) -> dict[str, np.ndarray]:
        """Read some of the tensors: name -> contiguous array; bfloat16 and float8 as in ml_dtypes.

        Only the storages of these tensors are read.

        Raises:
            WeightsError: an object is not a tensor, or a tensor cannot be read completely.
        """
        if problems := [problem for name, value in tensors.items() if (problem := _problem(name, value))]:
            text = short_list(problems, separator="; ")
            raise WeightsError(f"a tensor was expected under each of LoFTR's names: {text}")
        content = cast(Mapping[str, Tensor], tensors)
        _check_total(content)
        return _read_tensors(self._archive, self._entries, content)


@contextmanager
def open_torch(path: Path) -> Iterator[TorchFile]:
    """Open the checkpoint `path`.

    Raises:
        WeightsError: the file cannot be read safely, also within the block; the message names the file.
    """
    check_file(path)
    with prefix_errors(path):
        _refuse_other_formats(path)
        try:
            archive = zipfile.ZipFile(path)
        except zipfile.BadZipFile as err:
            raise WeightsError(f"the zip archive is damaged or cut short ({err}). Download or copy it again") from err
        with archive:
            yield TorchFile(archive, path.stat().st_size)


def read_state_dict(path: str | PathLike[str]) -> dict[str, np.ndarray]:
    """Dotted name -> array of every tensor in a PyTorch file, in the file's order; raises as `open_torch`."""
    with open_torch(Path(path)) as file:
        return file.read(file.tensors)


def check_file(path: Path) -> None:
    """Raise `WeightsError` unless `path` is an ordinary file and not empty."""
    with prefix_errors(path):
        if not path.exists():
            raise WeightsError("no such file. Give the path of the weights file as it is on this machine")
        if path.is_dir():
            raise WeightsError("is a folder. Give the path of the weights file inside it")
        if not path.is_file():
            raise WeightsError("is not an ordinary file. Give the path of a weights file")
        if path.stat().st_size == 0:
            raise WeightsError("the file is empty. Download or copy it again")


def _refuse_other_formats(path: Path) -> None:
    """Raise a `WeightsError` that names the format of a file that is not a zip archive."""
    with open(path, "rb") as file:
        head = file.read(512)
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith(_OLD_FORMAT):
        problem = (
            "is in PyTorch's old, non-zip format, which cannot be read without running it. If you trust it, "
            "load it with PyTorch and save it again: "
            "torch.save(torch.load(FILE, map_location='cpu'), NEW_FILE)"
        )
    elif head.startswith(b"version https://git-lfs"):
        problem = "is a Git LFS pointer, not the weights. Fetch the file itself with `git lfs pull`"
    elif text.startswith((b"<!doctype html", b"<html", b"<?xml")):
        problem = "is a web page, not the weights: the download went wrong. Download the file itself"
    elif head[8:9] == b"{":
        problem = "is a .safetensors file, not a PyTorch checkpoint"
    elif head.startswith(b"\x93NUMPY"):
        problem = "is a single NumPy array. Give a PyTorch checkpoint (.ckpt, .pt, .pth)"
    elif head.startswith(b"\x80"):
        problem = "is a bare pickle, not a PyTorch checkpoint. Save the state dict with torch.save"
    else:
        problem = "is not a PyTorch checkpoint (a zip archive as torch.save writes it), nor .safetensors or .npz"
    raise WeightsError(problem)


def _entries(archive: zipfile.ZipFile, file_bytes: int) -> dict[str, zipfile.ZipInfo]:
    """Name below the archive's root folder -> entry. Checks first that the size of the entries is bounded."""
    infos = archive.infolist()
    names = [info.filename for info in infos]
    pickles = [name for name in names if name == "data.pkl" or name.endswith("/data.pkl")]
    if any(name.endswith(".npy") for name in names) and not pickles:
        raise WeightsError("is a NumPy .npz file, that is, already converted. Use it as it is")
    if not pickles:
        raise WeightsError("is a zip archive without data.pkl, so no PyTorch checkpoint. Check the path")
    if any(name.rpartition("/")[2] == "constants.pkl" for name in names):
        raise WeightsError(
            "is a TorchScript archive, that is, a program. Save the state dict of the network instead: "
            "torch.save(torch.jit.load(FILE).state_dict(), NEW_FILE)"
        )
    if len(set(names)) != len(names) or len(pickles) > 1:
        raise WeightsError("the archive holds an entry twice, which PyTorch never writes. Download it again")
    if any(info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size for info in infos):
        raise WeightsError(
            "the archive is compressed, which PyTorch never does: it was packed again by another "
            "program. Use the file as it was downloaded"
        )
    # Entries that overlap would let a small file fill the memory.
    if sum(info.file_size for info in infos) > file_bytes:
        raise WeightsError("the archive's entries are larger than the file. Download it again")
    root = pickles[0].removesuffix("data.pkl")
    entries = {info.filename.removeprefix(root): info for info in infos if info.filename.startswith(root)}
    if entries["data.pkl"].file_size > MAX_PICKLE_BYTES:
        raise WeightsError(
            f"its data.pkl is {entries['data.pkl'].file_size:,} bytes; at most {MAX_PICKLE_BYTES:,} "
            "are read. Save the state dict alone with torch.save"
        )
    order = entries.get("byteorder")
    if order is not None and (byte_order := archive.read(order)[:32]) != b"little":
        raise WeightsError(
            f"its numbers are stored in byte order {byte_order!r}; only 'little' is read. Save it again on "
            "an ordinary (little-endian) machine"
        )
    return entries


def _tensors(top: object) -> dict[str, object]:
    """Dotted name -> tensor in the nested dictionaries of the file's top-level object.

    A dictionary is searched once, even where it occurs several times: a hostile file could make it contain itself.
    Names that are longer or deeper than those of any network are ignored.
    """
    tensors: dict[str, object] = {}
    objects: dict[str, Foreign] = {"its top level": top} if isinstance(top, Foreign) else {}
    visited: set[int] = set()

    def visit(tree: dict, above: str, depth: int) -> None:
        visited.add(id(tree))
        for key, value in tree.items():
            if type(key) is not str or len(above) + len(key) > LONGEST_NAME:
                continue
            name = above + key
            if isinstance(value, Tensor) or (not isinstance(value, dict) and is_loftr(name)):
                tensors[name] = value
                if len(tensors) > MAX_TENSORS:
                    raise WeightsError(f"holds more than {MAX_TENSORS:,} tensors. This is not a LoFTR checkpoint")
            elif isinstance(value, dict) and depth < DEEPEST and id(value) not in visited:
                visit(value, f"{name}.", depth + 1)
            elif isinstance(value, Foreign):
                objects[repr(name)] = value

    if isinstance(top, dict):
        visit(top, "", 1)
    if not any(isinstance(value, Tensor) for value in tensors.values()):
        raise WeightsError(_content_without_tensors(top, objects))
    return tensors


def _content_without_tensors(top: object, objects: Mapping[str, Foreign]) -> str:
    """The content of a file without a tensor, in words."""
    if objects:
        text = short_list(f"{place} ({value.name})" for place, value in objects.items())
        return f"holds no tensors but whole objects: {text}. Save the network's state_dict() with torch.save"
    kind = f"a {type(top).__name__}" if top or not isinstance(top, dict) else "empty"
    return f"its top level is {kind} without tensors; a state dict (name -> tensor) was expected there or below a key"


def _problem(name: str, value: object) -> str | None:
    """The reason why a value cannot be read as a tensor; None if it is a tensor."""
    if isinstance(value, Foreign):
        return f"{name!r} depends on {value.name}, which this reader refuses to build"
    return None if isinstance(value, Tensor) else f"{name!r} is a {type(value).__name__}"


def _check_total(tensors: Mapping[str, Tensor]) -> None:
    """Raise `WeightsError` where the tensors have more than MAX_ELEMENTS elements together."""
    total = sum(math.prod(tensor.shape) for tensor in tensors.values())
    if total > MAX_ELEMENTS:
        largest = max(tensors, key=lambda name: math.prod(tensors[name].shape))
        raise WeightsError(
            f"its tensors have {float(total):.3g} elements in all, most in {largest!r} of shape "
            f"{tensors[largest].shape}; at most {MAX_ELEMENTS:,} are read. This is not a LoFTR checkpoint"
        )


def _read_tensors(
    archive: zipfile.ZipFile, entries: dict[str, zipfile.ZipInfo], tensors: Mapping[str, Tensor]
) -> dict[str, np.ndarray]:
    """Name -> contiguous array of the tensors, from the archive's entries."""
    storages: dict[str, bytes] = {}  # key -> bytes; a shared storage is read once
    arrays = {}
    for name, tensor in tensors.items():
        key = tensor.storage.key
        info = entries.get(f"data/{key}")
        if info is None:
            raise WeightsError(f"the numbers of {name!r} (entry data/{key}) are missing. Download or copy it again")
        _check_storage(name, tensor.storage, info.file_size)
        if key not in storages:
            storages[key] = archive.read(info)
        arrays[name] = _strided_array(name, tensor, storages[key])
    return arrays


def _check_storage(name: str, storage: Storage, stored_bytes: int) -> None:
    """Raise `WeightsError` unless the storage of the tensor `name` has the declared size."""
    declared = storage.size * storage.dtype.itemsize
    if declared != stored_bytes:
        raise WeightsError(
            f"the storage of {name!r} is declared as {declared:,} bytes but data/{storage.key} holds "
            f"{stored_bytes:,}. Download or copy the file again"
        )


def _strided_array(name: str, tensor: Tensor, raw: bytes) -> np.ndarray:
    """A contiguous copy of `tensor`, which may be a transposed, shifted or expanded view of its storage `raw`."""
    shape, dtype = tensor.shape, tensor.dtype
    if 0 in shape:
        return np.zeros(shape, dtype)
    # The stride of an axis of length 1 is never used, so it may have any value.
    strides = [0 if n == 1 else s for n, s in zip(shape, tensor.strides, strict=True)]
    available = len(raw) // dtype.itemsize
    last = tensor.offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    if last >= available:
        raise WeightsError(
            f"{name!r} (shape {shape}, strides {tensor.strides}, offset {tensor.offset}) reaches beyond its "
            f"storage of {available:,} elements. Download or copy the file again"
        )
    steps = [stride * dtype.itemsize for stride in strides]
    return np.array(np.ndarray(shape, dtype, raw, tensor.offset * dtype.itemsize, steps), order="C")
