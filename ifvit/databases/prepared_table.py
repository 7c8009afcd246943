"""The description of a prepared folder, prepared.json, and its table of prints, prints.csv.

`data.prepared` reads the other files. A folder may come from outside: every name and number is checked.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ifvit import program
from ifvit.config import Enhancement
from ifvit.databases.records import FINGERS, Record
from ifvit.errors import DataError
from ifvit.storage.blocks import KEY

FORMAT = 2  # goes up when the files of a folder change their meaning
HEADING = ("path", "database", "subject", "finger", "impression", "device", "capture", "ppi", "unusable")
LARGEST = {"prepared.json": 2**20, "prints.csv": 2**30}  # bytes
LONGEST = 4096  # characters of a name
MOST = 10**8  # prints or pairs
PPI = (50.0, 10000.0)


class PreparedInfo(NamedTuple):
    """The description of a prepared folder."""

    module1: str  # digest of the Module 1 that took part in the registration
    frame: tuple[int, int]  # (height, width) px
    ppi: float  # of the prints
    enhancement: Enhancement
    prints: int  # rows of the table
    pairs: int


def read_info(folder: Path) -> PreparedInfo:
    """The description of a prepared folder.

    Raises:
        DataError: it is not a prepared folder, is not complete, or its prepared.json is damaged.
    """
    path, command = folder / "prepared.json", program.command("data prepare")
    if not path.is_file():
        if (folder / KEY).is_file():
            raise DataError(f"{folder} is not complete: type the same command ({command}) again")
        state = f"is no folder that `{command}` wrote" if folder.exists() else "is not there"
        raise DataError(f"{folder} {state}")
    try:
        tree = json.loads(content(path))
        if tree["format"] != FORMAT:
            raise DataError(
                f"{path}: of format {tree['format']!r}, this version reads {FORMAT}; prepare the prints anew into "
                f"another folder: {command} RUN_DIR data=... --out DIR"
            )
        height, width = (_count(side) for side in tree["frame"])
        info = PreparedInfo(str(tree["module1"]), (height, width), float(tree["ppi"]), Enhancement(tree["enhancement"]),
                    _count(tree["prints"]["listed"]), _count(tree["pairs"]["listed"]))  # fmt: skip
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: damaged, or not what `data prepare` wrote ({error!r})") from error
    if not (0 < height <= 2**14 and 0 < width <= 2**14 and PPI[0] <= info.ppi <= PPI[1]):
        raise DataError(f"{path}: prints of {width}x{height} px at {info.ppi:g} ppi are none")
    return info


def content(path: Path) -> bytes:
    """The bytes of prepared.json or prints.csv.

    Raises:
        DataError: the file cannot be read, or is larger than such a file can be.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(LARGEST[path.name] + 1)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    if len(content) > LARGEST[path.name]:
        raise DataError(f"{path}: larger than {LARGEST[path.name] >> 20} MB")
    return content


def _count(value: Any) -> int:
    """A count of prints, pairs or px, checked.

    Raises:
        ValueError: it is not a whole number in [0, MOST].
    """
    if type(value) is not int or not 0 <= value <= MOST:
        raise ValueError(f"{value!r} is no count")
    return value


def read_records(folder: Path) -> dict[int, Record]:
    """The impressions that can be used, by their row in the table, counted from 0.

    Raises:
        DataError: as `read_info`; the table is damaged, or a cell is wrong.
    """
    info, path = read_info(folder), folder / "prints.csv"
    if not path.is_file():
        raise DataError(f"{path}: is not there")
    try:
        rows = list(csv.reader(io.StringIO(content(path).decode()), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a CSV table ({error})") from error
    if not rows or tuple(rows[0]) != HEADING or len(rows) != info.prints + 1:
        raise DataError(f"{path}: expected {info.prints} rows of {', '.join(HEADING)}")
    records = {}
    for number, row in enumerate(rows[1:]):
        try:
            record = _record(row)
        except ValueError as error:
            raise DataError(f"{path}, row {number + 1}: {error}") from error
        if not row[-1]:
            records[number] = record
    return records


def _record(row: Sequence[str]) -> Record:
    """The record of a row.

    Raises:
        ValueError: a cell is wrong.
    """
    if len(row) != len(HEADING):
        raise ValueError(f"expected {len(HEADING)} cells, got {len(row)}")
    cells = dict(zip(HEADING, row, strict=True))
    for name, text in cells.items():
        if len(text) > LONGEST or not text.isprintable():
            raise ValueError(f"{name}: too long, or holds characters that cannot be printed")
        if not text and name in ("path", "database", "subject", "impression"):
            raise ValueError(f"{name}: empty")
    finger, ppi = cells["finger"], cells["ppi"]
    if finger and not (finger.isdecimal() and int(finger) in FINGERS):
        raise ValueError(f"finger: expected 1 to 10 or nothing, got {finger!r}")
    if ppi and not (re.fullmatch(r"\d+(\.\d+)?", ppi, re.ASCII) and PPI[0] <= float(ppi) <= PPI[1]):
        raise ValueError(f"ppi: expected {PPI[0]:g} to {PPI[1]:g} or nothing, got {ppi!r}")
    return Record(
        path=Path(cells["path"]),
        database=cells["database"],
        subject=cells["subject"],
        finger=int(finger) if finger else None,
        impression=cells["impression"],
        device=cells["device"] or None,
        capture=cells["capture"] or None,
        ppi=float(ppi) if ppi else None,
    )
