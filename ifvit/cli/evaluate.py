"""`python -m ifvit evaluate`: a run, or the ridges alone, by a verification protocol."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from ifvit import glossary, program
from ifvit.cli.common import RESUMES, at_least, check_keys, check_output, typed_path
from ifvit.cli.pair import add_score

if TYPE_CHECKING:
    from ifvit.evaluation.task import Task


def add_evaluate(commands: argparse._SubParsersAction) -> None:
    """Add `evaluate` to the commands."""
    evaluate = commands.add_parser(
        "evaluate",
        help="evaluate a run, or ridges alone, by a verification protocol",
        epilog=glossary.epilog(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    evaluate.add_argument(
        "run_dir",
        nargs="?",
        type=_run_or_override,
        metavar="RUN_DIR",
        help="of a trained Module 1 or 2, whose networks take part; left out: ridges and minutiae alone are evaluated",
    )
    evaluate.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="the data: data=fvc data.root=FOLDER data.databases=DB1_B"
    )
    add_score(evaluate)
    evaluate.add_argument("--protocol", choices=["fvc", "sd4", "sd302", "all"], help="default: the data's usual one")
    evaluate.add_argument("--impostors", type=at_least(1), metavar="N", help="at most so many, drawn; default: all")
    evaluate.add_argument(
        "--out",
        type=typed_path,
        metavar="DIR",
        help="default: a folder of the data in RUN_DIR/evaluation, or in ./evaluation",
    )
    evaluate.add_argument(
        "--robustness", type=at_least(1), default=0, metavar="N",
        help="compare N genuine pairs once more at every angle and shift, and draw the heat map",
    )  # fmt: skip
    calibration = evaluate.add_mutually_exclusive_group()
    calibration.add_argument(
        "--calibrate",
        action="store_const",
        const=True,
        help="replace the run's calibration, by fewer impostors or other data too",
    )
    calibration.add_argument(
        "--no-calibration", dest="calibrate", action="store_const", const=False, help="leave it as it is"
    )
    evaluate.set_defaults(run=_evaluate, stopped=RESUMES)


def _run_or_override(text: str) -> Path | str:
    """A type for argparse: a run directory, or the first override, which has an = and is no folder."""
    return text if "=" in text and not Path(text).is_dir() else typed_path(text)


def _evaluate(arguments: argparse.Namespace) -> None:
    from ifvit.launch import compose_config, prepare_process

    command = _evaluate_command(arguments)
    run_dir, overrides = arguments.run_dir, arguments.overrides
    if isinstance(run_dir, str):
        run_dir, overrides = None, [run_dir, *overrides]
    check_keys(overrides, ["data", "data."], "the model comes from the run; only data=... and data.* are read")
    data = compose_config(overrides).data
    base = arguments.out or (run_dir or Path()) / "evaluation"
    if run_dir is None or run_dir.is_dir():  # else `plan` refuses it
        check_output("--out DIR", base / "results.json")
    prepare_process()
    from ifvit.databases.protocols import Protocol
    from ifvit.evaluation.task import plan

    protocol = Protocol(arguments.protocol) if arguments.protocol else None
    task = plan(run_dir, data, protocol, arguments.impostors, arguments.score)
    out = arguments.out or base / task.folder()
    print("\n".join([*task.heading(), f"writes   {out}"]), flush=True)
    _evaluate_task(task, out, command, arguments.calibrate, arguments.robustness)


def _evaluate_task(task: Task, out: Path, command: str, calibrate: bool | None, robustness_pairs: int) -> None:
    """Evaluate, and print each line once its work is done. A finished evaluation only prints its lines again."""
    from ifvit.evaluation import finished

    key = finished.key_of(task, calibrate, robustness_pairs)
    if lines := finished.lines_of(out, key):
        print("\n".join([*lines, f"finished before; to do it again, remove {out / finished.FILE}"]))
        return
    from ifvit.evaluation.evaluate import evaluate, report

    evaluation = evaluate(task, out)
    lines = evaluation.text()
    print("\n".join(lines), flush=True)  # before the files are written: a full disk must not cost them
    for line in report(evaluation, out, command, calibrate, robustness_pairs):
        lines.append(line)
        print(line, flush=True)
    finished.finish(out, task, key, lines)


def _evaluate_command(arguments: argparse.Namespace) -> str:
    """The command as it can be typed again."""
    options = {
        "--score": arguments.score if arguments.score != "fused" else None,
        "--protocol": arguments.protocol,
        "--impostors": arguments.impostors,
        "--out": arguments.out,
        "--robustness": arguments.robustness or None,
    }
    words = [arguments.run_dir, *arguments.overrides]
    words += [word for name, value in options.items() if value is not None for word in (name, value)]
    words += {True: ["--calibrate"], False: ["--no-calibration"], None: []}[arguments.calibrate]
    return f"{program.command('evaluate')} {shlex.join(map(str, words))}"
