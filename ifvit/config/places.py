"""The YAML file and the line in which a key is set, for messages. Read only when a key is refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import yaml
from hydra.core.config_loader import ConfigLoader
from hydra.types import RunMode

from ifvit.config.yaml_files import MAIN, config_dir, defaults, documentation_file
from ifvit.console import printable

GLOBAL = "# @package _global_"  # the line that makes a file's keys full ones


class ComposedFile(NamedTuple):
    """A YAML file of a config."""

    path: Path
    package: str  # the group of its keys; empty where they are full ones


def composed_files(
    loader: ConfigLoader, main: str, overrides: Sequence[str], folders: Sequence[Path]
) -> list[ComposedFile]:
    """The files that a config is composed of. A key in several files takes the last file's value.

    folders: of YAML files; of two files with one name the first folder's is used.
    """
    composed = loader.compute_defaults_list(config_name=main, overrides=list(overrides), run_mode=RunMode.RUN)
    files = []
    for entry in composed.defaults:
        paths = [folder / f"{entry.config_path}.yaml" for folder in folders]
        files += [ComposedFile(path, entry.package or "") for path in paths if path.is_file()][:1]
    return files


def locate(problems: Sequence[str], overrides: Sequence[str], files: Sequence[ComposedFile]) -> list[str]:
    """Add to each problem, which begins with a key, the file and the line in which the key is set.

    overrides: as typed; their keys get no file.
    """
    typed_keys = {override.lstrip("+").partition("=")[0] for override in overrides}
    lines = []
    for problem in problems:
        key = problem.partition(":")[0]
        unknown = problem.startswith(f"{key}: unknown key")
        groups = (file for file in files if unknown and file.package.partition(".")[0] == key)
        if file := next(groups, None):
            lines.append(f"{_relative(file.path)}: its first line must be {GLOBAL!r}; without it {_package_text(file)}")
        elif key in typed_keys:
            lines.append(problem)
        else:
            lines.append(problem + _place_text(key, files if unknown else _without_defaults(files)))
    return lines


def _package_text(file: ComposedFile) -> str:
    """How the first key of a file is read without the line `GLOBAL`."""
    first_key = next((key for key, _ in _keys(file)), f"{file.package}.KEY")
    return f"{first_key.removeprefix(file.package + '.')} is read as {first_key}"


def _without_defaults(files: Sequence[ComposedFile]) -> list[ComposedFile]:
    """The files without the program's own defaults: a missing key is not their mistake."""
    default_files = {config_dir() / f"{MAIN}.yaml", *map(documentation_file, defaults())}
    return [file for file in files if file.path not in default_files]


def _place_text(key: str, files: Sequence[ComposedFile]) -> str:
    """The last file that sets a key, with the line, in brackets; empty where no file sets it."""
    for file in reversed(files):
        for name, line in _keys(file):
            if name == key:
                return f" ({_relative(file.path)}, line {line})"
    return ""


def _keys(file: ComposedFile) -> Iterator[tuple[str, int]]:
    """Every key and group of a file, as it is typed, with its line; without the list `defaults`."""
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


def _relative(path: Path) -> str:
    """A path, relative to the working directory where it is inside."""
    working_dir = Path.cwd()
    return printable(str(path.relative_to(working_dir) if path.is_relative_to(working_dir) else path))
