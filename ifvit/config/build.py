"""The strict builder of a config from a plain nested dict: keys, types, choices."""

from __future__ import annotations

import dataclasses
import enum
import math
import re
import shlex
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from ifvit.config.identity import ADDED
from ifvit.config.keys import nearest_keys
from ifvit.config.renamed import upgraded
from ifvit.config.rules import check
from ifvit.config.schema import Config, DenseConfig, FilePath, MatcherConfig, PartConfig, Parts
from ifvit.errors import UserError


class ConfigError(UserError, ValueError):
    """One or more problems with the config; `str()` gives one plain line each."""

    def __init__(self, problems: Sequence[str]):
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))


_SEVERAL = re.compile(r"[\w.+-]+( *, *[\w.+-]+)+|(choice|range)\([\w., +-]+\)")  # values of a sweep, as a text


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
