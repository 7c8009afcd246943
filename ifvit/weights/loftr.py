"""LoFTR's weights: from a file of either naming and layout to our arrays, and back."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ifvit import program
from ifvit.weights.completeness import check_whole
from ifvit.weights.errors import WeightsError, listed, naming
from ifvit.weights.names import BIN_SCORE, counter_of, matching_rules, rule_of, source_name
from ifvit.weights.npz import read_arrays, write_npz
from ifvit.weights.official import Provenance, provenance_of
from ifvit.weights.others import architecture, likeness
from ifvit.weights.safetensors import is_safetensors, read_safetensors, write_safetensors
from ifvit.weights.torch_file import check_file, open_torch
from ifvit.weights.wrappers import Network, find_network

SUFFIXES = (".npz", ".safetensors")
_METADATA_KEY = "ifvit"  # of a .safetensors file, for the provenance


@dataclass(frozen=True)
class Converted:
    """A state dict in our names: float32 arrays, where each came from, and what was left out and why."""

    arrays: dict[str, np.ndarray]
    sources: dict[str, str]  # our name -> LoFTR's
    dropped: dict[str, str] = field(default_factory=dict)  # LoFTR's name -> reason
    outside: int = 0  # tensors elsewhere in the file: outside the prefix, or no part of the network
    wrapper: str = ""  # what stands before LoFTR's names in the file, such as 'state_dict.matcher'
    note: str = ""  # how to take another network that the file holds too
    origin: Provenance | None = None  # where they were first read from, when they come from a file

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user should know before training with these weights."""
        unused = [f"{name} is not used: {why}" for name, why in self.dropped.items() if why == BIN_SCORE]
        return (*unused, *([self.note] if self.note else []))

    def summary(self) -> str:
        """Such as '40 arrays, 41,472 parameters'."""
        return f"{len(self.arrays)} arrays, {sum(a.size for a in self.arrays.values()):,} parameters"

    def table(self) -> str:
        """One line an array (source -> ours, shape), then what was dropped, the warnings and the sum."""
        rows = [(self.sources[name], name, "x".join(map(str, array.shape))) for name, array in self.arrays.items()]
        wide = [max(len(row[column]) for row in rows) for column in (0, 1)]
        lines = [f"{old:<{wide[0]}} -> {new:<{wide[1]}}  {shape}" for old, new, shape in rows]
        if self.wrapper:
            lines.append(f"in the file these names lie below {self.wrapper}")
        for reason in dict.fromkeys(self.dropped.values()):
            names = [name for name, why in self.dropped.items() if why == reason]
            shown = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} like it"
            lines.append(f"not converted: {shown}: {reason}")
        if self.outside:
            lines.append(f"not converted: {self.outside} tensors elsewhere in the file")
        lines += [f"warning: {text}" for text in self.warnings]
        return "\n".join([*lines, self.summary()])


def convert_state_dict(state: Mapping[str, np.ndarray], prefix: str = "") -> Converted:
    """A LoFTR state dict (LoFTR's names, PyTorch's layout) in our names, as contiguous float32.

    Its names may be wrapped (`find_network`). With a `prefix`, such as 'loftr_coarse', only the tensors under it are
    taken. Raises `WeightsError` naming the tensors that no rule knows, those missing from a part that is otherwise
    there, and those of the wrong kind.
    """
    return _converted(find_network(state, prefix))


def _converted(network: Network) -> Converted:
    arrays, sources, dropped, problems = {}, {}, {}, []
    for name, value in network.tensors.items():
        rules = matching_rules(name)
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
        if architecture(network.names):
            raise WeightsError(f"not LoFTR's weights: {likeness(network.names)}")
        raise WeightsError(
            f"not a LoFTR checkpoint as this program knows it: {len(problems)} of {len(network.tensors)} tensors do "
            f"not fit: {listed(problems, 3, '; ')}"
        )
    check_whole(arrays, source_name)
    outside = len(network.names) - len(network.tensors)
    return Converted(arrays, sources, dropped, outside, network.wrapper, network.note)


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
    if not is_safetensors(path):
        with open_torch(path) as file:
            network = find_network(file.tensors, prefix)
            converted = _converted(network._replace(tensors=file.read(network.tensors)))
        return replace(converted, origin=provenance_of(path))
    state, metadata = read_safetensors(path)
    with naming(path):
        converted = convert_state_dict(state, prefix)
    return replace(converted, origin=Provenance.from_text(metadata.get(_METADATA_KEY)) or provenance_of(path))


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
            raise WeightsError(
                f"{listed(problems, 3, '; ')}. Convert the PyTorch checkpoint with `{program.command('convert')}`"
            )
        sources = find_network({source_name(name): name for name in held}, prefix).tensors
        arrays = {ours: _float32(held[ours]) for ours in sources.values()}
        check_whole(arrays)
        origin = Provenance.from_text(comment) or provenance_of(path)
        sources = {ours: theirs for theirs, ours in sources.items()}
        return Converted(arrays, sources, outside=len(held) - len(arrays), origin=origin)


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
