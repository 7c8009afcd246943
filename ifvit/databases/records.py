"""One impression as every source describes it, before its image is read.

Identity is (subject, finger): two impressions are a genuine pair when both are equal, never by the subject alone.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from ifvit.errors import DataError

MAX_NAMES = 6  # in an error message; the others are only counted

# Finger position codes of ANSI/NIST-ITL: 1-5 right thumb to little finger, 6-10 left; 11 and 12 are plain impressions
# of the two thumbs; codes from 13 on are slaps, palms and other parts of the hand, which are not single fingers.
PLAIN_THUMBS = {11: 1, 12: 6}
FINGERS = range(1, 11)


class Record(NamedTuple):
    """One impression of a finger.

    A subject is a person, or a finger of an unknown person. Its name is unique over all databases. Two parts of one
    collection share their people, like SD302/00002302 in SD302a and SD302b.
    """

    path: Path  # of the image
    database: str  # like FVC2002/DB1_A or SD302a
    subject: str  # like SD302/00002302
    finger: int | None  # 1-10; None where the database does not say which finger it is
    impression: str  # name among the impressions of the finger
    device: str | None = None  # None where the database does not say it
    capture: str | None = None  # roll, plain, ...; None where the database does not say it
    ppi: float | None = None  # of the file; None where only the tag in the file may say it

    @property
    def identity(self) -> str:
        """The name of the finger: its subject's name and its number."""
        return self.subject if self.finger is None else f"{self.subject} finger {self.finger}"


def finger_of(code: int) -> int | None:
    """The finger, 1-10, of a finger position code; None for slaps, palms and other parts of the hand."""
    code = PLAIN_THUMBS.get(code, code)
    return code if code in FINGERS else None


def natural_key(text: str) -> tuple[list[tuple[int, int | str]], str]:
    """A sorting key by which 9 comes before 10. Different texts have different keys."""
    parts = [(0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", text) if part]
    return parts, text


def name_list(names: Iterable[object]) -> str:
    """The first `MAX_NAMES` names in one line, and how many more there are."""
    texts = [str(name) for name in names]
    more = f" and {len(texts) - MAX_NAMES} more" if len(texts) > MAX_NAMES else ""
    return ", ".join(texts[:MAX_NAMES]) + more


def check_unique(records: Sequence[Record], where: str) -> None:
    """Refuse two files for one impression: a copy of the data would put one print on both sides of a genuine pair.

    where: what was read, for the message.

    Raises:
        DataError: two files are of one impression; the message names both.
    """
    paths: dict[tuple, Path] = {}
    for record in records:
        key = record.database, record.identity, record.impression
        if key in paths:
            raise DataError(
                f"{where}: {paths[key]} and {record.path} are both impression {record.impression} of "
                f"{record.identity} in {record.database}; keep one of them, or name the folder that holds one of them"
            )
        paths[key] = record.path


def by_identity(records: Sequence[Record]) -> dict[str, list[int]]:
    """The indices of each finger's impressions, by identity, in order of first appearance."""
    indices: dict[str, list[int]] = defaultdict(list)
    for k, record in enumerate(records):
        indices[record.identity].append(k)
    return dict(indices)
