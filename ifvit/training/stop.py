"""Stopping on purpose: signals and the time limit."""

from __future__ import annotations

import os
import signal
import time


class Stop:
    """Why the run should stop, if it should. As a context manager it listens to SIGTERM and SIGINT meanwhile.

    The first signal asks for a stop, so that the state is saved; the second ends the process at once.
    """

    def __init__(self, started: float, max_hours: float | None):
        self._until = started + 3600 * max_hours if max_hours else None
        self._hours, self._signal = max_hours, None

    def __enter__(self) -> Stop:
        self._before = {number: signal.signal(number, self._on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, _: object) -> None:
        if self._signal:
            os._exit(128 + number)
        self._signal = signal.Signals(number).name
        # os.write: printing inside a handler may find the stream's lock taken.
        os.write(2, f"\n{self._signal}: saving, then stopping; once more to end at once\n".encode())

    def reason(self) -> str | None:
        """What asks for a stop: a signal's name, or the time limit. None: go on."""
        if self._signal:
            return self._signal
        if self._until and time.monotonic() >= self._until:
            return f"trainer.max_hours={self._hours:g} reached"
        return None
