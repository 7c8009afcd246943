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
    """Counts things done; tells how many, how fast and how long it will still take, every few seconds and at the end.

    The first step may wait for a compiler: it tells nothing of the time that is left, and no longer counts once there
    are others.
    """

    def __init__(self, what: str, total: int):
        self._what, self._total, self._done = what, total, 0
        self._start = self._shown = time.monotonic()
        self._first: tuple[float, int] | None = None  # when the first step was done, and how much it did

    def skip(self, count: int) -> None:
        """`count` of them need not be done."""
        self._total -= count

    def step(self, count: int = 1) -> None:
        """`count` more are done.

        Raises:
            KeyboardInterrupt: the console cannot be written any more; the work stops as on Ctrl-C.
        """
        if not count:
            return
        self._done += count
        now = time.monotonic()
        last = self._done == self._total
        begun, before = self._first or (self._start, 0)
        self._first = self._first or (now, count)
        if now - self._shown < EVERY_S and not (last and self._shown > self._start):
            return
        self._shown = now
        rate = (self._done - before) / max(now - begun, 1e-9)
        known = before and not last
        left = f", {clock((self._total - self._done) / rate)} left" if known else ""
        print(f"{self._what}: {self._done}/{self._total} ({rate:.1f}/s{left})", file=sys.stderr, flush=True)
        if not last and (why := console.lost()):
            raise KeyboardInterrupt(why)
