"""Standard output and standard error of a command: a failed write stops the work without damage. Safe printing of text.

`train.py | head`, a terminal that was closed, a log file on a full disk: in each case a write fails in the middle of
work that can be saved. So a write never raises here. Long work calls `lost`, and stops as it does on SIGTERM.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import Any, TextIO

NAMES = {"stdout": "standard output", "stderr": "standard error"}


def printable(text: str) -> str:
    """A text, like a file name, in which a ? replaces control characters and all others that cannot be printed."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def printable_lines(text: str) -> str:
    """As `printable`, with the text's line breaks."""
    return "\n".join(map(printable, text.split("\n")))


class _GuardedStream:
    """A stream that stores the error of its first failed write in `write_error`. Later writes are discarded."""

    def __init__(self, stream: TextIO):
        self._stream = stream
        self.write_error: OSError | None = None

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            self._record_loss(error)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._record_loss(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _record_loss(self, error: OSError) -> None:
        self.write_error = self.write_error or error
        # Python's buffered text, and the output of C code, are discarded too.
        null_device = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null_device, self._stream.fileno())
        os.close(null_device)


def guard() -> None:
    """Guard this process's two streams. One that is closed already discards its text."""
    for name in NAMES:
        stream = getattr(sys, name)
        if not isinstance(stream, _GuardedStream):
            # Opened at once: otherwise the next file would take the number of the closed stream.
            stream = stream or open(os.devnull, "w")  # noqa: SIM115 - for the life of the process
            setattr(sys, name, _GuardedStream(stream))


def lost() -> str | None:
    """The guarded stream that cannot be written any more, with the reason; None while both can be written."""
    for name, text in NAMES.items():
        if error := getattr(getattr(sys, name), "write_error", None):
            return f"{text} cannot be written ({error.strerror})"
    return None


def undelivered() -> str | None:
    """Why the output of a command was not delivered, at the command's end; None where it was.

    A reader that closes the pipe, as `head` does, counts as delivered.
    """
    sys.stdout.flush()
    error = getattr(sys.stdout, "write_error", None)
    return None if error is None or error.errno == errno.EPIPE else lost()
