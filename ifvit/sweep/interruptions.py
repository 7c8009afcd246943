"""Signals (Ctrl-C, SIGTERM, a closed console) while a process waits for a job that saves its state before it ends."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interruptions:
    """Inside `with`, a signal lets the running job save and end. Without a running job it raises KeyboardInterrupt."""

    def __init__(self) -> None:
        self.stopped = False  # whether a signal has come
        self._job: subprocess.Popen | None = None
        self._idle = True
        self._handlers: dict[signal.Signals, Callable[[int, FrameType | None], object] | int | None] = {}

    def __enter__(self) -> Interruptions:
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup: what is ignored stays ignored
                self._handlers[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def run(self, command: Sequence[str], environment: Mapping[str, str]) -> int:
        """The exit status of a job's process; negative where a signal killed it."""
        self._idle = False
        try:
            self._job = subprocess.Popen(command, env=dict(environment))
            if self.stopped:  # while it was being started
                self._job.terminate()
            return self._job.wait()
        finally:
            self._job, self._idle = None, True

    def _receive(self, number: int, _: object) -> None:
        self.stopped = True
        if self._idle:
            raise KeyboardInterrupt
        # The job gets Ctrl-C and a closed console itself. A second signal would end it before it has saved.
        if number == signal.SIGTERM and self._job is not None:
            self._job.send_signal(number)
