"""Keys that earlier versions called otherwise: what those versions wrote is read under the names of today."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

_OF_LOSS = ("dense_weight", "embedding_weight", "embedding_margin", "arc_weight", "arc_scale", "arc_margin")
RENAMED = {
    "data.enhancement": "data.ridge_mask",
    "data.pairs.slip_deg": "data.pairs.registration_noise_deg",
    "data.pairs.slip_px": "data.pairs.registration_noise_px",
} | {f"matcher.{key}": f"loss.matcher.{key}" for key in _OF_LOSS}


def upgraded(tree: Mapping[str, Any]) -> Mapping[str, Any]:
    """A config's tree under the names of today; the same object where no name is old."""
    old_keys = renamed_keys(tree)
    if not old_keys:
        return tree
    result = copy.deepcopy(dict(tree))
    for old in old_keys:
        value = _group(result, old).pop(old.rpartition(".")[2])
        group = result
        *names, last = RENAMED[old].split(".")
        for name in names:
            group = group.setdefault(name, {})
        group.setdefault(last, value)
    return result


def renamed_keys(tree: Mapping[str, Any]) -> list[str]:
    """The keys of a config's tree that have another name today."""
    return [old for old in RENAMED if old.rpartition(".")[2] in _group(tree, old)]


def _group(tree: Any, key: str) -> Any:
    """The group in which a key stands; empty where the tree has none."""
    for name in key.split(".")[:-1]:
        tree = tree.get(name) if isinstance(tree, Mapping) else None
    return tree if isinstance(tree, Mapping) else {}
