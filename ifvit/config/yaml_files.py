"""The YAML files as people see them: the groups, their choices, and the comments beside the keys.

Read as text and without Hydra, because comments are no part of YAML's data and a shell that completes cannot wait.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ifvit.console import printable

PACKAGE = Path(__file__).resolve().parent.parent
BASE = "base"  # a group's file that others build on, and that is no choice
MAIN = "train"  # the file that lists the groups
_KEY = re.compile(r"(?P<indent> *)(?P<name>[\w-]+):(?: +(?P<value>[^#\s].*?))??(?: +# *(?P<comment>.*))?")


def config_dir() -> Path:
    """The YAML tree: inside the package when installed from a wheel, beside it in a checkout."""
    shipped = PACKAGE / "configs"
    return shipped if shipped.is_dir() else PACKAGE.parent / "configs"


def groups(folders: Sequence[Path]) -> dict[str, list[str]]:
    """The choices of every group in these folders; Hydra's own group is none of ours."""
    found: dict[str, set[str]] = {}
    for folder in folders:
        # No deeper: a folder of one's own may be one that holds much else.
        for path in itertools.chain(folder.glob("*/*.yaml"), folder.glob("*/*/*.yaml")):
            group, _, choice = path.relative_to(folder).with_suffix("").as_posix().partition("/")
            typable = choice.rpartition("/")[2] != BASE and f"{group}{choice}".isprintable()
            if group != "hydra" and typable and path.is_file():
                found.setdefault(group, set()).add(choice)
    return {group: sorted(choices) for group, choices in sorted(found.items())}


def summary(path: Path) -> str:
    """The first sentence of the comment at the beginning of a YAML file."""
    words = " ".join(itertools.takewhile(lambda line: not line.startswith(" "), header(path)))
    return re.split(r"(?<=\.) +(?=[A-Z])", words, maxsplit=1)[0].rstrip(":")


def choice_file(folders: Sequence[Path], group: str, choice: str) -> Path | None:
    """The YAML file of a choice; of two of one name the first folder's counts, as for Hydra."""
    paths = (folder / group / f"{choice}.yaml" for folder in folders)
    return next((path for path in paths if path.is_file()), None)


def defaults() -> dict[str, str]:
    """The choice that each group has when none is typed."""
    listed = re.findall(r"^  - ([\w-]+): (\S+)$", (config_dir() / f"{MAIN}.yaml").read_text(), re.MULTILINE)
    return {group: choice for group, choice in listed if choice != "null" and group != "hydra"}


class Key(NamedTuple):
    """A line of a YAML file: a key with its value.

    name: with the groups above it, like pairs.noise. note: comments of the lines above it, one of its own beside it.
    value: as it is written; empty for a group of keys.
    """

    name: str
    value: str
    comment: str
    note: list[str]


def header(path: Path) -> list[str]:
    """The comment at the beginning of a YAML file, without the line that is Hydra's."""
    lines = []
    for line in _lines(path):
        if not line.startswith("#"):
            break
        if not line.startswith("# @package"):
            lines.append(line[1:].removeprefix(" "))
    return lines


def keys(path: Path) -> Iterator[Key]:
    """The keys of a YAML file, those of its list `defaults` left out, in the file's order."""
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
    """The lines of a file, nothing in them that a terminal would obey."""
    text = path.read_text(encoding="utf-8", errors="replace")
    return list(map(printable, text.splitlines()))


def documented(group: str) -> Path:
    """The file that holds every key of a group, with its comment."""
    folder = config_dir() / group
    base = folder / f"{BASE}.yaml"
    return base if base.is_file() else folder / f"{defaults()[group]}.yaml"


def all_keys() -> dict[str, list[Key]]:
    """Every key that can be typed, under its group; under "" those of no group."""
    found = {"": list(keys(config_dir() / f"{MAIN}.yaml"))}
    for group in defaults():
        found[group] = [key._replace(name=f"{group}.{key.name}") for key in keys(documented(group))]
    return found
