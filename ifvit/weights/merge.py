"""LoFTR's weights into the variables of a fresh model, with a report (`merge`, for training), and out of the variables
of a trained one (`arrays_of`, for export).
"""

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
from ifvit.weights.errors import WeightsError, short_list
from ifvit.weights.names import BIN_SCORE, GROUPS, array_name, group_of, layer_kind, model_path

FINE, TOP_DOWN = "the fine stage", "the backbone's top-down path"
NO_FINE_STAGE = "the model has no fine stage (dense.fine=none)"
_Path = tuple[str, ...]


@dataclass(frozen=True)
class MergeReport:
    """The arrays that were merged, skipped and left fresh. A model path is like 'params/transformer/layers_0/…'."""

    source: str  # the name of the weights file
    merged: dict[str, str]  # array name -> model path
    merged_parameters: int
    arrays: dict[str, int]  # 'transformer', 'backbone' and 'fine' -> number of their arrays in the file
    skipped: dict[str, str] = field(default_factory=dict)  # array name, or LoFTR's name of a dropped tensor -> reason
    fresh: tuple[str, ...] = ()  # model paths that keep their initial values
    fresh_parameters: int = 0
    notes: tuple[str, ...] = ()  # values of the model's config that do not suit the weights
    wrapper: str = ""  # the keys before LoFTR's names in the file, such as 'state_dict.matcher'

    @property
    def groups(self) -> dict[str, tuple[int, int]]:
        """'transformer', 'backbone' and 'fine' -> (arrays merged, arrays in the file)."""
        merged = [group_of(name) for name in self.merged]
        return {group: (merged.count(group), total) for group, total in self.arrays.items()}

    def text(self) -> str:
        """The report in a few lines: the counts, the skipped arrays with their reasons, and the fresh arrays."""
        total = sum(self.arrays.values())
        lines = [f"{self.source}: {len(self.merged)} of {total} arrays ({self.merged_parameters:,} parameters) merged"]
        counts = [f"{group} {merged} of {count} arrays" for group, (merged, count) in self.groups.items() if count]
        lines.append("  " + ", ".join(counts) + (f", below {self.wrapper} in the file" if self.wrapper else ""))
        for reason in dict.fromkeys(self.skipped.values()):
            names = [name for name, why in self.skipped.items() if why == reason]
            verb = "skipped" if "/" in names[0] else "unused"  # an array name, or LoFTR's name of a dropped tensor
            mark = "warning: " if reason == BIN_SCORE else ""
            lines.append(f"  {mark}{verb}: {_in_short(names)}: {reason}")
        if self.fresh:
            paths = [tuple(path.split("/")) for path in self.fresh]
            # The coarse map's own convolution is never fresh alone, so the text does not name it.
            top_down = {path for path in paths if path[1] == "backbone" and "_outconv" in path[2]}
            parts = dict.fromkeys(_part(path, top_down) for path in paths)
            lines.append(
                f"  fresh: {len(self.fresh)} model arrays ({self.fresh_parameters:,} parameters): {', '.join(parts)}"
            )
        return "\n".join([*lines, *(f"  warning: {note}" for note in self.notes)])

    def to_dict(self) -> dict[str, Any]:
        """This report as plain JSON types."""
        return asdict(self) | {"fresh": list(self.fresh), "notes": list(self.notes)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> MergeReport:
        """The report of a tree that `to_dict` gave, of this version or an earlier one.

        Raises:
            TypeError: the tree has other keys.
        """
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
    """Merge LoFTR's arrays into the variables of a model: new nested dicts, and the report.

    Skipped are a backbone of another kind, layers beyond the model's, and, where the model has no fine stage, the
    file's fine stage with the top-down path to it. A part is merged completely or not at all. The parts are each layer,
    the backbone's coarse path with its statistics, its top-down path, and the fine stage. A part of which the file has
    no array stays fresh.

    Args:
        variables: {'params': …, 'batch_stats': …} of leaves with `.shape` and `.dtype`. In the result merged leaves are
            NumPy arrays of the leaf's dtype; the others are the same objects.
        arrays: array name -> array, from `load_arrays`.
        layer_kinds: 'self' or 'cross' for each layer of the model.
        backbone: kind of the model's backbone.
        source: the weights file.
        dropped: LoFTR's name -> reason of the dropped tensors, for the report.
        notes, wrapper: for the report.

    Raises:
        WeightsError: an array's shape or layer kind does not fit, the model has no place for an array, a part of the
            file is incomplete, or nothing can be merged; the message names the arrays.
    """
    leaves = _flatten(variables)
    chosen, skipped, misplaced = _choose(arrays, leaves, layer_kinds, backbone)
    shapes, missing = _shape_problems(arrays, leaves, chosen), _missing(leaves, set(chosen.values()))
    problems = [kind for kind in (_kind_problems(arrays, layer_kinds), misplaced, shapes, missing) if kind]
    if problems:
        raise WeightsError(
            f"{source}: does not fit the model ({sum(map(len, problems))} problems): "
            f"{'; '.join(short_list(kind, 3, '; ') for kind in problems)}. Set the "
            "model's width, layers and backbone to the weights', or use weights made for this model"
        )
    if not chosen:
        reasons = "; ".join(f"{_in_short(_with(skipped, why))}: {why}" for why in dict.fromkeys(skipped.values()))
        raise WeightsError(f"{source}: nothing in it can be merged into the model. {reasons or 'It holds no arrays'}")
    values = dict(leaves)
    for name, path in chosen.items():
        values[path] = np.asarray(arrays[name]).astype(leaves[path].dtype)
    fresh = [path for path in leaves if path not in set(chosen.values())]
    unused = dropped if isinstance(dropped, Mapping) else {name: "not used" for name in dropped}
    groups = [group_of(name) for name in arrays]
    report = MergeReport(
        source=PurePath(source).name,
        merged={name: "/".join(path) for name, path in chosen.items()},
        merged_parameters=sum(int(arrays[name].size) for name in chosen),
        arrays={group: groups.count(group) for group in GROUPS},
        skipped=skipped | dict(unused),
        fresh=tuple("/".join(path) for path in fresh),
        fresh_parameters=sum(math.prod(leaves[path].shape) for path in fresh),
        notes=tuple(notes),
        wrapper=wrapper,
    )
    return _nest(values), report


def arrays_of(variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Array name -> float32 array of every leaf of a model's variables: the inverse of `merge` into an equal model.

    Raises:
        WeightsError: LoFTR has no name for a leaf; the message names them.
    """
    leaves = _flatten(variables)
    names = {path: array_name(path) for path in leaves}
    if nameless := ["/".join(path) for path, name in names.items() if name is None]:
        raise WeightsError(f"LoFTR has no names for these arrays of the model: {short_list(nameless)}")
    return {name: np.asarray(leaves[path], np.float32) for path, name in names.items() if name is not None}


def _choose(
    arrays: Mapping[str, np.ndarray], leaves: Mapping[_Path, Any], layer_kinds: Sequence[str], backbone: str
) -> tuple[dict[str, _Path], dict[str, str], list[str]]:
    """The arrays to merge with their model paths, those to skip with the reason, and the problems."""
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
    """The layers that are of another kind in the file than in the model."""
    layers = {layer_count([name]) - 1 for name in arrays if group_of(name) == "transformer"}
    return [
        f"layer {i} is a {layer_kind(i)} layer in the file and a {kind} layer in the model"
        for i, kind in enumerate(layer_kinds)
        if i in layers and kind != layer_kind(i)
    ]


def _shape_problems(
    arrays: Mapping[str, np.ndarray], leaves: Mapping[_Path, Any], chosen: Mapping[str, _Path]
) -> list[str]:
    """The arrays whose shape is another in the file than in the model."""
    return [
        f"{name}: shape {tuple(arrays[name].shape)} in the file, {tuple(leaves[path].shape)} in the model"
        for name, path in chosen.items()
        if tuple(arrays[name].shape) != tuple(leaves[path].shape)
    ]


def _missing(leaves: Mapping[_Path, Any], filled: Set[_Path]) -> list[str]:
    """The model paths that would stay fresh in a part that is otherwise merged."""
    top_down = {model_path(name) for name in top_down_names(filter(None, map(array_name, leaves)))}
    part_of = {path: _part(path, top_down) for path in leaves}
    merged_parts = {part_of[path] for path in filled}
    return [
        f"{'/'.join(path)}: the model has it, the file does not"
        for path, part in part_of.items()
        if path not in filled and part in merged_parts
    ]


def _part(path: _Path, top_down: Set[_Path] = frozenset()) -> str:
    """The part that a model path belongs to, in words: a layer, the backbone, its top-down path, or the fine stage."""
    if path[1] == "transformer":
        return "/".join(path[1:3])
    if path in top_down:
        return TOP_DOWN
    return FINE if path[1].startswith("fine_") else path[1]


def _with(reasons: Mapping[str, str], reason: str) -> list[str]:
    """The names that have the reason."""
    return [name for name, why in reasons.items() if why == reason]


def _in_short(names: Sequence[str]) -> str:
    """Many names in a few words, such as 'layers 4-7 (40 arrays)', 'backbone (101 arrays)', 'norm (2 arrays)'."""
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
    """Path -> leaf of nested dictionaries; `above` is the path of the tree itself."""
    leaves: dict[_Path, Any] = {}
    for key, value in tree.items():
        leaves |= _flatten(value, (*above, key)) if isinstance(value, Mapping) else {(*above, key): value}
    return leaves


def _nest(leaves: Mapping[_Path, Any]) -> dict[str, Any]:
    """The inverse of `_flatten`."""
    tree: dict[str, Any] = {}
    for path, value in leaves.items():
        node = tree
        for key in path[:-1]:
            node = node.setdefault(key, {})
        node[path[-1]] = value
    return tree
