"""From a configured source to its records: what lies under a root, by the layout of its database.

Nothing is decoded here. A root that is absent or holds nothing of the kind is an error that says what was looked for;
what is left out (slaps, a second resolution, links that lead elsewhere) is counted and said.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from ifvit.config import DataConfig, PartConfig, Source
from ifvit.data import layouts
from ifvit.data.manifest import read_manifest
from ifvit.data.records import DataError, Record, check_unique, listed, natural

SKIPPED_FOLDERS = {"__MACOSX"}
LINKS = "links that lead out of the root"
LOWEST_PPI = 500  # of what is taken where a database comes in several resolutions; enhancement sees 500


class Listing(NamedTuple):
    """The files under a root, relative to it, in natural order, and the number of links that lead out of it."""

    files: list[PurePosixPath]
    links_out: int


class Found(NamedTuple):
    """The records of a source, and how many files were left out for what reason."""

    records: list[Record]
    left_out: Counter[str]


def find(data: DataConfig) -> dict[str, list[Record]]:
    """The records of every real source in use, by its name in the config; what was left out is said on standard error.

    Raises:
        DataError: a root is absent or holds nothing of the kind; two files claim one impression.
    """
    found = {}
    for name, part in data.parts.items():
        if part.source is Source.synthetic:
            continue
        key = f"data.mixture.{name}." if data.source is Source.mixture else "data."
        records, left_out = part_records(part, key)
        for reason, count in left_out.items():
            print(f"{key}root: {count} files left out: {reason}", file=sys.stderr)
        found[name] = records
    check_unique([record for records in found.values() for record in records], "data")
    return found


def part_records(part: PartConfig, key: str = "data.") -> Found:
    """The records of one source; `key` is what its config keys begin with, for messages.

    Raises:
        DataError: as `find`.
    """
    root = Path(part.root or "")
    if part.source is Source.manifest:
        found = Found(*read_manifest(root, part.file_ppi))
    else:
        if not root.is_dir():
            raise DataError(f"{key}root: {root} is not a folder")
        listing = list_files(root)
        if part.source in layouts.LAYOUTS:
            found = _by_layout(part, key, root, listing)
        else:
            found = _by_folder(part, key, root, listing)
    records = _wanted(found.records, part.databases, key)
    check_unique(records, f"{key}root")
    return Found(records, found.left_out)


def list_files(root: Path) -> Listing:
    """The files under `root`, hidden ones apart. Links to folders are not followed."""
    home, files, links_out = Path(os.path.realpath(root)), [], 0
    folders = [PurePosixPath()]
    while folders:
        folder = folders.pop()
        try:
            entries = list(os.scandir(root / folder))
        except OSError as error:
            raise DataError(f"{root / folder}: cannot be listed ({error.strerror})") from error
        for entry in entries:
            if entry.name.startswith(".") or entry.name in SKIPPED_FOLDERS:
                continue
            inside = not entry.is_symlink() or Path(os.path.realpath(entry.path)).is_relative_to(home)
            if not inside:
                links_out += 1
            elif entry.is_dir(follow_symlinks=False):
                folders.append(folder / entry.name)
            elif entry.is_file():
                files.append(folder / entry.name)
    return Listing(sorted(files, key=lambda path: natural(str(path))), links_out)


def _by_layout(part: PartConfig, key: str, root: Path, listing: Listing) -> Found:
    """The records of a database whose file names say what they are."""
    year = partial(_year, part, Path(os.path.realpath(root)), root)
    records, left_out = [], Counter()
    for relative in listing.files:
        named = layouts.by_name(part.source, root, relative, year)
        if named is None:
            continue
        if named.record is None:
            left_out[named.left_out] += 1
        else:
            records.append(named.record)
    if part.fvc_year:
        records = [r for r in records if r.database.startswith(f"FVC{part.fvc_year}")]
    if not records:
        raise DataError(_nothing(key, root, layouts.LAYOUTS[part.source], listing, left_out))
    if part.source is Source.fvc and part.file_ppi is None:
        for record in records:
            if record.ppi is None:
                raise DataError(_no_year(key, record.path.parent))
    if listing.links_out:
        left_out[LINKS] = listing.links_out
    records = one_resolution(records, left_out)
    if part.file_ppi:
        records = [record._replace(ppi=part.file_ppi) for record in records]
    return Found(records, left_out)


def _year(part: PartConfig, home: Path, root: Path, folder: Path) -> int | None:
    """The competition of a folder under `root`: as its path says, else as configured."""
    return layouts.fvc_year(home / folder.relative_to(root)) or part.fvc_year


def _no_year(key: str, folder: Path) -> str:
    return (
        f"{key}fvc_year: the images' ppi depends on the competition and the path {folder} does not say which; "
        f"set {key}fvc_year to 2000, 2002, 2004 or 2006 (or {key}file_ppi)"
    )


def _nothing(key: str, root: Path, layout: layouts.Layout, listing: Listing, left_out: Counter[str]) -> str:
    """What was looked for, where, and what was there instead."""
    there = [f"{count} files that are {reason}" for reason, count in left_out.items()]
    if listing.links_out:
        there.append(f"{listing.links_out} {LINKS} (name the folder that they lead to)")
    there.append(f"{len(listing.files)} files" + (f" like {listed(listing.files[:2])}" if listing.files else ""))
    return (
        f"{key}root: {root} holds no file named as {layout.title} names them, like {layout.example} "
        f"(folders above that, and letter case, do not matter); found: {'; '.join(there)}"
    )


def one_resolution(records: Sequence[Record], left_out: Counter[str]) -> list[Record]:
    """The records of the lowest resolution from 500 ppi on: the others show the same impressions again."""
    several = {record.ppi for record in records if record.ppi}
    databases = {record.database for record in records}
    if len(several) < 2 or any(name.startswith("FVC") for name in databases):
        return list(records)
    chosen = min((ppi for ppi in several if ppi >= LOWEST_PPI), default=max(several))
    kept = [record for record in records if record.ppi == chosen]
    left_out[f"the same impressions at another resolution than {chosen:g} ppi"] = len(records) - len(kept)
    return kept


def _by_folder(part: PartConfig, key: str, root: Path, listing: Listing) -> Found:
    """All images under `root`: a subfolder is a finger; an image directly in `root` is a finger of its own."""
    name, ppi = layouts.FOLDERS.get(part.source, (root.resolve().name, None))
    records = []
    for relative in listing.files:
        if relative.suffix.lower() in layouts.IMAGE_ENDINGS:
            folder = str(relative.parent)
            subject = relative.stem if folder == "." else folder
            records.append(
                Record(
                    path=root / relative,
                    database=name,
                    subject=f"{name}/{subject}",
                    finger=None,
                    impression=relative.name,
                    ppi=part.file_ppi or ppi,
                )
            )
    links = Counter({LINKS: listing.links_out} if listing.links_out else {})
    if not records:
        said = f"; {listing.links_out} {LINKS} were left out" if listing.links_out else ""
        raise DataError(f"{key}root: {root} holds no images ({', '.join(layouts.IMAGE_ENDINGS)}){said}")
    return Found(records, links)


def _wanted(records: Sequence[Record], names: Sequence[str] | None, key: str) -> list[Record]:
    """The records of the databases, devices or captures that were named; all when none was.

    Raises:
        DataError: one is not there.
    """
    if names is None:
        return list(records)

    def called(record: Record) -> set[str]:
        both = record.database, record.database.rpartition("/")[2], record.device, record.capture
        return {name.lower() for name in both if name}

    there = {name for record in records for name in called(record)}
    missing = [name for name in names if name.lower() not in there]
    if missing or not names:
        known = dict.fromkeys(record.database.rpartition("/")[2] for record in records)
        devices = dict.fromkeys(record.device for record in records if record.device)
        raise DataError(
            f"{key}databases: there is no {', '.join(missing) or 'database in an empty list'}; "
            f"found: {', '.join([*known, *devices])}"
        )
    wanted = {name.lower() for name in names}
    return [record for record in records if called(record) & wanted]
