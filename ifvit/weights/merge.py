"""The hook that puts LoFTR's weights into a fresh model, and the report of what it did."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, field
from os import PathLike
from pathlib import PurePath
from typing import Any

import numpy as np

from ifvit.weights.completeness import backbone_kind, layer_count, top_down_names
from ifvit.weights.errors import WeightsError, listed
from ifvit.weights.names import BIN_SCORE, GROUPS, array_name, group_of, layer_kind, model_path

FINE, TOP_DOWN = "the fine stage", "the backbone's top-down path"
NO_FINE_STAGE = "the model has no fine stage (dense.fine=none)"
_Path = tuple[str, ...]


@dataclass(frozen=True)
class MergeReport:
    """What was merged, skipped and left fresh. Model paths are written 'params/transformer/layers_0/…'."""

    source: str  # the weights file's name
    merged: dict[str, str]  # the file's name -> model path
    merged_parameters: int
    arrays: dict[str, int]  # 'transformer', 'backbone' and 'fine' -> arrays of each in the file
    skipped: dict[str, str] = field(default_factory=dict)  # the file's name -> reason
    fresh: tuple[str, ...] = ()  # model paths that keep their initial values
    fresh_parameters: int = 0
    notes: tuple[str, ...] = ()  # what of the model's config does not suit the weights
    wrapper: str = ""  # what stands before LoFTR's names in the file, such as 'state_dict.matcher'

    @property
    def groups(self) -> dict[str, tuple[int, int]]:
        """'transformer', 'backbone' and 'fine' -> (arrays merged, arrays in the file)."""
        merged = [group_of(name) for name in self.merged]
        return {group: (merged.count(group), total) for group, total in self.arrays.items()}

    def text(self) -> str:
        """A few lines for people: counts first, then what was skipped and why, then what stays fresh."""
        total = sum(self.arrays.values())
        lines = [f"{self.source}: {len(self.merged)} of {total} arrays ({self.merged_parameters:,} parameters) merged"]
        counts = [f"{group} {done} of {there} arrays" for group, (done, there) in self.groups.items() if there]
        lines.append("  " + ", ".join(counts) + (f", below {self.wrapper} in the file" if self.wrapper else ""))
        for reason in dict.fromkeys(self.skipped.values()):
            names = [name for name, why in self.skipped.items() if why == reason]
            verb = "skipped" if "/" in names[0] else "unused"  # one of ours, or LoFTR's name of a dropped one
            mark = "warning: " if reason == BIN_SCORE else ""
            lines.append(f"  {mark}{verb}: {_in_short(names)}: {reason}")
        if self.fresh:
            paths = [tuple(path.split("/")) for path in self.fresh]
            # The coarse map's own convolution is never fresh alone, so it needs no name of its own here.
            top_down = {path for path in paths if path[1] == "backbone" and "_outconv" in path[2]}
            parts = dict.fromkeys(_part(path, top_down) for path in paths)
            lines.append(
                f"  fresh: {len(self.fresh)} model arrays ({self.fresh_parameters:,} parameters): {', '.join(parts)}"
            )
        return "\n".join([*lines, *(f"  warning: {note}" for note in self.notes)])

    def to_json(self) -> dict[str, Any]:
        """This report as plain JSON types."""
        return asdict(self) | {"fresh": list(self.fresh), "notes": list(self.notes)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> MergeReport:
        """The report that `to_json` gave, an earlier version's too. Raises `TypeError` for other keys."""
        return cls(**{**data, "fresh": tuple(data["fresh"]), "notes": tuple(data.get("notes", ()))})


def merge(
    variables: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    *,
    layer_kinds: Sequence[str],
    backbone: str,
    source: str | PathLike[str],
    dropped: Mapping[str, str] | Iterable[str] = (),
    notes: Iterable[str] = (),
    wrapper: str = "",
) -> tuple[dict[str, Any], MergeReport]:
    """`variables` with LoFTR's `arrays` in their places, as new nested dicts, and the report.

    `variables` is {'params': …, 'batch_stats': …} of leaves with `.shape` and `.dtype`; merged leaves are
    NumPy arrays of the leaf's dtype, the others are handed on. `arrays` is what `load_arrays` gives, and
    `dropped` what it dropped; `notes` and `wrapper` go into the report. `layer_kinds` ('self' or 'cross' each) and
    `backbone` describe the model. A backbone of another kind is skipped, and so are layers beyond the model's and,
    where the variables hold no fine stage, the file's with the top-down path that leads to it.

    Merged whole or not at all are each layer, the backbone's coarse path with its statistics, its top-down path and
    the fine stage; what the file has nothing of stays fresh. Raises `WeightsError` naming the arrays whose shape or
    layer kind does not fit, those the model needs of such a part that the file lacks, and those that have no place;
    also when nothing at all can be merged.
    """
    leaves = _flatten(variables)
    chosen, skipped, homeless = _choose(arrays, leaves, layer_kinds, backbone)
    shapes, missing = _shape_problems(arrays, leaves, chosen), _missing(leaves, set(chosen.values()))
    problems = [kind for kind in (_kind_problems(arrays, layer_kinds), homeless, shapes, missing) if kind]
    if problems:
        raise WeightsError(
            f"{source}: does not fit the model ({sum(map(len, problems))} problems): "
            f"{'; '.join(listed(kind, 3, '; ') for kind in problems)}. Set the "
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
        arrays={group: groups.count(group) for group in GROUPS},
        skipped=skipped | dict(left_out),
        fresh=tuple("/".join(path) for path in fresh),
        fresh_parameters=sum(math.prod(leaves[path].shape) for path in fresh),
        notes=tuple(notes),
        wrapper=wrapper,
    )
    return _nest(values), report


def arrays_of(variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Our name -> float32 array of every leaf of a model's variables: the inverse of `merge` into a like model.

    Raises `WeightsError` naming the leaves that LoFTR has no name for.
    """
    leaves = _flatten(variables)
    named = {path: array_name(path) for path in leaves}
    if strange := ["/".join(path) for path, name in named.items() if name is None]:
        raise WeightsError(f"LoFTR has no names for these arrays of the model: {listed(strange)}")
    return {name: np.asarray(leaves[path], np.float32) for path, name in named.items()}


def _choose(
    arrays: Mapping[str, np.ndarray], leaves: Mapping[_Path, Any], layer_kinds: Sequence[str], backbone: str
) -> tuple[dict[str, _Path], dict[str, str], list[str]]:
    """The arrays to merge with their places, those to skip with the reason, and what is wrong."""
    chosen: dict[str, _Path] = {}
    skipped: dict[str, str] = {}
    problems: list[str] = []
    kind, top_down = backbone_kind(arrays), top_down_names(arrays)
    has_fine = any(_part(path) == FINE for path in leaves)
    for name in arrays:
        group, path = group_of(name), model_path(name)
        if group == "transformer" and layer_count([name]) > len(layer_kinds):
            skipped[name] = f"the model has {len(layer_kinds)} layers"
        elif group == "backbone" and kind != backbone:
            skipped[name] = f"the file's backbone is {kind}, the model's {backbone}"
        elif (group == "fine" or name in top_down) and not has_fine:
            skipped[name] = NO_FINE_STAGE
        elif path in leaves:
            chosen[name] = path
        else:
            problems.append(f"{name}: the model has no {'/'.join(path)}")
    return chosen, skipped, problems


def _kind_problems(arrays: Iterable[str], layer_kinds: Sequence[str]) -> list[str]:
    held = {layer_count([name]) - 1 for name in arrays if group_of(name) == "transformer"}
    return [
        f"layer {i} is a {layer_kind(i)} layer in the file and a {kind} layer in the model"
        for i, kind in enumerate(layer_kinds)
        if i in held and kind != layer_kind(i)
    ]


def _shape_problems(
    arrays: Mapping[str, np.ndarray], leaves: Mapping[_Path, Any], chosen: Mapping[str, _Path]
) -> list[str]:
    return [
        f"{name}: shape {tuple(arrays[name].shape)} in the file, {tuple(leaves[path].shape)} in the model"
        for name, path in chosen.items()
        if tuple(arrays[name].shape) != tuple(leaves[path].shape)
    ]


def _missing(leaves: Mapping[_Path, Any], filled: Set[_Path]) -> list[str]:
    """Places left empty in a part that is otherwise filled: half a layer of random numbers."""
    top_down = {model_path(name) for name in top_down_names(filter(None, map(array_name, leaves)))}
    part_of = {path: _part(path, top_down) for path in leaves}
    begun = {part_of[path] for path in filled}
    return [
        f"{'/'.join(path)}: the model has it, the file does not"
        for path, part in part_of.items()
        if path not in filled and part in begun
    ]


def _part(path: _Path, top_down: Set[_Path] = frozenset()) -> str:
    """What is merged whole or not at all, in people's words: a layer, the backbone, its top-down path, a fine stage."""
    if path[1] == "transformer":
        return "/".join(path[1:3])
    if path in top_down:
        return TOP_DOWN
    return FINE if path[1].startswith("fine_") else path[1]


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
