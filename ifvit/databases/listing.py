"""The files under a root that may be data: without what is hidden, linked from elsewhere, or drawn by this program.

Whatever is left out is counted, with what to do about it.
"""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from ifvit.databases.own_pictures import own_pictures
from ifvit.databases.records import listed, natural
from ifvit.errors import DataError

SKIPPED_FOLDERS = {"__MACOSX"}
# How the reasons begin for which something is left out.
LINKS = "links that lead out of the root"
FOLDER_LINKS = "links to folders of the root, which count where they lie (hidden ones do not)"
DEAD_LINKS = "links that lead nowhere"
ODD_NAMES = "names that cannot be printed"
OWN = "pictures that this program drew"
PROBLEMS = (LINKS, DEAD_LINKS, ODD_NAMES)


class Listing(NamedTuple):
    """The files under a root, relative to it, in natural order, and how many entries were left out for what reason."""

    files: list[PurePosixPath]
    left_out: Counter[str]


def check_root(root: Path, key: str) -> None:
    """Refuse a root that is no folder; `key` is what its config keys begin with.

    Raises:
        DataError: what it is instead.
    """
    if not root.is_dir():
        there = "is not a folder" if root.exists() else "is not there"
        table = "; a table of images is data=manifest" if root.is_file() else ""
        raise DataError(f"{key}root: {root} {there}{table}")


def list_files(root: Path, named: bool = False) -> Listing:
    """The files under `root`, hidden ones apart. Links to folders are not followed, and none that leads out of it.

    named: whether the files' own names say whose they are, whatever folders lie above them.

    Raises:
        DataError: a folder cannot be listed.
    """
    files, left_out, outside, dead = [], Counter(), [], []
    home = os.path.realpath(root)
    folders = [PurePosixPath()]
    while folders:
        folder = folders.pop()
        for entry in _entries(root / folder):
            path = folder / entry.name
            # A name of bytes that are no text fits into no table; one of control characters acts on a terminal.
            if not entry.name.isprintable():
                left_out[ODD_NAMES] += 1
            elif entry.is_symlink() and not os.path.exists(entry.path):
                dead.append(path)
            elif entry.is_symlink() and not Path(target := os.path.realpath(entry.path)).is_relative_to(home):
                outside.append(target)
            elif entry.is_dir(follow_symlinks=False):
                folders.append(path)
            elif entry.is_dir():
                left_out[FOLDER_LINKS] += 1
            elif entry.is_file():
                files.append(path)
    if outside:
        left_out[f"{LINKS}: {_advice(root, home, outside, named)}"] = len(outside)
    if dead:
        left_out[f"{DEAD_LINKS}, like {dead[0]}: fetch what they name, or remove them"] = len(dead)
    if own := own_pictures(root, files):
        left_out[f"{OWN} ({_by_folder(own)})"] = len(own)
    return Listing(sorted((f for f in files if f not in own), key=lambda path: natural(str(path))), left_out)


def _entries(folder: Path) -> Iterable[os.DirEntry]:
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed ({error.strerror})") from error
    return [entry for entry in entries if not entry.name.startswith(".") and entry.name not in SKIPPED_FOLDERS]


def _advice(root: Path, home: str, targets: Sequence[str], named: bool) -> str:
    """What makes data of links that lead to `targets`.

    A copy always does. The folder that holds both does where names say whose a file is; where folders do, its
    images would lie one folder deeper and change owners.
    """
    copy = f"`{copy_command(root)}` makes files of them, then name COPY"
    both = Path(os.path.commonpath([home, *targets]))
    # A folder above the user's own holds much else.
    if not named or Path.home().is_relative_to(both):
        return copy
    return f"{copy}; or name {both}, which holds the links and their files, if it holds each image once"


def copy_command(folder: Path) -> str:
    """What to type for a copy of a folder with files in place of links."""
    return f"cp -rL {shlex.quote(str(folder))} COPY"


def _by_folder(paths: Iterable[PurePosixPath]) -> str:
    """Such as '3 in run, 1 in the root'."""
    counts = Counter(str(path.parent) for path in sorted(paths))
    return listed(f"{count} in {'the root' if folder == '.' else folder}" for folder, count in counts.items())
