"""The YAML files for help and completion: the groups, their choices, and the comments of the keys.

They are read as text and without Hydra, because YAML's data has no comments, and because completion must be fast.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ifvit.console import printable

PACKAGE = Path(__file__).resolve().parent.parent
BASE = "base"  # a group's file that its choices include; no choice itself
MAIN = "train"  # the file that lists the groups
_KEY = re.compile(r"(?P<indent> *)(?P<name>[\w-]+):(?: +(?P<value>[^#\s].*?))??(?: +# *(?P<comment>.*))?")


def config_dir() -> Path:
    """The folder of the YAML files: inside the package when installed from a wheel, beside it in a checkout."""
    package_dir = PACKAGE / "configs"
    return package_dir if package_dir.is_dir() else PACKAGE.parent / "configs"


def groups(folders: Sequence[Path]) -> dict[str, list[str]]:
    """The choices of every group in these folders, without Hydra's own group."""
    choices_of: dict[str, set[str]] = {}
    for folder in folders:
        # No deeper: the user's own folder may have many other files.
        for path in itertools.chain(folder.glob("*/*.yaml"), folder.glob("*/*/*.yaml")):
            group, _, choice = path.relative_to(folder).with_suffix("").as_posix().partition("/")
            is_choice = choice.rpartition("/")[2] != BASE and f"{group}{choice}".isprintable()
            if group != "hydra" and is_choice and path.is_file():
                choices_of.setdefault(group, set()).add(choice)
    return {group: sorted(choices) for group, choices in sorted(choices_of.items())}


def summary(path: Path) -> str:
    """The first sentence of the comment at the beginning of a YAML file."""
    words = " ".join(itertools.takewhile(lambda line: not line.startswith(" "), header(path)))
    return re.split(r"(?<=\.) +(?=[A-Z])", words, maxsplit=1)[0].rstrip(":")


def choice_file(folders: Sequence[Path], group: str, choice: str) -> Path | None:
    """The YAML file of a choice; of two files with one name the first folder's, as for Hydra."""
    paths = (folder / group / f"{choice}.yaml" for folder in folders)
    return next((path for path in paths if path.is_file()), None)


def defaults() -> dict[str, str]:
    """The default choice of each group."""
    entries = re.findall(r"^  - ([\w-]+): (\S+)$", (config_dir() / f"{MAIN}.yaml").read_text(), re.MULTILINE)
    return {group: choice for group, choice in entries if choice != "null" and group != "hydra"}


class Key(NamedTuple):
    """A line of a YAML file: a key with its value and comments."""

    name: str  # with the groups above it, like pairs.noise
    value: str  # as written; empty for a group of keys
    comment: str  # behind the value
    note: list[str]  # the comment lines above


def header(path: Path) -> list[str]:
    """The comment at the beginning of a YAML file, without Hydra's own line."""
    lines = []
    for line in _lines(path):
        if not line.startswith("#"):
            break
        if not line.startswith("# @package"):
            lines.append(line[1:].removeprefix(" "))
    return lines


def keys(path: Path) -> Iterator[Key]:
    """The keys of a YAML file, in its order, without its list `defaults`."""
    above: list[tuple[int, str]] = []  # (indent, name) of the groups that a line is in
    note: list[str] = []
    for line in itertools.dropwhile(lambda line: line.startswith("#"), _lines(path)):
        if line.lstrip().startswith("#"):
            note.append(line.lstrip("# "))
            continue
        match = _KEY.fullmatch(line.rstrip())
        if match is None:
            note = []
            continue
        indent = len(match["indent"])
        above = [group for group in above if group[0] < indent]
        name = ".".join([*(group for _, group in above), match["name"]])
        if name != "defaults":
            yield Key(name, match["value"] or "", match["comment"] or "", note)
        if not match["value"]:
            above.append((indent, match["name"]))
        note = []


def _lines(path: Path) -> list[str]:
    """The lines of a file, without control characters."""
    text = path.read_text(encoding="utf-8", errors="replace")
    return list(map(printable, text.splitlines()))


def documentation_file(group: str) -> Path:
    """The file with every key of a group and its comment."""
    folder = config_dir() / group
    base = folder / f"{BASE}.yaml"
    return base if base.is_file() else folder / f"{defaults()[group]}.yaml"


def all_keys() -> dict[str, list[Key]]:
    """Every key that can be typed, by group; those without a group under ""."""
    keys_of = {"": list(keys(config_dir() / f"{MAIN}.yaml"))}
    for group in defaults():
        keys_of[group] = [key._replace(name=f"{group}.{key.name}") for key in keys(documentation_file(group))]
    return keys_of
