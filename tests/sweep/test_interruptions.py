"""Signals while a job runs: the job saves and ends, the parent waits for it and starts no other."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.helpers.places import REPOSITORY

JOB = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (time.sleep(1), sys.exit(75)))
pathlib.Path({ready!r}).touch()
"""
PROGRAM = """
import os, signal, sys, time
from ifvit.sweep.interruptions import Interruptions

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
        ([signal.SIGINT, signal.SIGHUP, signal.SIGTERM], JOB + "time.sleep(60)", 75),  # SIGTERM is handed on
        ([signal.SIGINT, signal.SIGHUP], JOB + "time.sleep(3)", 0),  # the terminal sends these to the job as well
    ],
)
def test_the_job_ends_as_it_will_and_the_parent_waits(numbers, job, status, tmp_path):
    ready = tmp_path / "ready"
    program = PROGRAM.format(job=job.format(ready=str(ready)))
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", program], env=environment, **streams) as parent:
        while not ready.exists():  # the job listens
            time.sleep(0.05)
        for number in numbers:
            parent.send_signal(number)
        out, error = parent.communicate()
    assert out == f"{status} True\ninterrupted\n", error


def test_what_is_ignored_stays_ignored():
    program = (
        "import os, signal\nfrom ifvit.sweep.interruptions import Interruptions\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "with Interruptions() as interruptions: os.kill(os.getpid(), signal.SIGHUP)\n"
        "print(interruptions.stopped)"
    )
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert ended.stdout == "False\n", ended.stderr
