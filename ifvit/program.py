"""Start and early end of the process: the names of its commands, refusals, signals.

Standard library only. An entry point calls `started` before it imports heavy libraries, so that Ctrl-C gives one plain
line from the first moment on.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import NoReturn

from ifvit.console import printable_lines

EXIT_REFUSED = 2  # the user must change the command, the config or a file
EXIT_FAILED = 1
EXIT_RESUMABLE = 75  # stopped by the user; the same command goes on, or begins again (EX_TEMPFAIL of sysexits.h)

CONSOLE_SCRIPT = "ifvit"
MODULE = "python -m ifvit"
_HANG_UP = getattr(signal, "SIGHUP", None)  # Windows has none
_start = {"name": MODULE, "train": f"{MODULE} train", "stopped": "stopped; type the same command again"}


class Stopped(SystemExit):
    """The user has stopped the command, and the line about it is printed."""

    def __init__(self) -> None:
        super().__init__(EXIT_RESUMABLE)


def command(words: str = "") -> str:
    """A command of this program as the user types it: "data check" gives "ifvit data check"."""
    group, _, rest = words.partition(" ")
    prefix, rest = (_start["train"], rest) if group == "train" else (_start["name"], words)
    return f"{prefix} {rest}".rstrip()


def with_commands(text: str) -> str:
    """A text of the project's files, like a comment of a YAML file, with commands as the user types them."""
    return text.replace("python train.py", command("train")).replace(MODULE, command())


def refuse(problems: Sequence[str]) -> NoReturn:
    """Print each problem on a line (a command in it may be on another line), and end the process."""
    for problem in problems:
        print("error:", printable_lines(problem), file=sys.stderr)
    raise SystemExit(EXIT_REFUSED)


@contextlib.contextmanager
def started(name: str, script: str | None = None) -> Iterator[None]:
    """Around the process: sets its name, and ends it where the user stops it.

    name: of the program, as typed.
    script: the file that was started in place of the command `train`; None where there is none.
    """
    try:
        listen()
        _keep_freed_memory()
        import shlex  # only now that signals are heard

        _start.update(name=name, train=f"python {shlex.quote(script)}" if script else f"{name} train")
        yield
    except KeyboardInterrupt:
        _end()
    except Stopped:
        # At the interpreter's own end JAX's threads, stopped in the middle of their work, crash the process.
        _end(line_printed=True)


def _keep_freed_memory() -> None:
    """Let glibc keep the memory that is freed, for the next step or pair. Other C libraries stay as they are.

    XLA allocates hundreds of MB at each step and frees them. By default glibc gives such blocks back to the system,
    which clears every page when it is needed again: a sixth of a training step on a CPU.
    """
    if sys.platform != "linux" or not os.confstr_names.get("CS_GNU_LIBC_VERSION"):
        return
    import ctypes

    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):
        return
    trim_threshold, most_mappings, most_arenas = -1, -4, -8  # M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX of malloc.h
    # One arena: the others cannot hold large blocks. -1: never trim; large batches free more than any threshold allows.
    for option, value in ((most_arenas, 1), (most_mappings, 0), (trim_threshold, -1)):
        libc.mallopt(option, value)


def set_stop_line(line: str) -> None:
    """Set the line that is printed where the user stops the process during an import."""
    _start["stopped"] = line


def listen() -> None:
    """Let Ctrl-C, SIGTERM and a closed terminal stop the command. Ignored signals, as with nohup, stay ignored."""
    for number in (signal.SIGINT, signal.SIGTERM, _HANG_UP):
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)


def _stop(number: int, frame: FrameType | None) -> None:
    # A closed terminal sends SIGHUP, and its shell sends another: the second must not disturb the first.
    if number == _HANG_UP:
        signal.signal(number, signal.SIG_IGN)
    # During an import, libraries may turn KeyboardInterrupt into other errors, or ignore it.
    if _importing(frame):
        _end()
    raise KeyboardInterrupt


def _importing(frame: FrameType | None) -> bool:
    """Whether the process is inside an import."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _end(line_printed: bool = False) -> None:
    """Flush the streams and end the process at once. line_printed: whether the stop line is printed already."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # the interrupted code may own its lock
            stream.flush()
    if not line_printed:
        with contextlib.suppress(OSError):
            os.write(2, f"{_start['stopped']}\n".encode())
    os._exit(EXIT_RESUMABLE)
