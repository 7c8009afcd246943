"""Rows as CSV text."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

CHUNK_ROWS = 10_000


def table(heading: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """The table as CSV text."""
    return "".join(pieces(heading, rows))


def pieces(heading: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    """The table in parts of `CHUNK_ROWS` rows, for tables that are large in memory."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(heading)
    for count, row in enumerate(rows, 1):
        writer.writerow(row)
        if count % CHUNK_ROWS == 0:
            yield text.getvalue()
            text.seek(0)
            text.truncate()
    yield text.getvalue()
