"""FVC folders whose competition is not known, like the sets that `synthesize` writes: the folder above names them.

So fingers/DB1_A and more/DB1_A are two databases. A folder may be renamed, which must not make other people of its own:
what is compared on resume holds no such name, and a run keeps what its databases hold.
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

UNKNOWN = "FVC"  # what earlier versions called all of them
# A database `folder` is of data=folder, whose subfolders may have any names.
_COLLECTION = re.compile(r"(?!FVC20\d\d/|folder/)[^/]+(?=/DB[1-4]_[AB](?:/|$))")


def collection_of(folder: PurePath) -> str:
    """The name of what a folder like .../fingers/DB1_A belongs to; FVC's own folder Dbs names nothing.

    Another person's folder may be called anything: nothing remains of it that is no part of a plain name.
    """
    above = (name for name in reversed(folder.parent.parts) if name.lower() != "dbs")
    return re.sub(r"[^\w.-]+", "_", next(above, "")).lstrip("_.-") or UNKNOWN


def is_yearless(database: str) -> bool:
    """Whether a database has its name from a folder."""
    return _COLLECTION.match(database) is not None


def nameless(name: str) -> str:
    """The name of a database, a subject or a finger without that of a folder: as earlier versions had it."""
    return _COLLECTION.sub(UNKNOWN, name, count=1) if is_yearless(name) else name


def contents(records: Iterable[Record]) -> dict[str, str]:
    """What each database that has its name from a folder holds: who, and the files, whatever they are called.

    Left out is a database of which a file cannot be read.
    """
    mine: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if is_yearless(record.database):
            mine[record.database].append(record)
    with ThreadPoolExecutor() as pool:
        found = {name: sorted(pool.map(_content, some)) for name, some in mine.items()}
    return {
        name: hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
        for name, lines in found.items()
        if "" not in lines
    }


def _content(record: Record) -> str:
    """A line on an impression; empty where its file cannot be read."""
    try:
        if not record.path.is_file():  # a pipe would keep us waiting
            return ""
        with open(record.path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
    return f"{nameless(record.identity)} {record.impression} {digest}"


def as_known(records: Sequence[Record], known: Any) -> list[Record]:
    """The records under the names by which a run knows what they hold. known: its `contents`, from its config.json."""
    if not isinstance(known, Mapping) or not any(is_yearless(record.database) for record in records):
        return list(records)
    names = {content: name for name, content in known.items() if isinstance(content, str)}
    new = {name: names[content] for name, content in contents(records).items() if content in names}
    return [_renamed(record, new[record.database]) if record.database in new else record for record in records]


def _renamed(record: Record, database: str) -> Record:
    own = record.subject.removeprefix(record.database)
    return record._replace(database=database, subject=f"{database}{own}")
