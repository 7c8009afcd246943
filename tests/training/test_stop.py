import os
import signal
import subprocess
import sys
import time

from ifvit.training.stop import Stop


def test_a_signal_asks_once_and_handlers_come_back():
    before = signal.getsignal(signal.SIGINT)
    with Stop(time.monotonic(), None) as stop:
        assert stop.reason() is None
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.reason() == "SIGINT"
    assert signal.getsignal(signal.SIGINT) is before


def test_the_second_signal_ends_at_once():
    program = (
        "import os, signal, time\nfrom ifvit.training.stop import Stop\n"
        "with Stop(time.monotonic(), None):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n    os.kill(os.getpid(), signal.SIGTERM)\n    print('still here')"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.returncode == 128 + signal.SIGTERM and "still here" not in ended.stdout


def test_the_time_limit():
    assert Stop(time.monotonic() - 3601, 1.0).reason() == "trainer.max_hours=1 reached"
    assert Stop(time.monotonic(), 1.0).reason() is None
