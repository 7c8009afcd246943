"""A stream that cannot be written any more stops work, and breaks nothing."""

import os
import signal
import subprocess
import sys
import time

import pytest

from ifvit.console import printable
from tests.helpers.places import REPOSITORY


def python(*command, **pipes):
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen([sys.executable, *command], cwd=REPOSITORY, env=environment, text=True, **pipes)


def closed_pipe():
    """The end of a pipe whose reader is gone."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer


GUARDED = (
    "import sys; from ifvit import console; console.guard()\n"
    "print('a', flush=True); print('b' * 10**6, flush=True); print('c')\n"
    "print(console.lost(), console.undelivered(), sep='|', file=sys.stderr)"
)


def test_a_reader_that_went_away_is_remembered():
    _, output = python("-c", GUARDED, stdout=closed_pipe(), stderr=subprocess.PIPE).communicate()
    assert output == "standard output cannot be written (Broken pipe)|None\n"


def test_a_full_disk_is_remembered_and_nothing_was_delivered():
    with open("/dev/full", "w") as full:
        process = python("-c", GUARDED, stdout=full, stderr=subprocess.PIPE)
        _, output = process.communicate()
    line = "standard output cannot be written (No space left on device)"
    assert output == f"{line}|{line}\n" and process.returncode == 0


def test_a_stream_closed_from_the_start_is_nowhere(tmp_path):
    """Else the next file that is opened would have its number, and lines of C code would land in it."""
    program = (
        "from ifvit import console; console.guard(); import os, sys\n"
        f"file = open({str(tmp_path / 'own')!r}, 'w'); print('x', flush=True); print('y', file=sys.stderr)\n"
        "os.write(2, b'z'); os.write(1, b'z'); file.close()"
    )
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    subprocess.run(["sh", "-c", 'exec "$0" -c "$1" >&- 2>&-', sys.executable, program], env=environment, check=True)
    assert (tmp_path / "own").read_text() == ""


def test_long_work_stops_when_nobody_reads_its_progress():
    program = (
        "from ifvit import console, progress; console.guard(); progress.EVERY_S = 0\n"
        "work = progress.Progress('working', 10**9)\n"
        "try:\n    while True: work.step()\nexcept KeyboardInterrupt as error: print(error)"
    )
    output, _ = python("-c", program, stdout=subprocess.PIPE, stderr=closed_pipe()).communicate(timeout=60)
    assert output == "standard error cannot be written (Broken pipe)\n"


def test_an_answer_that_was_not_delivered_is_a_failure(prints):
    check = ["-m", "ifvit", "data", "check", str(prints), "--ppi", "250"]
    sound = python(*check, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    sound.communicate()
    head = python(*check, stdout=closed_pipe(), stderr=subprocess.PIPE)
    assert "Error" not in head.communicate()[1] and head.returncode == sound.returncode
    with open("/dev/full", "w") as full:
        process = python(*check, stdout=full, stderr=subprocess.PIPE)
        output = process.communicate()[1]
    assert process.returncode == 1
    if sound.returncode == 0:
        assert "error: standard output cannot be written (No space left on device)" in output


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_long_command_that_is_stopped_goes_on_later(tmp_path, number):
    make = ["-m", "ifvit", "synthesize", "--fingers", "500", "--impressions", "8", "--out", str(tmp_path / "set")]
    process = python(*make, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not (tmp_path / "set").exists():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.05)
    process.send_signal(number)
    _, output = process.communicate(timeout=120)
    assert process.returncode == 75 and output == "stopped; the same command goes on where it was\n", output


def test_what_has_no_shape_is_a_question_mark():
    assert printable("a\nb\u202ec\udcff") == "a?b?c?"
