"""What the commands share: numbers of the command line, and the border where errors become lines and statuses."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ifvit import console


def at_least(least: int) -> Callable[[str], int]:
    """A type for argparse: a whole number, `least` or more."""

    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"expected a whole number, {least} or more, got {text}")
        return int(text)

    return number


@contextmanager
def whole_command() -> Iterator[None]:
    """Around any command: what no border below catches, and whether what it printed has arrived."""
    from ifvit.launch import EXIT_FAILED, EXIT_RESUMABLE, refuse

    try:
        yield
    except KeyboardInterrupt:
        print("stopped; the same command starts again", file=sys.stderr)
        raise SystemExit(EXIT_RESUMABLE) from None
    except RuntimeError as error:
        from ifvit.backend import BackendError  # with it comes JAX, which not every command needs

        if not isinstance(error, BackendError):
            raise
        refuse([str(error)])
    if why := console.undelivered():
        print(f"error: {why}: what this command found was not delivered", file=sys.stderr)
        raise SystemExit(EXIT_FAILED)


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
