"""`python -m ifvit data ACTION`: check, pairs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ifvit.cli_common import at_least, border
from ifvit.config import Source


def add_data(commands: argparse._SubParsersAction) -> None:
    """Add `data` and its actions to the commands."""
    data = commands.add_parser("data", help="look after databases: check them, list the pairs of a protocol")
    actions = data.add_subparsers(required=True, metavar="ACTION")

    check = actions.add_parser(
        "check", help="counts, identities, resolution, damage: a table, and status 1 on problems"
    )
    check.add_argument(
        "roots", nargs="+", type=Path, metavar="ROOT", help="a database's folder, several, or a manifest"
    )
    check.add_argument("--source", metavar="NAME", help="what the roots are, like folder or molf; else recognised")
    check.add_argument("--json", type=Path, metavar="FILE", help="write the report there too")
    check.add_argument("--sheet", type=Path, metavar="PNG", help="draw samples of each database")
    check.add_argument("--ppi", type=at_least(50), metavar="N", help="of all files, over what names and tags say")
    check.add_argument("--split", type=Path, metavar="CSV", help="a run's split.csv: its people are a problem here")
    check.set_defaults(run=_check)

    pairs = actions.add_parser("pairs", help="write the genuine and impostor pairs of a protocol as CSV")
    pairs.add_argument(
        "roots", nargs="+", type=Path, metavar="ROOT", help="a database's folder, several, or a manifest"
    )
    pairs.add_argument("--source", metavar="NAME", help="what the roots are, like folder or molf; else recognised")
    pairs.add_argument(
        "--protocol",
        required=True,
        choices=["fvc", "sd4", "sd302", "all"],
        help="fvc: impostors are first impressions; sd4: f against s; sd302, all: every two impressions",
    )
    pairs.add_argument("--out", required=True, type=Path, metavar="CSV")
    pairs.add_argument(
        "--impostors", type=at_least(0), metavar="N", help="at most so many, drawn at random; default: all"
    )
    pairs.add_argument("--seed", type=at_least(0), default=0, metavar="N", help="of that draw; default: %(default)s")
    pairs.set_defaults(run=_pairs)


def _check(arguments: argparse.Namespace) -> None:
    from ifvit.launch import EXIT_FAILED, prepare_process, refuse

    prepare_process()
    from ifvit import plots
    from ifvit.checkpoint import write_json
    from ifvit.data.doctor import examine, sample_sheet
    from ifvit.data.splits import read_split

    with border("the check"):
        for option, path in (("--json", arguments.json), ("--sheet", arguments.sheet)):
            if path and path.is_dir():
                refuse([f"{option}: {path} is a folder; name a file"])
        split = read_split(arguments.split, "--split") if arguments.split else None
        report, records = examine(arguments.roots, _source(arguments.source), arguments.ppi, split)
        print(report.text())
        if arguments.json:
            write_json(arguments.json, report.tree())
            print(f"as JSON: {arguments.json}")
        sheet = sample_sheet(records) if arguments.sheet else None
        if sheet is not None:
            arguments.sheet.parent.mkdir(parents=True, exist_ok=True)
            plots.save(arguments.sheet, sheet)
            print(f"look at  {arguments.sheet}")
        elif arguments.sheet:
            print("no sheet: no image can be shown")
    if not report.healthy:
        raise SystemExit(EXIT_FAILED)


def _pairs(arguments: argparse.Namespace) -> None:
    from ifvit.launch import prepare_process, refuse

    prepare_process()
    from ifvit.data.discovery import recognise
    from ifvit.data.doctor import check_roots
    from ifvit.data.protocols import Protocol, pairs
    from ifvit.data.records import check_unique
    from ifvit.files import write_whole

    with border("the list"):
        if arguments.out.is_dir():
            refuse([f"--out: {arguments.out} is a folder; name a file"])
        findings, records = [], []
        check_roots(arguments.roots)
        for root in arguments.roots:
            records += recognise(root, findings, _source(arguments.source))
        for finding in findings:
            if not finding.problem:
                print(f"note: {finding.text}", file=sys.stderr)
        if problems := [finding.text for finding in findings if finding.problem]:
            refuse(problems)
        check_unique(records, "the data")
        made = pairs(records, Protocol(arguments.protocol), arguments.impostors, arguments.seed)
        lines = (piece.encode() for piece in made.lines(records))
        write_whole(arguments.out, lambda file: file.writelines(lines))
    genuine = int(made.genuine.sum())
    print(
        f"{genuine} genuine and {len(made) - genuine} impostor pairs of {len(records)} impressions: {arguments.out}\n"
        "the images themselves were not looked at: python -m ifvit data check"
    )


def _source(name: str | None) -> Source | None:
    from ifvit.launch import refuse

    known = [source for source in Source if source not in (Source.synthetic, Source.mixture)]
    if name is not None and name not in known:
        refuse([f"--source: expected one of {', '.join(known)}, got {name}"])
    return None if name is None else Source(name)
