"""Read the tensors of a zip-format PyTorch checkpoint without PyTorch, running no code from it.

Such a file is a zip archive of uncompressed entries: `{root}/data.pkl` describes the objects,
`{root}/data/{key}` are the raw numbers of the storages it refers to.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

import numpy as np

from ifvit.weights.errors import WeightsError, listed, naming
from ifvit.weights.tensors import Foreign, Storage, Tensor
from ifvit.weights.unpickle import MAX_PICKLE_BYTES, read_pickle
from ifvit.weights.wrappers import is_loftr

# All tensors together, in elements: LoFTR has 11.6 million. An expanded tensor may be far larger than its
# file.
MAX_ELEMENTS = 2**28
MAX_TENSORS = 100_000  # LoFTR has some 300; an optimiser and an average add thrice as many
LONGEST_NAME, DEEPEST = 1000, 8  # characters of a dotted name; dictionaries above a tensor
_OLD_FORMAT = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"  # the pickled number old files begin with


class TorchFile:
    """A checkpoint that is open: `tensors` by their dotted names, the keys of the dictionaries above them included.

    Where a name is LoFTR's, whatever else stands there is kept too, for `read` to refuse.
    """

    def __init__(self, archive: zipfile.ZipFile, file_bytes: int):
        self._archive = archive
        self._entries = _entries(archive, file_bytes)
        self.tensors = _tensors(read_pickle(archive.read(self._entries["data.pkl"])))

    def read(self, tensors: Mapping[str, object]) -> dict[str, np.ndarray]:
        """Name -> contiguous array of some of the tensors; bfloat16 and float8 as ml_dtypes has them.

        Only the storages that they need are read. Raises `WeightsError` for whatever cannot be read completely.
        """
        if bad := [problem for name, value in tensors.items() if (problem := _problem(name, value))]:
            raise WeightsError(f"a tensor was expected under each of LoFTR's names: {listed(bad, separator='; ')}")
        _check_total(tensors)
        return _read_tensors(self._archive, self._entries, tensors)


@contextmanager
def open_torch(path: Path) -> Iterator[TorchFile]:
    """The checkpoint `path`, open to be read.

    Raises `WeightsError`, naming the file, for whatever cannot be read safely; also within the block.
    """
    check_file(path)
    with naming(path):
        _refuse_other_formats(path)
        try:
            archive = zipfile.ZipFile(path)
        except zipfile.BadZipFile as err:
            raise WeightsError(f"the zip archive is damaged or cut short ({err}). Download or copy it again") from err
        with archive:
            yield TorchFile(archive, path.stat().st_size)


def read_state_dict(path: str | PathLike[str]) -> dict[str, np.ndarray]:
    """Dotted name -> array of every tensor in a PyTorch file, in the file's order; errors as `open_torch`."""
    with open_torch(Path(path)) as file:
        return file.read(file.tensors)


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


def _tensors(top: object) -> dict[str, object]:
    """Dotted name -> tensor in the nested dictionaries of the file's top-level object.

    A dictionary that is reached twice, as a hostile file could make it endlessly, is looked at once; names that are
    longer, or lie deeper, than any network's are passed over.
    """
    found: dict[str, object] = {}
    objects: dict[str, Foreign] = {"its top level": top} if isinstance(top, Foreign) else {}
    seen: set[int] = set()

    def look(tree: dict, above: str, depth: int) -> None:
        seen.add(id(tree))
        for key, value in tree.items():
            if type(key) is not str or len(above) + len(key) > LONGEST_NAME:
                continue
            name = above + key
            if isinstance(value, Tensor) or (not isinstance(value, dict) and is_loftr(name)):
                found[name] = value
                if len(found) > MAX_TENSORS:
                    raise WeightsError(f"holds more than {MAX_TENSORS:,} tensors. This is not a LoFTR checkpoint")
            elif isinstance(value, dict) and depth < DEEPEST and id(value) not in seen:
                look(value, f"{name}.", depth + 1)
            elif isinstance(value, Foreign):
                objects[repr(name)] = value

    if isinstance(top, dict):
        look(top, "", 1)
    if not any(isinstance(value, Tensor) for value in found.values()):
        raise WeightsError(_nothing(top, objects))
    return found


def _nothing(top: object, objects: Mapping[str, Foreign]) -> str:
    """What is in a file without a tensor."""
    if objects:
        whole = listed(f"{where} ({value.name})" for where, value in objects.items())
        return f"holds no tensors but whole objects: {whole}. Save the network's state_dict() with torch.save"
    found = f"a {type(top).__name__}" if top or not isinstance(top, dict) else "empty"
    return f"its top level is {found} without tensors; a state dict (name -> tensor) was expected there or below a key"


def _problem(name: str, value: object) -> str | None:
    if isinstance(value, Foreign):
        return f"{name!r} depends on {value.name}, which this reader refuses to build"
    return None if isinstance(value, Tensor) else f"{name!r} is a {type(value).__name__}"


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
