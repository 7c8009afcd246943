"""What the commands share: their parser, numbers, paths and files as they are typed, and what
turns an error into a line and a status.
"""

from __future__ import annotations

import argparse
import difflib
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ifvit import console, program
from ifvit.config import home, near
from ifvit.errors import UserError
from ifvit.program import EXIT_FAILED, Stopped, refuse

_OPTION = re.compile(r"--?[A-Za-z]\S*$")  # a negative number is none, nor a path with blanks in it


class Parser(argparse.ArgumentParser):
    """A parser that refuses in a line, with what may have been meant.

    commands: the parsers of its commands by name; empty where it takes arguments itself.
    """

    def __init__(self, *given, **more):
        super().__init__(*given, **({"allow_abbrev": False} | more))
        self.commands: dict[str, Parser] = {}

    def add_commands(self, metavar: str) -> argparse._SubParsersAction:
        """Where commands are added by `add_parser`."""
        action = self.add_subparsers(required=True, metavar=metavar)
        self.commands = action.choices
        return action

    def parsed(self, argv: Sequence[str]) -> argparse.Namespace:
        """The arguments of a command and its overrides, in any order."""
        if not self.commands:
            return self.parse_intermixed_args(argv)
        if not argv:
            self.error(f"expected a command, one of {', '.join(self.commands)}")
        if argv[0].startswith("-"):  # --help, --version
            check_options(self, argv[:1])
            return self.parse_args(argv)
        if argv[0] not in self.commands:
            self.error(f"{argv[0]}: there is no such command; {meant(argv[0], self.commands)}")
        return self.commands[argv[0]].parsed(argv[1:])

    def parse_intermixed_args(self, args: Sequence[str], namespace: None = None) -> argparse.Namespace:
        """Options may stand before, between and behind the overrides."""
        check_options(self, args)
        arguments, rest = self.parse_known_intermixed_args(args, namespace)
        if rest:
            self.error(f"{' '.join(rest)}: not expected here")
        return arguments

    def error(self, message: str) -> None:
        """Refuse, and name the help."""
        refuse([f"{message} (see {self.prog} --help)"])


def check_options(parser: argparse.ArgumentParser, args: Sequence[str]) -> None:
    """Refuse options that a parser does not know, before it misses what else belongs there."""
    known = [name for action in parser._actions for name in action.option_strings]
    typed = (text for text in (args[: args.index("--")] if "--" in args else args) if _OPTION.match(text))
    # A short one may be followed by its value at once.
    unknown = [text for text in typed if text.partition("=")[0] not in known and text[:2] not in known]
    if unknown:
        long = [name for name in known if name.startswith("--")]
        refuse([f"{text}: there is no such option; {meant(text.partition('=')[0], long)}" for text in unknown])


def meant(text: str, known: Sequence[str]) -> str:
    """What of the known names a text that is none of them may have been meant to be, else all of them."""
    close = [name for name in known if name.startswith(text)] or difflib.get_close_matches(text, known, n=1)
    return f"did you mean {' or '.join(close)}?" if close else f"known are {', '.join(known)}"


def json_text(tree: Any, depth: int = 0) -> str:
    """JSON whose keys stand on a line each, and so do the points of a list: what a list holds is not broken."""
    if isinstance(tree, dict) and tree:
        items, (opens, closes) = [f"{json.dumps(key)}: {json_text(tree[key], depth + 1)}" for key in tree], "{}"
    elif isinstance(tree, list) and any(isinstance(item, (dict, list)) for item in tree):
        items, (opens, closes) = [json.dumps(item) for item in tree], "[]"
    else:
        return json.dumps(tree)
    lines = ",\n".join("  " * (depth + 1) + item for item in items)
    return f"{opens}\n{lines}\n{'  ' * depth}{closes}"


def check_keys(overrides: Sequence[str], allowed: Sequence[str], reason: str) -> None:
    """Refuse overrides of other keys than those that a command reads.

    allowed: keys, or what keys begin with, like "data" and "data."; reason: why the others are not read.
    """
    problems = []
    for text in overrides:
        key, equals, _ = text.lstrip("+").partition("=")
        if equals and not (key in allowed or key.startswith(tuple(part for part in allowed if part.endswith(".")))):
            hint = near(key)
            hint = f"; {hint}" if hint.startswith(tuple(f"did you mean {part}" for part in allowed)) else ""
            problems.append(f"{text}: {reason}{hint}")
    if problems:
        refuse(problems)


def at_least(least: int) -> Callable[[str], int]:
    """A type for argparse: a whole number, `least` or more."""

    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"expected a whole number, {least} or more, got {text}")
        return int(text)

    return number


def typed_path(text: str) -> Path:
    """A type for argparse: a path, its leading ~ replaced where the shell left it, as in --run=~/x."""
    if not text.strip():
        raise argparse.ArgumentTypeError("expected a path, got an empty text")
    try:
        return Path(home(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


RESUMES = "stopped; the same command goes on where it was"
BEGINS_AGAIN = "stopped before it was finished; the same command begins again"


@contextmanager
def exit_on_error(stopped: str) -> Iterator[None]:
    """Around a command: an error becomes a line and a status, and so does the user who stops it.

    stopped: the line for a user who stops it; `RESUMES` where the same command goes on.
    """
    program.tell_when_stopped(stopped)
    try:
        yield
    except KeyboardInterrupt:
        print(stopped, file=sys.stderr)
        raise Stopped from None
    except OSError as error:
        more = ". What was computed is kept: type the same command again, and it goes on" if stopped == RESUMES else ""
        print(f"error: {error}{more}", file=sys.stderr)
        raise SystemExit(EXIT_FAILED) from error
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_status) from error
    if why := console.undelivered():
        print(f"error: {why}: what this command found was not delivered", file=sys.stderr)
        raise SystemExit(EXIT_FAILED)


def check_place(option: str, path: Path | None, picture: bool = False) -> None:
    """Refuse, before anything is computed, a file that cannot be written, or a picture whose ending is no format's.

    path: None is a file that was not asked for.
    """
    if path is None:
        return
    from ifvit.pictures import picture_files
    from ifvit.storage import files

    if reason := (picture_files if picture else files).obstacle(path):
        refuse([f"{option}: {reason}"])
