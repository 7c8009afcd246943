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


def test_a_closed_terminal_asks_for_a_stop_and_never_for_haste():
    """The terminal sends SIGHUP, its shell another, and the session's manager SIGTERM after them."""
    with Stop(time.monotonic(), None) as stop:
        for number in (signal.SIGHUP, signal.SIGHUP, signal.SIGTERM):
            os.kill(os.getpid(), number)
        assert stop.reason() == "SIGHUP"


def test_nohup_is_obeyed():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Stop(time.monotonic(), None) as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.reason() is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_signal_after_the_terminal_is_gone_breaks_nothing():
    program = (
        "import os, signal, time\nfrom ifvit.training.stop import Stop\n"
        "with Stop(time.monotonic(), None) as stop:\n"
        "    os.kill(os.getpid(), signal.SIGHUP)\n    print(stop.reason())"
    )
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=writer, text=True)
    os.close(writer)
    assert ended.stdout == "SIGHUP\n" and ended.returncode == 0


def test_the_time_limit():
    assert Stop(time.monotonic() - 3601, 1.0).reason() == "trainer.max_hours=1 reached"
    assert Stop(time.monotonic(), 1.0).reason() is None
