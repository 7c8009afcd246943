"""The strict builder of a config from a plain nested dict: keys, types, choices. And the differences of two configs."""

from __future__ import annotations

import dataclasses
import difflib
import enum
import math
import re
import shlex
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ifvit.config.renamed import RENAMED, upgraded
from ifvit.config.rules import check
from ifvit.config.schema import Config, DenseConfig, FilePath, MatcherConfig, PartConfig, Parts, Source
from ifvit.errors import UserError


class ConfigError(UserError, ValueError):
    """One or more problems with the config; `str()` gives one plain line each."""

    def __init__(self, problems: Sequence[str]):
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))


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

_SEVERAL = re.compile(r"[\w.+-]+( *, *[\w.+-]+)+|(choice|range)\([\w., +-]+\)")  # values of a sweep, as a text
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


def build(tree: Mapping[str, Any]) -> Config:
    """The validated config of a plain nested dict.

    Raises:
        ConfigError: naming every unknown or missing key, wrong type, unknown choice and broken rule across keys.
    """
    problems: list[str] = []
    config = _build(Config, tree, "", problems)
    if not problems:
        problems = check(config)
    if problems:
        raise ConfigError(problems)
    return config


def dense_of(tree: Mapping[str, Any]) -> DenseConfig:
    """Module 1's config, from the config tree of a run, also of an earlier version.

    Raises:
        ConfigError: it is none.
    """
    group = tree.get("dense") if isinstance(tree, Mapping) else None
    older = {key.removeprefix("dense."): value for key, value in ADDED.items() if key.startswith("dense.")}
    problems: list[str] = []
    dense = _build(DenseConfig, older | dict(group) if isinstance(group, Mapping) else group, "dense", problems)
    if problems:
        raise ConfigError(problems)
    return dense


def matcher_of(tree: Mapping[str, Any]) -> MatcherConfig:
    """Module 2's config, from the config tree of a run.

    Raises:
        ConfigError: it is none.
    """
    problems: list[str] = []
    matcher = _build(MatcherConfig, upgraded(tree).get("matcher"), "matcher", problems)
    if problems:
        raise ConfigError(problems)
    return matcher


def to_dict(config: Any) -> Any:
    """The nested dict of a config, ready for JSON: enums as strings, tuples as lists."""

    if dataclasses.is_dataclass(config):
        return {field.name: to_dict(getattr(config, field.name)) for field in dataclasses.fields(config)}
    if isinstance(config, dict):
        return {k: to_dict(v) for k, v in config.items()}
    if isinstance(config, (list, tuple)):
        return [to_dict(v) for v in config]
    return str(config) if isinstance(config, enum.Enum) else config


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


def nearest_keys(path: str) -> str:
    """A suggestion for an unknown key: the nearest key, else the keys of its group."""
    if path in RENAMED:
        return f"it is called {RENAMED[path]} now"
    keys = known_keys()
    if part := re.match(r"data\.mixture\.([^.]+)\.", path):
        keys = [key.replace(".NAME.", f".{part[1]}.") for key in keys]
        if path in keys:
            return (
                f"with data=mixture there are those of configs/data/mixture.yaml; another is added by "
                f"'+data.mixture.{part[1]}={{source: folder, root: FOLDER}}'"
            )
    group, _, name = path.rpartition(".")
    names = {key: key.rpartition(".")[2] for key in keys if ".NAME." not in key}
    matches = difflib.get_close_matches(path, keys, n=1, cutoff=0.75)
    matches = matches or [key for key, last_part in names.items() if last_part == name]
    if not matches and not group:
        nearest = difflib.get_close_matches(name, names.values(), n=1, cutoff=0.75)
        matches = [key for key, last_part in names.items() if last_part in nearest]
    if matches:
        return f"did you mean {' or '.join(matches)}?"
    beside = [key for key in keys if key.rpartition(".")[0] == group] if group else []
    return f"known are {', '.join(beside or _at_the_top(keys))}"


def _at_the_top(keys: Sequence[str]) -> list[str]:
    """Keys without a group, and the groups, like optimizer.*"""
    return list(dict.fromkeys(f"{group}.*" if name else group for group, _, name in (k.partition(".") for k in keys)))


def known_keys() -> list[str]:
    """Every key of the schema that takes a value, as it is typed."""
    return [key for key, _ in typed_keys()]


def typed_keys(cls: type = Config, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(key, type of its value) of the schema; NAME stands for the name of a mixture's source."""
    for name, hint in typing.get_type_hints(cls).items():
        if hint is Parts:
            yield from typed_keys(PartConfig, f"{prefix}{name}.NAME.")
        elif isinstance(hint, type) and dataclasses.is_dataclass(hint):
            yield from typed_keys(hint, f"{prefix}{name}.")
        else:
            yield prefix + name, hint


def _leaves(tree: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{path}{key}.")
        else:
            yield path + key, value


def _build(cls: type, tree: Any, path: str, problems: list[str]) -> Any:
    """An instance of the dataclass `cls`; problems are added to the list, so that all are reported together."""
    if not isinstance(tree, Mapping):
        problems.append(f"{path or 'config'}: expected a group of keys, got {tree!r}")
        return None
    hints = typing.get_type_hints(cls)
    prefix = path + "." if path else ""
    for key in tree:
        if key not in hints:
            problems.append(f"{prefix}{key}: unknown key; {_nested_hint(str(key)) or nearest_keys(prefix + str(key))}")
    values = {}
    for name, hint in hints.items():
        if name not in tree:
            problems.append(f"{prefix}{name}: missing; every key needs a value")
        else:
            values[name] = _value(hint, tree[name], prefix + name, problems)
    return None if problems else cls(**values)


def _nested_hint(key: str) -> str | None:
    """A hint for a key with a dot in a YAML file; only the command line splits such keys."""
    group, dot, name = key.partition(".")
    return f"in a YAML file write {group}: and below it, indented, {name}:" if dot else None


def _sweep_hint(path: str, value: Any) -> str:
    """A hint where a text looks like the values of a sweep, like 1,2; else ''."""
    if not isinstance(value, str) or not _SEVERAL.fullmatch(value):
        return ""
    override = shlex.quote(path + "=" + value.replace(" ", ""))
    return f"; several values are a sweep: type -m {override}"


def _parts(tree: Any, path: str, problems: list[str]) -> Parts:
    """The parts of a mixture; a key that is missing takes its default."""
    if not isinstance(tree, Mapping):
        problems.append(f"{path}: expected a group of sources by name, got {tree!r}")
        return Parts()
    defaults = {"root": None, "databases": None, "fvc_year": None, "file_ppi": None, "val_fingers": 2, "weight": 1.0}
    parts = {}
    for name, part in tree.items():
        values = {**defaults, **part} if isinstance(part, Mapping) else part
        parts[str(name)] = _build(PartConfig, values, f"{path}.{name}", problems)
    return Parts(parts)


def _value(hint: Any, value: Any, path: str, problems: list[str]) -> Any:
    """The value of a key, of type `hint`; problems are added to the list."""
    if hint is Parts:
        return _parts(value, path, problems)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _build(hint, value, path, problems)
    ok, converted = _convert(hint, value)
    if not ok:
        problems.append(f"{path}: expected {_describe(hint)}, got {value!r}{_sweep_hint(path, value)}")
    return converted


def _convert(hint: Any, value: Any) -> tuple[bool, Any]:
    """(accepted, value of type `hint`). Strict: '3' is not an int, True is not a number."""
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        for option in typing.get_args(hint):
            ok, converted = _convert(option, value)
            if ok:
                return True, converted
        return False, None
    if origin is tuple:
        item = typing.get_args(hint)[0]
        if issubclass(item, str) and isinstance(value, (str, int)):
            value = [value]  # a list of one text
        if not isinstance(value, (list, tuple)):
            return False, None
        items = [_convert(item, v) for v in value]
        return all(ok for ok, _ in items), tuple(v for _, v in items)
    if hint is type(None):
        return value is None, None
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return (True, hint(value)) if value in [str(m) for m in hint] else (False, None)
    if hint is float:
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        return number, float(value) if number else None
    if hint in (str, FilePath):
        # Names of fingers and folders are often digits, which YAML reads as a number.
        return isinstance(value, (str, int)) and not isinstance(value, bool), str(value)
    return type(value) is hint, value


def _describe(hint: Any) -> str:
    """A type, in words."""
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_describe(option) for option in typing.get_args(hint))
    if origin is tuple:
        item = typing.get_args(hint)[0]
        many = {int: "whole numbers", str: "texts"}
        return f"a list of {many[item]}" if item in many else f"a list, each {_describe(item)}"
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return "one of " + ", ".join(str(m) for m in hint)
    names = {
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        str: "a text",
        FilePath: "a path",
        type(None): "null",
    }
    return names[hint]
