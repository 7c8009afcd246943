"""FNMR of rotated and partial prints, by angle and shift, as in papers on fixed-length representations.

The second print of a genuine pair is shifted by some millimetres in a direction drawn for the pair. What leaves the
image is lost, as beyond the edge of a sensor. Then the print is rotated, which loses nothing. The threshold is that of
the unchanged prints.
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
from ifvit.evaluation.figures import too_few
from ifvit.evaluation.scorers import Scorer
from ifvit.image import ImageError, Scan
from ifvit.progress import Progress
from ifvit.storage.blocks import ArraySpec, Blocks, claim

ANGLES = (0.0, 30.0, 60.0, 90.0, 135.0, 180.0)  # degrees
SHIFTS = (0.0, 2.0, 4.0, 6.0)  # mm; the print of a finger has about 16 x 20 mm
FMR = 0.01  # of the threshold


class Robustness(NamedTuple):
    """The FNMR by angle and shift. A pair that fails counts as a false non-match."""

    angles: tuple[float, ...]  # (A,) degrees
    shifts: tuple[float, ...]  # (S,) mm
    fnmr: np.ndarray  # (A, S) float64, in [0, 1]
    pairs: int  # genuine pairs
    threshold: float  # a genuine pair with a lower score is rejected
    fmr: float  # of the threshold
    impostors: int  # pairs that the threshold rests on

    def to_dict(self) -> dict[str, Any]:
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
    scorer: Scorer, records: Sequence[Record], pairs: PairList, threshold: float, count: int, folder: Path, key: dict
) -> Robustness:
    """The rates of `count` genuine pairs, drawn at random. Rates that are stored in `folder` are not computed again.

    key: what the results depend on, as JSON can store it.

    Raises:
        DataError: there is no genuine pair, or the folder has the files of another evaluation.
    """
    genuine = np.flatnonzero(pairs.genuine)
    if not len(genuine):
        raise DataError("--robustness: there is no genuine pair")
    rng = np.random.default_rng(0)
    sample = np.sort(rng.choice(genuine, min(count, len(genuine)), replace=False))
    directions = rng.uniform(0, 2 * np.pi, len(sample))
    scans: dict[int, Scan | None] = {}
    for k in {*pairs.first[sample].tolist(), *pairs.second[sample].tolist()}:
        scans[k] = _scan(records[k])
    cells = [(angle, shift) for angle in ANGLES for shift in SHIFTS]
    claim(folder, key | {"threshold": threshold, "cells": len(cells), "count": len(sample)}, "another evaluation")

    def compute(numbers: np.ndarray) -> dict[str, np.ndarray]:
        return {"missed": np.array([rejected_share(*cells[number]) for number in numbers])}

    def rejected_share(angle: float, shift: float) -> float:
        """The share of the pairs that are rejected, for one rotation and shift."""
        rejected, prints = 0, []
        for k, direction in zip(sample, directions, strict=True):
            a, b = int(pairs.first[k]), int(pairs.second[k])
            sides = _print(scorer, scans[a], records[a]), _print(scorer, scans[b], records[b], angle, shift, direction)
            if None in sides:
                rejected += 1
            else:
                prints.append(sides)
        rows = list(scorer.compare(prints))
        rejected += sum(row.failed or row.score < threshold for row in rows)
        return rejected / len(sample)

    progress = Progress("turning and moving prints", len(cells))
    blocks = Blocks(folder, {"missed": ArraySpec("f8")}, 1).read_or_compute(len(cells), compute, progress)
    rates = np.concatenate([block["missed"] for block in blocks]).reshape(len(ANGLES), len(SHIFTS))
    return Robustness(ANGLES, SHIFTS, rates, len(sample), threshold, FMR, int((~pairs.genuine).sum()))


def move_print(grey: np.ndarray, ppi: float, angle: float, shift: float, direction: float) -> np.ndarray:
    """Shift a print within its image, then rotate it in an image that is large enough for all of it.

    grey: uint8 (H, W). ppi: its resolution. angle: of the rotation, degrees. shift: mm. direction: of the shift, rad.
    """
    if not angle and not shift:
        return grey
    height, width = grey.shape
    ground = int(np.median(np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])))
    x, y = (shift / 25.4 * ppi * part for part in (np.cos(direction), np.sin(direction)))
    translation = np.array([[1, 0, x], [0, 1, y]])
    grey = cv2.warpAffine(grey, translation, (width, height), flags=cv2.INTER_CUBIC, borderValue=ground)
    if not angle:
        return grey
    rotation: np.ndarray = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1.0)
    cosine, sine = np.abs(rotation[0, :2])
    # Without 1e-6 a rounding error may add a pixel, and a rotation by 90 degrees would interpolate.
    size = [int(np.ceil(side - 1e-6)) for side in (width * cosine + height * sine, width * sine + height * cosine)]
    rotation[:, 2] += (np.array(size) - (width, height)) / 2
    return cv2.warpAffine(grey, rotation, size, flags=cv2.INTER_CUBIC, borderValue=ground)


def _scan(record: Record) -> Scan | None:
    """The image of a record; None where it cannot be used."""
    try:
        return image.read(record.path)
    except ImageError:
        return None


def _print(
    scorer: Scorer, scan: Scan | None, record: Record, angle: float = 0.0, shift: float = 0.0, direction: float = 0.0
) -> Any:
    """The print of a shifted and rotated scan; None where it cannot be used. Arguments as in `move_print`."""
    if scan is None:
        return None
    ppi, _ = image.choose_ppi(scan, record.ppi)
    try:
        return scorer.print_of(scan._replace(grey=move_print(scan.grey, ppi, angle, shift, direction)), ppi)
    except ImageError:
        return None
