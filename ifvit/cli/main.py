"""`python -m ifvit COMMAND`: train, compare, register, evaluate, table, data, synthesize, convert, export, verify."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ifvit import __version__, console, program
from ifvit.cli.common import (
    BEGINS_AGAIN,
    RESUMES,
    Parser,
    at_least,
    check_keys,
    check_output,
    exit_on_error,
    typed_path,
)
from ifvit.cli.completion import SHELLS, candidates, script
from ifvit.cli.data import add_data
from ifvit.cli.evaluate import add_evaluate
from ifvit.cli.pair import add_pair_commands
from ifvit.cli.table import add_table
from ifvit.cli.weights import add_weights
from ifvit.program import refuse


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line. A refusal is one line and exit status 2."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv[:1] == ["train"]:
        # Everything behind `train` is Hydra's, options too; argparse must not read it.
        from ifvit.cli.train import train_command

        train_command(argv[1:])
        return
    if argv[:1] == ["--complete"]:  # the call of the scripts of `completion`
        print("".join(f"{text}\n" for text in candidates(argv[1:], _parser())), end="")
        return
    arguments = _parser().parse(argv)
    console.guard()
    stop_line = getattr(arguments, "stopped", BEGINS_AGAIN)
    with exit_on_error(stop_line(arguments) if callable(stop_line) else stop_line):
        arguments.run(arguments)


def _parser() -> Parser:
    parser = Parser(
        prog=program.command(),
        description="Fingerprint registration and matching.",
        epilog=f"{program.command()} COMMAND --help tells more of a command. Where a command writes a file, "
        "missing folders are created.",
    )
    parser.add_argument("--version", action="version", version=f"ifvit {__version__}")
    commands = parser.add_commands("COMMAND")

    commands.add_parser("train", help="train Module 1 or Module 2, once or in a sweep", add_help=False)

    add_pair_commands(commands)

    add_evaluate(commands)

    add_table(commands)

    add_data(commands)

    synthesize = commands.add_parser(
        "synthesize", help="make synthetic fingerprints: a set in FVC naming, a contact sheet"
    )
    synthesize.add_argument("--fingers", type=at_least(1), default=100, metavar="N", help="default: %(default)s")
    synthesize.add_argument(
        "--impressions", type=at_least(1), default=8, metavar="N", help="of each finger; %(default)s"
    )
    synthesize.add_argument("--out", type=typed_path, metavar="DIR", help="a new folder, or one with a part of the set")
    synthesize.add_argument(
        "--sheet", type=typed_path, metavar="FILE", help="draw a finger of each class: .png, .pdf, ..."
    )
    synthesize.add_argument("--seed", type=at_least(0), default=0, metavar="N", help="default: %(default)s")
    synthesize.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="like data.impression.wear=2 data.impression.sensors=[inked]"
    )
    synthesize.set_defaults(run=_synthesize, stopped=lambda arguments: RESUMES if arguments.out else BEGINS_AGAIN)

    add_weights(commands)

    completion = commands.add_parser("completion", help="print what lets a shell complete commands, options and keys")
    completion.add_argument("shell", choices=SHELLS, help="docs/config.md says how to switch it on")
    completion.set_defaults(run=_completion)
    return parser


def _completion(arguments: argparse.Namespace) -> None:
    print(script(arguments.shell), end="")


def _synthesize(arguments: argparse.Namespace) -> None:
    from ifvit.config.overrides import shell_override
    from ifvit.launch import compose_config, prepare_process

    if not (arguments.out or arguments.sheet):
        refuse(["name what to make: --out DIR for a set, --sheet FILE.png for a contact sheet, or both"])
    reason = "only data.impression.* changes what is made (and --seed, ...)"
    check_keys(arguments.overrides, ["data.impression."], reason)
    settings = compose_config(arguments.overrides).data.impression
    check_output("--sheet", arguments.sheet, picture=True)
    check_output("--out DIR", arguments.out and arguments.out / "set.json")
    prepare_process()
    from ifvit import backend
    from ifvit.data.finger_set import DATABASE, contact_sheet, make_set
    from ifvit.pictures import picture_files

    backend.start()
    if arguments.out:
        make_set(arguments.out, arguments.fingers, arguments.impressions, arguments.seed, settings)
        root = shell_override("data.root", arguments.out)
        data_overrides = f"data=fvc {root} data.databases=[{DATABASE}] data.file_ppi=500"
        print(
            f"{arguments.fingers} fingers, {arguments.impressions} impressions of each: "
            f"{arguments.out / 'manifest.csv'}; what is what: {arguments.out / 'README.txt'}\n"
            f"to train on it: {program.command('train')} {data_overrides}\n"
            f"to evaluate on it: {program.command('evaluate')} {data_overrides}",
            flush=True,
        )
    if arguments.sheet:
        picture_files.save(arguments.sheet, contact_sheet(arguments.seed, arguments.impressions, settings))
        print(f"look at {arguments.sheet}")
