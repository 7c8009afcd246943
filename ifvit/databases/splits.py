"""The split of the subjects into training, validation and test, stored as a table.

A subject is in one part with all fingers and impressions, also where several databases show it. The table is stored in
the run directory as split.csv, and its digest beside the states: a run resumes only with the split that it began with.
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
from ifvit.databases.records import Record, name_list
from ifvit.databases.yearless import UNKNOWN, nameless
from ifvit.errors import DataError
from ifvit.storage.csv_text import table

TRAIN, VALIDATE, TEST, UNUSED = "train", "validate", "test", "unused"
PARTS = (TRAIN, VALIDATE, TEST, UNUSED)
HEADING = ("subject", "part")
LARGEST = 2**28  # bytes of a split's table

# The published split (SPEC of the paper: Qiu et al. 2024). The people of SD302a are divided, by fingers.
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

    part: Mapping[str, str]  # subject -> one of PARTS

    def text(self) -> str:
        """The table as CSV, sorted by subject."""
        return table(HEADING, sorted(self.part.items()))

    def digest(self) -> str:
        """A digest of the subjects that train and that validate. The other parts do not change it."""
        used = {(nameless(subject), part) for subject, part in self.part.items() if part in (TRAIN, VALIDATE)}
        return hashlib.sha256(table(HEADING, sorted(used)).encode()).hexdigest()[:16]

    def indices(self, records: Sequence[Record], part: str) -> list[int]:
        """The indices of the records of a part's subjects."""
        return [k for k, record in enumerate(records) if self.part.get(record.subject) == part]

    def named_as(self, records: Iterable[Record]) -> Split:
        """The split with the subjects' names in the records; earlier versions wrote names without the folder's name."""
        subjects = {record.subject for record in records}
        old_names = {s: nameless(s) for s in subjects - self.part.keys() if nameless(s) in self.part}
        renamed = set(old_names.values()) - subjects
        remaining = {subject: part for subject, part in self.part.items() if subject not in renamed}
        return Split(remaining | {subject: self.part[old] for subject, old in old_names.items()})

    def refuse_seen(self, records: Sequence[Record], where: str) -> None:
        """Refuse to test on subjects that a run trained on or validated on.

        where: what was read, for the message.

        Raises:
            DataError: there are such subjects; the message names them.
        """
        part = self.named_as(records).part
        seen = dict.fromkeys(r.subject for r in records if part.get(r.subject) in (TRAIN, VALIDATE))
        if seen:
            earlier = (
                f". The split calls a folder whose FVC year is not known {UNKNOWN}, as earlier versions did: if these "
                f"are other fingers, put the name of the folder trained on in the place of {UNKNOWN} in split.csv"
            )
            raise DataError(
                f"{where}: {len(seen)} of its subjects were trained or validated on ({name_list(seen)}); "
                f"a test on them says nothing of unseen fingers{earlier if seen.keys() - self.part.keys() else ''}"
            )


def split_of(data: DataConfig, sources: Mapping[str, Sequence[Record]]) -> Split:
    """The configured split of the records, by source.

    Raises:
        DataError: no subject has a configured name, no subject is left to train or to validate on, or a table does not
            fit the records.
    """
    records = [record for group in sources.values() for record in group]
    if data.split == PAPER:
        split = paper_split(records)
    elif data.split:
        split = read_split(Path(data.split)).named_as(records)
        missing = dict.fromkeys(r.subject for r in records if r.subject not in split.part)
        if missing:
            raise DataError(
                f"data.split: {data.split} says nothing of {len(missing)} subjects ({name_list(missing)}); give each "
                f"one a part ({', '.join(PARTS)}), or set data.split=null"
            )
    else:
        validating: set[str] = set()
        for name, group in sources.items():
            validating |= _validation_subjects(group, data.parts[name].val_fingers, data.key_of(name))
        split = Split({record.subject: VALIDATE if record.subject in validating else TRAIN for record in records})
    for part in (TRAIN, VALIDATE):
        if not split.indices(records, part):
            of_paper = f" (the paper trains on {', '.join(PAPER_TRAIN)})" if data.split == PAPER else ""
            raise DataError(f"data.split: no subject is left to {part} on{of_paper}")
    return split


def _validation_subjects(records: Sequence[Record], val_fingers: int | Sequence[str], key: str = "data.") -> set[str]:
    """The subjects that validate.

    val_fingers: names of their fingers, or a count: then the last subjects of every database that have together at
    least so many fingers. key: beginning of the config keys of the source, for messages.

    Raises:
        DataError: no finger has such a name, or no subject is left to train on.
    """
    databases = _fingers_by_subject(records)
    if not isinstance(val_fingers, int):
        return _named_subjects(records, val_fingers, key)
    validating: set[str] = set()
    for subjects in databases.values():
        count = 0
        for subject, fingers in reversed(subjects.items()):
            if count >= val_fingers:
                break
            validating.add(subject)
            count += len(fingers)
    if validating.issuperset(record.subject for record in records):
        counts = ", ".join(f"{sum(map(len, subjects.values()))} in {name}" for name, subjects in databases.items())
        raise DataError(
            f"{key}val_fingers: {val_fingers} of every database are to be held out, which leaves no finger to train on "
            f"(fingers: {counts}); set a smaller {key}val_fingers"
        )
    return validating


def _fingers_by_subject(records: Sequence[Record]) -> dict[str, dict[str, set[str]]]:
    """The identities of each subject of each database: database -> subject -> identities."""
    databases: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for record in records:
        databases[record.database][record.subject].add(record.identity)
    return databases


def _named_subjects(records: Sequence[Record], names: Sequence[str], key: str) -> set[str]:
    """The subjects of the fingers, or the subjects, with these names; the last parts of a name are enough.

    Raises:
        DataError: a name fits none.
    """

    def has_name(name: str) -> Callable[[Record], bool]:
        return lambda record: any(
            full_name == name or full_name.endswith("/" + name) for full_name in (record.identity, record.subject)
        )

    subjects = {name: {record.subject for record in records if has_name(name)(record)} for name in names}
    unknown = [name for name, matches in subjects.items() if not matches]
    if unknown:
        identities = dict.fromkeys(record.identity for record in records)
        raise DataError(f"{key}val_fingers: no finger {', '.join(unknown)}; there are {name_list(identities)}")
    return set().union(*subjects.values())


def paper_split(records: Sequence[Record]) -> Split:
    """The published split of those of its databases that are present; warns of the missing ones on standard error.

    SD302a is divided by the names of its subjects alone, whatever other databases are present. Without SD302a the last
    two fingers of each training database validate.
    """
    present = {record.database for record in records}
    missing = [name for name in PAPER_TRAIN if name not in present]
    tests = [name for name in PAPER_TEST if name not in present]
    part = {}
    for record in records:
        if record.database in PAPER_TRAIN:
            part[record.subject] = TRAIN
        else:
            part[record.subject] = TEST if record.database in PAPER_TEST else UNUSED
    if PAPER_DIVIDED in present:
        part |= {record.subject: _paper_part(record.subject) for record in records if record.database == PAPER_DIVIDED}
    else:
        training = [record for record in records if record.database in PAPER_TRAIN]
        part |= dict.fromkeys(_validation_subjects(training, 2), VALIDATE) if training else {}
    split = Split(part)
    count = len(split.indices(records, TRAIN))
    print(
        f"the paper's split: {count} of its {PAPER_TRAIN_IMAGES} training images are here; missing to train on: "
        f"{', '.join(missing) or 'nothing'}; to test on: {', '.join(tests) or 'nothing'}",
        file=sys.stderr,
    )
    return split


def _paper_part(subject: str) -> str:
    """The part of a subject of SD302a, by a hash of its name."""
    place = int(hashlib.sha256(f"{SALT} {subject}".encode()).hexdigest()[:8], 16) / 2**32
    if place < PAPER_TESTS:
        return TEST
    return VALIDATE if place < PAPER_TESTS + PAPER_VALIDATES else TRAIN


def read_split(path: Path, key: str = "data.split") -> Split:
    """Read the table of a split.

    key: the config key or the option that names the table, for messages.

    Raises:
        DataError: it is absent, is no such table, or puts a subject in two parts.
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
    for number, (subject, part_name) in enumerate(rows[1:], 1):
        if part_name not in PARTS:
            raise DataError(f"{key}: {path}, row {number}: expected {', '.join(PARTS)}, got {part_name!r}")
        if part.setdefault(subject, part_name) != part_name:
            raise DataError(f"{key}: {path}, row {number}: {subject} is in two parts, {part[subject]} and {part_name}")
    return Split(part)
