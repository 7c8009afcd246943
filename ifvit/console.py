"""The streams a command writes to: one that cannot be written any more stops the work, and breaks nothing; and texts of
strangers, which act on no terminal.

`train.py | head`, a terminal that was closed, a log file on a full disk: in each case a write fails in the middle of
work that can be saved. So a write never raises here. Work that takes long asks `lost`, and stops as it does on SIGTERM.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import Any, TextIO

NAMES = {"stdout": "standard output", "stderr": "standard error"}


def printable(text: str) -> str:
    """A text, like a stranger's file name, with a ? for what would act on a terminal or has no shape on paper."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


class _Guarded:
    """A stream whose first failed write is remembered in `why`; what is written after it goes nowhere."""

    def __init__(self, stream: TextIO):
        self._stream = stream
        self.why: OSError | None = None

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            self._lose(error)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._lose(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _lose(self, error: OSError) -> None:
        self.why = self.why or error
        # What Python still buffers, and what C code writes, goes nowhere too.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)


def guard() -> None:
    """Guard this process's two streams; one that was closed before it began goes nowhere."""
    for name in NAMES:
        stream = getattr(sys, name)
        if not isinstance(stream, _Guarded):
            # Opened at once: else the next file that is opened takes the number of the closed stream.
            stream = stream or open(os.devnull, "w")  # noqa: SIM115 - for the life of the process
            setattr(sys, name, _Guarded(stream))


def lost() -> str | None:
    """Which guarded stream cannot be written any more, and why; None while both can."""
    for name, text in NAMES.items():
        if why := getattr(getattr(sys, name), "why", None):
            return f"{text} cannot be written ({why.strerror})"
    return None


def undelivered() -> str | None:
    """Why what was printed did not arrive, asked at the end of a command; None where it did.

    A reader that went away, as `head` does, has seen what it wanted.
    """
    sys.stdout.flush()
    why = getattr(sys.stdout, "why", None)
    return None if why is None or why.errno == errno.EPIPE else lost()
