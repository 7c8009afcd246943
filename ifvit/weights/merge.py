"""The hook that puts LoFTR's weights into a fresh model, and the report of what it did."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from os import PathLike
from pathlib import PurePath
from typing import Any

import numpy as np

from ifvit.weights.errors import WeightsError
from ifvit.weights.loftr import BIN_SCORE, layer_kind

FINE_MAP = "fine map: the model has only the coarse one"
_Path = tuple[str, ...]


@dataclass(frozen=True)
class MergeReport:
    """What was merged, skipped and left fresh. Model paths are written 'params/transformer/layers_0/…'."""

    source: str  # the weights file's name
    merged: dict[str, str]  # the file's name -> model path
    merged_parameters: int
    arrays: dict[str, int]  # 'transformer' and 'backbone' -> arrays of each in the file
    skipped: dict[str, str] = field(default_factory=dict)  # the file's name -> reason
    fresh: tuple[str, ...] = ()  # model paths that keep their initial values
    fresh_parameters: int = 0

    @property
    def groups(self) -> dict[str, tuple[int, int]]:
        """'transformer' and 'backbone' -> (arrays merged, arrays in the file)."""
        merged = [group_of(name) for name in self.merged]
        return {group: (merged.count(group), total) for group, total in self.arrays.items()}

    def text(self) -> str:
        """A few lines for people: counts first, then what was skipped and why, then what stays fresh."""
        total = sum(self.arrays.values())
        lines = [f"{self.source}: {len(self.merged)} of {total} arrays ({self.merged_parameters:,} parameters) merged"]
        counts = [f"{group} {done} of {there} arrays" for group, (done, there) in self.groups.items() if there]
        lines.append("  " + ", ".join(counts))
        for reason in dict.fromkeys(self.skipped.values()):
            names = [name for name, why in self.skipped.items() if why == reason]
            verb = "unused" if reason == FINE_MAP or not names[0].startswith(("layers.", "backbone/")) else "skipped"
            mark = "warning: " if reason == BIN_SCORE else ""
            lines.append(f"  {mark}{verb}: {_in_short(names)}: {reason}")
        if self.fresh:
            parts = [path.split("/") for path in self.fresh]  # collection, module, submodule, …
            tops = dict.fromkeys("/".join(p[1:3]) if p[1] == "transformer" else p[1] for p in parts)
            shown = ", ".join(tops)
            lines.append(f"  fresh: {len(self.fresh)} model arrays ({self.fresh_parameters:,} parameters): {shown}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """This report as plain JSON types."""
        return asdict(self) | {"fresh": list(self.fresh)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> MergeReport:
        """The report that `to_json` gave. Raises `TypeError` for other keys."""
        return cls(**{**data, "fresh": tuple(data["fresh"])})


def merge(
    variables: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    *,
    layer_kinds: Sequence[str],
    backbone: str,
    source: str | PathLike[str],
    dropped: Mapping[str, str] | Iterable[str] = (),
) -> tuple[dict[str, Any], MergeReport]:
    """`variables` with LoFTR's `arrays` in their places, as new nested dicts, and the report.

    `variables` is {'params': …, 'batch_stats': …} of leaves with `.shape` and `.dtype`; merged leaves are
    NumPy arrays of the leaf's dtype, the others are handed on. `arrays` is what `load_arrays` gives, and
    `dropped` what it dropped. `layer_kinds` ('self' or 'cross' each) and `backbone` describe the model. A
    backbone of another kind is skipped, and so are layers beyond the model's.

    Raises `WeightsError` listing every array whose shape or layer kind does not fit, every array the model
    needs of a layer or backbone that the file lacks, and every one that has no place; also when nothing at
    all can be merged.
    """
    leaves = _flatten(variables)
    chosen, skipped, problems = _choose(arrays, leaves, layer_kinds, backbone)
    problems += _shape_problems(arrays, leaves, chosen)
    problems += _missing(leaves, chosen)
    if problems:
        raise WeightsError(
            f"{source}: does not fit the model ({len(problems)} problems): {'; '.join(problems)}. Set the "
            "model's width, layers and backbone to the weights', or use weights made for this model"
        )
    if not chosen:
        reasons = "; ".join(f"{_in_short(_with(skipped, why))}: {why}" for why in dict.fromkeys(skipped.values()))
        raise WeightsError(f"{source}: nothing in it can be merged into the model. {reasons or 'It holds no arrays'}")
    values = dict(leaves)
    for name, path in chosen.items():
        values[path] = np.asarray(arrays[name]).astype(leaves[path].dtype)
    fresh = [path for path in leaves if path not in set(chosen.values())]
    left_out = dropped if isinstance(dropped, Mapping) else {name: "not used" for name in dropped}
    groups = [group_of(name) for name in arrays]
    report = MergeReport(
        source=PurePath(source).name,
        merged={name: "/".join(path) for name, path in chosen.items()},
        merged_parameters=sum(int(arrays[name].size) for name in chosen),
        arrays={group: groups.count(group) for group in ("transformer", "backbone")},
        skipped=skipped | dict(left_out),
        fresh=tuple("/".join(path) for path in fresh),
        fresh_parameters=sum(math.prod(leaves[path].shape) for path in fresh),
    )
    return _nest(values), report


def group_of(name: str) -> str:
    """'backbone' or 'transformer': the part of the network our array `name` belongs to."""
    return "backbone" if name.startswith("backbone/") else "transformer"


def backbone_kind(arrays: Iterable[str]) -> str | None:
    """The kind of the backbone among these names, told by its coarse map; None if there is no backbone."""
    names = {name for name in arrays if name.startswith("backbone/")}
    if not names:
        return None
    if "backbone/layer4_outconv/kernel" in names:
        return "resnet_fpn_16_4"
    return "resnet_fpn_8_2" if "backbone/layer3_outconv/kernel" in names else "resnet18"


def model_path(name: str) -> _Path:
    """The place of our array `name` in the model's variables: mean, var are statistics, the rest params."""
    *modules, leaf = name.split("/")
    if group_of(name) == "transformer":
        modules[0] = re.sub(r"\.0$", "", modules[0])
        modules.insert(0, "transformer")
    collection = "batch_stats" if leaf in ("mean", "var") else "params"
    return (collection, *(module.replace(".", "_") for module in modules), leaf)


def _choose(
    arrays: Mapping[str, np.ndarray], leaves: Mapping[_Path, Any], layer_kinds: Sequence[str], backbone: str
) -> tuple[dict[str, _Path], dict[str, str], list[str]]:
    """The arrays to merge with their places, those to skip with the reason, and what is wrong."""
    chosen: dict[str, _Path] = {}
    skipped: dict[str, str] = {}
    problems: list[str] = []
    kind = backbone_kind(arrays)
    wrong_kinds: dict[int, str] = {}
    for name in arrays:
        path = model_path(name)
        if group_of(name) == "transformer":
            layer = int(path[2].removeprefix("layers_"))
            if layer >= len(layer_kinds):
                skipped[name] = f"the model has {len(layer_kinds)} layers"
                continue
            if layer_kinds[layer] != layer_kind(layer):
                wrong_kinds[layer] = (
                    f"layer {layer} is a {layer_kind(layer)} layer in the file and a {layer_kinds[layer]} "
                    "layer in the model"
                )
        elif kind != backbone:
            skipped[name] = f"the file's backbone is {kind}, the model's {backbone}"
            continue
        elif path not in leaves and "_outconv" in name:
            skipped[name] = FINE_MAP
            continue
        if path in leaves:
            chosen[name] = path
        else:
            problems.append(f"{name}: the model has no {'/'.join(path)}")
    return chosen, skipped, [*wrong_kinds.values(), *problems]


def _shape_problems(
    arrays: Mapping[str, np.ndarray], leaves: Mapping[_Path, Any], chosen: Mapping[str, _Path]
) -> list[str]:
    return [
        f"{name}: shape {tuple(arrays[name].shape)} in the file, {tuple(leaves[path].shape)} in the model"
        for name, path in chosen.items()
        if tuple(arrays[name].shape) != tuple(leaves[path].shape)
    ]


def _missing(leaves: Mapping[_Path, Any], chosen: Mapping[str, _Path]) -> list[str]:
    """Places left empty in a layer or a backbone that is otherwise filled: half a layer of random numbers."""
    filled = set(chosen.values())
    units = {_unit(path) for path in filled}
    return [
        f"{'/'.join(path)}: the model has it, the file does not"
        for path in leaves
        if path not in filled and _unit(path) in units
    ]


def _unit(path: _Path) -> _Path | None:
    """What is merged whole or not at all: a transformer layer, or the backbone with its statistics."""
    if path[1:2] == ("backbone",):
        return path[1:2]
    return path[1:3] if path[1:2] == ("transformer",) else None


def _with(reasons: Mapping[str, str], reason: str) -> list[str]:
    return [name for name, why in reasons.items() if why == reason]


def _in_short(names: Sequence[str]) -> str:
    """Many names in a few words: 'layers 4-7 (40 arrays)', 'backbone (101 arrays)', 'norm (2 arrays)'."""
    if len(names) == 1:
        return names[0]
    count = f"({len(names)} arrays)"
    if layers := sorted({int(m[1]) for m in (re.match(r"layers\.(\d+)\.0/", n) for n in names) if m}):
        return f"layers {layers[0]}-{layers[-1]} {count}" if len(layers) > 1 else f"layer {layers[0]} {count}"
    modules = list(dict.fromkeys(re.split(r"[/.]", name.removeprefix("backbone/"))[0] for name in names))
    if modules == ["backbone"]:  # PyTorch's names: the counters of its normalisations
        modules = list(dict.fromkeys(name.rpartition(".")[2] for name in names))
    if len(modules) > 8:
        modules = ["backbone"] if group_of(names[0]) == "backbone" else [*modules[:8], "…"]
    return f"{', '.join(modules)} {count}"


def _flatten(tree: Mapping[str, Any], above: _Path = ()) -> dict[_Path, Any]:
    leaves: dict[_Path, Any] = {}
    for key, value in tree.items():
        leaves |= _flatten(value, (*above, key)) if isinstance(value, Mapping) else {(*above, key): value}
    return leaves


def _nest(leaves: Mapping[_Path, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, value in leaves.items():
        node = tree
        for key in path[:-1]:
            node = node.setdefault(key, {})
        node[path[-1]] = value
    return tree
