"""A line of progress now and then, on standard error, for work that makes a person wait."""

from __future__ import annotations

import sys
import time

from ifvit import console

EVERY_S = 5.0


def clock(seconds: float) -> str:
    """A duration as people read it: 0:42, 12:05, 3:10:00."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Progress:
    """Counts things done; says how many, how fast and how long it will still take, every few seconds and at the end."""

    def __init__(self, what: str, total: int):
        self._what, self._total, self._done = what, total, 0
        self._start = self._said = time.monotonic()

    def skip(self, count: int) -> None:
        """`count` of them need not be done."""
        self._total -= count

    def step(self, count: int = 1) -> None:
        """`count` more are done.

        Raises:
            KeyboardInterrupt: the console cannot be written any more; the work stops as on Ctrl-C.
        """
        self._done += count
        now = time.monotonic()
        last = self._done == self._total
        if now - self._said < EVERY_S and not (last and self._said > self._start):
            return
        self._said = now
        rate = self._done / max(now - self._start, 1e-9)
        left = f", {clock((self._total - self._done) / rate)} left" if not last else ""
        print(f"{self._what}: {self._done}/{self._total} ({rate:.1f}/s{left})", file=sys.stderr, flush=True)
        if not last and (why := console.lost()):
            raise KeyboardInterrupt(why)
