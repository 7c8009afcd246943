"""Compiled programs, kept on disk: what one process has compiled, the next one loads.

This is JAX's persistent compilation cache, in the user's cache folder. JAX names an entry by the program, its own
version and the device, but not by the instructions that the CPU has; so each kind of CPU has a folder of its own.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax
from jax.experimental.compilation_cache import compilation_cache

from ifvit.cache_folder import CacheError, cache_folder

FOLDER = "compiled"
LIMIT = 2**30  # bytes; the programs that were not used for the longest time are removed
SHORTEST = 0.1  # s; what compiles faster is not kept
PATIENCE = 1.5  # s of compilation before `announced` prints its line; an entry is loaded in less


def keep_compiled_programs() -> None:
    """Let JAX keep what it compiles, unless the user has chosen otherwise by JAX's own variables.

    JAX_ENABLE_COMPILATION_CACHE=0 switches it off, JAX_COMPILATION_CACHE_DIR names another folder. Where the folder
    cannot be written, programs are compiled in each process.
    """
    config = jax.config
    if config.jax_compilation_cache_dir or not config.jax_enable_compilation_cache:  # type: ignore[attr-defined]
        return
    try:
        folder = cache_folder(None) / FOLDER / _cpu()
        folder.mkdir(parents=True, exist_ok=True)
    except (CacheError, OSError):
        return
    if not os.access(folder, os.W_OK):
        return
    config.update("jax_compilation_cache_max_size", LIMIT)
    config.update("jax_persistent_cache_min_compile_time_secs", SHORTEST)
    compilation_cache.set_cache_dir(str(folder))
    compilation_cache.reset_cache()  # in a notebook, something may have been compiled already


def _cpu() -> str:
    """A name of the CPU's kind, by the instructions that it has."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        lines = []
    features = [line for line in lines if line.lower().startswith(("flags", "features"))][:1]
    text = " ".join([platform.machine(), platform.processor(), *features])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@contextmanager
def announced(line: str) -> Iterator[None]:
    """Within it, a line on standard error where a program has to be compiled whose result is kept; once."""
    announcer = _Announcer(line)
    jax.monitoring.register_event_listener(announcer.begin)
    jax.monitoring.register_event_duration_secs_listener(announcer.end)
    try:
        yield
    finally:
        announcer.close()


class _Announcer:
    """Prints the line when a compilation takes longer than `PATIENCE`. JAX has no way to remove its listeners."""

    def __init__(self, line: str):
        self._line, self._open = line, True
        self._timer: threading.Timer | None = None

    def begin(self, event: str, **_: object) -> None:
        """At JAX's events: a program is asked for."""
        if self._open and event == "/jax/compilation_cache/compile_requests_use_cache":
            self._cancel()
            self._timer = threading.Timer(PATIENCE, self._print)
            self._timer.daemon = True
            self._timer.start()

    def end(self, event: str, duration_secs: float, **_: object) -> None:
        """At JAX's events: a program is there."""
        if event == "/jax/core/compile/backend_compile_duration":
            self._cancel()

    def close(self) -> None:
        """Print nothing any more."""
        self._open = False
        self._cancel()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _print(self) -> None:
        if self._open:
            self._open = False
            print(self._line, file=sys.stderr, flush=True)
