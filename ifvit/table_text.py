"""A table of cells as text: aligned for a console, Markdown, LaTeX, CSV. Markup in a cell is escaped."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Collection, Sequence

from ifvit.console import printable

Rows = Sequence[Sequence[str]]

_LATEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", "±": r"$\pm$",
    # At the beginning of a row LaTeX would read these as arguments of the \\ before it.
    "[": "{[}", "]": "{]}", "*": "{*}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}  # fmt: skip


def aligned(rows: Rows, right: Collection[int] = ()) -> list[str]:
    """Lines for a console. right: the columns (from 0) that are aligned to the right, like numbers."""
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if k in right else cell.ljust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def markdown(rows: Rows) -> str:
    """A Markdown table for GitHub, notebooks and Pandoc, aligned as plain text too."""
    heading, *body = [[_in_markdown(cell) for cell in row] for row in rows]
    widths = [max(3, *map(len, column)) for column in zip(heading, *body, strict=True)]
    ruler = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = []
    for row in (heading, ruler, *body):
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        lines.append(f"| {' | '.join(cells)} |\n")
    return "".join(lines)


def latex(rows: Rows) -> str:
    """A LaTeX tabular with the rules of the package booktabs."""
    heading, *body = [" & ".join("".join(_LATEX.get(c, c) for c in printable(cell)) for cell in row) for row in rows]
    lines = [
        r"% \usepackage{booktabs}",
        rf"\begin{{tabular}}{{l{'r' * (len(rows[0]) - 1)}}}",
        r"\toprule",
        rf"{heading} \\",
        r"\midrule",
        *(rf"{row} \\" for row in body),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def csv_text(rows: Sequence[Sequence[str | float | None]]) -> str:
    """Comma-separated values; None gives an empty field.

    A text that a spreadsheet would read as a formula gets an apostrophe in front.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in rows:
        writer.writerow([_no_formula(printable(cell)) if isinstance(cell, str) else cell for cell in row])
    return text.getvalue()


def _no_formula(text: str) -> str:
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) and text != "-" else text


def _in_markdown(text: str) -> str:
    text = printable(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"[\\`*\[\]|~]", r"\\\g<0>", text)
    # Within a word an underscore needs no backslash: keys stay readable.
    return re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", text)


TEXT: dict[str, Callable[[Rows], str]] = {"markdown": markdown, "latex": latex}
