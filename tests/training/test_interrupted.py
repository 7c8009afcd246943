"""Sessions die: a run that was killed, or asked to stop, ends in the very state of one that was left alone."""

import signal
import subprocess
import sys
import time

import pytest

from ifvit.storage import checkpoint
from tests.helpers.places import REPOSITORY
from tests.helpers.states import arrays_of, same_bits

pytestmark = pytest.mark.slow


STEPS = 30


@pytest.fixture(scope="module")
def start(overrides):
    """Start the tiny run as a process of its own."""

    def process(run_dir, **streams):
        more = [f"trainer.max_steps={STEPS}", "trainer.checkpoint_every=5", "trainer.validate_every=10"]
        command = [sys.executable, "train.py", *overrides(run_dir, *more)]
        pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) | streams
        return subprocess.Popen(command, cwd=REPOSITORY, **pipes)

    return process


@pytest.fixture(scope="module")
def uninterrupted(start, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    process = start(run_dir)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert "look at" in output and "writes to" in output
    return arrays_of(run_dir, STEPS)


def wait_for_step(run_dir, step, process):
    deadline = time.monotonic() + 240
    while max(checkpoint.saved_steps(run_dir / "states"), default=0) < step:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "no state was saved in time"
        time.sleep(0.02)


def test_killed_and_run_again(start, uninterrupted, tmp_path):
    first = start(tmp_path / "run")
    wait_for_step(tmp_path / "run", 10, first)
    first.kill()
    first.communicate()
    reached = max(checkpoint.saved_steps(tmp_path / "run" / "states"))
    assert reached < STEPS, "the kill came too late to test anything"
    second = start(tmp_path / "run")
    output, _ = second.communicate(timeout=300)
    assert second.returncode == 0, output
    assert f"resumed after step {reached}" in output
    assert same_bits(arrays_of(tmp_path / "run", STEPS), uninterrupted)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_asked_to_stop_and_run_again(start, uninterrupted, tmp_path, number):
    first = start(tmp_path / "run")
    wait_for_step(tmp_path / "run", 5, first)
    first.send_signal(number)
    output, _ = first.communicate(timeout=300)
    assert first.returncode == 75, output
    assert number.name in output and "to go on:" in output and f"run_dir={tmp_path / 'run'}" in output
    if number == signal.SIGTERM:  # a run goes on alike after either
        second = start(tmp_path / "run")
        assert second.communicate(timeout=300) and second.returncode == 0
        assert same_bits(arrays_of(tmp_path / "run", STEPS), uninterrupted)


def test_a_reader_that_goes_away_stops_the_run_and_loses_nothing(start, uninterrupted, tmp_path):
    """As in `train.py | head -1`."""
    first = start(tmp_path / "run", stderr=subprocess.PIPE)
    first.stdout.readline()
    first.stdout.close()
    output = first.stderr.read()
    assert first.wait(timeout=300) == 75, output
    assert output.startswith("standard output cannot be written (Broken pipe): stopped after step ")
    assert "saved; to go on:" in output and "disk" not in output
    (reached,) = checkpoint.saved_steps(tmp_path / "run" / "states")
    second = start(tmp_path / "run")
    assert f"resumed after step {reached}" in second.communicate(timeout=300)[0]
    assert same_bits(arrays_of(tmp_path / "run", STEPS), uninterrupted)


def test_a_log_on_a_full_disk_stops_the_run_and_says_which(start, tmp_path):
    with open("/dev/full", "w") as full:
        process = start(tmp_path / "run", stdout=full, stderr=subprocess.PIPE)
        output = process.communicate(timeout=300)[1]
    assert process.returncode == 75, output
    assert output.startswith("standard output cannot be written (No space left on device): stopped after step 1 of")
    assert checkpoint.saved_steps(tmp_path / "run" / "states") == [1]
