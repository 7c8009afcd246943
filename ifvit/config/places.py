"""Where a key stands: in which YAML file, in which line. Read only when a key is refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import yaml
from hydra.core.config_loader import ConfigLoader
from hydra.types import RunMode

from ifvit.config.yaml_files import MAIN, config_dir, defaults, documented
from ifvit.console import printable

GLOBAL = "# @package _global_"  # the line that makes a file's keys those of the whole config


class ComposedFile(NamedTuple):
    """A YAML file of a config; package: the group that its keys belong to, empty for the whole config."""

    path: Path
    package: str


def composed_files(
    loader: ConfigLoader, main: str, overrides: Sequence[str], folders: Sequence[Path]
) -> list[ComposedFile]:
    """The files that a config is composed of; of a key that stands in several the last counts.

    folders: of YAML files; of two files of one name the first folder's counts.
    """
    listed = loader.compute_defaults_list(config_name=main, overrides=list(overrides), run_mode=RunMode.RUN).defaults
    files = []
    for entry in listed:
        paths = [folder / f"{entry.config_path}.yaml" for folder in folders]
        files += [ComposedFile(path, entry.package or "") for path in paths if path.is_file()][:1]
    return files


def located(problems: Sequence[str], overrides: Sequence[str], files: Sequence[ComposedFile]) -> list[str]:
    """Lines of refusal that begin with a key, each with the file and the line in which the key stands.

    overrides: what was typed; such keys are named as they are.
    """
    typed = {override.lstrip("+").partition("=")[0] for override in overrides}
    lines = []
    for problem in problems:
        key = problem.partition(":")[0]
        unknown = problem.startswith(f"{key}: unknown key")
        groups = (file for file in files if unknown and file.package.partition(".")[0] == key)
        if file := next(groups, None):
            lines.append(f"{_shown(file.path)}: its first line must be {GLOBAL!r}; without it {_meant(file)}")
        elif key in typed:
            lines.append(problem)
        else:
            lines.append(problem + _place(key, files if unknown else _own(files)))
    return lines


def _meant(file: ComposedFile) -> str:
    first = next((key for key, _ in _keys(file)), f"{file.package}.KEY")
    return f"{first.removeprefix(file.package + '.')} is read as {first}"


def _own(files: Sequence[ComposedFile]) -> list[ComposedFile]:
    """Without the files that give every key its first value: what a key lacks is not their mistake."""
    ours = {config_dir() / f"{MAIN}.yaml", *map(documented, defaults())}
    return [file for file in files if file.path not in ours]


def _place(key: str, files: Sequence[ComposedFile]) -> str:
    """The last file that sets a key, to be added to a line; empty where none does."""
    for file in reversed(files):
        for name, line in _keys(file):
            if name == key:
                return f" ({_shown(file.path)}, line {line})"
    return ""


def _keys(file: ComposedFile) -> Iterator[tuple[str, int]]:
    """Every key of a file as it is typed, groups too, with its line; the list `defaults` left out."""
    try:
        root = yaml.compose(file.path.read_text(), Loader=yaml.SafeLoader)
    except (OSError, ValueError, yaml.YAMLError):
        return
    prefix = f"{file.package}." if file.package else ""
    pending = [(prefix, root)]
    while pending:
        prefix, node = pending.pop()
        if not isinstance(node, yaml.MappingNode):
            continue
        for name, value in node.value:
            if node is not root or name.value != "defaults":
                yield f"{prefix}{name.value}", name.start_mark.line + 1
                pending.append((f"{prefix}{name.value}.", value))


def _shown(path: Path) -> str:
    here = Path.cwd()
    return printable(str(path.relative_to(here) if path.is_relative_to(here) else path))
