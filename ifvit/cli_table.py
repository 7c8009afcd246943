"""`ifvit table RUN...`: runs side by side, for papers."""

from __future__ import annotations

import argparse

from ifvit.cli_common import border, check_place, typed_path
from ifvit.program import refuse

FORMS = ("markdown", "latex", "csv")


def add_table(commands: argparse._SubParsersAction) -> None:
    """Add `table` to the commands."""
    table = commands.add_parser(
        "table",
        help="runs side by side: what differs, validation, verification; Markdown, LaTeX, CSV",
        description="The figures of several runs side by side, with what differs between their configs: the last "
        "validation's (metrics.json) and those of every database in RUN/evaluation/. Runs that differ in nothing but "
        "their seeds are one row: the mean ± the standard deviation.",
    )
    table.add_argument("runs", nargs="+", type=typed_path, metavar="RUN", help="a run_dir, or a sweep's folder of them")
    table.add_argument("--format", choices=FORMS, default="markdown", help="default: %(default)s")
    table.add_argument("--out", type=typed_path, metavar="FILE", help="write it there; default: to standard output")
    table.set_defaults(run=_table)


def _table(arguments: argparse.Namespace) -> None:
    from ifvit.files import write_whole
    from ifvit.run_table import RunError, table

    check_place("--out", arguments.out)
    try:
        text = table(arguments.runs, arguments.format)
    except RunError as error:
        refuse([str(error)])
    if arguments.out is None:
        print(text, end="")
        return
    with border():
        write_whole(arguments.out, lambda file: file.write(text.encode()))
    print(f"written to {arguments.out}")
