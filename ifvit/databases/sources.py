"""The records of a configured source: the files under its root, by the layout of its database.

No image is decoded here. A root that is absent or has no file of the layout is an error. Files that are left out
(slaps, a second resolution, links that lead out, pictures of this program) are counted and reported.
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
from ifvit.databases.records import Record, check_unique, name_list
from ifvit.errors import DataError

LOWEST_PPI = 500  # of the files in use where a database has several resolutions; enhancement works at 500


class SourceRecords(NamedTuple):
    """The records of a source."""

    records: list[Record]
    left_out: Counter[str]  # count of files that are no records, by reason


def find(data: DataConfig) -> dict[str, list[Record]]:
    """The records of every source that is not synthetic, by its name in the config; warns of files that are left out.

    Raises:
        DataError: a root is absent or holds nothing of the kind; two files claim one impression; the files are of a
            format that needs an extra which is not installed.
    """
    sources = {}
    for name, part in data.parts.items():
        if part.source is Source.synthetic:
            continue
        key = data.key_of(name)
        # The paper's split uses those of its databases that are present, and reports the missing ones.
        records, left_out = part_records(part, key, name, all_required=data.split != PAPER)
        for reason, count in left_out.items():
            print(f"{key}root: left out: {count} {reason}", file=sys.stderr)
        wsq = sum(record.path.suffix.lower() == ".wsq" for record in records)
        if wsq and (line := missing_modules("wsq", f"{key}root: WSQ, the format of {wsq} of {len(records)} images,")):
            raise DataError(line)
        sources[name] = records
    check_unique([record for records in sources.values() for record in records], "data")
    return sources


def part_records(
    part: PartConfig, key: str = "data.", name: str | None = None, all_required: bool = True
) -> SourceRecords:
    """The records of one source.

    key: beginning of its config keys, for messages. name: of the database where neither files nor table say it; it does
    not depend on the folder, which may be moved. all_required: whether each of `part.databases` must be present.

    Raises:
        DataError: as `find`.
    """
    name = name or str(part.source)
    if not part.root:
        raise DataError(f"{key}root: empty; name a folder")
    root = Path(part.root)
    if part.source in (Source.manifest, Source.prepared):
        try:
            result = _by_table(part, root, name)
        except DataError as error:
            raise DataError(f"{key}root: {error}") from error
    else:
        check_root(root, key)
        has_layout = part.source in layouts.LAYOUTS
        listing = list_files(root, names_identify=has_layout)
        result = _by_layout(part, key, root, listing) if has_layout else _by_folder(part, key, root, listing, name)
    records = _select(result.records, part.databases, key, all_required)
    check_unique(records, f"{key}root")
    return SourceRecords(records, result.left_out)


def _by_table(part: PartConfig, root: Path, name: str) -> SourceRecords:
    """The records of a manifest or of prepared prints."""
    if part.source is Source.prepared:
        return SourceRecords(list(read_records(root).values()), Counter())
    return SourceRecords(*read_manifest(root, part.file_ppi, name))


def _by_layout(part: PartConfig, key: str, root: Path, listing: Listing) -> SourceRecords:
    """The records of a database by the names of its files."""
    layout = layouts.LAYOUTS[part.source]
    year = partial(year_of, root, part.fvc_year)
    records, left_out, misnamed = [], Counter(listing.left_out), 0
    for relative in listing.files:
        parsed = layouts.parse_name(part.source, root, relative, year)
        if parsed is None:
            misnamed += relative.suffix.lower() in layouts.IMAGE_ENDINGS
        elif parsed.record is None:
            assert parsed.reason is not None
            left_out[parsed.reason] += 1
        else:
            records.append(parsed.record)
    if not records:
        raise DataError(_no_files_message(key, root, layout, listing, left_out))
    if part.fvc_year:
        competitions = dict.fromkeys(r.database.partition("/")[0] for r in records)
        records = [r for r in records if r.database.startswith(f"FVC{part.fvc_year}")]
        if not records:
            raise DataError(
                f"{key}fvc_year: {part.fvc_year} is asked for; those in {root} are of {', '.join(competitions)}"
            )
    if part.source is Source.fvc and part.file_ppi is None:
        for record in records:
            if record.ppi is None:
                raise DataError(_no_year_message(key, record.path.parent))
    if misnamed:
        left_out[f"images that are not named like {layout.example}"] = misnamed
    records = keep_one_resolution(records, left_out)
    if part.file_ppi:
        records = [record._replace(ppi=part.file_ppi) for record in records]
    return SourceRecords(records, left_out)


def year_of(root: Path, configured: int | None, folder: Path) -> int | None:
    """The year of the competition of a folder under `root`, None if it is unknown.

    It is the year in the path from the root's own name on, else the configured one, else the year in the path above.
    """
    home = Path(os.path.realpath(root))
    below = Path(home.name) / folder.relative_to(root)
    return layouts.fvc_year(below) or configured or layouts.fvc_year(home)


def _no_year_message(key: str, folder: Path) -> str:
    return (
        f"{key}fvc_year: the images' ppi depends on the competition and the path {folder} does not say which; "
        f"set {key}fvc_year to 2000, 2002, 2004 or 2006 (or {key}file_ppi)"
    )


def _no_files_message(key: str, root: Path, layout: layouts.Layout, listing: Listing, left_out: Counter[str]) -> str:
    """The message that no file has the name of the layout, with an example of it and what the root contains."""
    contents = [f"{count} {reason}" for reason, count in left_out.items()]
    contents.append(f"{len(listing.files)} files" + (f" like {name_list(listing.files[:2])}" if listing.files else ""))
    return (
        f"{key}root: {root} holds no file named as {layout.title} names them, like {layout.example} "
        f"(folders above that, and letter case, do not matter); found: {'; '.join(contents)}"
    )


def keep_one_resolution(records: Sequence[Record], left_out: Counter[str]) -> list[Record]:
    """The records without copies of an impression at other resolutions; the lowest one from 500 ppi on stays.

    left_out: counts the copies.
    """
    chosen: dict[tuple, Record] = {}
    copies = 0
    for record in records:
        key: tuple[str | Path, ...] = record.database, record.identity, record.impression
        previous = chosen.get(key)
        if previous is None or previous.ppi is None or record.ppi is None or previous.ppi == record.ppi:
            # Two files of one impression at one resolution both stay: `check_unique` refuses them.
            key = key if previous is None else (*key, record.path)
            chosen[key] = record
            continue
        copies += 1
        chosen[key] = min(previous, record, key=_resolution_order)
    if copies:
        left_out["images that show an impression again at another resolution"] = copies
    return list(chosen.values())


def _resolution_order(record: Record) -> tuple[bool, float]:
    """The order in which a record of known ppi is preferred: the lowest from LOWEST_PPI on, then the highest below."""
    assert record.ppi is not None
    return record.ppi < LOWEST_PPI, abs(record.ppi - LOWEST_PPI)


def _by_folder(part: PartConfig, key: str, root: Path, listing: Listing, name: str) -> SourceRecords:
    """All images under `root`: a subfolder is a finger; an image directly in `root` is a finger of its own.

    Of PrintsGAN and MOLF the innermost folder is the finger, and the folders above it name the device.
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
            is_loose = relative.parent == PurePosixPath()
            records.append(
                Record(
                    path=root / relative,
                    database=database,
                    subject=f"{database}/{relative.name if is_loose else inner}",
                    finger=None,
                    impression=str(relative) if device else relative.name,
                    device=device,
                    ppi=part.file_ppi or ppi,
                )
            )
    if not records:
        omissions = "".join(f"; left out: {count} {reason}" for reason, count in listing.left_out.items())
        raise DataError(f"{key}root: {root} holds no images ({', '.join(layouts.IMAGE_ENDINGS)}){omissions}")
    return SourceRecords(records, Counter(listing.left_out))


def _refuse_known(root: Path, key: str, listing: Listing) -> None:
    """Refuse a known database as a folder for each finger: all its identities would be wrong.

    Raises:
        DataError: most of the images have the names of a known database.
    """
    images = [path for path in listing.files if path.suffix.lower() in layouts.IMAGE_ENDINGS]
    for source, layout in layouts.LAYOUTS.items():
        matches = [path for path in images if layouts.parse_name(source, root, path, lambda _: None)]
        if len(matches) > len(images) / 2:
            raise DataError(
                f"{key}root: the files in {root} are named as {layout.title} names them, like {matches[0]}: use "
                f"{source} instead of folder (or, if a folder is a finger nevertheless, a manifest)"
            )


def _select(records: Sequence[Record], names: Sequence[str] | None, key: str, all_required: bool) -> list[Record]:
    """The records of the databases, devices or captures with these names; all records where `names` is None.

    Raises:
        DataError: a name fits no record; unless `all_required`, no name does.
    """
    if names is None:
        return list(records)

    def names_of(record: Record) -> set[str]:
        candidates = record.database, record.database.rpartition("/")[2], record.device, record.capture
        return {name.lower() for name in candidates if name}

    present = {name for record in records for name in names_of(record)}
    missing = [name for name in names if name.lower() not in present]
    if (missing and all_required) or len(missing) == len(names):
        known = dict.fromkeys(record.database.rpartition("/")[2] for record in records)
        devices = dict.fromkeys(record.device for record in records if record.device)
        raise DataError(
            f"{key}databases: there is no {', '.join(missing) or 'database in an empty list'}; "
            f"found: {', '.join([*known, *devices])}"
        )
    selected = {name.lower() for name in names}
    return [record for record in records if names_of(record) & selected]
