"""One impression as every source describes it, before its image is read.

Identity is (subject, finger): two impressions are mates when both are equal, and never by subject alone.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from ifvit.errors import DataError

NAMED = 6  # things an error message names before it only counts

# Finger position codes of ANSI/NIST-ITL: 1-5 right thumb to little finger, 6-10 left; 11 and 12 are plain impressions
# of the two thumbs; from 13 on slaps, palms and other parts of the hand, which are no fingers.
PLAIN_THUMBS = {11: 1, 12: 6}
FINGERS = range(1, 11)


class Record(NamedTuple):
    """One impression.

    database: the set it belongs to, like FVC2002/DB1_A or SD302a; subject: a person, or a finger of an unknown person,
    by a name that is unique over all databases (two parts of one collection share their people: SD302/00002302);
    finger: 1-10, or None where the database does not say which it is; impression: its name among the finger's;
    device, capture (roll, plain, ...): where the database says; ppi: of the file, None where only its own tag may say.
    """

    path: Path
    database: str
    subject: str
    finger: int | None
    impression: str
    device: str | None = None
    capture: str | None = None
    ppi: float | None = None

    @property
    def identity(self) -> str:
        """The finger, as its subject's name and its number."""
        return self.subject if self.finger is None else f"{self.subject} finger {self.finger}"


def finger_of(code: int) -> int | None:
    """The finger, 1-10, of a finger position code; None for slaps, palms and the like."""
    code = PLAIN_THUMBS.get(code, code)
    return code if code in FINGERS else None


def natural(text: str) -> tuple[list[tuple[int, int | str]], str]:
    """A sorting key by which 9 comes before 10; no two texts are equal by it."""
    parts = [(0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", text) if part]
    return parts, text


def listed(names: Iterable[object]) -> str:
    """The names in one line, the later ones only counted."""
    names = [str(name) for name in names]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def check_unique(records: Sequence[Record], where: str) -> None:
    """Refuse two files for one impression: a copy of the data would put one print on both sides of a genuine pair.

    Raises:
        DataError: naming both files.
    """
    seen: dict[tuple, Path] = {}
    for record in records:
        key = record.database, record.identity, record.impression
        if key in seen:
            raise DataError(
                f"{where}: {seen[key]} and {record.path} are both impression {record.impression} of "
                f"{record.identity} in {record.database}; keep one of them, or name the folder that holds one of them"
            )
        seen[key] = record.path


def by_identity(records: Sequence[Record]) -> dict[str, list[int]]:
    """The indices of each finger's impressions, in order of first appearance."""
    found: dict[str, list[int]] = defaultdict(list)
    for k, record in enumerate(records):
        found[record.identity].append(k)
    return dict(found)
