"""How this program was started, and how it ends before its time: what its commands are called, refusals, signals.

Standard library only: an entry calls `started` before it imports anything heavy, so that Ctrl-C is answered by a line
from the first moment on.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from types import FrameType

from ifvit.console import printable

EXIT_REFUSED = 2  # the command, the config or a file must be changed before it can run
EXIT_FAILED = 1
EXIT_RESUMABLE = 75  # stopped on purpose; the same command goes on, or begins again (EX_TEMPFAIL of sysexits.h)

CONSOLE_SCRIPT = "ifvit"
MODULE = "python -m ifvit"  # works wherever `import ifvit` does
_HANG_UP = getattr(signal, "SIGHUP", None)  # Windows has none
_start = {"name": MODULE, "train": f"{MODULE} train", "stopped": "stopped; type the same command again"}


class Stopped(SystemExit):
    """The user has stopped the command; the line that tells so is printed."""

    def __init__(self) -> None:
        super().__init__(EXIT_RESUMABLE)


def command(words: str = "") -> str:
    """A command of this program as it is typed here: of "data check", say, "ifvit data check"."""
    first, _, rest = words.partition(" ")
    beginning, rest = (_start["train"], rest) if first == "train" else (_start["name"], words)
    return f"{beginning} {rest}".rstrip()


def here(text: str) -> str:
    """A text of the project's files, like a YAML file's comment, with its commands as they are typed here."""
    return text.replace("python train.py", command("train")).replace(MODULE, command())


def refuse(problems: Sequence[str]) -> None:
    """Print what is wrong, one line a problem, perhaps a command on another, and end the process."""
    for problem in problems:
        print("error:", "\n".join(map(printable, problem.split("\n"))), file=sys.stderr)
    raise SystemExit(EXIT_REFUSED)


@contextlib.contextmanager
def started(name: str, script: str | None = None) -> Iterator[None]:
    """Around a whole process: its name, and its end where the user stops it.

    name: what is typed for the program; script: the file that is its command `train`, where that was started.
    """
    try:
        listen()
        import shlex  # only now that signals are heard

        _start.update(name=name, train=f"python {shlex.quote(script)}" if script else f"{name} train")
        yield
    except KeyboardInterrupt:
        _end()
    except Stopped:
        # At the interpreter's own end JAX's threads, stopped in the middle of their work, crash the process.
        _end(printed=True)


def tell_when_stopped(line: str) -> None:
    """From now on this is the line for a user who stops the process in the middle of an import."""
    _start["stopped"] = line


def listen() -> None:
    """Ctrl-C, SIGTERM and a closed terminal stop the command; what is ignored, as nohup asks for, stays ignored."""
    for number in (signal.SIGINT, signal.SIGTERM, _HANG_UP):
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)


def _stop(number: int, frame: FrameType | None) -> None:
    # A terminal that closes sends SIGHUP itself, and its shell sends another: the second must not hinder the first.
    if number == _HANG_UP:
        signal.signal(number, signal.SIG_IGN)
    # What an import is stopped by, libraries turn into errors of their own, or swallow.
    if _importing(frame):
        _end()
    raise KeyboardInterrupt


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _end(printed: bool = False) -> None:
    """End the process at once, what was printed delivered."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # its lock may be taken by what was interrupted
            stream.flush()
    if not printed:
        with contextlib.suppress(OSError):
            os.write(2, f"{_start['stopped']}\n".encode())
    os._exit(EXIT_RESUMABLE)
