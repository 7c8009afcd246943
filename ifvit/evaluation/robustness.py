"""How a model bears prints that are turned and only partly there: FNMR by angle and shift, as fixed-length work does.

Of genuine pairs the second print is moved by so many millimetres in a direction drawn for the pair, so that what leaves
the image is lost as it is beyond a sensor's edge, and then turned, of which nothing is lost. The threshold stays that
of the prints as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from ifvit import image
from ifvit.calibration import pairs_needed
from ifvit.databases.protocols import PairList
from ifvit.databases.records import Record
from ifvit.errors import DataError
from ifvit.evaluation.scorers import Scorer
from ifvit.evaluation.verification import too_few
from ifvit.image import ImageError, Scan
from ifvit.progress import Progress
from ifvit.storage.blocks import ArraySpec, Blocks, claim

ANGLES = (0.0, 30.0, 60.0, 90.0, 135.0, 180.0)  # degrees
SHIFTS = (0.0, 2.0, 4.0, 6.0)  # mm; a finger's print is some 16 x 20
FMR = 0.01  # whose threshold is applied


class Robustness(NamedTuple):
    """fnmr: float (A, S) in [0, 1], of `pairs` genuine pairs at a threshold, by `angles` degrees and `shifts` mm; a
    pair that fails is a false non-match. fmr: which the threshold had, by so many `impostors`' pairs.
    """

    angles: tuple[float, ...]
    shifts: tuple[float, ...]
    fnmr: np.ndarray
    pairs: int
    threshold: float
    fmr: float
    impostors: int

    def tree(self) -> dict[str, Any]:
        """For JSON."""
        return self._asdict() | {"fnmr": self.fnmr.tolist()}

    def text(self) -> list[str]:
        """A table for people."""
        doubt = "" if self.impostors >= pairs_needed(self.fmr) else f", which {too_few(self.fmr)}"
        lines = [
            f"FNMR of {self.pairs} genuine pairs, the second print turned and moved; threshold of FMR "
            f"{100 * self.fmr:g} %{doubt}",
            " angle" + "".join(f"{shift:8g} mm" for shift in self.shifts),
        ]
        for angle, row in zip(self.angles, self.fnmr, strict=True):
            lines.append(f"{angle:6g}" + "".join(f"{100 * rate:9.1f} %" for rate in row))
        return lines


def robustness(
    judge: Scorer, records: Sequence[Record], compared: PairList, threshold: float, count: int, folder: Path, key: dict
) -> Robustness:
    """The rates of `count` genuine pairs, drawn; those that lie in `folder` already are not made again.

    key: what was evaluated.

    Raises:
        DataError: there is no genuine pair, or the folder holds another evaluation's.
    """
    genuine = np.flatnonzero(compared.genuine)
    if not len(genuine):
        raise DataError("--robustness: there is no genuine pair")
    rng = np.random.default_rng(0)
    chosen = np.sort(rng.choice(genuine, min(count, len(genuine)), replace=False))
    direction = rng.uniform(0, 2 * np.pi, len(chosen))
    scans: dict[int, Scan | None] = {}
    for k in {*compared.first[chosen].tolist(), *compared.second[chosen].tolist()}:
        scans[k] = _scan(records[k])
    cells = [(angle, shift) for angle in ANGLES for shift in SHIFTS]
    claim(folder, key | {"threshold": threshold, "cells": len(cells), "count": len(chosen)}, "another evaluation")

    def made(numbers: np.ndarray) -> dict[str, np.ndarray]:
        return {"missed": np.array([missed(*cells[number]) for number in numbers])}

    def missed(angle: float, shift: float) -> float:
        """The share of the pairs that are rejected."""
        rejected, pairs = 0, []
        for k, towards in zip(chosen, direction, strict=True):
            a, b = int(compared.first[k]), int(compared.second[k])
            sides = _print(judge, scans[a], records[a]), _print(judge, scans[b], records[b], angle, shift, towards)
            if None in sides:
                rejected += 1
            else:
                pairs.append(sides)
        rows = list(judge.compare(pairs))
        rejected += sum(row.failed or row.score < threshold for row in rows)
        return rejected / len(chosen)

    work = Progress("turning and moving prints", len(cells))
    held = Blocks(folder, {"missed": ArraySpec("f8")}, 1).read_or_compute(len(cells), made, work)
    rates = np.concatenate([block["missed"] for block in held]).reshape(len(ANGLES), len(SHIFTS))
    return Robustness(ANGLES, SHIFTS, rates, len(chosen), threshold, FMR, int((~compared.genuine).sum()))


def moved(grey: np.ndarray, ppi: float, angle: float, shift: float, towards: float) -> np.ndarray:
    """A print uint8 (H, W) of `ppi`, moved by `shift` mm towards an angle (rad) within its image, then turned by
    `angle` degrees in an image that holds it whole.
    """
    if not angle and not shift:
        return grey
    height, width = grey.shape
    ground = int(np.median(np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])))
    x, y = (shift / 25.4 * ppi * part for part in (np.cos(towards), np.sin(towards)))
    away = np.array([[1, 0, x], [0, 1, y]])
    grey = cv2.warpAffine(grey, away, (width, height), flags=cv2.INTER_CUBIC, borderValue=ground)
    if not angle:
        return grey
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1.0)
    cosine, sine = np.abs(turn[0, :2])
    # Not a pixel more for a rounding error: a quarter turn then moves pixels onto pixels.
    size = [int(np.ceil(side - 1e-6)) for side in (width * cosine + height * sine, width * sine + height * cosine)]
    turn[:, 2] += (np.array(size) - (width, height)) / 2
    return cv2.warpAffine(grey, turn, size, flags=cv2.INTER_CUBIC, borderValue=ground)


def _scan(record: Record) -> Scan | None:
    try:
        return image.read(record.path)
    except ImageError:
        return None


def _print(
    judge: Scorer, scan: Scan | None, record: Record, angle: float = 0.0, shift: float = 0.0, towards: float = 0.0
) -> Any:
    """The print of a scan after it was moved; None where nothing usable is left."""
    if scan is None:
        return None
    ppi, _ = image.choose_ppi(scan, record.ppi)
    try:
        return judge.print_of(scan._replace(grey=moved(scan.grey, ppi, angle, shift, towards)), ppi)
    except ImageError:
        return None
