"""What lies under a root that nobody has described: the databases are recognised by how their files are named."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path, PurePosixPath

from ifvit.config import PartConfig, Source
from ifvit.databases import layouts
from ifvit.databases.findings import Finding, counted
from ifvit.databases.listing import PROBLEMS, list_files
from ifvit.databases.records import Record, listed
from ifvit.databases.sources import one_resolution, part_records, year_of
from ifvit.errors import DataError

TABLES = (".csv", ".parquet", ".pq")


def recognise(
    root: Path, findings: list[Finding], source: Source | None = None, ppi: float | None = None
) -> list[Record]:
    """The records under a root, whatever databases they are of; files that are none are found to be strangers.

    source: what it is, if it is known. Else a table is read as a manifest; and where no file is named as a known
    database names them, a folder is taken for a finger, which is a problem as long as nobody says so.
    """
    if root.suffix.lower() in TABLES and source is None:
        source = Source.manifest
    if source is None and not root.is_dir():
        there = f"is not a folder, nor a table ({', '.join(TABLES)})" if root.exists() else "is not there"
        raise DataError(f"{root} {there}")
    if source is not None:
        return _described(root, source, ppi, findings)
    listing = list_files(root, named=True)
    known, strangers, left_out = _by_names(root, listing.files)
    if not known:
        records = _described(root, Source.folder, ppi, findings)
        fingers = len({record.identity for record in records})
        text = f"{root}: no known database's names; a folder is taken for a finger, which makes {fingers}. "
        findings.append(Finding("unknown layout", True, "", text + "If that is right, say --source folder"))
        return records
    records, left_out = [], left_out + listing.left_out
    for some in known.values():
        records += one_resolution(some, left_out)
    _say_left_out(left_out, root, findings)
    images = [path for path in strangers if path.suffix.lower() in layouts.IMAGE_ENDINGS]
    others = [path for path in strangers if path.suffix.lower() not in layouts.IMAGE_ENDINGS]
    if images:
        text = f"{root}: {counted(len(images), 'image')} not named as a known database names them: {listed(images)}"
        findings.append(Finding("stranger", True, "", text))
    if others:
        text = f"{root}: {counted(len(others), 'file')} that are no images: {listed(others)}"
        findings.append(Finding("other files", False, "", text))
    return [record._replace(ppi=ppi or record.ppi) for record in records]


def _described(root: Path, source: Source, ppi: float | None, findings: list[Finding]) -> list[Record]:
    part = PartConfig(
        source=source, root=str(root), databases=None, fvc_year=None, file_ppi=ppi, val_fingers=1, weight=1.0
    )
    found = part_records(part, key="", name=str(source))
    _say_left_out(found.left_out, root, findings)
    return found.records


def _by_names(
    root: Path, files: Sequence[PurePosixPath]
) -> tuple[dict[str, list[Record]], list[PurePosixPath], Counter[str]]:
    """Records by database, files that are named like no database's, and what is left out."""
    known: dict[str, list[Record]] = defaultdict(list)
    strangers, left_out = [], Counter()
    year = partial(year_of, root, None)
    for relative in files:
        named = (layouts.by_name(source, root, relative, year) for source in layouts.LAYOUTS)
        named = next((one for one in named if one), None)
        if named is None:
            strangers.append(relative)
        elif named.record is None:
            left_out[named.left_out] += 1
        else:
            known[named.record.database].append(named.record)
    return known, strangers, left_out


def _say_left_out(left_out: Counter[str], root: Path, findings: list[Finding]) -> None:
    for reason, count in left_out.items():
        problem = reason.startswith(PROBLEMS)
        findings.append(Finding("left out", problem, "", f"{root}: {count} {reason}"))
