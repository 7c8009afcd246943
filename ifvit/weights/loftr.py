"""LoFTR's weights by name: PyTorch's names and layouts to ours, and the converted `.npz` file.

One table of rules says what becomes of every tensor of a LoFTR checkpoint; a tensor meets exactly one rule or
is an error. Our names: `layers.{i}.0/q_proj/kernel`, `layers.{i}.0/norm1/scale`,
`backbone/layer1.0/conv1/kernel`, `backbone/bn1/mean`, … Linear kernels are (in, out), convolution kernels
(height, width, in, out).
"""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ifvit.weights.errors import WeightsError, naming
from ifvit.weights.npz import read_arrays, write_npz
from ifvit.weights.torch_file import check_file, read_state_dict, strip_prefix, strip_prefixes

COUNTER = "a counter of training batches, not needed"
BIN_SCORE = "belongs to optimal-transport matching; this model matches with dual softmax"
POSITION = "the position code is computed, not learned"
FINE_STAGE = "belongs to LoFTR's fine stage; only the coarse path is used"

_LEAVES = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"}
_I = "(0|[1-9][0-9]?)"  # a layer's number, written in one way only
_LAYER = rf"loftr_coarse\.layers\.{_I}"
_PLAIN_CONV = r"(conv1|layer[1-4]_outconv|layer[1-4]_outconv2\.[03])"
_BLOCK = rf"(layer[1-4]\.{_I})"

# The arrays of one transformer layer.
LAYER_PARTS = (
    *(f"{part}/kernel" for part in ("q_proj", "k_proj", "v_proj", "merge", "mlp.0", "mlp.2")),
    *(f"{part}/{leaf}" for part in ("norm1", "norm2") for leaf in ("scale", "bias")),
)


class Rule(NamedTuple):
    """What becomes of the tensors whose whole name matches `pattern`: the array `target`, or nothing."""

    pattern: str
    target: str | None  # a template for the match's groups; None drops the tensor
    axes: tuple[int, ...] = ()  # the transposition from PyTorch's layout; its length is the number of axes
    reason: str = ""  # why a dropped tensor is not needed


_LINEAR, _CONV, _VECTOR = (1, 0), (2, 3, 1, 0), (0,)
RULES: tuple[Rule, ...] = (
    Rule(rf"{_LAYER}\.([qkv]_proj|merge|mlp\.[02])\.weight", r"layers.\1.0/\2/kernel", _LINEAR),
    Rule(rf"{_LAYER}\.(norm[12])\.weight", r"layers.\1.0/\2/scale", _VECTOR),
    Rule(rf"{_LAYER}\.(norm[12])\.bias", r"layers.\1.0/\2/bias", _VECTOR),
    Rule(rf"backbone\.{_PLAIN_CONV}\.weight", r"backbone/\1/kernel", _CONV),
    Rule(rf"backbone\.{_BLOCK}\.(conv[12]|downsample\.0)\.weight", r"backbone/\1/\3/kernel", _CONV),
    *(Rule(rf"backbone\.(bn1|layer[1-4]_outconv2\.1)\.{old}", rf"backbone/\1/{new}", _VECTOR)
      for old, new in _LEAVES.items()),
    *(Rule(rf"backbone\.{_BLOCK}\.(bn[12]|downsample\.1)\.{old}", rf"backbone/\1/\3/{new}", _VECTOR)
      for old, new in _LEAVES.items()),
    Rule(r"backbone\..+\.num_batches_tracked", None, reason=COUNTER),
    Rule(r"coarse_matching\.bin_score", None, reason=BIN_SCORE),
    Rule(r"pos_encoding\.pe", None, reason=POSITION),
    Rule(r"(?:fine_preprocess|loftr_fine|fine_matching)\..+", None, reason=FINE_STAGE),
)  # fmt: skip


@dataclass(frozen=True)
class Converted:
    """A state dict in our names: float32 arrays, where each came from, and what was left out and why."""

    arrays: dict[str, np.ndarray]
    sources: dict[str, str]  # our name -> PyTorch's
    dropped: dict[str, str] = field(default_factory=dict)  # PyTorch's name -> reason
    outside: int = 0  # tensors outside the prefix asked for

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user should know before training with these weights."""
        return tuple(f"{name} is not used: {why}" for name, why in self.dropped.items() if why == BIN_SCORE)

    def summary(self) -> str:
        """Such as '40 arrays, 41,472 parameters'."""
        return f"{len(self.arrays)} arrays, {sum(a.size for a in self.arrays.values()):,} parameters"

    def table(self) -> str:
        """One line an array (source -> ours, shape), then what was dropped, the warnings and the sum."""
        rows = [(self.sources[name], name, "x".join(map(str, array.shape))) for name, array in self.arrays.items()]
        wide = [max(len(row[column]) for row in rows) for column in (0, 1)]
        lines = [f"{old:<{wide[0]}} -> {new:<{wide[1]}}  {shape}" for old, new, shape in rows]
        for reason in dict.fromkeys(self.dropped.values()):
            names = [name for name, why in self.dropped.items() if why == reason]
            shown = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} like it"
            lines.append(f"not converted: {shown}: {reason}")
        if self.outside:
            lines.append(f"not converted: {self.outside} tensors outside the prefix")
        lines += [f"warning: {text}" for text in self.warnings]
        return "\n".join([*lines, self.summary()])


def layer_kind(i: int) -> str:
    """The kind of LoFTR's transformer layer `i`: 'self' for even ones, 'cross' for odd ones."""
    return "cross" if i % 2 else "self"


def matching_rules(name: str) -> list[Rule]:
    """Every rule that `name` (PyTorch's, without wrappers' prefixes) meets: one, for a LoFTR tensor."""
    return [rule for rule in RULES if re.fullmatch(rule.pattern, name)]


def source_name(name: str) -> str | None:
    """PyTorch's name of our array `name`; None if it is none of ours."""
    module, _, leaf = name.rpartition("/")
    old = {"kernel": "weight"} | {new: old for old, new in _LEAVES.items()}
    source = re.sub(r"^layers\.([0-9]+)\.0/", r"loftr_coarse.layers.\1.", module).replace("/", ".")
    source = f"{source}.{old.get(leaf, leaf)}"
    rules = matching_rules(source)
    if len(rules) != 1 or rules[0].target is None:
        return None
    return source if re.fullmatch(rules[0].pattern, source).expand(rules[0].target) == name else None


def convert_state_dict(state: Mapping[str, np.ndarray], prefix: str = "") -> Converted:
    """A LoFTR state dict (PyTorch's names and layouts) in our names, as contiguous float32.

    With a `prefix`, such as 'loftr_coarse', only the tensors under it are taken. Raises `WeightsError` naming
    every tensor that no rule knows, every array missing from a layer or block, and every array of the wrong
    kind.
    """
    state = strip_prefixes(dict(state))
    prefix = strip_prefix(f"{prefix.strip('.')}.") if prefix.strip(".") else ""
    kept = {name: value for name, value in state.items() if name.startswith(prefix)}
    if not kept:
        tops = sorted({name.partition(".")[0] for name in state})
        raise WeightsError(f"no tensor lies under the prefix {prefix[:-1]!r}; the file has {', '.join(tops) or 'none'}")
    arrays, sources, dropped, problems = {}, {}, {}, []
    for name, value in kept.items():
        rules = matching_rules(name)
        if len(rules) != 1:
            problems.append(f"{name}: not a name of LoFTR's" if not rules else f"{name}: {len(rules)} rules claim it")
        elif (rule := rules[0]).target is None:
            dropped[name] = rule.reason
        elif value.ndim != len(rule.axes):
            problems.append(f"{name}: shape {value.shape}, expected {len(rule.axes)} axes")
        elif not _is_float(value.dtype):
            problems.append(f"{name}: type {value.dtype}, expected floating point")
        else:
            target = re.fullmatch(rule.pattern, name).expand(rule.target)
            arrays[target], sources[target] = _float32(value.transpose(rule.axes)), name
    if problems:
        raise WeightsError(f"not a LoFTR checkpoint as this program knows it: {'; '.join(problems)}")
    _check(arrays)
    return Converted(arrays, sources, dropped, len(state) - len(kept))


def read_npz(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Our name -> float32 array of a converted `.npz` file.

    Raises `WeightsError`, naming the file, for names that are not ours, arrays that are missing, not floating
    point, not finite, or would need a pickle.
    """
    path = Path(path)
    check_file(path)
    with naming(path):
        arrays = read_arrays(path)
        problems = []
        for name, array in arrays.items():
            source = source_name(name)
            if source is None:
                problems.append(f"{name}: not a name of a converted LoFTR file")
            elif array.ndim != len(matching_rules(source)[0].axes):
                problems.append(f"{name}: shape {array.shape} has the wrong number of axes")
        if problems:
            raise WeightsError(f"{'; '.join(problems)}. Convert the PyTorch checkpoint with `python -m ifvit convert`")
        arrays = {name: _float32(array) for name, array in arrays.items()}
        _check(arrays)
    return arrays


def load_arrays(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Our name -> array, and dropped tensor -> reason, of a converted `.npz` or a PyTorch file.

    Which of the two it is, its content tells. Raises `WeightsError`, naming the file.
    """
    path = Path(path)
    check_file(path)
    if _is_npz(path):
        return read_npz(path), {}
    state = read_state_dict(path)
    with naming(path):
        converted = convert_state_dict(state)
    return converted.arrays, converted.dropped


def convert(source: str | os.PathLike[str], output: str | os.PathLike[str], prefix: str = "") -> Converted:
    """Convert the PyTorch file `source` to the `.npz` file `output`.

    Raises `WeightsError`, naming the file; nothing is written then.
    """
    if os.path.exists(output) and os.path.exists(source) and os.path.samefile(source, output):
        raise WeightsError(f"{output}: is the input file too. Give the converted file another name")
    state = read_state_dict(source)
    with naming(source):
        converted = convert_state_dict(state, prefix)
    write_npz(output, converted.arrays)
    return converted


def _is_npz(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except Exception:  # not a readable zip archive: the PyTorch reader says what it is instead
        return path.suffix == ".npz"
    return any(name.endswith(".npy") for name in names) or (not names and path.suffix == ".npz")


def _is_float(dtype: np.dtype) -> bool:
    return dtype.kind == "f" or dtype.name.startswith(("bfloat16", "float8"))  # those two are not NumPy's own


def _float32(array: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # a float64 beyond float32's range becomes infinite, which `_check` refuses
        return np.ascontiguousarray(array, dtype=np.float32)


def _check(arrays: Mapping[str, np.ndarray]) -> None:
    """Raise `WeightsError` unless `arrays` is whole layers and blocks of finite numbers, and at least one."""
    if not arrays:
        raise WeightsError("holds neither LoFTR's coarse transformer (loftr_coarse) nor its backbone")
    if broken := [name for name, array in arrays.items() if not np.isfinite(array).all()]:
        raise WeightsError(f"these arrays hold numbers that are not finite in float32: {', '.join(broken)}")
    if missing := sorted(required_names(arrays) - arrays.keys()):
        raise WeightsError(f"the network is incomplete; missing: {', '.join(missing)}. Use the whole checkpoint")


def required_names(names: Iterable[str]) -> set[str]:
    """The arrays that must be there because those in `names` are: whole layers and blocks, none left out."""
    names = list(names)
    found = [re.match(r"layers\.([0-9]+)\.0/", name) for name in names]
    layers = max((int(match[1]) for match in found if match), default=-1) + 1
    required = {f"layers.{i}.0/{part}" for i in range(layers) for part in LAYER_PARTS}
    modules = {name.removeprefix("backbone/").rpartition("/")[0] for name in names if name.startswith("backbone/")}
    if not modules:
        return required
    parts = ["conv1", "bn1"]
    blocks: dict[int, int] = {}  # stage -> its highest block
    for stage, block in (map(int, m.groups()) for m in (re.match(r"layer(\d)\.(\d+)/", m) for m in modules) if m):
        blocks[stage] = max(block, blocks.get(stage, 0))
    for stage in range(1, max(blocks, default=0) + 1):
        for block in range(blocks.get(stage, 0) + 1):
            parts += [f"layer{stage}.{block}/{part}" for part in ("conv1", "bn1", "conv2", "bn2")]
    for module in modules:
        if match := re.fullmatch(r"(.+/downsample)\.[01]", module):
            parts += [f"{match[1]}.0", f"{match[1]}.1"]
        elif match := re.fullmatch(r"(layer\d_outconv2)\.[013]", module):
            parts += [f"{match[1]}.{n}" for n in (0, 1, 3)]
    for part in parts:
        is_norm = re.search(r"(?:bn\d|downsample\.1|outconv2\.1)$", part)
        required |= {f"backbone/{part}/{leaf}" for leaf in (_LEAVES.values() if is_norm else ("kernel",))}
    return required
