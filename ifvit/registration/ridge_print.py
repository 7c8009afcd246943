"""A print as registration needs it: its enhanced ridges at 500 ppi, cropped to the ridge region, and its minutiae."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ifvit import image
from ifvit.enhancement.enhancer import Enhanced, Enhancer, misfit
from ifvit.enhancement.minutiae import Minutiae
from ifvit.image import ImageError, PpiFrom, Scan

PPI = 500.0
LARGEST_SIDE = 1536  # px at 500 ppi, 78 mm, the size of a palm; a larger print is cropped to its middle


class RidgePrint(NamedTuple):
    """The region of a print (H, W) that shows ridges, at `PPI`."""

    grey: np.ndarray  # uint8 (H, W), the print itself
    enhanced: np.ndarray  # uint8 (H, W), dark ridges, white outside the ridges
    ridges: np.ndarray  # bool (H, W), where there are ridges
    minutiae: Minutiae  # px of this region
    left: int  # px, x of the region's left edge in the print at `PPI`
    top: int  # px, y of the region's upper edge in the print at `PPI`
    ppi: float  # of the file
    ppi_from: PpiFrom  # the source of `ppi`
    inverted: bool  # the file has light ridges

    @property
    def area(self) -> float:
        """The area of the ridges, mm2."""
        return float(self.ridges.sum()) * (25.4 / PPI) ** 2

    def to_file(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 2) px of this region as px of the file's image."""
        return (points + (self.left, self.top) + 0.5) * (self.ppi / PPI) - 0.5

    def from_file(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 2) px of the file's image as px of this region."""
        return (points + 0.5) * (PPI / self.ppi) - 0.5 - (self.left, self.top)


def ridge_print(scan: Scan, ppi: float | None, enhancer: Enhancer) -> RidgePrint:
    """The print of a scan.

    ppi: of the scan; None takes that of the file's tags, else 500.

    Raises:
        ImageError: it shows no ridges, or its ppi is impossible (the message names no file).
        EnhancementError: the enhancer's method is not installed.
    """
    used, ppi_from = image.choose_ppi(scan, ppi)
    if reason := misfit(scan.grey, used):
        raise ImageError(reason)
    grey = image.to_ppi(scan.grey, used, PPI)
    enhanced = enhancer.enhance(grey, PPI)
    if not enhanced.ridges.any():
        raise ImageError("no ridges found")
    rows, cols = (_extent(np.any(enhanced.ridges, axis)) for axis in (1, 0))
    cropped = Enhanced(enhanced.grey[rows, cols], enhanced.ridges[rows, cols])
    cropped = cropped._replace(grey=np.where(cropped.ridges, cropped.grey, np.uint8(255)))
    minutiae = enhancer.minutiae(grey[rows, cols], cropped)
    return RidgePrint(
        grey[rows, cols], *cropped, minutiae, cols.start, rows.start, used, ppi_from, scan.inverted
    )  # fmt: skip


def _extent(mask: np.ndarray) -> slice:
    """The range from the first to the last True of bool (N,), cropped to `LARGEST_SIDE` about its middle."""
    indices = np.flatnonzero(mask)
    first, last = int(indices[0]), int(indices[-1]) + 1
    cut = max(0, last - first - LARGEST_SIDE) // 2
    return slice(first + cut, min(last, first + cut + LARGEST_SIDE))
