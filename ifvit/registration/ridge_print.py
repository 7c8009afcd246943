"""A print as ridge agreement sees it: its enhanced ridges at 500 ppi, cut to where they are, and its minutiae."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ifvit import image
from ifvit.enhancement.enhancer import Enhanced, Enhancer, misfit
from ifvit.enhancement.minutiae import Minutiae
from ifvit.image import ImageError, PpiFrom, Scan

PPI = 500.0
LARGEST_SIDE = 1536  # px at 500 ppi, 78 mm: a palm's worth; more is cut off around the middle of the ridges


class RidgePrint(NamedTuple):
    """The part of a print that shows ridges, at `PPI`.

    grey: uint8 (H, W), the print itself.
    enhanced: uint8 (H, W), its ridges dark, white where there are none.
    ridges: bool (H, W), where there are ridges.
    minutiae: px of this part.
    left, top: px of the print at `PPI`, where this part begins.
    ppi: of the file; ppi_from: who says so.
    inverted: the file has light ridges.
    """

    grey: np.ndarray
    enhanced: np.ndarray
    ridges: np.ndarray
    minutiae: Minutiae
    left: int
    top: int
    ppi: float
    ppi_from: PpiFrom
    inverted: bool

    @property
    def area(self) -> float:
        """Of the ridges, mm2."""
        return float(self.ridges.sum()) * (25.4 / PPI) ** 2

    def to_file(self, points: np.ndarray) -> np.ndarray:
        """Where points (..., 2) px of this part lie in the file's image, px."""
        return (points + (self.left, self.top) + 0.5) * (self.ppi / PPI) - 0.5

    def from_file(self, points: np.ndarray) -> np.ndarray:
        """Where points (..., 2) px of the file's image lie in this part, px."""
        return (points + 0.5) * (PPI / self.ppi) - 0.5 - (self.left, self.top)


def ridge_print(scan: Scan, ppi: float | None, enhancer: Enhancer) -> RidgePrint:
    """The print of a scan.

    ppi: of the scan; None takes its file's tag, else 500.

    Raises:
        ImageError: it shows no ridges, or cannot have that ppi (the message names no file).
        EnhancementError: the enhancer's method is not installed.
    """
    used, ppi_from = image.choose_ppi(scan, ppi)
    if why := misfit(scan.grey, used):
        raise ImageError(why)
    grey = image.to_ppi(scan.grey, used, PPI)
    enhanced = enhancer.enhance(grey, PPI)
    if not enhanced.ridges.any():
        raise ImageError("no ridges found")
    rows, cols = (_extent(enhanced.ridges.any(axis)) for axis in (1, 0))
    shown = Enhanced(enhanced.grey[rows, cols], enhanced.ridges[rows, cols])
    shown = shown._replace(grey=np.where(shown.ridges, shown.grey, np.uint8(255)))
    minutiae = enhancer.minutiae(grey[rows, cols], shown)
    return RidgePrint(
        grey[rows, cols], *shown, minutiae, cols.start, rows.start, used, ppi_from, scan.inverted
    )  # fmt: skip


def _extent(shown: np.ndarray) -> slice:
    """From the first to the last True of bool (N,), at most `LARGEST_SIDE` long."""
    places = np.flatnonzero(shown)
    first, last = int(places[0]), int(places[-1]) + 1
    cut = max(0, last - first - LARGEST_SIDE) // 2
    return slice(first + cut, min(last, first + cut + LARGEST_SIDE))
