"""Whether data are synthetic: rendered in training, or of a set that `synthesize` wrote. Real prints are harder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ifvit.config import DataConfig, Source
from ifvit.databases.records import Record

DATABASE, SET = "DB1_A", "set.json"  # of a set: the folder of its images, and the file that describes it


def any_synthetic(records: Sequence[Record]) -> bool:
    """Whether some of the impressions lie in a set that `synthesize` wrote. Their folder must still exist."""
    folders = {record.path.parent for record in records}
    return any(folder.name == DATABASE and (folder.parent / SET).is_file() for folder in folders)


def has_synthetic(data: DataConfig) -> bool:
    """Whether a part of the configured data is synthetic.

    Raises:
        DataError: prepared data that are damaged.
    """
    from ifvit.databases.prepared_table import read_records  # imports Orbax, which writing a set does without

    for part in data.parts.values():
        if part.source is Source.synthetic:
            return True
        if part.source is Source.prepared:
            assert part.root is not None
            if any_synthetic(list(read_records(Path(part.root)).values())):
                return True
        if part.root and any((folder / SET).is_file() for folder in (Path(part.root), Path(part.root).parent)):
            return True
    return False
