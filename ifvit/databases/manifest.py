"""A table of impressions, CSV or Parquet, for images that no layout describes.

The table may come from outside: every cell is checked. No path may lead out of the folder of the table. No name may act
as a formula when it is written into another table.
"""

from __future__ import annotations

import csv
import difflib
import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ifvit.databases.layouts import OTHER_PARTS, PEOPLE
from ifvit.databases.listing import copy_command
from ifvit.databases.records import MAX_NAMES, PLAIN_THUMBS, Record, finger_of, name_list
from ifvit.errors import DataError

NEEDED = ("path", "subject")
OPTIONAL = ("finger", "impression", "ppi", "database", "device", "capture")
LARGEST = 2**30  # bytes of a CSV file; tens of millions of rows
MOST_ROWS = 20_000_000
LONGEST = 200  # characters of a name
CODES = range(1, 100)  # finger position codes of ANSI/NIST-ITL
PPI = (50.0, 10000.0)
FORMULA = ("=", "+", "-", "@")  # first characters that make a text a formula in a spreadsheet


def read_manifest(path: Path, ppi: float | None = None, name: str = "manifest") -> tuple[list[Record], Counter[str]]:
    """The records of a table, and the count of rows that were left out, by reason.

    Paths are relative to the folder of the table. The images are not opened here.

    ppi: of all files, over the column `ppi`. name: of the database where no column says it.

    Raises:
        DataError: the table cannot be read, lacks a column, or a cell is wrong; rows are counted from 1 after the head.
    """
    rows = _parquet_rows(path) if path.suffix.lower() in (".parquet", ".pq") else _csv_rows(path)
    root, problems = path.parent.resolve(), Problems()
    records: list[Record] = []
    left_out: Counter[str] = Counter()
    for number, row in enumerate(rows, 1):
        if number > MOST_ROWS:
            raise DataError(f"{path}: more than {MOST_ROWS} rows")
        try:
            record = _record(row, path.parent, root, name, ppi)
        except ValueError as error:
            problems.add(f"row {number}: {error}")
            continue
        if record is None:
            left_out[OTHER_PARTS] += 1
        else:
            records.append(record)
    if problems.count:
        raise DataError(f"{path}: {problems}")
    if not records:
        raise DataError(f"{path}: the table names no impression of a finger")
    _check_fingers(path, records)
    return records, left_out


class Problems:
    """The problems of a table: their count, and the texts of the first `MAX_NAMES`."""

    def __init__(self) -> None:
        self.count = 0
        self._texts: list[str] = []

    def add(self, text: str) -> None:
        """Add a problem."""
        self.count += 1
        if self.count <= MAX_NAMES:
            self._texts.append(text)

    def __str__(self) -> str:
        more = f" and {self.count - MAX_NAMES} more rows" if self.count > MAX_NAMES else ""
        return ", ".join(self._texts) + more


def _check_fingers(path: Path, records: Sequence[Record]) -> None:
    """Refuse a subject of whom some rows name a finger and some do not: its identities would contradict each other.

    Raises:
        DataError: there are such subjects; the message names them.
    """
    numbered = {record.subject for record in records if record.finger is not None}
    mixed = dict.fromkeys(r.subject for r in records if r.finger is None and r.subject in numbered)
    if mixed:
        raise DataError(f"{path}: some rows of a subject name a finger and some do not: {name_list(mixed)}")


def _csv_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        if not path.is_file():
            raise DataError(f"{path}: not a file; a manifest is a CSV or Parquet file")
        if path.stat().st_size > LARGEST:
            raise DataError(f"{path}: larger than {LARGEST // 2**20} MB; write it as Parquet")
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            _check_columns(path, reader.fieldnames or ())
            for row in reader:
                if None in row or None in row.values():
                    raise DataError(f"{path}: line {reader.line_num} has another number of cells than the head")
                yield {name.strip().lower(): cell for name, cell in row.items()}
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from error
    except csv.Error as error:
        raise DataError(f"{path}: not a CSV table ({error})") from error


def _parquet_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise DataError(f"{path}: Parquet needs pyarrow: pip install 'ifvit[parquet]', or write it as CSV") from error
    if not path.is_file():
        raise DataError(f"{path}: not a file; a manifest is a CSV or Parquet file")
    try:
        with parquet.ParquetFile(path) as file:
            if file.metadata.num_rows > MOST_ROWS:
                raise DataError(f"{path}: claims {file.metadata.num_rows} rows, more than {MOST_ROWS}")
            names = file.schema_arrow.names
            _check_columns(path, names)
            columns = [name for name in names if name.strip().lower() in (*NEEDED, *OPTIONAL)]
            for batch in file.iter_batches(batch_size=4096, columns=columns):
                for row in batch.to_pylist():
                    yield {name.strip().lower(): value for name, value in row.items()}
    except (OSError, pyarrow.ArrowException, ValueError, OverflowError) as error:
        if isinstance(error, DataError):
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise DataError(f"{path}: not a Parquet table that can be read ({reason})") from error


def _check_columns(path: Path, names: Sequence[str]) -> None:
    names = [str(name).strip().lower() for name in names]
    for name in names:
        close_names = difflib.get_close_matches(name, set(NEEDED + OPTIONAL) - set(names), n=1, cutoff=0.8)
        if name not in NEEDED + OPTIONAL and close_names:
            # If a misspelt finger column were ignored, all fingers of a subject would become one.
            raise DataError(
                f"{path}: has a column {name[:LONGEST]!r}; did you mean {close_names[0]}? Others are not read"
            )
    missing = [name for name in NEEDED if name not in names]
    duplicates = [name for name, count in Counter(names).items() if count > 1]
    if missing or duplicates:
        fault = f"lacks the column {name_list(missing)}" if missing else f"has the column {name_list(duplicates)} twice"
        raise DataError(
            f"{path}: {fault}; needed are {', '.join(NEEDED)}, welcome {', '.join(OPTIONAL)}; "
            f"found: {name_list(name[:LONGEST] for name in names) or 'none'}"
        )


def _record(row: Mapping[str, Any], folder: Path, root: Path, name: str, ppi: float | None) -> Record | None:
    """The record of a row; None where it is not a single finger.

    Raises:
        ValueError: a cell is wrong.
    """
    relative = _text(row, "path", 4096)
    if not relative:
        raise ValueError("path: empty")
    # Links are followed: the file itself must lie in the folder of the table.
    path = folder / relative
    if "\0" in relative or not Path(os.path.realpath(path)).is_relative_to(root):
        raise ValueError(f"path: {relative!r} leads out of the table's folder; {_location_advice(folder, path)}")
    subject = _name(row, "subject")
    if not subject:
        raise ValueError("subject: empty")
    if "/" in subject or re.search(r" finger \d+$", subject):
        raise ValueError(f"subject: {subject!r} may hold no '/' and not end like ' finger 1': identities are named so")
    database = _name(row, "database") or name
    code = _number(row, "finger")
    if code is not None and (code != int(code) or int(code) not in CODES):
        raise ValueError(f"finger: expected a finger position code like 1-10, or nothing, got {row['finger']!r}")
    finger = None if code is None else finger_of(int(code))
    if code is not None and finger is None:
        return None
    row_ppi = _number(row, "ppi")
    if row_ppi is not None and not PPI[0] <= row_ppi <= PPI[1]:
        raise ValueError(f"ppi: expected {PPI[0]:g} to {PPI[1]:g}, or nothing, got {row['ppi']!r}")
    impression = _name(row, "impression")
    if not impression:
        impression = relative
        _check_name("path", impression)
    elif code in PLAIN_THUMBS:
        impression += f"-{int(code)}"
    return Record(
        path=path,
        database=database,
        subject=f"{PEOPLE.get(database, database)}/{subject}",
        finger=finger,
        impression=impression,
        device=_name(row, "device"),
        capture=_name(row, "capture"),
        ppi=ppi or row_ppi,
    )


def _location_advice(folder: Path, path: Path) -> str:
    """What to do so that an image lies below its table."""
    if Path(os.path.abspath(path)).is_relative_to(os.path.abspath(folder)):
        return f"it is linked: `{copy_command(folder)}` makes files of links"
    return "put the table above its images"


def _text(row: Mapping[str, Any], column: str, longest: int = LONGEST) -> str:
    value = row.get(column)
    text = "" if value is None else str(value).strip()
    if len(text) > longest:
        raise ValueError(f"{column}: longer than {longest} characters")
    return text


def _name(row: Mapping[str, Any], column: str) -> str | None:
    """A cell as a name; None where it is empty.

    Raises:
        ValueError: it is too long, a formula, or not printable.
    """
    value = row.get(column)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{column}: expected a name, got {value!r}")
        # A column of numbers with empty cells is read as floats: 7 becomes 7.0.
        value = int(value) if value == int(value) else value
    text = _text({column: value}, column)
    _check_name(column, text)
    return text or None


def _check_name(column: str, text: str) -> None:
    if text.startswith(FORMULA):
        raise ValueError(f"{column}: {text!r} begins like a spreadsheet's formula")
    if not text.isprintable():
        raise ValueError(f"{column}: {text!r} holds characters that cannot be printed")


def _number(row: Mapping[str, Any], column: str) -> float | None:
    text = _text(row, column)
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{column}: expected a number or nothing, got {row[column]!r}")
    return number
