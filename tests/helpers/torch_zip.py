"""Write PyTorch's zip files without PyTorch, honest ones and hostile ones, opcode by opcode."""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ifvit.weights import WeightsError, read_state_dict

_STORAGE_OF = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
}


@dataclass(frozen=True)
class Global:
    """A name in the pickle, such as Global('torch', 'float32')."""

    module: str
    name: str


@dataclass(frozen=True)
class Call:
    """A call of `function` with `args`, then, if given, a BUILD with `state`."""

    function: Global
    args: tuple[Any, ...] = ()
    state: Any = None


@dataclass(frozen=True)
class View:
    """A strided view, in elements, into the 1-D array `storage`; views of the same array object share it."""

    storage: np.ndarray
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0


@dataclass(frozen=True)
class Raw:
    """Opcodes to put in as they are."""

    opcodes: bytes


class PickleWriter:
    """Turns objects into protocol-2 opcodes as torch.save does, and keeps the storages they refer to."""

    def __init__(self) -> None:
        self.storages: list[np.ndarray] = []

    def dump(self, value: object) -> bytes:
        return pickle.PROTO + b"\x02" + self.encode(value) + pickle.STOP

    def encode(self, value: object) -> bytes:
        if isinstance(value, Raw):
            return value.opcodes
        if isinstance(value, Global):
            return pickle.GLOBAL + f"{value.module}\n{value.name}\n".encode()
        if isinstance(value, Call):
            call = self.encode(value.function) + self.encode(tuple(value.args)) + pickle.REDUCE
            return call if value.state is None else call + self.encode(value.state) + pickle.BUILD
        if isinstance(value, np.ndarray | np.generic):
            steps = np.cumprod([1, *value.shape[:0:-1]])[::-1] if value.ndim else ()
            return self.encode(View(value.ravel(), value.shape, tuple(int(s) for s in steps)))
        if isinstance(value, View):
            return self._view(value)
        if isinstance(value, Mapping):
            items = b"".join(self.encode(k) + self.encode(v) for k, v in value.items())
            return pickle.EMPTY_DICT + pickle.MARK + items + pickle.SETITEMS
        if isinstance(value, tuple | list):
            items = pickle.MARK + b"".join(map(self.encode, value))
            if isinstance(value, tuple):
                return items + pickle.TUPLE
            return pickle.EMPTY_LIST + items + pickle.APPENDS
        return self._scalar(value)

    def _scalar(self, value: object) -> bytes:
        if isinstance(value, bool):
            return pickle.NEWTRUE if value else pickle.NEWFALSE
        if isinstance(value, str):
            text = value.encode()
            return pickle.BINUNICODE + struct.pack("<I", len(text)) + text
        if isinstance(value, int):
            return pickle.LONG + f"{value}L\n".encode()
        if isinstance(value, float):
            return pickle.BINFLOAT + struct.pack(">d", value)
        assert value is None, f"cannot write a {type(value)}"
        return pickle.NONE

    def _view(self, view: View) -> bytes:
        known = [n for n, storage in enumerate(self.storages) if storage is view.storage]
        if not known:
            self.storages.append(view.storage)
        number = known[0] if known else len(self.storages) - 1
        kind = Global("torch", _STORAGE_OF[view.storage.dtype.name])
        pid = ("storage", kind, str(number), "cpu", view.storage.size)
        storage = Raw(self.encode(pid) + pickle.BINPERSID)
        hooks = Call(Global("collections", "OrderedDict"))
        arguments = (storage, view.offset, view.shape, view.strides, False, hooks)
        return self.encode(Call(Global("torch._utils", "_rebuild_tensor_v2"), arguments))


def write_torch_zip(
    path: Path,
    value: object,
    *,
    replace: Mapping[str, bytes | None] | None = None,
    compression: int = zipfile.ZIP_STORED,
    root: str = "archive",
) -> Path:
    """Write `value` as torch.save would. `replace` sets entries below the root to other bytes, or to none."""
    writer = PickleWriter()
    entries: dict[str, bytes | None] = {"data.pkl": writer.dump(value), "byteorder": b"little"}
    entries |= {f"data/{n}": storage.tobytes() for n, storage in enumerate(writer.storages)}
    entries |= {"version": b"3\n"} | dict(replace or {})
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in entries.items():
            if data is not None:
                archive.writestr(zipfile.ZipInfo(f"{root}/{name}"), data, compression)
    return path


def official_state(
    rng: np.random.Generator,
    *,
    layers: int = 8,
    width: int = 256,
    backbone: bool = False,
    prefix: str = "matcher.",
) -> dict[str, np.ndarray]:
    """Random numbers under the names and shapes of LoFTR's files, with its ResNet-FPN 8/2 if asked."""
    state: dict[str, np.ndarray] = resnet_fpn_8_2_state(rng) if backbone else {}
    state |= _layers_state(rng, "loftr_coarse", layers, width)
    return {prefix + name: value for name, value in state.items()}


def whole_state(rng: np.random.Generator, *, narrow: bool = False, layers: int = 8) -> dict[str, np.ndarray]:
    """Random numbers under all names and shapes of an official file, the fine stage too; `narrow` in little numbers."""
    stem, widths = (4, (4, 6, 8)) if narrow else (128, (128, 196, 256))
    fine, _, coarse = widths
    state = resnet_fpn_8_2_state(rng, stem, widths) | official_state(rng, layers=layers, width=coarse, prefix="")
    return state | fine_state(rng, fine, coarse)


def fine_state(rng: np.random.Generator, fine: int, coarse: int) -> dict[str, np.ndarray]:
    """Random numbers under the names and shapes of LoFTR's fine stage, for maps of these widths."""
    state = _layers_state(rng, "loftr_fine", 2, fine)
    for part, width in (("down_proj", coarse), ("merge_feat", 2 * fine)):
        state[f"fine_preprocess.{part}.weight"] = _random(rng, fine, width)
        state[f"fine_preprocess.{part}.bias"] = _random(rng, fine)
    return state


def _layers_state(rng: np.random.Generator, transformer: str, layers: int, width: int) -> dict[str, np.ndarray]:
    state = {}
    for i in range(layers):
        layer = f"{transformer}.layers.{i}"
        for part in ("q_proj", "k_proj", "v_proj", "merge"):
            state[f"{layer}.{part}.weight"] = _random(rng, width, width)
        state[f"{layer}.mlp.0.weight"] = _random(rng, 2 * width, 2 * width)
        state[f"{layer}.mlp.2.weight"] = _random(rng, width, 2 * width)
        for norm in ("norm1", "norm2"):
            state |= {f"{layer}.{norm}.{leaf}": _random(rng, width) for leaf in ("weight", "bias")}
    return state


def resnet_fpn_8_2_state(
    rng: np.random.Generator, stem: int = 128, widths: tuple[int, int, int] = (128, 196, 256)
) -> dict[str, np.ndarray]:
    """Random numbers under the names and shapes of LoFTR's ResNet-FPN 8/2, counters and all."""
    first, second, third = widths
    state = {"backbone.conv1.weight": _random(rng, stem, 1, 7, 7)} | _norm(rng, "backbone.bn1", stem)
    before = stem
    for stage, width in enumerate(widths, start=1):
        for block in (0, 1):
            name = f"backbone.layer{stage}.{block}"
            for n in (1, 2):
                state[f"{name}.conv{n}.weight"] = _random(rng, width, before if n == 1 else width, 3, 3)
                state |= _norm(rng, f"{name}.bn{n}", width)
            if block == 0 and stage > 1:
                state[f"{name}.downsample.0.weight"] = _random(rng, width, before, 1, 1)
                state |= _norm(rng, f"{name}.downsample.1", width)
            before = width
    state["backbone.layer3_outconv.weight"] = _random(rng, third, third, 1, 1)
    for stage, low, high in ((2, second, third), (1, first, second)):
        state[f"backbone.layer{stage}_outconv.weight"] = _random(rng, high, low, 1, 1)
        state[f"backbone.layer{stage}_outconv2.0.weight"] = _random(rng, high, high, 3, 3)
        state |= _norm(rng, f"backbone.layer{stage}_outconv2.1", high)
        state[f"backbone.layer{stage}_outconv2.3.weight"] = _random(rng, low, high, 3, 3)
    return state


def _norm(rng: np.random.Generator, name: str, width: int) -> dict[str, np.ndarray]:
    leaves = {f"{name}.{leaf}": _random(rng, width) for leaf in ("weight", "bias", "running_mean")}
    variance = {f"{name}.running_var": np.abs(_random(rng, width)) + 0.1}
    return leaves | variance | {f"{name}.num_batches_tracked": np.array(7, np.int64)}


def _random(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape, np.float32)


def refusal(path: Path) -> str:
    """The reader's complaint about `path`, which must name it."""
    with pytest.raises(WeightsError) as caught:
        read_state_dict(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def refusal_of(tmp_path: Path, value: object, **how: object) -> str:
    return refusal(write_torch_zip(tmp_path / "file.pt", value, **how))
