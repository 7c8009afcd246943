"""Errors of Hydra in one line, each with a suggestion."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from ifvit import program
from ifvit.config.build import ConfigError
from ifvit.config.keys import nearest_keys
from ifvit.config.overrides import literal, parse_overrides, shell_override
from ifvit.config.yaml_files import BASE, groups


def one_line(error: Exception, overrides: Sequence[str], folders: Sequence[Path]) -> str:
    """Hydra's message in one line, without its advice to add unknown keys with '+', which the schema would refuse."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    unknown = re.match(r"Could not override '([^']+)'", lines[0]) if lines else None
    if unknown:
        value = next((text.partition("=")[2] for text in overrides if text.startswith(f"{unknown[1]}=")), "")
        value = value.strip("'")
        return f"{unknown[1]}: unknown key; {_suggestion(unknown[1], value, groups(folders))}"
    if override := re.match(r"In '([^']+)': Could not override '([^']+)'", lines[0] if lines else ""):
        return f"{override[1]}.yaml: {override[2]} is set on the command line alone, like {override[2]}=NAME"
    if absent := re.match(r"In '([^']+)': Could not load '([^'/]+)/([^']+)'", lines[0] if lines else ""):
        choices = groups(folders).get(absent[2], [])
        return f"{absent[1]}.yaml: {_no_choice(absent[2], absent[3], choices)}"
    missing = re.search(r"Could not find '((?:hydra/)?[^'/]+)/([^']*)'", " ".join(lines))
    choices = [name for name in re.findall(r"^\t(\S+)$", str(error), re.MULTILINE) if name != BASE]
    if missing and choices:
        return _no_choice(missing[1], missing[2], choices)
    if ambiguous := re.match(r"Ambiguous value for argument '([^=]+)=(.*)'", lines[0] if lines else ""):
        key, value = ambiguous.groups()
        return f"{key}={value}: one value is expected; a list is '{key}=[{value}]', and several jobs need -m"
    if key := getattr(error, "full_key", None):
        return f"{key}: {lines[0]}"
    return " ".join(lines).partition(" Config search path:")[0]


def refuse_bases(overrides: Sequence[str], folders: Sequence[Path]) -> None:
    """Refuse a group's base file, which its choices include, as a choice."""
    for override in parse_overrides(overrides):
        group, choice = override.key_or_group, override.value()
        if choice in (BASE, None) and not override.is_delete() and (choices := groups(folders).get(group)):
            raise ConfigError([_no_choice(group, "null" if choice is None else BASE, choices)])


def _no_choice(group: str, name: str, choices: Sequence[str]) -> str:
    """The line that refuses an unknown choice, with a suggestion."""
    path = Path(name)
    matches = difflib.get_close_matches(name.lower(), choices, n=1)
    hint = f"did you mean {matches[0]}? " if matches else ""
    if group == "data" and path.exists():
        root = shell_override("data.root", name)
        hint = f"for the prints in it type data=folder {root}, or their database, like data=fvc; "
    elif path.is_file() and path.parent.name == group:
        place = shlex.quote(str(path.parent.parent))
        hint = f"for this file type --config-dir {place} {group}={literal(path.stem)}; "
    return f"{group}={name}: there is no such choice; {hint}known are {', '.join(choices)}"


def _suggestion(key: str, value: str, choices: Mapping[str, Sequence[str]]) -> str:
    """A suggestion for an unknown key: a key, a group, or a group's choice; else all that exist."""
    hint = nearest_keys(key)
    if "." in key:
        return hint
    matches = difflib.get_close_matches(key, choices, n=1, cutoff=0.8)
    if groups_ := [group for group in matches or choices if value in choices[group]]:
        return f"did you mean {' or '.join(f'{group}={value}' for group in groups_)}?"
    if matches:
        return f"did you mean the group {matches[0]}? its choices are {', '.join(choices[matches[0]])}"
    if hint.startswith("did you mean"):
        return hint
    return f"{hint}; groups are {', '.join(choices)}; see {program.command('train --help')}"
