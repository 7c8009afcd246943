"""The files under a root that may be data: without hidden files, links that lead out, and pictures of this program.

Files that are left out are counted, by the reason, which also says what to do.
"""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from ifvit.databases.own_pictures import own_pictures
from ifvit.databases.records import name_list, natural_key
from ifvit.errors import DataError

SKIPPED_FOLDERS = {"__MACOSX"}
# The beginnings of the reasons for which files are left out.
LINKS = "links that lead out of the root"
FOLDER_LINKS = "links to folders of the root, which count where they lie (hidden ones do not)"
DEAD_LINKS = "links that lead nowhere"
ODD_NAMES = "names that cannot be printed"
OWN_PICTURES = "pictures that this program drew"
PROBLEMS = (LINKS, DEAD_LINKS, ODD_NAMES)


class Listing(NamedTuple):
    """The files under a root."""

    files: list[PurePosixPath]  # relative to the root, in natural order
    left_out: Counter[str]  # count of entries that are no data, by reason


def check_root(root: Path, key: str) -> None:
    """Refuse a root that is no folder.

    key: beginning of the config keys of its source, for the message.

    Raises:
        DataError: the root is absent or is a file.
    """
    if not root.is_dir():
        state = "is not a folder" if root.exists() else "is not there"
        table = "; a table of images is data=manifest" if root.is_file() else ""
        raise DataError(f"{key}root: {root} {state}{table}")


def list_files(root: Path, names_identify: bool = False) -> Listing:
    """The files under `root` without hidden ones. Links to folders and links that lead out of `root` are not followed.

    names_identify: whether the names of the files say whose prints they are, whatever folders lie above them.

    Raises:
        DataError: a folder cannot be listed.
    """
    files: list[PurePosixPath] = []
    left_out: Counter[str] = Counter()
    outside_targets: list[str] = []
    dead_links: list[PurePosixPath] = []
    real_root = os.path.realpath(root)
    folders = [PurePosixPath()]
    while folders:
        folder = folders.pop()
        for entry in _entries(root / folder):
            path = folder / entry.name
            # A name that is not text fits into no table; control characters in a name act on a terminal.
            if not entry.name.isprintable():
                left_out[ODD_NAMES] += 1
            elif entry.is_symlink() and not os.path.exists(entry.path):
                dead_links.append(path)
            elif entry.is_symlink() and not Path(target := os.path.realpath(entry.path)).is_relative_to(real_root):
                outside_targets.append(target)
            elif entry.is_dir(follow_symlinks=False):
                folders.append(path)
            elif entry.is_dir():
                left_out[FOLDER_LINKS] += 1
            elif entry.is_file():
                files.append(path)
    if outside_targets:
        left_out[f"{LINKS}: {_advice(root, real_root, outside_targets, names_identify)}"] = len(outside_targets)
    if dead_links:
        left_out[f"{DEAD_LINKS}, like {dead_links[0]}: fetch what they name, or remove them"] = len(dead_links)
    if drawn_here := own_pictures(root, files):
        left_out[f"{OWN_PICTURES} ({_by_folder(drawn_here)})"] = len(drawn_here)
    return Listing(sorted((f for f in files if f not in drawn_here), key=lambda path: natural_key(str(path))), left_out)


def _entries(folder: Path) -> Iterable[os.DirEntry]:
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed ({error.strerror})") from error
    return [entry for entry in entries if not entry.name.startswith(".") and entry.name not in SKIPPED_FOLDERS]


def _advice(root: Path, real_root: str, targets: Sequence[str], names_identify: bool) -> str:
    """What to do so that links that lead to `targets` become data.

    A copy always works. Where the names of files identify the fingers, naming a folder above both the links and their
    targets works too. Where folders identify the fingers it does not: the images would lie one folder deeper.
    """
    copy = f"`{copy_command(root)}` makes files of them, then name COPY"
    common = Path(os.path.commonpath([real_root, *targets]))
    # A folder above the user's home holds many other files.
    if not names_identify or Path.home().is_relative_to(common):
        return copy
    return f"{copy}; or name {common}, which holds the links and their files, if it holds each image once"


def copy_command(folder: Path) -> str:
    """The command that copies a folder with files in the place of links."""
    return f"cp -rL {shlex.quote(str(folder))} COPY"


def _by_folder(paths: Iterable[PurePosixPath]) -> str:
    """How many paths each folder has, like '3 in run, 1 in the root'."""
    counts = Counter(str(path.parent) for path in sorted(paths))
    return name_list(f"{count} in {'the root' if folder == '.' else folder}" for folder, count in counts.items())
