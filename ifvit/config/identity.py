"""Which config is the same run: what identifies one, and what may change when it is resumed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ifvit.config.renamed import upgraded
from ifvit.config.schema import Source

# Keys that change neither a state nor the figures of a validation: with other values it is the same run.
SESSION_KEYS = frozenset(
    {
        "run_dir",
        "init.resume_from",
        "data.cache_dir",
        "data.threads",
        "data.memory_gb",
        "trainer.device",
        "trainer.max_hours",
        "trainer.log_every",
        "trainer.validate_every",
        "trainer.checkpoint_every",
    }
)

# Keys that may change when a run is resumed: they do not change the result of step n. Paths and the split's table may
# change, because another machine may have the same files in another folder: the impressions and the split are compared
# by a hash.
MAY_CHANGE = SESSION_KEYS | {
    "init.dense",
    "init.matcher",
    "dense.loftr_pretrained_ckpt",
    "data.root",
    "data.split",
    "data.max_damaged",
    "trainer.max_steps",
    "trainer.val_pairs",
    "matcher.global_weight",
    "matcher.local_weight",
}

MIXTURE_ROOT = re.compile(r"data\.mixture\..*\.root")  # may change too; the data's hash shows whether a source is added

# Keys that configs of earlier versions lack, with the value that continues such a run unchanged.
ADDED = {
    "dense.fine": "none",
    "loss.fine_weight": 1.0,
    "loss.fine_matches": 64,
    "loss.fine_teacher": 0.25,
    "data.renew": 0,
    "data.ridge_mask": "none",
    "data.memory_gb": 4.0,
    "data.split": None,
    "data.pairs.registration_noise_deg": 3.0,
    "data.pairs.registration_noise_px": 2.0,
}
# Groups that earlier configs lack: those of Module 2, and of the rendering of synthetic fingers.
ADDED_GROUPS = ("data.impression.", "matcher.", "loss.matcher.")


def leaves(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a config's tree by key, like optimizer.lr."""
    return dict(_leaves(upgraded(tree)))


def identity(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The values that identify a run: its config by key, without SESSION_KEYS; also of a run of an earlier version."""
    return {key: value for key, value in (ADDED | dict(_leaves(upgraded(tree)))).items() if key not in SESSION_KEYS}


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """`key: old -> new` for every key on which two configs' trees differ and that may not change on resume."""
    old, new = upgraded(old), upgraded(new)
    sources = [_sources(tree) for tree in (old, new)]
    common = sources[0].keys() & sources[1].keys()
    trees = []
    for tree, parts in zip((old, new), sources, strict=True):
        mixture = {name: parts[name] for name in common}
        trees.append(ADDED | dict(_leaves({**tree, "data": {**tree.get("data", {}), "mixture": mixture}})))
    old_values, new_values = trees
    all_keys = old_values.keys() | new_values.keys()
    keys = sorted(k for k in all_keys if k not in MAY_CHANGE and not MIXTURE_ROOT.fullmatch(k))
    keys = [k for k in keys if k in old_values or not k.startswith(ADDED_GROUPS)]
    lines = [f"{k}: {old_values.get(k)} -> {new_values.get(k)}" for k in keys if old_values.get(k) != new_values.get(k)]
    additions, removals = (sorted(parts.keys() - common) for parts in reversed(sources))
    lines += [f"data.mixture.{name}: not in use -> in use" for name in additions]
    return lines + [f"data.mixture.{name}: in use -> not in use" for name in removals]


def _sources(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The sources of a mixture that a config's tree uses; the others may change."""
    return {
        name: part
        for name, part in tree.get("data", {}).get("mixture", {}).items()
        if part["weight"] != 0 and (part["root"] is not None or part["source"] == Source.synthetic)
    }


def _leaves(tree: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{path}{key}.")
        else:
            yield path + key, value
