"""Whether data are fingers that nobody has: grown here, or of a set that `synthesize` made. Their figures say less."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ifvit.config import DataConfig, Source
from ifvit.databases.records import Record

DATABASE, SET = "DB1_A", "set.json"  # of a set: the folder of its images, and the file that says what it is


def any_synthetic(records: Sequence[Record]) -> bool:
    """Whether impressions lie in a set that `synthesize` made; its folder must still be where it was."""
    folders = {record.path.parent for record in records}
    return any(folder.name == DATABASE and (folder.parent / SET).is_file() for folder in folders)


def has_synthetic(data: DataConfig) -> bool:
    """Whether data are synthetic, wholly or in part.

    Raises:
        DataError: prepared data that are damaged.
    """
    from ifvit.databases.prepared_table import read_records  # and with it Orbax, which a set is made without

    for part in data.parts.values():
        if part.source is Source.synthetic:
            return True
        if part.source is Source.prepared and any_synthetic(list(read_records(Path(part.root)).values())):
            return True
        if part.root and any((folder / SET).is_file() for folder in (Path(part.root), Path(part.root).parent)):
            return True
    return False
