"""From a configured source to its records: what lies under a root, by the layout of its database.

Nothing is decoded here. A root that is absent or holds nothing of the kind is an error that says what was looked for;
what is left out (slaps, a second resolution, links that lead elsewhere, pictures drawn here) is counted and said.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from ifvit.config import PAPER, DataConfig, PartConfig, Source, missing_modules
from ifvit.databases import layouts
from ifvit.databases.listing import Listing, check_root, list_files
from ifvit.databases.manifest import read_manifest
from ifvit.databases.prepared_table import read_records
from ifvit.databases.records import Record, check_unique, listed
from ifvit.errors import DataError

LOWEST_PPI = 500  # of what is taken where a database comes in several resolutions; enhancement sees 500


class SourceRecords(NamedTuple):
    """The records of a source, and how many files were left out for what reason."""

    records: list[Record]
    left_out: Counter[str]


def find(data: DataConfig) -> dict[str, list[Record]]:
    """The records of every real source in use, by its name in the config; what was left out is said on standard error.

    Raises:
        DataError: a root is absent or holds nothing of the kind; two files claim one impression; the files are of a
            format that needs an extra which is not installed.
    """
    found = {}
    for name, part in data.parts.items():
        if part.source is Source.synthetic:
            continue
        key = data.key_of(name)
        # The paper's split takes what is there of its databases, and says what is missing.
        records, left_out = part_records(part, key, name, all_wanted=data.split != PAPER)
        for reason, count in left_out.items():
            print(f"{key}root: left out: {count} {reason}", file=sys.stderr)
        wsq = sum(record.path.suffix.lower() == ".wsq" for record in records)
        if wsq and (line := missing_modules("wsq", f"{key}root: WSQ, the format of {wsq} of {len(records)} images,")):
            raise DataError(line)
        found[name] = records
    check_unique([record for records in found.values() for record in records], "data")
    return found


def part_records(
    part: PartConfig, key: str = "data.", name: str | None = None, all_wanted: bool = True
) -> SourceRecords:
    """The records of one source.

    key: what its config keys begin with, for messages. name: of the database, where neither files nor table say it: so
    that a folder may be moved and renamed, and two folders of one name are not taken for one. all_wanted: whether each
    of `part.databases` must be there.

    Raises:
        DataError: as `find`.
    """
    name = name or str(part.source)
    if not part.root:
        raise DataError(f"{key}root: empty; name a folder")
    root = Path(part.root)
    if part.source in (Source.manifest, Source.prepared):
        try:
            found = _by_table(part, root, name)
        except DataError as error:
            raise DataError(f"{key}root: {error}") from error
    else:
        check_root(root, key)
        named = part.source in layouts.LAYOUTS
        listing = list_files(root, named)
        found = _by_layout(part, key, root, listing) if named else _by_folder(part, key, root, listing, name)
    records = _wanted(found.records, part.databases, key, all_wanted)
    check_unique(records, f"{key}root")
    return SourceRecords(records, found.left_out)


def _by_table(part: PartConfig, root: Path, name: str) -> SourceRecords:
    """The records of a source that lists its impressions itself."""
    if part.source is Source.prepared:
        return SourceRecords(list(read_records(root).values()), Counter())
    return SourceRecords(*read_manifest(root, part.file_ppi, name))


def _by_layout(part: PartConfig, key: str, root: Path, listing: Listing) -> SourceRecords:
    """The records of a database whose file names say what they are."""
    layout = layouts.LAYOUTS[part.source]
    year = partial(year_of, root, part.fvc_year)
    records, left_out, otherwise = [], Counter(listing.left_out), 0
    for relative in listing.files:
        named = layouts.by_name(part.source, root, relative, year)
        if named is None:
            otherwise += relative.suffix.lower() in layouts.IMAGE_ENDINGS
        elif named.record is None:
            left_out[named.left_out] += 1
        else:
            records.append(named.record)
    if not records:
        raise DataError(_nothing(key, root, layout, listing, left_out))
    if part.fvc_year:
        others = dict.fromkeys(r.database.partition("/")[0] for r in records)
        records = [r for r in records if r.database.startswith(f"FVC{part.fvc_year}")]
        if not records:
            raise DataError(f"{key}fvc_year: {part.fvc_year} is asked for; those in {root} are of {', '.join(others)}")
    if part.source is Source.fvc and part.file_ppi is None:
        for record in records:
            if record.ppi is None:
                raise DataError(_no_year(key, record.path.parent))
    if otherwise:
        left_out[f"images that are not named like {layout.example}"] = otherwise
    records = one_resolution(records, left_out)
    if part.file_ppi:
        records = [record._replace(ppi=part.file_ppi) for record in records]
    return SourceRecords(records, left_out)


def year_of(root: Path, asked: int | None, folder: Path) -> int | None:
    """The competition of a folder under `root`: as the path from the root's own name on says, else as asked for, else
    as the path above says.
    """
    home = Path(os.path.realpath(root))
    below = Path(home.name) / folder.relative_to(root)
    return layouts.fvc_year(below) or asked or layouts.fvc_year(home)


def _no_year(key: str, folder: Path) -> str:
    return (
        f"{key}fvc_year: the images' ppi depends on the competition and the path {folder} does not say which; "
        f"set {key}fvc_year to 2000, 2002, 2004 or 2006 (or {key}file_ppi)"
    )


def _nothing(key: str, root: Path, layout: layouts.Layout, listing: Listing, left_out: Counter[str]) -> str:
    """What was looked for, where, and what was there instead."""
    there = [f"{count} {reason}" for reason, count in left_out.items()]
    there.append(f"{len(listing.files)} files" + (f" like {listed(listing.files[:2])}" if listing.files else ""))
    return (
        f"{key}root: {root} holds no file named as {layout.title} names them, like {layout.example} "
        f"(folders above that, and letter case, do not matter); found: {'; '.join(there)}"
    )


def one_resolution(records: Sequence[Record], left_out: Counter[str]) -> list[Record]:
    """Of each impression the lowest resolution from 500 ppi on; the others show the same impression again."""
    chosen: dict[tuple, Record] = {}
    others = 0
    for record in records:
        key = record.database, record.identity, record.impression
        held = chosen.get(key)
        if held is None or held.ppi is None or record.ppi is None or held.ppi == record.ppi:
            key = key if held is None else (*key, record.path)  # two files for one impression: not for us to choose
            chosen[key] = record
            continue
        others += 1
        chosen[key] = min(held, record, key=lambda one: (one.ppi < LOWEST_PPI, abs(one.ppi - LOWEST_PPI)))
    if others:
        left_out["images that show an impression again at another resolution"] = others
    return list(chosen.values())


def _by_folder(part: PartConfig, key: str, root: Path, listing: Listing, name: str) -> SourceRecords:
    """All images under `root`: a subfolder is a finger; an image directly in `root` is a finger of its own.

    Of PrintsGAN and MOLF the innermost folder is the finger, and those above say where it was taken.
    """
    if part.source is Source.folder:
        _refuse_known(root, key, listing)
    database, ppi = layouts.FOLDERS.get(part.source, (name, None))
    records = []
    for relative in listing.files:
        if relative.suffix.lower() in layouts.IMAGE_ENDINGS:
            inner = relative.parent.name if part.source in layouts.FOLDERS else str(relative.parent)
            above = relative.parent.parent
            device = str(above) if part.source in layouts.FOLDERS and str(above) != "." else None
            loose = relative.parent == PurePosixPath()
            records.append(
                Record(
                    path=root / relative,
                    database=database,
                    subject=f"{database}/{relative.name if loose else inner}",
                    finger=None,
                    impression=str(relative) if device else relative.name,
                    device=device,
                    ppi=part.file_ppi or ppi,
                )
            )
    if not records:
        others = "".join(f"; left out: {count} {reason}" for reason, count in listing.left_out.items())
        raise DataError(f"{key}root: {root} holds no images ({', '.join(layouts.IMAGE_ENDINGS)}){others}")
    return SourceRecords(records, Counter(listing.left_out))


def _refuse_known(root: Path, key: str, listing: Listing) -> None:
    """A database of the field in which each folder were taken for a finger would have all identities wrong."""
    images = [path for path in listing.files if path.suffix.lower() in layouts.IMAGE_ENDINGS]
    for source, layout in layouts.LAYOUTS.items():
        named = [path for path in images if layouts.by_name(source, root, path, lambda _: None)]
        if len(named) > len(images) / 2:
            raise DataError(
                f"{key}root: the files in {root} are named as {layout.title} names them, like {named[0]}: use {source} "
                "instead of folder (or, if a folder is a finger nevertheless, a manifest)"
            )


def _wanted(records: Sequence[Record], names: Sequence[str] | None, key: str, all_wanted: bool) -> list[Record]:
    """The records of the databases, devices or captures that were named; all when none was.

    Raises:
        DataError: one is not there, or none where not all need be.
    """
    if names is None:
        return list(records)

    def called(record: Record) -> set[str]:
        both = record.database, record.database.rpartition("/")[2], record.device, record.capture
        return {name.lower() for name in both if name}

    there = {name for record in records for name in called(record)}
    missing = [name for name in names if name.lower() not in there]
    if (missing and all_wanted) or len(missing) == len(names):
        known = dict.fromkeys(record.database.rpartition("/")[2] for record in records)
        devices = dict.fromkeys(record.device for record in records if record.device)
        raise DataError(
            f"{key}databases: there is no {', '.join(missing) or 'database in an empty list'}; "
            f"found: {', '.join([*known, *devices])}"
        )
    wanted = {name.lower() for name in names}
    return [record for record in records if called(record) & wanted]
