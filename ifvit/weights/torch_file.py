"""Read the state dict of a zip-format PyTorch checkpoint without PyTorch, running no code from it.

Such a file is a zip archive of uncompressed entries: `{root}/data.pkl` describes the objects,
`{root}/data/{key}` are the raw numbers of the storages it refers to.
"""

from __future__ import annotations

import math
import re
import zipfile
from os import PathLike
from pathlib import Path

import numpy as np

from ifvit.weights.errors import WeightsError, naming
from ifvit.weights.tensors import Foreign, Storage, Tensor
from ifvit.weights.unpickle import MAX_PICKLE_BYTES, read_pickle

CONTAINERS = ("state_dict", "model_state_dict")
# All tensors together, in elements: LoFTR has 11.6 million. An expanded tensor may be far larger than its
# file.
MAX_ELEMENTS = 2**28
_OLD_FORMAT = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"  # the pickled number old files begin with


def read_state_dict(path: str | PathLike[str]) -> dict[str, np.ndarray]:
    """Name -> array of the state dict in a PyTorch file, in the file's order.

    The state dict is the file's `state_dict`, else its `model_state_dict`, else its top level. The wrappers'
    prefixes `module.` and `matcher.` are taken off the names. Arrays are contiguous and keep their dtype
    (bfloat16 and float8 as ml_dtypes has them); only the storages they need are read.

    Raises `WeightsError`, naming the file, for whatever cannot be read safely and completely.
    """
    path = Path(path)
    check_file(path)
    with naming(path):
        _refuse_other_formats(path)
        try:
            archive = zipfile.ZipFile(path)
        except zipfile.BadZipFile as err:
            raise WeightsError(f"the zip archive is damaged or cut short ({err}). Download or copy it again") from err
        with archive:
            entries = _entries(archive, path.stat().st_size)
            tensors = _state_dict(read_pickle(archive.read(entries["data.pkl"])))
            _check_total(tensors)
            return strip_prefixes(_read_tensors(archive, entries, tensors))


def check_file(path: Path) -> None:
    """Raise `WeightsError` unless `path` is an ordinary file with something in it."""
    with naming(path):
        if not path.exists():
            raise WeightsError("no such file. Give the path of the weights file as it is on this machine")
        if path.is_dir():
            raise WeightsError("is a folder. Give the path of the weights file inside it")
        if not path.is_file():
            raise WeightsError("is not an ordinary file. Give the path of a weights file")
        if path.stat().st_size == 0:
            raise WeightsError("the file is empty. Download or copy it again")


def strip_prefixes(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """`state` with every leading `module.` (data parallel) and `matcher.` (LoFTR's trainer) off each name.

    Raises `WeightsError` where two names become one: the file then holds two networks.
    """
    stripped: dict[str, np.ndarray] = {}
    clashes = []
    for name, value in state.items():
        short = strip_prefix(name)
        if short in stripped:
            clashes.append(short)
        stripped[short] = value
    if clashes:
        raise WeightsError(
            "without the prefixes 'module.' and 'matcher.' these names occur twice: "
            f"{', '.join(sorted(set(clashes)))}. Save one network's state dict only"
        )
    return stripped


def strip_prefix(name: str) -> str:
    """`name` without any leading `module.` and `matcher.`."""
    return re.sub(r"^(?:(?:module|matcher)\.)+", "", name)


def _refuse_other_formats(path: Path) -> None:
    """Say plainly what a file is that is not a zip archive."""
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
    """The archive's entries by name below its root folder, once it is sure that reading them is bounded."""
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
    if order is not None and (found := archive.read(order)[:32]) != b"little":
        raise WeightsError(
            f"its numbers are stored in byte order {found!r}; only 'little' is read. Save it again on "
            "an ordinary (little-endian) machine"
        )
    return entries


def _state_dict(top: object) -> dict[str, Tensor]:
    """The state dict within the file's top-level object, every entry of it a tensor."""
    where = "its top level"
    if isinstance(top, dict) and (container := next((key for key in CONTAINERS if key in top), None)):
        top, where = top[container], f"its {container!r}"
    if isinstance(top, Foreign):
        raise WeightsError(
            f"{where} is a whole object ({top.name}), not a state dict. Save the network's state_dict() with torch.save"
        )
    if not isinstance(top, dict) or not top:
        found = "empty" if isinstance(top, dict) else f"a {type(top).__name__}"
        raise WeightsError(f"{where} is {found}; a state dict (name -> tensor) was expected")
    bad = [_entry_problem(key, value) for key, value in top.items()]
    if bad := [problem for problem in bad if problem]:
        raise WeightsError(
            f"{where} is not a state dict of tensors alone: {'; '.join(bad)}. Expected name -> tensor, at "
            f"the top level or under {' or '.join(map(repr, CONTAINERS))}"
        )
    return top


def _entry_problem(key: object, value: object) -> str | None:
    if type(key) is not str:
        return f"a {type(key).__name__} is used as a name"
    if isinstance(value, Foreign):
        return f"{key!r} depends on {value.name}, which this reader refuses to build"
    return None if isinstance(value, Tensor) else f"{key!r} is a {type(value).__name__}"


def _check_total(tensors: dict[str, Tensor]) -> None:
    total = sum(math.prod(tensor.shape) for tensor in tensors.values())
    if total > MAX_ELEMENTS:
        largest = max(tensors, key=lambda name: math.prod(tensors[name].shape))
        raise WeightsError(
            f"its tensors have {float(total):.3g} elements in all, most in {largest!r} of shape "
            f"{tensors[largest].shape}; at most {MAX_ELEMENTS:,} are read. This is not a LoFTR checkpoint"
        )


def _read_tensors(
    archive: zipfile.ZipFile, entries: dict[str, zipfile.ZipInfo], tensors: dict[str, Tensor]
) -> dict[str, np.ndarray]:
    storages: dict[str, bytes] = {}  # shared ones are read once
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
    declared = storage.size * storage.dtype.itemsize
    if declared != stored_bytes:
        raise WeightsError(
            f"the storage of {name!r} is declared as {declared:,} bytes but data/{storage.key} holds "
            f"{stored_bytes:,}. Download or copy the file again"
        )


def _strided_array(name: str, tensor: Tensor, raw: bytes) -> np.ndarray:
    """A contiguous copy of `tensor`, whose storage is `raw`: transposed, offset or expanded."""
    shape, dtype = tensor.shape, tensor.dtype
    if 0 in shape:
        return np.zeros(shape, dtype)
    # An axis of length 1 is never stepped along, so its stride may be anything.
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
