"""What a Module 2's config takes from the run that it begins from: the network, and how that sees prints.

Nothing has to be said twice, and nothing may be said otherwise: a key that was typed must be the run's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ifvit.config.build import ADDED, ConfigError, near
from ifvit.config.renamed import upgraded
from ifvit.config.schema import StageName

SEEN = ("ppi", "image_size", "ridge_mask")  # keys of data that belong to the network
LARGEST = 2**24  # bytes of a run's config


def inherited(tree: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """The config's tree with the network of the run that stage=matcher begins from; any other tree as it is.

    overrides: what was typed, like data.ppi=500.

    Raises:
        ConfigError: no such run, or a typed key that is not the run's.
    """
    tree = dict(tree)
    if tree.get("stage") != StageName.matcher:
        return tree
    found = _config_of(tree)
    if found is None:
        return tree  # without a run to begin from it is refused by the rules
    source, run = found
    dense = {key.removeprefix("dense."): value for key, value in ADDED.items() if key.startswith("dense.")}
    try:
        # LoFTR's files were read for Module 1, and are not read again.
        dense |= dict(run["dense"]) | {"loftr_pretrained_ckpt": None}
        data = {key: run["data"].get(key, ADDED.get(f"data.{key}")) for key in SEEN}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError([f"{source}: no run's config.json"]) from error
    problems = [line for line in _typed(tree, overrides, dense, data, source) if line]
    if problems:
        raise ConfigError(problems)
    return tree | {"dense": dense, "data": {**tree["data"], **data}}


def _config_of(tree: Mapping[str, Any]) -> tuple[Path, Mapping[str, Any]] | None:
    """The config to inherit from and where it lies: of the run named; where that is gone, of this very run, or of the
    one it is a copy of.
    """
    init = tree.get("init") or {}
    named = init.get("matcher") or init.get("dense")
    if not named:
        return None
    places = [str(place) for place in (named, tree.get("run_dir"), init.get("resume_from")) if place]
    for place in places:
        path = Path(place) / "config.json"
        if path.is_file():
            try:
                if path.stat().st_size > LARGEST:
                    raise ValueError("too large")
                run = upgraded(json.loads(path.read_text())["config"])
                if not isinstance(run["data"], Mapping) or not isinstance(run["dense"], Mapping):
                    raise TypeError("no config")
            except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
                raise ConfigError([f"{path}: not a run's config.json ({error})"]) from error
            key = "init.matcher" if init.get("matcher") else "init.dense"
            wanted = StageName.matcher if init.get("matcher") else StageName.dense
            if place == str(named) and run.get("stage") != wanted:
                other = "init.dense" if init.get("matcher") else "init.matcher"
                raise ConfigError([f"{key}: {named} is a run of stage={run.get('stage')}; did you mean {other}?"])
            return path, run
    key = "init.matcher" if init.get("matcher") else "init.dense"
    raise ConfigError(
        [
            f"{key}: {named} is no run directory, nor has this run begun: there is no config.json in "
            f"{' or '.join(places)}; give the run_dir of a training run"
        ]
    )


def _typed(tree: Mapping, overrides: Sequence[str], dense: Mapping, data: Mapping, source: Path):
    """A line for each typed key that is not the run's."""
    for override in overrides:
        key = override.lstrip("+").partition("=")[0]
        group, _, name = key.partition(".")
        if key == "dense":
            given, run = tree["dense"].get("use_loftr"), dense.get("use_loftr")
            if given != run:
                yield f"{override}: the Module 1 of {source.parent} has use_loftr={run}, which cannot be changed"
        elif group == "dense" and name not in dense:
            yield f"{key}: unknown key; {near(key)}"
        elif group == "dense" or (group == "data" and name in SEEN):
            given, run = tree[group].get(name), (dense if group == "dense" else data)[name]
            if _sides(given) != _sides(run) and name != "loftr_pretrained_ckpt":
                yield (
                    f"{key}: {_shown(given)} asked for, the Module 1 of {source.parent} has {_shown(run)}; it comes "
                    "with that run: leave it out, or train another Module 1"
                )


def _sides(value: Any) -> Any:
    """A square frame said by both its sides as it is said by one; any other value as it is."""
    return value[0] if isinstance(value, list) and len(value) == 2 and value[0] == value[1] else value


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
