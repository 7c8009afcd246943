"""`python -m ifvit COMMAND`: train, compare, register, evaluate, table, data, synthesize, convert, export, verify."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from ifvit import __version__, console
from ifvit.cli_common import RESUMES, Stopped, at_least, border, check_place, typed_path, whole_command
from ifvit.cli_data import add_data
from ifvit.cli_evaluate import add_evaluate
from ifvit.cli_pair import add_pair_commands
from ifvit.cli_table import add_table

_OUTPUT = "OUT.npz (this program's names) or OUT.safetensors (LoFTR's, for other programs)"


def command() -> None:
    """The process's entry: `main`, with an end at once where the user has stopped it.

    At the interpreter's own end JAX's threads, stopped in the middle of their work, crash the process.
    """
    try:
        main()
    except Stopped as stopped:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(stopped.code)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command; a refusal is one plain message and status 2."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv[:1] == ["train"]:
        # Everything behind `train` is Hydra's, dashes too; argparse must not touch it.
        from ifvit.cli_train import train_command

        train_command(argv[1:], program=["python", "-m", "ifvit", "train"])
        return
    arguments = _parser().parse_args(argv)
    console.guard()
    with whole_command(arguments.stopped):
        arguments.run(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ifvit", description="Fingerprint registration and matching.")
    parser.set_defaults(stopped="stopped before it was finished; the same command begins again")
    parser.add_argument("--version", action="version", version=f"ifvit {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    commands.add_parser("train", help="train; takes Hydra overrides, like train.py", add_help=False)

    add_pair_commands(commands)

    add_evaluate(commands)

    add_data(commands)
    add_table(commands)

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
    synthesize.add_argument("overrides", nargs="*", help="like data.impression.wear=2 data.impression.sensors=[inked]")
    synthesize.set_defaults(run=_synthesize, stopped=RESUMES)

    convert = commands.add_parser(
        "convert", help="turn weights of LoFTR (PyTorch, .safetensors, .npz) into .npz or .safetensors, without PyTorch"
    )
    convert.add_argument(
        "--pytorch_ckpt",
        "--input",
        dest="source",
        required=True,
        type=typed_path,
        metavar="IN",
        help="outdoor_ds.ckpt, ..., or a converted file",
    )
    convert.add_argument("--output", required=True, type=typed_path, metavar="OUT", help=_OUTPUT)
    convert.add_argument(
        "--prefix",
        default="loftr_coarse",
        help="part of the file to take (default: %(default)s), or of a network in it (ema.loftr_coarse); '' takes all",
    )
    convert.set_defaults(run=_convert)

    export = commands.add_parser("export", help="write a run's best weights, under LoFTR's names if wanted")
    export.add_argument("run_dir", type=typed_path, metavar="RUN_DIR", help="the run_dir of a run with LoFTR's encoder")
    export.add_argument("--output", required=True, type=typed_path, metavar="OUT", help=_OUTPUT)
    export.set_defaults(run=_export)

    verify = commands.add_parser(
        "verify", help="merge weights into the configured model, run it once, say what happened"
    )
    verify.add_argument(
        "--weights", required=True, type=typed_path, metavar="FILE", help=".npz, .safetensors or a PyTorch checkpoint"
    )
    verify.add_argument("overrides", nargs="*", help="like training's: dense=loftr dense.num_layers=8")
    verify.set_defaults(run=_verify)
    return parser


def _synthesize(arguments: argparse.Namespace) -> None:
    from ifvit.launch import compose_config, prepare_process, refuse
    from ifvit.overrides import typed

    if not (arguments.out or arguments.sheet):
        refuse(["name what to make: --out DIR for a set, --sheet FILE.png for a contact sheet, or both"])
    idle = [override for override in arguments.overrides if not override.startswith("data.impression.")]
    if idle:
        refuse([f"{override}: only data.impression.* changes what is made (and --seed, ...)" for override in idle])
    settings = compose_config(arguments.overrides).data.impression
    check_place("--sheet", arguments.sheet, picture=True)
    check_place("--out DIR", arguments.out and arguments.out / "set.json")
    prepare_process()
    from ifvit import backend, pictures
    from ifvit.data.fingerset import DATABASE, contact_sheet, make_set

    backend.start()
    with border(resumes=arguments.out is not None):
        if arguments.out:
            make_set(arguments.out, arguments.fingers, arguments.impressions, arguments.seed, settings)
            root = typed("data.root", arguments.out)
            print(
                f"{arguments.fingers} fingers, {arguments.impressions} impressions of each: "
                f"{arguments.out / 'manifest.csv'}; what is what: {arguments.out / 'README.txt'}\n"
                f"to train on it: python train.py data=fvc {root} data.databases=[{DATABASE}] data.file_ppi=500",
                flush=True,
            )
        if arguments.sheet:
            pictures.save(arguments.sheet, contact_sheet(arguments.seed, arguments.impressions, settings))
            print(f"look at {arguments.sheet}")


def _convert(arguments: argparse.Namespace) -> None:
    from ifvit.launch import refuse
    from ifvit.weights.errors import WeightsError
    from ifvit.weights.loftr import convert
    from ifvit.weights.official import describe

    try:
        result = convert(arguments.source, arguments.output, arguments.prefix)
    except WeightsError as error:
        refuse([str(error)])
    print(result.table())
    print(describe(arguments.source.name, result.origin, result.arrays, result.dropped))
    print(f"written to {arguments.output}")


def _export(arguments: argparse.Namespace) -> None:
    from ifvit.launch import prepare_process, refuse

    prepare_process()
    from ifvit.checkpoint import CheckpointError
    from ifvit.training.export import export
    from ifvit.weights.errors import WeightsError

    try:
        print(export(arguments.run_dir, arguments.output))
    except (WeightsError, CheckpointError) as error:
        refuse([str(error)])


def _verify(arguments: argparse.Namespace) -> None:
    from ifvit.launch import compose_config, prepare_process, refuse
    from ifvit.overrides import literal

    chosen = any(override.startswith("dense=") for override in arguments.overrides)
    overrides = [*([] if chosen else ["dense=loftr"]), *arguments.overrides]
    config = compose_config([*overrides, f"dense.loftr_pretrained_ckpt={literal(str(arguments.weights))}"])
    prepare_process()
    from ifvit.training.pretrained import try_weights
    from ifvit.weights.errors import WeightsError

    try:
        print(try_weights(config))
    except WeightsError as error:
        refuse([str(error)])
