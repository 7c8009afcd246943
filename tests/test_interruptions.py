"""Signals while a job runs: the job saves and ends, the parent waits for it and starts no other."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
JOB = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (time.sleep(1), sys.exit(75)))
pathlib.Path({ready!r}).touch()
"""
PROGRAM = """
import os, signal, sys, threading, time
from ifvit.interruptions import Interruptions

def send():
    while not os.path.exists({ready!r}):  # the job listens
        time.sleep(0.05)
    for number in {numbers}:
        os.kill(os.getpid(), number)

threading.Thread(target=send).start()
with Interruptions() as interruptions:
    try:
        print(interruptions.run([sys.executable, "-c", {job!r}], os.environ), interruptions.stopped, flush=True)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
    except KeyboardInterrupt:
        print("interrupted")
"""


@pytest.mark.parametrize(
    ("numbers", "job", "status"),
    [
        ("[signal.SIGINT, signal.SIGHUP, signal.SIGTERM]", JOB + "time.sleep(60)", 75),  # SIGTERM is handed on
        ("[signal.SIGINT, signal.SIGHUP]", JOB + "time.sleep(3)", 0),  # the terminal sends these to the job as well
    ],
)
def test_the_job_ends_as_it_will_and_the_parent_waits(numbers, job, status, tmp_path):
    ready = str(tmp_path / "ready")
    program = PROGRAM.format(numbers=numbers, job=job.format(ready=ready), ready=ready)
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert ended.stdout == f"{status} True\ninterrupted\n", ended.stderr


def test_what_is_ignored_stays_ignored():
    program = (
        "import os, signal\nfrom ifvit.interruptions import Interruptions\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "with Interruptions() as interruptions: os.kill(os.getpid(), signal.SIGHUP)\n"
        "print(interruptions.stopped)"
    )
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert ended.stdout == "False\n", ended.stderr
