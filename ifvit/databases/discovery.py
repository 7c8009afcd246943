"""Recognise the databases under a root by the names of their files."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path, PurePosixPath

from ifvit.config import PartConfig, Source
from ifvit.config.schema import FilePath
from ifvit.databases import layouts
from ifvit.databases.findings import Finding, quantity
from ifvit.databases.listing import PROBLEMS, list_files
from ifvit.databases.records import Record, name_list
from ifvit.databases.sources import keep_one_resolution, part_records, year_of
from ifvit.errors import DataError

TABLES = (".csv", ".parquet", ".pq")


def recognise(
    root: Path, findings: list[Finding], source: Source | None = None, ppi: float | None = None
) -> list[Record]:
    """The records under a root, of one database or of several. Files that are no records become findings.

    source: the layout of the root, if it is known. Without it a table is read as a manifest. Where no file has the
    name of a known database, each folder counts as a finger, which is reported as a problem: `source` may confirm it.
    ppi: of all files, over what names and tags say.

    Raises:
        DataError: the root is absent, or is neither a folder nor a table; or as of `sources.part_records`.
    """
    if root.suffix.lower() in TABLES and source is None:
        source = Source.manifest
    if source is None and not root.is_dir():
        state = f"is not a folder, nor a table ({', '.join(TABLES)})" if root.exists() else "is not there"
        raise DataError(f"{root} {state}")
    if source is not None:
        return _source_records(root, source, ppi, findings)
    listing = list_files(root, names_identify=True)
    by_database, unknown_files, left_out = _match_names(root, listing.files)
    if not by_database:
        records = _source_records(root, Source.folder, ppi, findings)
        fingers = len({record.identity for record in records})
        text = f"{root}: no known database's names; a folder is taken for a finger, which makes {fingers}. "
        findings.append(Finding("unknown layout", True, "", text + "If that is right, say --source folder"))
        return records
    records, left_out = [], left_out + listing.left_out
    for group in by_database.values():
        records += keep_one_resolution(group, left_out)
    _report_left_out(left_out, root, findings)
    images = [path for path in unknown_files if path.suffix.lower() in layouts.IMAGE_ENDINGS]
    other_files = [path for path in unknown_files if path.suffix.lower() not in layouts.IMAGE_ENDINGS]
    if images:
        text = f"{root}: {quantity(len(images), 'image')} not named as a known database names them: {name_list(images)}"
        findings.append(Finding("stranger", True, "", text))
    if other_files:
        text = f"{root}: {quantity(len(other_files), 'file')} that are no images: {name_list(other_files)}"
        findings.append(Finding("other files", False, "", text))
    return [record._replace(ppi=ppi or record.ppi) for record in records]


def _source_records(root: Path, source: Source, ppi: float | None, findings: list[Finding]) -> list[Record]:
    """The records under a root whose source is known."""
    part = PartConfig(
        source=source, root=FilePath(str(root)), databases=None, fvc_year=None, file_ppi=ppi, val_fingers=1, weight=1.0
    )
    result = part_records(part, key="", name=str(source))
    _report_left_out(result.left_out, root, findings)
    return result.records


def _match_names(
    root: Path, files: Sequence[PurePosixPath]
) -> tuple[dict[str, list[Record]], list[PurePosixPath], Counter[str]]:
    """Records by database, files without the name of a known database, and the count of left out files by reason."""
    by_database: dict[str, list[Record]] = defaultdict(list)
    unknown_files: list[PurePosixPath] = []
    left_out: Counter[str] = Counter()
    folder_year = partial(year_of, root, None)
    for relative in files:
        matches = (layouts.parse_name(source, root, relative, folder_year) for source in layouts.LAYOUTS)
        parsed = next((match for match in matches if match), None)
        if parsed is None:
            unknown_files.append(relative)
        elif parsed.record is None:
            assert parsed.reason is not None
            left_out[parsed.reason] += 1
        else:
            by_database[parsed.record.database].append(parsed.record)
    return by_database, unknown_files, left_out


def _report_left_out(left_out: Counter[str], root: Path, findings: list[Finding]) -> None:
    for reason, count in left_out.items():
        problem = reason.startswith(PROBLEMS)
        findings.append(Finding("left out", problem, "", f"{root}: {count} {reason}"))
