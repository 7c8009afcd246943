"""`ifvit convert`, `export` and `verify`: the commands for files of weights."""

from __future__ import annotations

import argparse

from ifvit.cli.common import typed_path

_OUTPUT = "OUT.npz (this program's names) or OUT.safetensors (LoFTR's, for other programs)"


def add_weights(commands: argparse._SubParsersAction) -> None:
    """Add `convert`, `export` and `verify` to the commands."""
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
    verify.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="like training's: dense=loftr dense.num_layers=8"
    )
    verify.set_defaults(run=_verify)


def _convert(arguments: argparse.Namespace) -> None:
    from ifvit.weights.loftr import convert
    from ifvit.weights.official import describe

    result = convert(arguments.source, arguments.output, arguments.prefix)
    assert result.origin is not None  # of weights from a file
    print(result.table())
    print(describe(arguments.source.name, result.origin, result.arrays, result.dropped))
    print(f"written to {arguments.output}")


def _export(arguments: argparse.Namespace) -> None:
    from ifvit.launch import prepare_process

    prepare_process()
    from ifvit.training.export import export

    print(export(arguments.run_dir, arguments.output))


def _verify(arguments: argparse.Namespace) -> None:
    from ifvit.config.overrides import literal
    from ifvit.launch import compose_config, prepare_process

    has_encoder = any(override.startswith("dense=") for override in arguments.overrides)
    overrides = [*([] if has_encoder else ["dense=loftr"]), *arguments.overrides]
    config = compose_config([*overrides, f"dense.loftr_pretrained_ckpt={literal(str(arguments.weights))}"])
    prepare_process()
    from ifvit.training.pretrained import try_weights

    print(try_weights(config))
