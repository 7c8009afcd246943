"""NIST's mindtct and bozorth3 in processes of their own, by the package nbis-py or nbis-python.

They are C code of the 1990s, and images come from outside: an 8x8 image causes a segmentation fault, an image of noise
can take half a minute. NBIS fails on an image that ends its process (`nbis_worker`) or takes too long.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import cv2
import numpy as np

from ifvit.errors import UserError
from ifvit.evaluation.nbis_worker import SUCCESS, receive, send

PACKAGES = ("nbis-py", "nbis-python")  # two names of one project; both have the module nbis
INSTALL = "pip install 'ifvit[peers]'"
WORKER = Path(__file__).with_name("nbis_worker.py")
MAX_PROCESSES = 16  # each takes 160 MB
TIME_LIMIT = 60.0  # s for an image, and for a pair
TEMPLATE_BYTES = 1200  # at most: 150 minutiae of 6 bytes, and a header


class NbisError(UserError):
    """NBIS cannot be run here; the message says what to install."""


def unavailable() -> str | None:
    """Why NBIS cannot be run here, in a line that says what to do; None where it can be run."""
    if importlib.util.find_spec("nbis") is None:
        return f"NBIS is not installed: {INSTALL}"
    try:
        _Process().end()
    except NbisError as error:
        return str(error)
    return None


def version() -> str:
    """The installed package of NBIS, and its version.

    Raises:
        NbisError: there is none.
    """
    for package in PACKAGES:
        try:
            return f"{package} {metadata.version(package)}"
        except metadata.PackageNotFoundError:
            continue
    raise NbisError(f"NBIS is not installed: {INSTALL}")


class Nbis:
    """mindtct and bozorth3 in a process for each core, at most MAX_PROCESSES."""

    def __init__(self) -> None:
        count = min(os.cpu_count() or 1, MAX_PROCESSES)
        self._threads = ThreadPoolExecutor(count)
        self._idle: SimpleQueue[_Process | None] = SimpleQueue()
        for _ in range(count):
            self._idle.put(None)  # a process is started when it is first needed

    def __enter__(self) -> Nbis:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(cancel_futures=True)
        while not self._idle.empty():
            if process := self._idle.get():
                process.end()

    def each(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        """The results of `function` for each item, in order; computed in parallel."""
        return self._threads.map(function, items)

    def minutiae(self, grey: np.ndarray) -> bytes:
        """The minutiae of a print, uint8 (H, W) at 500 ppi, as a template; empty where there are none.

        Raises:
            NbisFailure: NBIS fails on this image.
        """
        encoded, content = cv2.imencode(".png", grey, [cv2.IMWRITE_PNG_COMPRESSION, 1])
        if not encoded:
            raise NbisFailure("it could not be encoded")
        return self._ask(content.tobytes())

    def score(self, first: bytes, second: bytes) -> int:
        """The score of two templates, at least 0; 0 where either has fewer than 10 minutiae.

        Raises:
            NbisFailure: NBIS fails on this pair.
        """
        return int(self._ask(first, second)) if first and second else 0

    def _ask(self, *parts: bytes) -> bytes:
        process = self._idle.get()
        try:
            process = process or _Process()
            return process.ask(*parts)
        finally:
            self._idle.put(process if process and process.runs else None)


class NbisFailure(Exception):
    """NBIS failed on an image or a pair; the message says why, without the names of files."""


class _Process:
    """A process that runs NBIS.

    runs: whether it still takes requests.
    """

    def __init__(self) -> None:
        """Raises:
        NbisError: NBIS cannot be run.
        """
        # -P: the worker's folder stays off the path: a module there might be taken for the package nbis.
        command = [sys.executable, "-P", str(WORKER)]
        pipe, null = subprocess.PIPE, subprocess.DEVNULL
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=null)
        self.runs = True
        try:
            self._answer()
        except NbisFailure as error:
            self.end()
            raise NbisError(f"NBIS cannot be run ({error}): {INSTALL}") from error

    def ask(self, *parts: bytes) -> bytes:
        """The answer to a request.

        Raises:
            NbisFailure: NBIS fails on it. The process may have ended.
        """
        return self._answer(*parts)

    def end(self) -> None:
        """End the process."""
        self.runs = False
        self._process.kill()
        self._process.communicate()

    def _answer(self, *parts: bytes) -> bytes:
        requests, answers = self._process.stdin, self._process.stdout
        assert requests is not None and answers is not None  # both are pipes
        started = time.monotonic()
        watch = threading.Timer(TIME_LIMIT, self._process.kill)
        watch.start()
        try:
            if parts:
                send(requests, *parts)
            status, answer = receive(answers, TEMPLATE_BYTES)
        except (EOFError, OSError, ValueError) as error:  # it ended, or answered nonsense
            timed_out = time.monotonic() - started >= TIME_LIMIT
            self.end()
            reason = f"NBIS did not end within {TIME_LIMIT:g} s" if timed_out else "NBIS broke down over it"
            raise NbisFailure(reason) from error
        finally:
            watch.cancel()
        if status != SUCCESS:
            self.end()  # after a panic in its code a lock stays locked
            raise NbisFailure(" ".join(answer.decode(errors="replace").split())[:150])
        return answer
