"""Shared by the commands: the parser, the types of arguments, the check of output files, and the handling of errors."""

from __future__ import annotations

import argparse
import difflib
import json
import re
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from ifvit import console, program
from ifvit.config import expand_home, nearest_keys
from ifvit.errors import UserError
from ifvit.program import EXIT_FAILED, Stopped, refuse

_OPTION = re.compile(r"--?[A-Za-z]\S*$")  # no negative number, and no path with blanks


class Parser(argparse.ArgumentParser):
    """A parser whose refusals are one line, with a suggestion.

    commands: the parsers of its commands, by name; empty where it takes arguments itself.
    """

    def __init__(self, *args: Any, **settings: Any):
        super().__init__(*args, **({"allow_abbrev": False} | settings))
        self.commands: dict[str, Parser] = {}

    def add_commands(self, metavar: str) -> argparse._SubParsersAction:
        """The action whose `add_parser` adds a command."""
        action = self.add_subparsers(required=True, metavar=metavar)
        self.commands = action.choices
        return action

    def parse(self, argv: Sequence[str]) -> argparse.Namespace:
        """The arguments of a command and its overrides, in any order."""
        if not self.commands:
            return self.parse_intermixed_args(argv)
        if not argv:
            self.error(f"expected a command, one of {', '.join(self.commands)}")
        if argv[0].startswith("-"):  # --help, --version
            check_options(self, argv[:1])
            return self.parse_args(argv)
        if argv[0] not in self.commands:
            self.error(f"{argv[0]}: there is no such command; {suggestion(argv[0], self.commands)}")
        return self.commands[argv[0]].parse(argv[1:])

    def parse_intermixed_args(  # type: ignore[override]  # only as `parse` calls it
        self, args: Sequence[str], namespace: None = None
    ) -> argparse.Namespace:
        """Parse options before, between and behind the overrides."""
        check_options(self, args)
        arguments, rest = self.parse_known_intermixed_args(args, namespace)
        if rest:
            self.error(f"{' '.join(rest)}: not expected here")
        return arguments

    def error(self, message: str) -> NoReturn:
        """Print the message with the help's command, and end the process."""
        refuse([f"{message} (see {self.prog} --help)"])


def check_options(parser: argparse.ArgumentParser, args: Sequence[str]) -> None:
    """Refuse unknown options, before the parser complains about missing arguments."""
    names = [name for action in parser._actions for name in action.option_strings]
    options = (text for text in (args[: args.index("--")] if "--" in args else args) if _OPTION.match(text))
    # A short option may have its value directly behind it.
    unknown = [text for text in options if text.partition("=")[0] not in names and text[:2] not in names]
    if unknown:
        long_names = [name for name in names if name.startswith("--")]
        hints = (suggestion(text.partition("=")[0], long_names) for text in unknown)
        refuse([f"{text}: there is no such option; {hint}" for text, hint in zip(unknown, hints, strict=True)])


def suggestion(text: str, names: Collection[str]) -> str:
    """The names that are nearest to an unknown text, as a sentence; all names where none is near."""
    matches = [name for name in names if name.startswith(text)] or difflib.get_close_matches(text, names, n=1)
    return f"did you mean {' or '.join(matches)}?" if matches else f"known are {', '.join(names)}"


def json_text(tree: Any, depth: int = 0) -> str:
    """JSON with one key a line; a list of points has one point a line."""
    if isinstance(tree, dict) and tree:
        items, (opens, closes) = [f"{json.dumps(key)}: {json_text(tree[key], depth + 1)}" for key in tree], "{}"
    elif isinstance(tree, list) and any(isinstance(item, (dict, list)) for item in tree):
        items, (opens, closes) = [json.dumps(item) for item in tree], "[]"
    else:
        return json.dumps(tree)
    lines = ",\n".join("  " * (depth + 1) + item for item in items)
    return f"{opens}\n{lines}\n{'  ' * depth}{closes}"


def check_keys(overrides: Sequence[str], keys_read: Sequence[str], reason: str) -> None:
    """Refuse overrides of keys that a command does not read.

    keys_read: keys, or their first part, like "data" and "data.".
    reason: why the other keys are not read.
    """
    problems = []
    for text in overrides:
        key, equals, _ = text.lstrip("+").partition("=")
        if equals and not (key in keys_read or key.startswith(tuple(part for part in keys_read if part.endswith(".")))):
            hint = nearest_keys(key)
            hint = f"; {hint}" if hint.startswith(tuple(f"did you mean {part}" for part in keys_read)) else ""
            problems.append(f"{text}: {reason}{hint}")
    if problems:
        refuse(problems)


def at_least(minimum: int) -> Callable[[str], int]:
    """A type for argparse: a whole number, `least` or more."""

    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < minimum:
            raise argparse.ArgumentTypeError(f"expected a whole number, {minimum} or more, got {text}")
        return int(text)

    return number


def typed_path(text: str) -> Path:
    """A type for argparse: a path. A leading ~ is replaced where the shell did not, as in --run=~/x."""
    if not text.strip():
        raise argparse.ArgumentTypeError("expected a path, got an empty text")
    try:
        return Path(expand_home(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


RESUMES = "stopped; the same command goes on where it was"
BEGINS_AGAIN = "stopped before it was finished; the same command begins again"


@contextmanager
def exit_on_error(stop_line: str) -> Iterator[None]:
    """Around a command: an error, or a stop by the user, becomes a line and an exit status.

    stop_line: printed where the user stops the command; `RESUMES` where the same command goes on.
    """
    program.set_stop_line(stop_line)
    try:
        yield
    except KeyboardInterrupt:
        print(stop_line, file=sys.stderr)
        raise Stopped from None
    except OSError as error:
        resumes = ". What was computed is kept: type the same command again, and it goes on"
        text = console.printable_lines(str(error))
        print(f"error: {text}{resumes if stop_line == RESUMES else ''}", file=sys.stderr)
        raise SystemExit(EXIT_FAILED) from error
    except UserError as error:
        print(f"error: {console.printable_lines(str(error))}", file=sys.stderr)
        raise SystemExit(error.exit_status) from error
    if problem := console.undelivered():
        print(f"error: {problem}: what this command found was not delivered", file=sys.stderr)
        raise SystemExit(EXIT_FAILED)


def check_output(option: str, path: Path | None, picture: bool = False) -> None:
    """Refuse an output file that cannot be written, before anything is computed.

    path: None where the option was not used.
    picture: whether the file's ending must name a format of pictures.
    """
    if path is None:
        return
    from ifvit.pictures import picture_files
    from ifvit.storage import files

    if reason := (picture_files if picture else files).obstacle(path):
        refuse([f"{option}: {reason}"])
