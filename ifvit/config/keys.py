"""The keys of the schema, as they are typed, and the nearest ones to an unknown key."""

from __future__ import annotations

import dataclasses
import difflib
import re
import typing
from collections.abc import Iterator, Sequence
from typing import Any

from ifvit.config.renamed import RENAMED
from ifvit.config.schema import Config, PartConfig, Parts


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
