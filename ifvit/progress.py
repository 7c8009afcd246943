"""Progress of long work: a line on standard error every few seconds."""

from __future__ import annotations

import sys
import time

from ifvit import console

EVERY_S = 5.0


def clock(seconds: float) -> str:
    """A duration as text: 0:42, 12:05, 3:10:00."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


class Progress:
    """Counts finished items; prints their number, their rate and the remaining time, every few seconds and at the end.

    name: of the work. total: number of items.
    The first step is left out of the rate, because it may include a compilation.
    """

    def __init__(self, name: str, total: int):
        self._name, self._total, self._done = name, total, 0
        self._start = self._last_line = time.monotonic()
        self._first_step: tuple[float, int] | None = None  # its time, and the items that it did

    def skip(self, count: int) -> None:
        """Take `count` items off the total; they need no work."""
        self._total -= count

    def step(self, count: int = 1) -> None:
        """Count `count` more items as done.

        Raises:
            KeyboardInterrupt: standard output or error cannot be written any more; the work stops as on Ctrl-C.
        """
        if not count:
            return
        self._done += count
        now = time.monotonic()
        is_last = self._done == self._total
        rate_start, done_before = self._first_step or (self._start, 0)
        self._first_step = self._first_step or (now, count)
        if now - self._last_line < EVERY_S and not (is_last and self._last_line > self._start):
            return
        self._last_line = now
        rate = (self._done - done_before) / max(now - rate_start, 1e-9)
        has_rate = done_before and not is_last
        remaining = f", {clock((self._total - self._done) / rate)} left" if has_rate else ""
        print(f"{self._name}: {self._done}/{self._total} ({rate:.1f}/s{remaining})", file=sys.stderr, flush=True)
        if not is_last and (reason := console.lost()):
            raise KeyboardInterrupt(reason)
