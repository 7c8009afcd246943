"""What a matcher that everybody can have scores on the same pairs: mindtct and bozorth3 of NIST's NBIS.

    OUT/peers/key.json     what is compared: the matcher's version, the images, the pairs
    OUT/peers/minutiae/    mindtct's minutiae, image by image
    OUT/peers/scores/      bozorth3's scores, pair by pair

NBIS comes with the extra `peers`: nbis-py, or nbis-python, as the same project is called today. Both programs run at
their defaults on images at 500 ppi, which mindtct's lengths in px are meant for. They are C of the 1990s, and images
are strangers': an 8x8 one is a segmentation fault, one of noise can take half a minute. So they run in processes of
their own (`peers_worker`), and what ends such a process, or keeps it for too long, is one image that cannot be used or
one pair that failed.

A score is not to the last digit what NIST's own program gives: the package hands bozorth3 angles of 0 to 359 degrees,
and that leaves out pairs of exactly opposite minutiae only where it finds angles of -179 to 180. With these the C code
gave on the same minutiae of FVC2002's sets DB1_B to DB4_B an EER of 3.6, 2.4, 9.1 and 4.7 %, here it is 3.6, 2.4, 6.9
and 4.0 %: all of them well within the intervals that ten fingers allow.
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
from ifvit.evaluation.nbis_worker import FOUND, receive, send
from ifvit.evaluation.verification import Figures, by_database
from ifvit.image import ImageError
from ifvit.progress import Progress
from ifvit.storage.blocks import ArraySpec, Blocks, claim

NAME = "mindtct + bozorth3 (NBIS)"
PACKAGES = ("nbis-py", "nbis-python")  # one project under two names; both bring the module nbis
INSTALL = "pip install 'ifvit[peers]'"
WORKER = Path(__file__).with_name("nbis_worker.py")
PPI = 500.0
LONGEST_SIDE = 2**14 - 1  # px; a template has 14 bits for a place
AT_ONCE = 16  # processes, at most; each takes 160 MB
TIME_LIMIT = 60.0  # s for an image, and for a pair
IMAGES, PAIRS = 64, 512  # in a file
TEMPLATE = 1200  # bytes; the most are 150 minutiae of 6, and a header
MINUTIAE = {"template": ArraySpec("u1", (TEMPLATE,)), "size": ArraySpec("<i4"), "reason": ArraySpec("<U200")}
SCORES = {"score": ArraySpec("<f8"), "failed": ArraySpec("?")}


class NbisError(UserError):
    """The other matcher cannot be run here; the message says what to install."""


class Baseline(NamedTuple):
    """Another matcher on P pairs.

    name, version: which; figures: of each database; score: float (P,), 0 where failed; failed: bool (P,);
    unusable: why, by the image's number.
    """

    name: str
    version: str
    figures: dict[str, Figures]
    score: np.ndarray
    failed: np.ndarray
    unusable: dict[int, str]


def unavailable() -> str | None:
    """Why there is no baseline here, in a line that says what to do; None where there is one."""
    if importlib.util.find_spec("nbis") is None:
        return f"NBIS is not installed: {INSTALL}"
    try:
        _Process().end()
    except NbisError as error:
        return str(error)
    return None


def baseline(records: Sequence[Record], pairs: PairList, out: Path) -> Baseline:
    """bozorth3's scores of all pairs and what follows from them; what lies in `out` already is not computed again.

    Raises:
        PeerError: NBIS is not installed, or cannot be run.
        DataError: `out` holds another baseline.
        OSError: it cannot be written; what was written is whole, and the same call goes on.
    """
    if reason := unavailable():
        raise NbisError(reason)
    folder = out / "peers"
    images, unusable = _digest(records)
    listed = hashlib.sha256(np.stack([pairs.first, pairs.second]).astype("<i8").tobytes()).hexdigest()[:16]
    key = {"peer": NAME, "version": version(), "ppi": PPI, "images": images, "pairs": listed}
    claim(folder, key, "another baseline")
    with Nbis() as nbis:
        templates, more = _minutiae(nbis, records, unusable, folder / "minutiae")
        score, failed = _scores(nbis, templates, pairs, folder / "scores")
    found = by_database(records, pairs, score, failed)
    return Baseline(NAME, version(), found, score, failed, more)


def version() -> str:
    """The package that brings NBIS, and its version.

    Raises:
        PeerError: there is none.
    """
    for package in PACKAGES:
        try:
            return f"{package} {metadata.version(package)}"
        except metadata.PackageNotFoundError:
            continue
    raise NbisError(f"NBIS is not installed: {INSTALL}")


class Nbis:
    """mindtct and bozorth3, as many at a time as there are cores, up to AT_ONCE."""

    def __init__(self) -> None:
        count = min(os.cpu_count() or 1, AT_ONCE)
        self._threads = ThreadPoolExecutor(count)
        self._idle: SimpleQueue[_Process | None] = SimpleQueue()
        for _ in range(count):
            self._idle.put(None)  # each is started when it is first needed

    def __enter__(self) -> Nbis:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(cancel_futures=True)
        while not self._idle.empty():
            if process := self._idle.get():
                process.end()

    def each(self, work: Callable[[Any], Any], things: Iterable[Any]) -> Iterator[Any]:
        """`work` of each thing, in order, several at a time."""
        return self._threads.map(work, things)

    def minutiae(self, grey: np.ndarray) -> bytes:
        """The minutiae of a print, uint8 (H, W) at 500 ppi, as a template; empty where there are none.

        Raises:
            Unanswered: they cannot be found.
        """
        done, content = cv2.imencode(".png", grey, [cv2.IMWRITE_PNG_COMPRESSION, 1])
        if not done:
            raise Unanswered("it could not be encoded")
        return self._ask(content.tobytes())

    def score(self, first: bytes, second: bytes) -> int:
        """The score of two templates, at least 0; 0 where either has fewer than 10 minutiae.

        Raises:
            Unanswered: they cannot be compared.
        """
        return int(self._ask(first, second)) if first and second else 0

    def _ask(self, *parts: bytes) -> bytes:
        process = self._idle.get()
        try:
            process = process or _Process()
            return process.ask(*parts)
        finally:
            self._idle.put(process if process and process.runs else None)


class Unanswered(Exception):
    """NBIS has nothing to say of an image or a pair; the message says why, and names no file."""


class _Process:
    """A process that runs NBIS.

    Raises:
        PeerError: it cannot.
    """

    def __init__(self) -> None:
        # -P: the worker's own folder stays off the path, where a module might be mistaken for the package.
        command = [sys.executable, "-P", str(WORKER)]
        pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=nowhere)
        self.runs = True
        try:
            self._answer()
        except Unanswered as error:
            self.end()
            raise NbisError(f"NBIS cannot be run ({error}): {INSTALL}") from error

    def ask(self, *parts: bytes) -> bytes:
        """The answer to a request. Raises Unanswered, and may run no longer then."""
        return self._answer(*parts)

    def end(self) -> None:
        """Nothing is asked of it any more."""
        self.runs = False
        self._process.kill()
        self._process.communicate()

    def _answer(self, *parts: bytes) -> bytes:
        started = time.monotonic()
        watch = threading.Timer(TIME_LIMIT, self._process.kill)
        watch.start()
        try:
            if parts:
                send(self._process.stdin, *parts)
            said, answer = receive(self._process.stdout, TEMPLATE)
        except (EOFError, OSError, ValueError) as error:  # it ended, or has gone mad
            late = time.monotonic() - started >= TIME_LIMIT
            self.end()
            why = f"NBIS did not end within {TIME_LIMIT:g} s" if late else "NBIS broke down over it"
            raise Unanswered(why) from error
        finally:
            watch.cancel()
        if said != FOUND:
            self.end()  # a panic in its code leaves a lock locked
            raise Unanswered(" ".join(answer.decode(errors="replace").split())[:150])
        return answer


def _grey(record: Record) -> np.ndarray:
    """The record's print at 500 ppi, uint8 (H, W). Raises ImageError, naming the file."""
    scan = image.read(record.path)
    ppi, _ = image.choose_ppi(scan, record.ppi)
    try:
        grey = image.to_ppi(scan.grey, ppi, PPI)
        if max(grey.shape) > LONGEST_SIDE:
            raise ImageError(f"at {PPI:g} ppi no side may be longer than {LONGEST_SIDE} px")
    except ImageError as error:
        raise ImageError(f"{record.path}: {error}") from error
    return grey


def _digest(records: Sequence[Record]) -> tuple[str, dict[int, str]]:
    """What all prints show, and why some show nothing, by number. No more than a few prints are held at a time."""

    def read(record: Record) -> bytes | ImageError:
        try:
            grey = _grey(record)
        except ImageError as error:
            return error
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
    """Each image's template, None where it cannot be used, and why that is so."""

    def found(k: int) -> tuple[bytes, str]:
        if k in unusable:
            return b"", unusable[k]
        try:
            return nbis.minutiae(_grey(records[k])), ""
        except ImageError as error:
            return b"", str(error)
        except Unanswered as error:
            return b"", f"{records[k].path}: {error}"

    def made(numbers: np.ndarray) -> dict[str, Any]:
        templates, reasons = zip(*nbis.each(found, numbers.tolist()), strict=True)
        rows = np.stack([np.frombuffer(template.ljust(TEMPLATE, b"\0"), np.uint8) for template in templates])
        return {"template": rows, "size": list(map(len, templates)), "reason": reasons}

    progress = Progress("finding minutiae (mindtct)", len(records))
    templates: list[bytes | None] = []
    reasons: dict[int, str] = {}
    for block in Blocks(folder, MINUTIAE, IMAGES).read_or_compute(len(records), made, progress):
        for row, size, reason in zip(*(block[name] for name in MINUTIAE), strict=True):
            if reason:
                reasons[len(templates)] = str(reason)
            templates.append(None if reason else row[:size].tobytes())
    return templates, reasons | unusable  # those are not cut short


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
        except Unanswered:
            return np.nan

    def made(numbers: np.ndarray) -> dict[str, Any]:
        sides = zip(pairs.first[numbers].tolist(), pairs.second[numbers].tolist(), strict=True)
        score = np.array(list(nbis.each(scored, sides)), float)
        return {"score": np.nan_to_num(score), "failed": np.isnan(score)}

    progress = Progress("comparing pairs (bozorth3)", len(pairs))
    blocks = list(Blocks(folder, SCORES, PAIRS).read_or_compute(len(pairs), made, progress))
    return tuple(np.concatenate([block[name] for block in blocks]) for name in SCORES)
