"""What Module 2's config inherits from the run it starts from: Module 1's network, resolution, frame and enhancement.

These keys need not be typed again. A typed key must have the run's value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ifvit.config.build import ConfigError
from ifvit.config.choices import StageName
from ifvit.config.identity import ADDED
from ifvit.config.keys import nearest_keys
from ifvit.config.run_config import FILE, open_run
from ifvit.errors import CheckpointError

SEEN = ("ppi", "image_size", "ridge_mask")  # keys of data that belong to the network


def inherit_network(tree: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """The config's tree with the network of the run that stage=matcher starts from; any other tree unchanged.

    overrides: as typed, like data.ppi=500.

    Raises:
        ConfigError: there is no such run, or a typed key has another value than the run.
    """
    tree = dict(tree)
    if tree.get("stage") != StageName.matcher:
        return tree
    origin = _config_of(tree)
    if origin is None:
        return tree  # without a run it is refused by the rules
    source, run = origin
    dense = {key.removeprefix("dense."): value for key, value in ADDED.items() if key.startswith("dense.")}
    try:
        # LoFTR's files were read for Module 1; they are not read again.
        dense |= dict(run["dense"]) | {"loftr_pretrained_ckpt": None}
        data = {key: run["data"].get(key, ADDED.get(f"data.{key}")) for key in SEEN}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError([f"{source}: no run's config.json"]) from error
    problems = [line for line in _differences(tree, overrides, dense, data, source) if line]
    if problems:
        raise ConfigError(problems)
    return tree | {"dense": dense, "data": {**tree["data"], **data}}


def _config_of(tree: Mapping[str, Any]) -> tuple[Path, Mapping[str, Any]] | None:
    """The config to inherit from, and its file; None where the config names no run.

    It is the named run's. Where that is gone, it is this run's own, or that of the run in init.resume_from.

    Raises:
        ConfigError: there is no such file, or it is damaged, or the run is of the other stage.
    """
    init = tree.get("init") or {}
    run_dir = init.get("matcher") or init.get("dense")
    if not run_dir:
        return None
    places = [str(place) for place in (run_dir, tree.get("run_dir"), init.get("resume_from")) if place]
    for place in places:
        path = Path(place) / FILE
        if path.is_file():
            try:
                run = open_run(path.parent).tree
            except CheckpointError as error:
                raise ConfigError([str(error)]) from error
            key = "init.matcher" if init.get("matcher") else "init.dense"
            stage = StageName.matcher if init.get("matcher") else StageName.dense
            if place == str(run_dir) and run.get("stage") != stage:
                other_key = "init.dense" if init.get("matcher") else "init.matcher"
                raise ConfigError([f"{key}: {run_dir} is a run of stage={run.get('stage')}; did you mean {other_key}?"])
            return path, run
    key = "init.matcher" if init.get("matcher") else "init.dense"
    raise ConfigError(
        [
            f"{key}: {run_dir} is no run directory, nor has this run begun: there is no config.json in "
            f"{' or '.join(places)}; give the run_dir of a training run"
        ]
    )


def _differences(tree: Mapping, overrides: Sequence[str], dense: Mapping, data: Mapping, source: Path) -> Iterator[str]:
    """A line for each typed key that differs from the run's."""
    for override in overrides:
        key = override.lstrip("+").partition("=")[0]
        group, _, name = key.partition(".")
        if key == "dense":
            value, run_value = tree["dense"].get("use_loftr"), dense.get("use_loftr")
            if value != run_value:
                yield f"{override}: the Module 1 of {source.parent} has use_loftr={run_value}, which cannot be changed"
        elif group == "dense" and name not in dense:
            yield f"{key}: unknown key; {nearest_keys(key)}"
        elif group == "dense" or (group == "data" and name in SEEN):
            value, run_value = tree[group].get(name), (dense if group == "dense" else data)[name]
            if _frame_sides(value) != _frame_sides(run_value) and name != "loftr_pretrained_ckpt":
                yield (
                    f"{key}: {_value_text(value)} asked for, the Module 1 of {source.parent} has "
                    f"{_value_text(run_value)}; it comes with that run: leave it out, or train another Module 1"
                )


def _frame_sides(value: Any) -> Any:
    """A square frame as its side, like 128 for [128, 128]; any other value unchanged."""
    return value[0] if isinstance(value, list) and len(value) == 2 and value[0] == value[1] else value


def _value_text(value: Any) -> str:
    """A value as it is typed."""
    return str(value).lower() if isinstance(value, bool) else str(value)
