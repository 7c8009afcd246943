"""How long work will still take is told as soon as it can be known, in a pipe as on a screen."""

import re
from types import SimpleNamespace

import pytest

from ifvit import progress
from ifvit.progress import Progress, clock


@pytest.fixture
def tick(monkeypatch):
    """A clock that is set forward."""
    now = [100.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def forward(seconds):
        now[0] += seconds

    return forward


def test_the_first_step_does_not_count_for_the_time_that_is_left(tick, capsys):
    """It may have waited for a compiler."""
    work = Progress("comparing pairs", 100)
    tick(60.0)
    work.step(10)
    tick(10.0)
    work.step(10)
    tick(1.0)
    work.step(1)  # too soon for a line
    tick(9.0)
    work.step(9)
    assert capsys.readouterr().err.splitlines() == [
        "comparing pairs: 10/100 (0.2/s)",
        "comparing pairs: 20/100 (1.0/s, 1:20 left)",
        "comparing pairs: 30/100 (1.0/s, 1:10 left)",
    ]


def test_quick_work_is_silent_and_slow_work_tells_its_end(tick, capsys):
    Progress("quick", 1).step()
    work = Progress("slow", 2)
    for _ in range(2):
        tick(6.0)
        work.step()
    work.step(0)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and re.fullmatch(r"slow: 2/2 \(0\.2/s\)", lines[-1])


def test_durations():
    assert [clock(seconds) for seconds in (42, 725, 11400)] == ["0:42", "12:05", "3:10:00"]
