"""`python -m ifvit data ACTION`: check, pairs, prepare."""

from __future__ import annotations

import argparse
import sys

from ifvit import program
from ifvit.cli.common import RESUMES, at_least, check_keys, check_output, typed_path
from ifvit.config import Enhancement, Source, missing_extra
from ifvit.program import EXIT_FAILED, refuse

OF_RUN = ("data.ppi", "data.image_size", "data.ridge_mask")  # keys that come with a trained model


def add_data(commands: argparse._SubParsersAction) -> None:
    """Add `data` and its actions to the commands."""
    data = commands.add_parser("data", help="look after databases: check them, list pairs, prepare them for Module 2")
    actions = data.add_commands("ACTION")

    check = actions.add_parser(
        "check", help="counts, identities, resolution, damage: a table, and status 1 on problems"
    )
    check.add_argument(
        "roots", nargs="+", type=typed_path, metavar="ROOT", help="a database's folder, several, or a manifest"
    )
    check.add_argument("--source", metavar="NAME", help="what the roots are, like folder or molf; else recognised")
    check.add_argument("--json", type=typed_path, metavar="FILE", help="write the report there too")
    check.add_argument(
        "--sheet", type=typed_path, metavar="FILE", help="draw samples of each database: .png, .pdf, ..."
    )
    check.add_argument("--ppi", type=at_least(50), metavar="N", help="of all files, over what names and tags say")
    check.add_argument("--split", type=typed_path, metavar="CSV", help="a run's split.csv: its people are a problem")
    check.set_defaults(run=_check)

    pairs = actions.add_parser("pairs", help="write the genuine and impostor pairs of a protocol as CSV")
    pairs.add_argument(
        "roots", nargs="+", type=typed_path, metavar="ROOT", help="a database's folder, several, or a manifest"
    )
    pairs.add_argument("--source", metavar="NAME", help="what the roots are, like folder or molf; else recognised")
    pairs.add_argument(
        "--protocol",
        required=True,
        choices=["fvc", "sd4", "sd302", "all"],
        help="fvc: impostors are first impressions; sd4: f against s; sd302, all: every two impressions",
    )
    pairs.add_argument("--out", required=True, type=typed_path, metavar="CSV")
    pairs.add_argument(
        "--impostors", type=at_least(0), metavar="N", help="at most so many, drawn at random; default: all"
    )
    pairs.add_argument("--seed", type=at_least(0), default=0, metavar="N", help="of that draw; default: %(default)s")
    pairs.set_defaults(run=_pairs)

    prepare = actions.add_parser(
        "prepare", help="register real prints by a trained Module 1, to train Module 2 on them"
    )
    prepare.add_argument("run_dir", type=typed_path, metavar="RUN_DIR", help="the run_dir of a trained Module 1")
    prepare.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="the data: data=fvc data.root=FOLDER data.databases=[DB1_A]"
    )
    prepare.add_argument(
        "--out",
        required=True,
        type=typed_path,
        metavar="DIR",
        help="a new folder, or one with a part of the work",
    )
    prepare.add_argument(
        "--enhancement",
        choices=["none", "gabor", "pyfing"],
        default="gabor",
        help="what draws the ridges that Module 2's global branch sees; default: %(default)s",
    )
    prepare.add_argument(
        "--impostors", type=at_least(0), metavar="N", help="pairs of different fingers; default: as many as genuine"
    )
    prepare.add_argument("--seed", type=at_least(0), default=0, metavar="N", help="of their draw; default: %(default)s")
    prepare.set_defaults(run=_prepare, stopped=RESUMES)


def _check(arguments: argparse.Namespace) -> None:
    from ifvit.launch import prepare_process

    check_output("--json", arguments.json)
    check_output("--sheet", arguments.sheet, picture=True)
    prepare_process()
    from ifvit.databases.doctor import examine
    from ifvit.databases.sample_sheet import sample_sheet
    from ifvit.databases.splits import read_split
    from ifvit.pictures import picture_files
    from ifvit.storage.json_files import write_json

    split = read_split(arguments.split, "--split") if arguments.split else None
    report, records = examine(arguments.roots, _source(arguments.source), arguments.ppi, split)
    print(report.text(), flush=True)
    if arguments.json:
        write_json(arguments.json, report.to_dict())
        print(f"as JSON: {arguments.json}")
    sheet = sample_sheet(records) if arguments.sheet else None
    if sheet is not None:
        picture_files.save(arguments.sheet, sheet)
        print(f"look at  {arguments.sheet}")
    elif arguments.sheet:
        print("no sheet: no image can be shown")
    if not report.healthy:
        raise SystemExit(EXIT_FAILED)


def _pairs(arguments: argparse.Namespace) -> None:
    from ifvit.launch import prepare_process

    check_output("--out", arguments.out)
    prepare_process()
    from ifvit.databases.discovery import recognise
    from ifvit.databases.doctor import check_roots
    from ifvit.databases.findings import Finding
    from ifvit.databases.protocols import Protocol, protocol_pairs
    from ifvit.databases.records import Record, check_unique
    from ifvit.storage.files import write_whole

    findings: list[Finding] = []
    records: list[Record] = []
    check_roots(arguments.roots)
    for root in arguments.roots:
        records += recognise(root, findings, _source(arguments.source))
    for finding in findings:
        if not finding.problem:
            print(f"note: {finding.text}", file=sys.stderr)
    if problems := [finding.text for finding in findings if finding.problem]:
        refuse(problems)
    check_unique(records, "the data")
    pair_list = protocol_pairs(records, Protocol(arguments.protocol), arguments.impostors, arguments.seed)
    lines = (piece.encode() for piece in pair_list.lines(records))
    write_whole(arguments.out, lambda file: file.writelines(lines))
    genuine = int(pair_list.genuine.sum())
    impostors = len(pair_list) - genuine
    print(
        f"{genuine} genuine and {impostors} impostor pairs of {len(records)} impressions: {arguments.out}\n"
        f"the images themselves were not looked at: {program.command('data check')}"
    )


def _prepare(arguments: argparse.Namespace) -> None:
    from ifvit.config.overrides import shell_override
    from ifvit.launch import compose_config, prepare_process

    reason = "the model, and how it sees prints, come from the run; say where the data lie"
    check_keys(arguments.overrides, ["data", "data."], reason)
    keys = [text.lstrip("+").partition("=")[0] for text in arguments.overrides]
    if refused := [key for key in keys if key in OF_RUN]:
        refuse([f"{key}: {reason}" for key in refused])
    enhancement = Enhancement(arguments.enhancement)
    if line := missing_extra("--enhancement", enhancement):
        refuse([line])
    data = compose_config(arguments.overrides).data
    check_output("--out DIR", arguments.out / "prepared.json")
    prepare_process()
    from ifvit.data.prepare import REGISTERED, prepare

    out = arguments.out
    report = prepare(arguments.run_dir, data, out, enhancement, arguments.impostors, arguments.seed)
    for kind in ("genuine", "impostor"):
        counts = report["pairs"][kind]
        causes = ", ".join(f"{count} {cause}" for cause, count in counts.items() if cause != REGISTERED)
        print(f"{kind}: {counts.get(REGISTERED, 0)} of {sum(counts.values())} pairs registered ({causes or 'all'})")
    paths = {"init.dense": arguments.run_dir, "data.root": out, "data.split": out / "split.csv"}
    typed = [program.command("train stage=matcher data=prepared"), *(shell_override(*path) for path in paths.items())]
    count = report["prints"]["listed"] - report["prints"]["unusable"]
    print(f"{count} prints in {out}; to train on them:\n  {' '.join(typed)}")


def _source(name: str | None) -> Source | None:
    """The source of --source; refuses one that has no files of its own."""
    sources = [source for source in Source if source not in (Source.synthetic, Source.prepared, Source.mixture)]
    if name is not None and name not in sources:
        refuse([f"--source: expected one of {', '.join(sources)}, got {name}"])
    return None if name is None else Source(name)
