"""What the commands share: numbers and paths as they are typed, and where errors become lines and statuses."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

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


@contextmanager
def border(what: str) -> Iterator[None]:
    """Where what goes wrong with data becomes a line and a status."""
    from ifvit.data.records import DataError
    from ifvit.launch import EXIT_RESUMABLE, refuse

    try:
        yield
    except (DataError, OSError) as error:
        refuse([str(error)])
    except KeyboardInterrupt:
        print(f"interrupted; {what} was not finished", file=sys.stderr)
        raise SystemExit(EXIT_RESUMABLE) from None
