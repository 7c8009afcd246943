"""The baseline: scores of a public matcher on the same pairs, mindtct and bozorth3 of NIST's NBIS.

    OUT/peers/key.json     what the scores depend on: the matcher's version, the images, the pairs
    OUT/peers/minutiae/    mindtct's minutiae, image by image
    OUT/peers/scores/      bozorth3's scores, pair by pair

NBIS comes with the extra `peers`: the package nbis-py, or nbis-python, the present name of the same project. Both
programs run with their defaults on images at 500 ppi, for which mindtct's lengths in px are meant. They are C code of
the 1990s, and images come from outside: an 8x8 image causes a segmentation fault, an image of noise can take half a
minute. So they run in their own processes (`nbis_worker`). An image that ends such a process, or takes too long, cannot
be used; such a pair has failed.

Scores differ a little from those of NIST's own program: the package gives bozorth3 angles of 0 to 359 degrees, and
bozorth3 leaves out pairs of exactly opposite minutiae only if angles are -179 to 180. With such angles the C code gives
on the same minutiae of FVC2002's sets DB1_B to DB4_B an EER of 3.6, 2.4, 9.1 and 4.7 %, here it is 3.6, 2.4, 6.9 and
4.0 %: all of them well within the intervals that ten fingers allow.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

import cv2
import numpy as np

from ifvit import image
from ifvit.databases.protocols import PairList
from ifvit.databases.records import Record
from ifvit.errors import UserError
from ifvit.evaluation.nbis_worker import SUCCESS, receive, send
from ifvit.evaluation.verification import Figures, by_database
from ifvit.image import ImageError, Scan
from ifvit.progress import Progress
from ifvit.storage.blocks import ArraySpec, Blocks, claim

NAME = "mindtct + bozorth3 (NBIS)"
PACKAGES = ("nbis-py", "nbis-python")  # two names of one project; both have the module nbis
INSTALL = "pip install 'ifvit[peers]'"
WORKER = Path(__file__).with_name("nbis_worker.py")
PPI = 500.0
LONGEST_SIDE = 2**14 - 1  # px; a template has 14 bits for a coordinate
MAX_PROCESSES = 16  # each takes 160 MB
TIME_LIMIT = 60.0  # s for an image, and for a pair
IMAGES, PAIRS = 64, 512  # in a block
TEMPLATE_BYTES = 1200  # at most: 150 minutiae of 6 bytes, and a header
MINUTIAE = {"template": ArraySpec("u1", (TEMPLATE_BYTES,)), "size": ArraySpec("<i4"), "reason": ArraySpec("<U200")}
SCORES = {"score": ArraySpec("<f8"), "failed": ArraySpec("?")}


class NbisError(UserError):
    """NBIS cannot be run here; the message says what to install."""


class Baseline(NamedTuple):
    """The results of another matcher on P pairs."""

    name: str
    version: str
    figures: dict[str, Figures]  # by database
    score: np.ndarray  # (P,) float64, 0 where the pair failed
    failed: np.ndarray  # (P,) bool
    unusable: dict[int, str]  # index of an image -> why it cannot be used


def unavailable() -> str | None:
    """Why NBIS cannot be run here, in a line that says what to do; None where it can be run."""
    if importlib.util.find_spec("nbis") is None:
        return f"NBIS is not installed: {INSTALL}"
    try:
        _Process().end()
    except NbisError as error:
        return str(error)
    return None


def run_baseline(records: Sequence[Record], pairs: PairList, out: Path) -> Baseline:
    """bozorth3's scores of all pairs, and their figures. Blocks that are stored in `out` are not computed again.

    Raises:
        NbisError: NBIS is not installed, or cannot be run.
        DataError: `out` has the files of another baseline.
        OSError: a block cannot be written. Earlier blocks stay, and the same call resumes after them.
    """
    if reason := unavailable():
        raise NbisError(reason)
    folder = out / "peers"
    images, unusable = _digest(records)
    pair_digest = hashlib.sha256(np.stack([pairs.first, pairs.second]).astype("<i8").tobytes()).hexdigest()[:16]
    key = {"peer": NAME, "version": version(), "ppi": PPI, "images": images, "pairs": pair_digest}
    claim(folder, key, "another baseline")
    with Nbis() as nbis:
        templates, reasons = _minutiae(nbis, records, unusable, folder / "minutiae")
        score, failed = _scores(nbis, templates, pairs, folder / "scores")
    figures = by_database(records, pairs, score, failed)
    return Baseline(NAME, version(), figures, score, failed, reasons)


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


def _grey(record: Record) -> np.ndarray | ImageError:
    """The record's image at 500 ppi, uint8 (H, W), or the ImageError that names the file and says why there is none."""

    def at_500(scan: Scan, ppi: float | None) -> np.ndarray:
        grey = image.to_ppi(scan.grey, image.choose_ppi(scan, ppi)[0], PPI)
        if max(grey.shape) > LONGEST_SIDE:
            raise ImageError(f"at {PPI:g} ppi no side may be longer than {LONGEST_SIDE} px")
        return grey

    return image.from_image(record.path, record.ppi, at_500)


def _digest(records: Sequence[Record]) -> tuple[str, dict[int, str]]:
    """A digest of all images, and by index the reasons why images cannot be used. Only a few images are in memory."""

    def read(record: Record) -> bytes | ImageError:
        grey = _grey(record)
        if isinstance(grey, ImageError):
            return grey
        return hashlib.sha256(repr(grey.shape).encode() + grey.tobytes()).digest()

    digest, unusable = hashlib.sha256(), {}
    progress = Progress("reading images for NBIS", len(records))
    with ThreadPoolExecutor() as threads:
        for k, content in enumerate(threads.map(read, records)):
            progress.step()
            if isinstance(content, ImageError):
                unusable[k] = str(content)
            digest.update(b"none" if isinstance(content, ImageError) else content)
    return digest.hexdigest()[:16], unusable


def _minutiae(
    nbis: Nbis, records: Sequence[Record], unusable: dict[int, str], folder: Path
) -> tuple[list[bytes | None], dict[int, str]]:
    """The template of each image, None where it cannot be used, and the reasons by index.

    unusable: reasons that are known already.
    """

    def template_of(k: int) -> tuple[bytes, str]:
        if k in unusable:
            return b"", unusable[k]
        grey = _grey(records[k])
        if isinstance(grey, ImageError):
            return b"", str(grey)
        try:
            return nbis.minutiae(grey), ""
        except NbisFailure as error:
            return b"", f"{records[k].path}: {error}"

    def compute_block(numbers: np.ndarray) -> dict[str, Any]:
        templates, reasons = zip(*nbis.each(template_of, numbers.tolist()), strict=True)
        rows = np.stack([np.frombuffer(template.ljust(TEMPLATE_BYTES, b"\0"), np.uint8) for template in templates])
        return {"template": rows, "size": list(map(len, templates)), "reason": reasons}

    progress = Progress("finding minutiae (mindtct)", len(records))
    templates: list[bytes | None] = []
    reasons: dict[int, str] = {}
    for block in Blocks(folder, MINUTIAE, IMAGES).read_or_compute(len(records), compute_block, progress):
        for row, size, reason in zip(*(block[name] for name in MINUTIAE), strict=True):
            if reason:
                reasons[len(templates)] = str(reason)
            templates.append(None if reason else row[:size].tobytes())
    return templates, reasons | unusable  # the stored reasons are cut to 200 characters, these are not


def _scores(
    nbis: Nbis, templates: Sequence[bytes | None], pairs: PairList, folder: Path
) -> tuple[np.ndarray, np.ndarray]:
    """The score of each pair, float (P,), and whether it failed, bool (P,)."""

    def scored(pair: tuple[int, int]) -> float:
        first, second = (templates[k] for k in pair)
        if first is None or second is None:
            return np.nan
        try:
            return nbis.score(first, second)
        except NbisFailure:
            return np.nan

    def compute_block(numbers: np.ndarray) -> dict[str, Any]:
        sides = zip(pairs.first[numbers].tolist(), pairs.second[numbers].tolist(), strict=True)
        score = np.array(list(nbis.each(scored, sides)), float)
        return {"score": np.nan_to_num(score), "failed": np.isnan(score)}

    progress = Progress("comparing pairs (bozorth3)", len(pairs))
    blocks = list(Blocks(folder, SCORES, PAIRS).read_or_compute(len(pairs), compute_block, progress))
    score, failed = (np.concatenate([block[name] for block in blocks]) for name in SCORES)
    return score, failed
