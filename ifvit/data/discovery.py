"""What lies under a root that nobody has described: the databases are recognised by how their files are named."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path, PurePosixPath

from ifvit.config import PartConfig, Source
from ifvit.data import layouts
from ifvit.data.findings import Finding
from ifvit.data.records import DataError, Record, listed
from ifvit.data.sources import LINKS, Found, list_files, one_resolution, part_records

TABLES = (".csv", ".parquet", ".pq")


def recognise(root: Path, ppi: float | None, findings: list[Finding]) -> list[Record]:
    """The records under a root, whatever databases they are of; files that are none are found to be strangers.

    A table is read as a manifest. Where no file is named as a known database names them, a folder is a finger.
    """
    if root.suffix.lower() in TABLES:
        found = part_records(PartConfig(Source.manifest, str(root), None, None, ppi, 1, 1.0))
        _say_left_out(found, root, findings)
        return found.records
    if not root.is_dir():
        raise DataError(f"{root} is not a folder, nor a table ({', '.join(TABLES)})")
    listing = list_files(root)
    known, strangers, left_out = _by_names(root, listing.files)
    if listing.links_out:
        left_out[LINKS] = listing.links_out
    if not known:
        found = part_records(PartConfig(Source.folder, str(root), None, None, ppi, 1, 1.0))
        findings.append(
            Finding("unknown layout", False, "", f"{root}: read as a folder for each finger, as none is known")
        )
        _say_left_out(found, root, findings)
        return found.records
    records = []
    for some in known.values():
        records += one_resolution(some, left_out)
    _say_left_out(Found(records, left_out), root, findings)
    images = [path for path in strangers if path.suffix.lower() in layouts.IMAGE_ENDINGS]
    others = [path for path in strangers if path.suffix.lower() not in layouts.IMAGE_ENDINGS]
    if images:
        findings.append(
            Finding(
                "stranger",
                True,
                "",
                f"{root}: {len(images)} images bear no name of their database: {listed(images)}",
            )
        )
    if others:
        findings.append(Finding("other files", False, "", f"{root}: {len(others)} are no images: {listed(others)}"))
    return [record._replace(ppi=ppi or record.ppi) for record in records]


def _by_names(
    root: Path, files: Sequence[PurePosixPath]
) -> tuple[dict[str, list[Record]], list[PurePosixPath], Counter[str]]:
    """Records by database, files that are named like no database's, and what is left out."""
    known: dict[str, list[Record]] = defaultdict(list)
    strangers, left_out = [], Counter()
    year = partial(_year, root.resolve(), root)
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


def _year(home: Path, root: Path, folder: Path) -> int | None:
    return layouts.fvc_year(home / folder.relative_to(root))


def _say_left_out(found: Found, root: Path, findings: list[Finding]) -> None:
    for reason, count in found.left_out.items():
        kind = "link" if reason == LINKS else "left out"
        findings.append(Finding(kind, reason == LINKS, "", f"{root}: {count} files, {reason}"))
