"""LoFTR's weights: from a file of either naming and layout to the arrays of this program, and back.

An array has two names (`names`): LoFTR's name, and the array name of this program.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ifvit import program
from ifvit.weights.completeness import check_complete
from ifvit.weights.errors import WeightsError, prefix_errors, short_list
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
    """A LoFTR state dict by array names, with the source of each array and the dropped tensors."""

    arrays: dict[str, np.ndarray]  # array name -> float32 array
    sources: dict[str, str]  # array name -> LoFTR's name
    dropped: dict[str, str] = field(default_factory=dict)  # LoFTR's name -> reason
    outside: int = 0  # number of other tensors in the file: outside the prefix, or not of the network
    wrapper: str = ""  # the keys before LoFTR's names in the file, such as 'state_dict.matcher'
    note: str = ""  # how to convert another network that the file also contains
    origin: Provenance | None = None  # the first source of the weights, when they come from a file

    @property
    def warnings(self) -> tuple[str, ...]:
        """Texts that a user should read before training with these weights."""
        unused = [f"{name} is not used: {why}" for name, why in self.dropped.items() if why == BIN_SCORE]
        return (*unused, *([self.note] if self.note else []))

    def summary(self) -> str:
        """The size in words, such as '40 arrays, 41,472 parameters'."""
        return f"{len(self.arrays)} arrays, {sum(a.size for a in self.arrays.values()):,} parameters"

    def table(self) -> str:
        """One line per array (LoFTR's name -> array name, shape), then the dropped tensors, warnings and summary."""
        rows = [(self.sources[name], name, "x".join(map(str, array.shape))) for name, array in self.arrays.items()]
        widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
        lines = [f"{old:<{widths[0]}} -> {new:<{widths[1]}}  {shape}" for old, new, shape in rows]
        if self.wrapper:
            lines.append(f"in the file these names lie below {self.wrapper}")
        for reason in dict.fromkeys(self.dropped.values()):
            names = [name for name, why in self.dropped.items() if why == reason]
            tensors = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} like it"
            lines.append(f"not converted: {tensors}: {reason}")
        if self.outside:
            lines.append(f"not converted: {self.outside} tensors elsewhere in the file")
        lines += [f"warning: {text}" for text in self.warnings]
        return "\n".join([*lines, self.summary()])


def convert_state_dict(state: Mapping[str, np.ndarray], prefix: str = "") -> Converted:
    """Convert a LoFTR state dict (LoFTR's names, PyTorch's layout) to array names, as contiguous float32.

    Args:
        state: name -> array; the names may stand below wrappers (`find_network`).
        prefix: such as 'loftr_coarse', to convert only the tensors under it.

    Raises:
        WeightsError: no rule matches a tensor, a part of the network is incomplete, or a tensor has a wrong type; the
            message names the tensors.
    """
    return _convert(find_network(state, prefix))


def _convert(network: Network) -> Converted:
    """Convert the network's tensors by `RULES`; raises as `convert_state_dict`."""
    arrays, sources, dropped, problems = {}, {}, {}, []
    for name, value in network.tensors.items():
        rules = matching_rules(name)
        if len(rules) != 1:
            problems.append(f"{name}: not a name of LoFTR's" if not rules else f"{name}: {len(rules)} rules claim it")
        elif (rule := rules[0]).array_template is None:
            dropped[name] = rule.reason
        elif value.ndim != len(rule.axes):
            problems.append(f"{name}: shape {value.shape}, expected {len(rule.axes)} axes")
        elif not _is_float(value.dtype):
            problems.append(f"{name}: type {value.dtype}, expected floating point")
        else:
            array_name = rule.array_name(name)
            arrays[array_name], sources[array_name] = _float32(value.transpose(rule.axes)), name
    if problems:
        if architecture(network.names):
            raise WeightsError(f"not LoFTR's weights: {likeness(network.names)}")
        raise WeightsError(
            f"not a LoFTR checkpoint as this program knows it: {len(problems)} of {len(network.tensors)} tensors do "
            f"not fit: {short_list(problems, 3, '; ')}"
        )
    check_complete(arrays, source_name)
    outside = len(network.names) - len(network.tensors)
    return Converted(arrays, sources, dropped, outside, network.wrapper, network.note)


def state_dict(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays by array name -> LoFTR's state dict, in PyTorch's layout, with the counters of its normalisations."""
    state = {}
    for name, array in arrays.items():
        rule, loftr_name = rule_of(name), source_name(name)
        assert rule is not None and loftr_name is not None
        state[loftr_name] = np.ascontiguousarray(array.transpose(np.argsort(rule.axes)))
        if counter := counter_of(name):
            state[counter] = np.zeros((), np.int64)
    return state


def read_npz(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read a converted `.npz` file: array name -> float32 array.

    Raises:
        WeightsError: a name is no array name, or an array is missing, not floating point, not finite, or would need a
            pickle; the message names the file.
    """
    return _read_npz(Path(path), "").arrays


def read_weights(path: str | os.PathLike[str], prefix: str = "") -> Converted:
    """Read weights from a PyTorch, `.safetensors` or converted `.npz` file. Its content decides which of them it is.

    prefix: of LoFTR's names, such as 'loftr_coarse', to read only the arrays under it.

    Raises:
        WeightsError: the file cannot be read or is not LoFTR's; the message names the file.
    """
    path = Path(path)
    check_file(path)
    if _is_npz(path):
        return _read_npz(path, prefix)
    if not is_safetensors(path):
        with open_torch(path) as file:
            network = find_network(file.tensors, prefix)
            converted = _convert(network._replace(tensors=file.read(network.tensors)))
        return replace(converted, origin=provenance_of(path))
    state, metadata = read_safetensors(path)
    with prefix_errors(path):
        converted = convert_state_dict(state, prefix)
    return replace(converted, origin=Provenance.from_text(metadata.get(_METADATA_KEY)) or provenance_of(path))


def load_arrays(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Array name -> array, and dropped tensor -> reason, of a file that `read_weights` reads; raises as it does."""
    weights = read_weights(path)
    return weights.arrays, weights.dropped


def write_weights(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray], origin: Provenance) -> None:
    """Write arrays (by array name) as `.npz`, or as `.safetensors` with LoFTR's names, by the suffix of `path`.

    The file is written completely or not at all.

    Raises:
        WeightsError: the suffix is another one (`check_suffix`), or the file cannot be written.
    """
    check_suffix(path)
    if Path(path).suffix.lower() == ".npz":
        write_npz(path, arrays, origin.to_text())
    else:
        write_safetensors(path, state_dict(arrays), {_METADATA_KEY: origin.to_text()})


def check_suffix(path: str | os.PathLike[str]) -> None:
    """Raise `WeightsError` unless the name of the file to be written ends in one of `SUFFIXES`."""
    if Path(path).suffix.lower() not in SUFFIXES:
        raise WeightsError(
            f"{path}: a weights file is written as .npz (this program's names) or .safetensors (LoFTR's names, for "
            "other programs). Give the output a name that ends in one of the two"
        )


def convert(source: str | os.PathLike[str], output: str | os.PathLike[str], prefix: str = "") -> Converted:
    """Convert the weights file `source`, of a kind that `read_weights` reads, to `output`, a kind by its suffix.

    Raises:
        WeightsError: a file cannot be read or written; then nothing is written. The message names the file.
    """
    if os.path.exists(output) and os.path.exists(source) and os.path.samefile(source, output):
        raise WeightsError(f"{output}: is the input file too. Give the converted file another name")
    check_suffix(output)
    converted = read_weights(source, prefix)
    assert converted.origin is not None
    write_weights(output, converted.arrays, converted.origin)
    return converted


def _read_npz(path: Path, prefix: str) -> Converted:
    check_file(path)
    with prefix_errors(path):
        stored, comment = read_arrays(path)
        problems = []
        for name, array in stored.items():
            rule = rule_of(name)
            if rule is None:
                problems.append(f"{name}: not a name of a converted LoFTR file")
            elif array.ndim != len(rule.axes):
                problems.append(f"{name}: shape {array.shape} has the wrong number of axes")
        if problems:
            raise WeightsError(
                f"{short_list(problems, 3, '; ')}. Convert the PyTorch checkpoint with `{program.command('convert')}`"
            )
        table = {loftr_name: name for name in stored if (loftr_name := source_name(name))}
        tensors = find_network(table, prefix).tensors
        arrays = {name: _float32(stored[name]) for name in tensors.values()}
        check_complete(arrays)
        origin = Provenance.from_text(comment) or provenance_of(path)
        sources = {name: loftr_name for loftr_name, name in tensors.items()}
        return Converted(arrays, sources, outside=len(stored) - len(arrays), origin=origin)


def _is_npz(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except Exception:  # not a readable zip archive: the PyTorch reader names the problem
        return path.suffix == ".npz"
    return any(name.endswith(".npy") for name in names) or (not names and path.suffix == ".npz")


def _is_float(dtype: np.dtype) -> bool:
    return dtype.kind == "f" or dtype.name.startswith(("bfloat16", "float8"))  # those two are not NumPy's own


def _float32(array: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # a float64 beyond float32's range becomes infinite: `check_complete` refuses it
        return np.ascontiguousarray(array, dtype=np.float32)
