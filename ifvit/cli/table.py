"""`ifvit table RUN...`: runs and evaluations side by side, for papers."""

from __future__ import annotations

import argparse

from ifvit.cli.common import check_output, typed_path

FORMS = ("markdown", "latex", "csv")


def add_table(commands: argparse._SubParsersAction) -> None:
    """Add `table` to the commands."""
    table = commands.add_parser(
        "table",
        help="runs and evaluations side by side: what differs, validation, verification; Markdown, LaTeX, CSV",
        description="The figures of several runs side by side, with what differs between their configs: the last "
        "validation's (metrics.json) and those of every database in RUN/evaluation/. Runs that differ in nothing but "
        "their seeds are one row: the mean ± the standard deviation. Evaluations that lie elsewhere, like those by the "
        "ridges alone, are a row of their own, those of one scorer together.",
    )
    table.add_argument(
        "runs", nargs="+", type=typed_path, metavar="RUN", help="a run_dir, an evaluation's --out, or a folder of such"
    )
    table.add_argument("--format", choices=FORMS, default="markdown", help="default: %(default)s")
    table.add_argument(
        "--figures",
        type=_names,
        default=(),
        metavar="A,B",
        help="as the files call them, like best.exact,pck_5,eer,zero_fmr; default: the stage's objective, of the last "
        "validation and of the best, and one beside it; of databases eer,fmr1000",
    )
    table.add_argument("--out", type=typed_path, metavar="FILE", help="write it there; default: to standard output")
    table.set_defaults(run=_table)


def _names(text: str) -> tuple[str, ...]:
    """A type for argparse: names with commas between them, each once."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    if "" in names:
        raise argparse.ArgumentTypeError("expected names with commas between them, like best.exact,eer")
    return names


def _table(arguments: argparse.Namespace) -> None:
    from ifvit.evaluation.run_table import table
    from ifvit.storage.files import write_whole

    check_output("--out", arguments.out)
    text = table(arguments.runs, arguments.format, arguments.figures)
    if arguments.out is None:
        print(text, end="")
        return
    write_whole(arguments.out, lambda file: file.write(text.encode()))
    print(f"written to {arguments.out}")
