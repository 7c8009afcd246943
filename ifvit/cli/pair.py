"""`python -m ifvit compare` and `register`: the commands for two prints."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from ifvit.cli.common import at_least, check_output, json_text, typed_path
from ifvit.console import printable
from ifvit.errors import UserError

COMPILES = "compiling for prints of this size: once, about 15 seconds; later comparisons load what is compiled now"


def add_pair_commands(commands: argparse._SubParsersAction) -> None:
    """Add `register` and `compare` to the commands."""
    register = commands.add_parser(
        "register",
        help="align one print with another along the skin's bend, or say why that cannot be done",
        epilog="Exit status: 0 registered; 1 not registered (the picture shows the best guess), or the picture was not "
        "written; 2 refused; 75 stopped.",
    )
    _add_pair(register, "draw both prints, the overlay and the bent grid")
    register.set_defaults(run=_register)

    compare = commands.add_parser(
        "compare",
        help="compare two prints, and say why",
        epilog="Exit status: 0 an answer, whichever it is (--json: same_finger); 1 the prints show too little for one, "
        "or the picture was not written; 2 refused; 75 stopped.",
    )
    _add_pair(compare, "draw what the answer rests on")
    add_score(compare)
    compare.add_argument(
        "--fmr",
        type=_share,
        default=0.001,
        metavar="P",
        help="decide at this false-match rate; %(default)s; what no pairs can tell, below 0.0007, is extrapolated",
    )
    compare.set_defaults(run=_compare)


def add_score(command: argparse.ArgumentParser) -> None:
    """Add the argument --score."""
    command.add_argument(
        "--score",
        choices=["fused", "cosines"],
        default="fused",
        help="fused: the log-likelihood ratio of all evidence; cosines: of a Module 2's vectors alone; %(default)s",
    )


def _add_pair(command: argparse.ArgumentParser, picture: str) -> None:
    """Add the arguments of a command that takes two prints."""
    command.add_argument("a", type=typed_path, metavar="A", help="an image of a print")
    command.add_argument("b", type=typed_path, metavar="B", help="another one")
    command.add_argument(
        "--run",
        dest="run_dir",
        type=typed_path,
        metavar="RUN_DIR",
        help="run_dir of a trained Module 1 or 2, whose networks take part; default: none, by the ridges alone",
    )
    command.add_argument("--ppi", type=at_least(50), metavar="N", help="of both files; default: their tags, else 500")
    command.add_argument(
        "--picture", type=typed_path, metavar="FILE", help=f"{picture}: .png, .pdf, ...; missing folders are created"
    )
    command.add_argument("--json", action="store_true", help="print the result as JSON")


class _Answer(NamedTuple):
    """The result of a command on two prints."""

    tree: dict[str, Any]  # for JSON
    text: str  # for people
    save: Callable[[Path], None]  # writes the picture
    done: bool  # whether there is an answer: exit status 0


def _register(arguments: argparse.Namespace) -> None:
    def answer() -> _Answer:
        import ifvit

        registration = ifvit.load(arguments.run_dir).register(arguments.a, arguments.b, arguments.ppi)
        return _Answer(registration.to_dict(), registration.text(), registration.save, registration.registered)

    _report(arguments, answer)


def _compare(arguments: argparse.Namespace) -> None:
    def answer() -> _Answer:
        import ifvit

        matcher = ifvit.load(arguments.run_dir, score=arguments.score)
        comparison = matcher.compare(arguments.a, arguments.b, arguments.ppi)
        fmr = arguments.fmr
        save = partial(comparison.save, fmr=fmr)
        return _Answer(comparison.to_dict(fmr), comparison.text(fmr), save, not comparison.cannot_say(fmr))

    _report(arguments, answer)


def _report(arguments: argparse.Namespace, answer: Callable[[], _Answer]) -> None:
    """Print the result of `answer` and save its picture; set the exit status.

    The result is printed even where the picture cannot be written.
    """
    from ifvit.launch import EXIT_FAILED, prepare_process, refuse

    check_output("--picture", arguments.picture, picture=True)
    if arguments.picture and any(_same_file(arguments.picture, print_) for print_ in (arguments.a, arguments.b)):
        refuse([f"--picture: {arguments.picture} is one of the two prints; name another file"])
    prepare_process()
    from ifvit.compiled_programs import announced

    try:
        with announced(COMPILES):
            result = answer()
    except OSError as error:
        refuse([printable(str(error))])
    except UserError as error:  # its message is one line, so a line break can only be a file name's
        print(f"error: {printable(str(error))}", file=sys.stderr)
        raise SystemExit(error.exit_status) from error
    if not arguments.json:
        print(result.text, flush=True)
    picture, problem = _save_picture(result, arguments.picture)
    if arguments.json:
        print(json_text(result.tree | {"picture": picture and str(picture)}))
    elif picture:
        print(f"look at  {printable(str(picture))}")
    if problem:
        print(f"error: {printable(str(problem))}", file=sys.stderr)
    if problem or not result.done:
        raise SystemExit(EXIT_FAILED)


def _save_picture(result: _Answer, path: Path | None) -> tuple[Path | None, Exception | None]:
    """Save the picture, if `path` is not None: the path, or the error that prevented it."""
    from ifvit.pictures.picture_files import PictureError

    if not path:
        return None, None
    try:
        result.save(path)
    except (OSError, PictureError) as error:
        return None, error
    return path, None


def _same_file(path: Path, print_path: Path) -> bool:
    return os.path.exists(path) and os.path.exists(print_path) and os.path.samefile(path, print_path)


def _share(text: str) -> float:
    """A type for argparse: a rate above 0, below 1."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"expected a rate above 0 and below 1, like 0.001, got {text}")
    return value
