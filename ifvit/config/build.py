"""From a plain nested dict to a config: unknown and missing keys, types, choices. And how two configs differ."""

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


# Keys that change nothing of what a run learns and how it is judged: with other values of them it is the same run.
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

# Keys that may differ when a run goes on: they do not change what step n computes. Paths may, because a session
# elsewhere mounts the same files in another place; the impressions themselves are compared by their fingerprint.
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
MIXTURE_ROOT = re.compile(r"data\.mixture\..*\.root")  # likewise; the data's fingerprint tells when one comes or goes

# Keys that configs of earlier runs lack, with the value under which such a run goes on as it was.
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
# Groups that earlier configs lack: Module 2's, and one that only synthetic fingers read, whose recipe changed with it.
ADDED_GROUPS = ("data.impression.", "matcher.", "loss.matcher.")


def build(tree: Mapping[str, Any]) -> Config:
    """The validated config of a plain nested dict.

    Raises:
        ConfigError: naming every unknown or missing key, wrong type, bad choice and failed cross-field check.
    """
    problems: list[str] = []
    config = _build(Config, tree, "", problems)
    if not problems:
        problems = check(config)
    if problems:
        raise ConfigError(problems)
    return config


def dense_of(tree: Mapping[str, Any]) -> DenseConfig:
    """Module 1's config of a run's config tree, an earlier version's too.

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
    """Module 2's config of a run's config tree.

    Raises:
        ConfigError: it is none.
    """
    problems: list[str] = []
    matcher = _build(MatcherConfig, upgraded(tree).get("matcher"), "matcher", problems)
    if problems:
        raise ConfigError(problems)
    return matcher


def as_tree(config: Any) -> Any:
    """The nested dict of a config, ready for JSON: enums as strings, tuples as lists."""

    if dataclasses.is_dataclass(config):
        return {field.name: as_tree(getattr(config, field.name)) for field in dataclasses.fields(config)}
    if isinstance(config, dict):
        return {k: as_tree(v) for k, v in config.items()}
    if isinstance(config, (list, tuple)):
        return [as_tree(v) for v in config]
    return str(config) if isinstance(config, enum.Enum) else config


def leaves(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A config's values by key, like optimizer.lr."""
    return dict(_leaves(upgraded(tree)))


def identity(tree: Mapping[str, Any]) -> dict[str, Any]:
    """What makes a run this one and no other: its config's values by key, without SESSION_KEYS; of a run of an earlier
    version too.
    """
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
    before, after = trees
    keys = sorted(k for k in before.keys() | after.keys() if k not in MAY_CHANGE and not MIXTURE_ROOT.fullmatch(k))
    keys = [k for k in keys if k in before or not k.startswith(ADDED_GROUPS)]
    changed = [f"{k}: {before.get(k)} -> {after.get(k)}" for k in keys if before.get(k) != after.get(k)]
    come, gone = (sorted(parts.keys() - common) for parts in reversed(sources))
    changed += [f"data.mixture.{name}: not in use -> in use" for name in come]
    return changed + [f"data.mixture.{name}: in use -> not in use" for name in gone]


def _sources(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The sources of a mixture that a config's tree uses; those that it does not use may change."""
    return {
        name: part
        for name, part in tree.get("data", {}).get("mixture", {}).items()
        if part["weight"] != 0 and (part["root"] is not None or part["source"] == Source.synthetic)
    }


def near(path: str) -> str:
    """What a key that is in no schema may have been meant to be: the nearest one, else those of its group."""
    if path in RENAMED:
        return f"it is called {RENAMED[path]} now"
    known = known_keys()
    if part := re.match(r"data\.mixture\.([^.]+)\.", path):
        known = [key.replace(".NAME.", f".{part[1]}.") for key in known]
        if path in known:
            return (
                f"with data=mixture there are those of configs/data/mixture.yaml; another is added by "
                f"'+data.mixture.{part[1]}={{source: folder, root: FOLDER}}'"
            )
    group, _, name = path.rpartition(".")
    names = {key: key.rpartition(".")[2] for key in known if ".NAME." not in key}
    close = difflib.get_close_matches(path, known, n=1, cutoff=0.75)
    close = close or [key for key, last in names.items() if last == name]
    if not close and not group:
        (name,) = difflib.get_close_matches(name, names.values(), n=1, cutoff=0.75) or [None]
        close = [key for key, last in names.items() if last == name]
    if close:
        return f"did you mean {' or '.join(close)}?"
    beside = [key for key in known if key.rpartition(".")[0] == group] if group else []
    return f"known are {', '.join(beside or _at_the_top(known))}"


def _at_the_top(keys: Sequence[str]) -> list[str]:
    """Keys as one lists them in a line: of a group only its name, like optimizer.*"""
    return list(dict.fromkeys(f"{first}.*" if rest else first for first, _, rest in (k.partition(".") for k in keys)))


def known_keys() -> list[str]:
    """Every key of the schema that takes a value, as people type it."""
    return [key for key, _ in typed_keys()]


def typed_keys(cls: type = Config, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(key, type of its value) of the schema; NAME stands for the name of a mixture's source."""
    for name, hint in typing.get_type_hints(cls).items():
        if hint is Parts:
            yield from typed_keys(PartConfig, f"{prefix}{name}.NAME.")
        elif dataclasses.is_dataclass(hint):
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
    """An instance of dataclass `cls`; problems are collected rather than raised, so that all are named at once."""
    if not isinstance(tree, Mapping):
        problems.append(f"{path or 'config'}: expected a group of keys, got {tree!r}")
        return None
    hints = typing.get_type_hints(cls)
    prefix = path + "." if path else ""
    for key in tree:
        if key not in hints:
            problems.append(f"{prefix}{key}: unknown key; {_nested(str(key)) or near(prefix + str(key))}")
    values = {}
    for name, hint in hints.items():
        if name not in tree:
            problems.append(f"{prefix}{name}: missing; every key needs a value")
        else:
            values[name] = _value(hint, tree[name], prefix + name, problems)
    return None if problems else cls(**values)


def _nested(key: str) -> str | None:
    """What to write in YAML for a key with a dot, which only the command line takes apart."""
    group, dot, name = key.partition(".")
    return f"in a YAML file write {group}: and below it, indented, {name}:" if dot else None


def _several(path: str, value: Any) -> str:
    """What to type where a text holds the values of a sweep, like 1,2; to be added to a line."""
    if not isinstance(value, str) or not _SEVERAL.fullmatch(value):
        return ""
    swept = shlex.quote(path + "=" + value.replace(" ", ""))
    return f"; several values are a sweep: type -m {swept}"


def _parts(tree: Any, path: str, problems: list[str]) -> Parts:
    """The parts of a mixture; keys that one leaves out have a default."""
    if not isinstance(tree, Mapping):
        problems.append(f"{path}: expected a group of sources by name, got {tree!r}")
        return Parts()
    defaults = {"root": None, "databases": None, "fvc_year": None, "file_ppi": None, "val_fingers": 2, "weight": 1.0}
    parts = {}
    for name, part in tree.items():
        given = {**defaults, **part} if isinstance(part, Mapping) else part
        parts[str(name)] = _build(PartConfig, given, f"{path}.{name}", problems)
    return Parts(parts)


def _value(hint: Any, value: Any, path: str, problems: list[str]) -> Any:
    if hint is Parts:
        return _parts(value, path, problems)
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, path, problems)
    ok, converted = _convert(hint, value)
    if not ok:
        problems.append(f"{path}: expected {_describe(hint)}, got {value!r}{_several(path, value)}")
    return converted


def _convert(hint: Any, value: Any) -> tuple[bool, Any]:
    """(accepted, value of type `hint`); no guessing: '3' is not an int, True is not a number."""
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
