"""Who trains, who validates and who is kept for tests: a split by subject, frozen as a table.

A subject is in one part with all fingers and impressions, so that no database lends its people to another. The table
lies in the run directory as split.csv; its digest is remembered beside the states, and a run goes on only under the
split that it began with.
"""

from __future__ import annotations

import csv
import hashlib
import io
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ifvit.config import PAPER, DataConfig
from ifvit.databases.records import Record, listed
from ifvit.databases.yearless import UNKNOWN, nameless
from ifvit.errors import DataError
from ifvit.storage.csv_text import table

TRAIN, VALIDATE, TEST, UNUSED = "train", "validate", "test", "unused"
PARTS = (TRAIN, VALIDATE, TEST, UNUSED)
HEADING = ("subject", "part")
LARGEST = 2**28  # bytes of a split's table

# The published split (SPEC of the paper: Qiu et al. 2024). SD302a's people are divided, by fingers.
PAPER_TRAIN = ("FVC2002/DB1_A", "FVC2002/DB2_A", "FVC2002/DB3_A", "SD301a", "SD302a", "MOLF")
PAPER_TEST = ("FVC2004/DB1_A", "FVC2004/DB2_A", "FVC2004/DB3_A", "SD4", "SD302a")
PAPER_TRAIN_IMAGES = 25090
PAPER_DIVIDED = "SD302a"
# The shares of SD302a's people; the paper has 200, 152 and 1,437 fingers. SALT is chosen so that of 00002302-00002501
# exactly 20 people test and 16 validate.
PAPER_TESTS, PAPER_VALIDATES, SALT = 0.1, 0.08, 19


@dataclass(frozen=True)
class Split:
    """The part of each subject."""

    part: Mapping[str, str]

    def text(self) -> str:
        """The table, in one order whatever the files' order."""
        return table(HEADING, sorted(self.part.items()))

    def digest(self) -> str:
        """Who trains and who validates, for comparison; that others are kept for tests changes nothing."""
        seen = {(nameless(subject), part) for subject, part in self.part.items() if part in (TRAIN, VALIDATE)}
        return hashlib.sha256(table(HEADING, sorted(seen)).encode()).hexdigest()[:16]

    def indices(self, records: Sequence[Record], part: str) -> list[int]:
        """The records of a part's subjects."""
        return [k for k, record in enumerate(records) if self.part.get(record.subject) == part]

    def named_as(self, records: Iterable[Record]) -> Split:
        """The split under the records' names where an earlier version wrote it, which had no names of folders."""
        subjects = {record.subject for record in records}
        before = {s: nameless(s) for s in subjects - self.part.keys() if nameless(s) in self.part}
        renamed = set(before.values()) - subjects
        kept = {subject: part for subject, part in self.part.items() if subject not in renamed}
        return Split(kept | {subject: self.part[old] for subject, old in before.items()})

    def refuse_seen(self, records: Sequence[Record], where: str) -> None:
        """Refuse to test on subjects that a run trained on or validated on.

        Raises:
            DataError: naming them.
        """
        part = self.named_as(records).part
        seen = dict.fromkeys(r.subject for r in records if part.get(r.subject) in (TRAIN, VALIDATE))
        if seen:
            earlier = (
                f". The split calls a folder whose FVC year is not known {UNKNOWN}, as earlier versions did: if these "
                f"are other fingers, put the name of the folder trained on in the place of {UNKNOWN} in split.csv"
            )
            raise DataError(
                f"{where}: {len(seen)} of its subjects were trained or validated on ({listed(seen)}); "
                f"a test on them says nothing of unseen fingers{earlier if seen.keys() - self.part.keys() else ''}"
            )


def split_of(data: DataConfig, sources: Mapping[str, Sequence[Record]]) -> Split:
    """The configured split of the records, by source.

    Raises:
        DataError: a name that is not there, a split that leaves nobody to train or validate on, or a table that does
        not fit the records.
    """
    records = [record for some in sources.values() for record in some]
    if data.split == PAPER:
        split = paper_split(records)
    elif data.split:
        split = read_split(Path(data.split)).named_as(records)
        missing = dict.fromkeys(r.subject for r in records if r.subject not in split.part)
        if missing:
            raise DataError(
                f"data.split: {data.split} says nothing of {len(missing)} subjects ({listed(missing)}); give each one "
                f"a part ({', '.join(PARTS)}), or set data.split=null"
            )
    else:
        held: set[str] = set()
        for name, some in sources.items():
            held |= _held_out(some, data.parts[name].val_fingers, data.key_of(name))
        split = Split({record.subject: VALIDATE if record.subject in held else TRAIN for record in records})
    for part in (TRAIN, VALIDATE):
        if not split.indices(records, part):
            of_paper = f" (the paper trains on {', '.join(PAPER_TRAIN)})" if data.split == PAPER else ""
            raise DataError(f"data.split: no subject is left to {part} on{of_paper}")
    return split


def _held_out(records: Sequence[Record], val_fingers: int | Sequence[str], key: str = "data.") -> set[str]:
    """The subjects that validate: those of the fingers named, or the last of every database, as many as have
    `val_fingers` fingers.
    """
    databases = _fingers(records)
    if not isinstance(val_fingers, int):
        return _named(records, val_fingers, key)
    held: set[str] = set()
    for subjects in databases.values():
        count = 0
        for subject, fingers in reversed(subjects.items()):
            if count >= val_fingers:
                break
            held.add(subject)
            count += len(fingers)
    if held.issuperset(record.subject for record in records):
        there = ", ".join(f"{sum(map(len, subjects.values()))} in {name}" for name, subjects in databases.items())
        raise DataError(
            f"{key}val_fingers: {val_fingers} of every database are to be held out, which leaves no finger to train on "
            f"(fingers: {there}); set a smaller {key}val_fingers"
        )
    return held


def _fingers(records: Sequence[Record]) -> dict[str, dict[str, set[str]]]:
    """The identities of each subject of each database."""
    found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for record in records:
        found[record.database][record.subject].add(record.identity)
    return found


def _named(records: Sequence[Record], wanted: Sequence[str], key: str) -> set[str]:
    def called(name: str) -> Callable[[Record], bool]:
        return lambda record: any(
            whole == name or whole.endswith("/" + name) for whole in (record.identity, record.subject)
        )

    held = {name: {record.subject for record in records if called(name)(record)} for name in wanted}
    unknown = [name for name, found in held.items() if not found]
    if unknown:
        there = dict.fromkeys(record.identity for record in records)
        raise DataError(f"{key}val_fingers: no finger {', '.join(unknown)}; there are {listed(there)}")
    return set().union(*held.values())


def paper_split(records: Sequence[Record]) -> Split:
    """The published split, as far as its databases are there; what is missing is said on standard error.

    SD302a is divided by its subjects' names alone, whatever else is there. Without it the last two fingers of each
    training database validate.
    """
    there = {record.database for record in records}
    missing = [name for name in PAPER_TRAIN if name not in there]
    tests = [name for name in PAPER_TEST if name not in there]
    part = {}
    for record in records:
        if record.database in PAPER_TRAIN:
            part[record.subject] = TRAIN
        else:
            part[record.subject] = TEST if record.database in PAPER_TEST else UNUSED
    if PAPER_DIVIDED in there:
        part |= {record.subject: _divided(record.subject) for record in records if record.database == PAPER_DIVIDED}
    else:
        trained = [record for record in records if record.database in PAPER_TRAIN]
        part |= dict.fromkeys(_held_out(trained, 2), VALIDATE) if trained else {}
    split = Split(part)
    count = len(split.indices(records, TRAIN))
    print(
        f"the paper's split: {count} of its {PAPER_TRAIN_IMAGES} training images are here; missing to train on: "
        f"{', '.join(missing) or 'nothing'}; to test on: {', '.join(tests) or 'nothing'}",
        file=sys.stderr,
    )
    return split


def _divided(subject: str) -> str:
    """The part of one of SD302a's subjects."""
    place = int(hashlib.sha256(f"{SALT} {subject}".encode()).hexdigest()[:8], 16) / 2**32
    if place < PAPER_TESTS:
        return TEST
    return VALIDATE if place < PAPER_TESTS + PAPER_VALIDATES else TRAIN


def read_split(path: Path, key: str = "data.split") -> Split:
    """A split's table; `key` is how it was asked for, for messages.

    Raises:
        DataError: it is none, or puts a subject in two parts.
    """
    try:
        if path.is_dir():
            raise DataError(f"{key}: {path} is a folder; a run's split is {path / 'split.csv'}")
        if not path.is_file() or path.stat().st_size > LARGEST:
            raise DataError(f"{key}: {path} is not there, or no split's table (split.csv of a run)")
        rows = list(csv.reader(io.StringIO(path.read_text("utf-8-sig")), strict=True))
    except OSError as error:
        raise DataError(f"{key}: {path} cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{key}: {path} is not a CSV table ({error})") from error
    rows = [row for row in rows if row]
    if not rows or tuple(rows[0]) != HEADING or any(len(row) != 2 for row in rows):
        raise DataError(f"{key}: {path} is not a split's table; its columns must be {', '.join(HEADING)}")
    part: dict[str, str] = {}
    for number, (subject, chosen) in enumerate(rows[1:], 1):
        if chosen not in PARTS:
            raise DataError(f"{key}: {path}, row {number}: expected {', '.join(PARTS)}, got {chosen!r}")
        if part.setdefault(subject, chosen) != chosen:
            raise DataError(f"{key}: {path}, row {number}: {subject} is in two parts, {part[subject]} and {chosen}")
    return Split(part)
