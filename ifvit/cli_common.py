"""What the commands share: numbers, paths and files as they are typed, and the border where errors become lines and
statuses.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ifvit import console
from ifvit.config import home


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


class Stopped(SystemExit):
    """The user has stopped the command."""


@contextmanager
def whole_command(stopped: str) -> Iterator[None]:
    """Around any command: what no border below catches, and whether what it printed has arrived.

    stopped: the line for a user who stops it.
    """
    from ifvit.launch import EXIT_FAILED, EXIT_RESUMABLE, refuse

    try:
        yield
    except KeyboardInterrupt:
        print(stopped, file=sys.stderr)
        raise Stopped(EXIT_RESUMABLE) from None
    except RuntimeError as error:
        from ifvit.backend import BackendError  # with it comes JAX, which not every command needs

        if not isinstance(error, BackendError):
            raise
        refuse([str(error)])
    if why := console.undelivered():
        print(f"error: {why}: what this command found was not delivered", file=sys.stderr)
        raise SystemExit(EXIT_FAILED)


@contextmanager
def border(resumes: bool = False) -> Iterator[None]:
    """Where what goes wrong with data, or with a file, becomes a line and a status.

    resumes: whether the same command goes on where it was stopped.
    """
    from ifvit.data.records import DataError
    from ifvit.launch import EXIT_FAILED, refuse
    from ifvit.pictures import PictureError

    try:
        yield
    except DataError as error:
        refuse([str(error)])
    except (OSError, PictureError) as error:
        more = ". What was computed is kept: type the same command again, and it goes on" if resumes else ""
        print(f"error: {error}{more}", file=sys.stderr)
        raise SystemExit(EXIT_FAILED) from error


def check_place(option: str, path: Path | None, picture: bool = False) -> None:
    """Refuse, before anything is computed, a file that cannot be written, or a picture whose ending is no format's.

    path: None is a file that was not asked for.
    """
    if path is None:
        return
    from ifvit import files, pictures
    from ifvit.launch import refuse

    if reason := (pictures if picture else files).obstacle(path):
        refuse([f"{option}: {reason}"])
