"""FVC folders whose competition is unknown, like the sets that `synthesize` writes: the folder above names them.

So fingers/DB1_A and more/DB1_A are two databases. The folder may be renamed, and its subjects must stay the same ones:
what a resumed run compares has no names of such folders, and a run stores digests of what its databases contain.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePath
from typing import Any

from ifvit.databases.records import Record

UNKNOWN = "FVC"  # their name in earlier versions
# The name `folder/...` belongs to data=folder, whose subfolders may have any names.
_COLLECTION = re.compile(r"(?!FVC20\d\d/|folder/)[^/]+(?=/DB[1-4]_[AB](?:/|$))")


def collection_of(folder: PurePath) -> str:
    """The name of the folder above a folder like .../fingers/DB1_A, without FVC's own folder Dbs.

    A folder may have any name: characters other than letters, digits and _.- are replaced.
    """
    above = (name for name in reversed(folder.parent.parts) if name.lower() != "dbs")
    return re.sub(r"[^\w.-]+", "_", next(above, "")).lstrip("_.-") or UNKNOWN


def is_yearless(database: str) -> bool:
    """Whether the name of a database comes from a folder."""
    return _COLLECTION.match(database) is not None


def nameless(name: str) -> str:
    """The name of a database, a subject or a finger without the folder's name, as earlier versions wrote it."""
    return _COLLECTION.sub(UNKNOWN, name, count=1) if is_yearless(name) else name


def contents(records: Iterable[Record]) -> dict[str, str]:
    """A digest of each database that is named by a folder: of its identities, impressions and the bytes of its files.

    The names of folders and files do not change it. A database with a file that cannot be read is left out.
    """
    by_database: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if is_yearless(record.database):
            by_database[record.database].append(record)
    with ThreadPoolExecutor() as pool:
        lines_by_name = {name: sorted(pool.map(_content_line, group)) for name, group in by_database.items()}
    return {
        name: hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
        for name, lines in lines_by_name.items()
        if "" not in lines
    }


def _content_line(record: Record) -> str:
    """A line for an impression, with the digest of its file; empty where the file cannot be read."""
    try:
        if not record.path.is_file():  # reading a pipe would block
            return ""
        with open(record.path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
    return f"{nameless(record.identity)} {record.impression} {digest}"


def as_known(records: Sequence[Record], known: Any) -> list[Record]:
    """The records with the database names that a run uses for the same contents.

    known: the `contents` of the run's databases, from its config.json.
    """
    if not isinstance(known, Mapping) or not any(is_yearless(record.database) for record in records):
        return list(records)
    names = {content: name for name, content in known.items() if isinstance(content, str)}
    new_names = {name: names[content] for name, content in contents(records).items() if content in names}
    return [
        _with_database(record, new_names[record.database]) if record.database in new_names else record
        for record in records
    ]


def _with_database(record: Record, database: str) -> Record:
    """The record with another name of its database, also in its subject."""
    suffix = record.subject.removeprefix(record.database)
    return record._replace(database=database, subject=f"{database}{suffix}")
