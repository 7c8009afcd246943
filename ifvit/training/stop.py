"""Stopping on purpose: signals, a console that is gone, and the time limit."""

from __future__ import annotations

import contextlib
import os
import signal
import time

from ifvit import console


class Stop:
    """Why the run should stop, if it should. As a context manager it listens to SIGTERM, SIGINT and SIGHUP meanwhile.

    The first signal asks for a stop, so that the state is saved; a second SIGTERM or SIGINT ends the process at once.
    """

    def __init__(self, started: float, max_hours: float | None):
        self._until = started + 3600 * max_hours if max_hours else None
        self._hours, self._signal = max_hours, None
        self._typed = False  # whether SIGTERM or SIGINT came

    def __enter__(self) -> Stop:
        self._before = {
            number: signal.signal(number, self._on_signal)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN  # as nohup asks for
        }
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, _: object) -> None:
        # A terminal that closes sends SIGHUP itself, and its shell sends another: a repeated one asks for no haste.
        typed = number != signal.SIGHUP
        if typed and self._typed:
            os._exit(128 + number)
        self._typed |= typed
        self._signal = self._signal or signal.Signals(number).name
        # os.write: printing inside a handler may find the stream's lock taken. It fails where the terminal is gone.
        with contextlib.suppress(OSError):
            os.write(2, f"\n{self._signal}: saving, then stopping; a further SIGTERM or Ctrl-C ends at once\n".encode())

    def reason(self) -> str | None:
        """What asks for a stop: a signal's name, a stream that is lost, or the time limit. None: go on."""
        if self._signal:
            return self._signal
        if self._until and time.monotonic() >= self._until:
            return f"trainer.max_hours={self._hours:g} reached"
        return console.lost()
