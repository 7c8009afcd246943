"""LoFTR's weights: from a file of either naming and layout to our arrays, and back."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ifvit.weights.errors import WeightsError, naming
from ifvit.weights.names import BIN_SCORE, counter_of, matching_rules, rule_of, source_name
from ifvit.weights.npz import read_arrays, write_npz
from ifvit.weights.official import Provenance, provenance_of
from ifvit.weights.safetensors import is_safetensors, read_safetensors, write_safetensors
from ifvit.weights.torch_file import check_file, read_state_dict, strip_prefix, strip_prefixes
from ifvit.weights.whole import check_whole

SUFFIXES = (".npz", ".safetensors")
_METADATA_KEY = "ifvit"  # of a .safetensors file, for the provenance


@dataclass(frozen=True)
class Converted:
    """A state dict in our names: float32 arrays, where each came from, and what was left out and why."""

    arrays: dict[str, np.ndarray]
    sources: dict[str, str]  # our name -> LoFTR's
    dropped: dict[str, str] = field(default_factory=dict)  # LoFTR's name -> reason
    outside: int = 0  # tensors outside the prefix asked for
    origin: Provenance | None = None  # where they were first read from, when they come from a file

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


def convert_state_dict(state: Mapping[str, np.ndarray], prefix: str = "") -> Converted:
    """A LoFTR state dict (LoFTR's names, PyTorch's layout) in our names, as contiguous float32.

    With a `prefix`, such as 'loftr_coarse', only the tensors under it are taken. Raises `WeightsError` naming
    every tensor that no rule knows, every one missing from a part that is otherwise there, and every one of the
    wrong kind.
    """
    state = strip_prefixes(dict(state))
    kept = _under(prefix, {name: name for name in state})
    arrays, sources, dropped, problems = {}, {}, {}, []
    for name in kept:
        value, rules = state[name], matching_rules(name)
        if len(rules) != 1:
            problems.append(f"{name}: not a name of LoFTR's" if not rules else f"{name}: {len(rules)} rules claim it")
        elif (rule := rules[0]).ours is None:
            dropped[name] = rule.reason
        elif value.ndim != len(rule.axes):
            problems.append(f"{name}: shape {value.shape}, expected {len(rule.axes)} axes")
        elif not _is_float(value.dtype):
            problems.append(f"{name}: type {value.dtype}, expected floating point")
        else:
            ours = rule.our_name(name)
            arrays[ours], sources[ours] = _float32(value.transpose(rule.axes)), name
    if problems:
        raise WeightsError(f"not a LoFTR checkpoint as this program knows it: {'; '.join(problems)}")
    check_whole(arrays, source_name)
    return Converted(arrays, sources, dropped, len(state) - len(kept))


def state_dict(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Our arrays under LoFTR's names and in PyTorch's layout, with the counters that its normalisations expect."""
    state = {}
    for name, array in arrays.items():
        state[source_name(name)] = np.ascontiguousarray(array.transpose(np.argsort(rule_of(name).axes)))
        if counter := counter_of(name):
            state[counter] = np.zeros((), np.int64)
    return state


def read_npz(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Our name -> float32 array of a converted `.npz` file.

    Raises `WeightsError`, naming the file, for names that are not ours, arrays that are missing, not floating
    point, not finite, or would need a pickle.
    """
    return _read_npz(Path(path), "").arrays


def read_weights(path: str | os.PathLike[str], prefix: str = "") -> Converted:
    """The weights in a PyTorch, `.safetensors` or converted `.npz` file, in our names; which it is, its content tells.

    With a `prefix` of LoFTR's names, such as 'loftr_coarse', only the arrays under it. Raises `WeightsError`, naming
    the file.
    """
    path = Path(path)
    check_file(path)
    if _is_npz(path):
        return _read_npz(path, prefix)
    held = None
    if is_safetensors(path):
        state, metadata = read_safetensors(path)
        held = Provenance.from_text(metadata.get(_METADATA_KEY))
    else:
        state = read_state_dict(path)
    with naming(path):
        return replace(convert_state_dict(state, prefix), origin=held or provenance_of(path))


def load_arrays(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Our name -> array, and dropped tensor -> reason, of any file that `read_weights` reads; errors too."""
    weights = read_weights(path)
    return weights.arrays, weights.dropped


def write_weights(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray], origin: Provenance) -> None:
    """Write our arrays as `.npz` (our names) or `.safetensors` (LoFTR's), by the suffix of `path`, whole or not at all.

    Raises `WeightsError` for another suffix (`check_suffix`) and when it cannot be written.
    """
    check_suffix(path)
    if Path(path).suffix.lower() == ".npz":
        write_npz(path, arrays, origin.to_text())
    else:
        write_safetensors(path, state_dict(arrays), {_METADATA_KEY: origin.to_text()})


def check_suffix(path: str | os.PathLike[str]) -> None:
    """Raise `WeightsError` unless the file to be written ends in one of `SUFFIXES`."""
    if Path(path).suffix.lower() not in SUFFIXES:
        raise WeightsError(
            f"{path}: a weights file is written as .npz (this program's names) or .safetensors (LoFTR's names, for "
            "other programs). Give the output a name that ends in one of the two"
        )


def convert(source: str | os.PathLike[str], output: str | os.PathLike[str], prefix: str = "") -> Converted:
    """Convert the weights file `source`, of any kind that is read, to `output`, of the kind that its suffix says.

    Raises `WeightsError`, naming the file; nothing is written then.
    """
    if os.path.exists(output) and os.path.exists(source) and os.path.samefile(source, output):
        raise WeightsError(f"{output}: is the input file too. Give the converted file another name")
    check_suffix(output)
    converted = read_weights(source, prefix)
    write_weights(output, converted.arrays, converted.origin)
    return converted


def _read_npz(path: Path, prefix: str) -> Converted:
    check_file(path)
    with naming(path):
        held, comment = read_arrays(path)
        problems = []
        for name, array in held.items():
            rule = rule_of(name)
            if rule is None:
                problems.append(f"{name}: not a name of a converted LoFTR file")
            elif array.ndim != len(rule.axes):
                problems.append(f"{name}: shape {array.shape} has the wrong number of axes")
        if problems:
            raise WeightsError(f"{'; '.join(problems)}. Convert the PyTorch checkpoint with `python -m ifvit convert`")
        sources = _under(prefix, {source_name(name): name for name in held})
        arrays = {ours: _float32(held[ours]) for ours in sources.values()}
        check_whole(arrays)
        origin = Provenance.from_text(comment) or provenance_of(path)
        return Converted(
            arrays, {ours: theirs for theirs, ours in sources.items()}, {}, len(held) - len(arrays), origin
        )


def _under(prefix: str, names: Mapping[str, str]) -> dict[str, str]:
    """The items whose key, a name of LoFTR's, lies under `prefix`; `WeightsError` if there are none."""
    prefix = strip_prefix(f"{prefix.strip('.')}.") if prefix.strip(".") else ""
    kept = {theirs: value for theirs, value in names.items() if theirs.startswith(prefix)}
    if prefix and not kept:
        tops = sorted({name.partition(".")[0] for name in names})
        raise WeightsError(f"no tensor lies under the prefix {prefix[:-1]!r}; the file has {', '.join(tops) or 'none'}")
    return kept


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
