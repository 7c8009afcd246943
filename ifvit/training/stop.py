"""Reasons to stop a run early: a signal, a lost console, the time limit."""

from __future__ import annotations

import contextlib
import os
import signal
import time

from ifvit import console


class Stop:
    """Tells why the run should stop, if it should. As a context manager it handles SIGTERM, SIGINT and SIGHUP.

    The first signal asks for a stop, so that the state is saved. A second SIGTERM or SIGINT ends the process at once.

    Args:
        started: `time.monotonic()` at the start of the run, s.
        max_hours: the time limit from then on, h; None: no limit.
    """

    def __init__(self, started: float, max_hours: float | None):
        self._deadline = started + 3600 * max_hours if max_hours else None
        self._hours = max_hours
        self._signal: str | None = None
        self._interrupted = False  # whether SIGTERM or SIGINT came

    def __enter__(self) -> Stop:
        self._handlers = {
            number: signal.signal(number, self._on_signal)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN  # nohup ignores SIGHUP
        }
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, _: object) -> None:
        # A terminal that closes sends SIGHUP, and its shell sends another. A repeated SIGHUP does not end the process.
        is_interrupt = number != signal.SIGHUP
        if is_interrupt and self._interrupted:
            os._exit(128 + number)
        self._interrupted |= is_interrupt
        self._signal = self._signal or signal.Signals(number).name
        # os.write, because print() inside a handler may wait for the stream's lock. It fails if the terminal is gone.
        with contextlib.suppress(OSError):
            os.write(2, f"\n{self._signal}: saving, then stopping; a further SIGTERM or Ctrl-C ends at once\n".encode())

    def reason(self) -> str | None:
        """The reason to stop: a signal's name, a lost stream or the time limit. None: continue."""
        if self._signal:
            return self._signal
        if self._deadline and time.monotonic() >= self._deadline:
            return f"trainer.max_hours={self._hours:g} reached"
        return console.lost()
