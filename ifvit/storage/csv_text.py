"""Rows as CSV text."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

AT_ONCE = 10_000  # rows


def table(heading: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """The whole table."""
    return "".join(pieces(heading, rows))


def pieces(heading: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    """The table by and by, for tables that are larger than one likes to hold."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(heading)
    for count, row in enumerate(rows, 1):
        writer.writerow(row)
        if count % AT_ONCE == 0:
            yield text.getvalue()
            text.seek(0)
            text.truncate()
    yield text.getvalue()
