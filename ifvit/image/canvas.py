"""An impression at the network's resolution, cropped or padded to a frame."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from ifvit.image.each_image import from_image, usable
from ifvit.image.errors import ImageError, check_size
from ifvit.image.reading import Scan
from ifvit.image.ridge_ground import background_level, ridge_mask

DEFAULT_PPI = 500.0  # of nearly every sensor


class PpiFrom(Enum):
    """The source of an image's ppi: the caller, the file's tags, or the assumption `DEFAULT_PPI`."""

    given = "given"
    file = "file"
    assumed = "assumed"


class Canvas(NamedTuple):
    """An impression in a frame (H, W): its ridge region is centred, and its aspect ratio is not changed."""

    grey: np.ndarray  # uint8 (H, W)
    ridges: np.ndarray  # bool (H, W), where there are ridges
    background: int  # the grey level around the print
    ppi: float = DEFAULT_PPI  # of the file, before resampling
    ppi_from: PpiFrom = PpiFrom.assumed
    inverted: bool = False  # the file had light ridges, and its grey levels were inverted
    left: int = 0  # px, x of the frame's left edge in the resampled image
    top: int = 0  # px, y of the frame's upper edge in the resampled image

    def to_file(self, points: np.ndarray, target: float) -> np.ndarray:
        """Points (..., 2) px of the frame, which is at `target` ppi, as px of the file's image."""
        return (points + (self.left, self.top) + 0.5) * (self.ppi / target) - 0.5


def choose_ppi(scan: Scan, ppi: float | None) -> tuple[float, PpiFrom]:
    """The ppi to use and its source: `ppi` if it is not None, else the file's, else `DEFAULT_PPI`."""
    if ppi is not None:
        return ppi, PpiFrom.given
    if scan.ppi is not None:
        return scan.ppi, PpiFrom.file
    return DEFAULT_PPI, PpiFrom.assumed


def to_ppi(grey: np.ndarray, ppi: float, target: float) -> np.ndarray:
    """The image resampled from `ppi` to `target`, both axes by exactly target / ppi; unchanged if they are equal.

    With s = target / ppi, uint8 (H, W) becomes uint8 (floor(H s), floor(W s)). The new pixel (x, y) is at
    x' = (x + 0.5) / s - 0.5, and y' likewise, px of the old image. The interpolation is Pillow's bicubic one, whose
    support is wider when the image shrinks: from 500 to 250 ppi it keeps 96 % of the contrast of ridges, and 6 % of a
    pattern at 3/4 of the new sampling frequency. A mean over areas keeps 92 % and 30 %.

    Raises:
        ImageError: the result is too small or too large (the message names no file).
    """
    return grey if ppi == target else _resampled(grey, ppi, target, Image.Resampling.BICUBIC)


def _resampled(grey: np.ndarray, ppi: float, target: float, method: Image.Resampling) -> np.ndarray:
    height, width = grey.shape
    scale = target / ppi
    size = int(width * scale + 1e-6), int(height * scale + 1e-6)
    try:
        check_size(*size)
    except ImageError as error:
        raise ImageError(f"at {target:g} ppi (it has {ppi:g}): {error}") from error
    # A part of a pixel at the right and lower border is cut off, so that the scale is exact.
    box = (0, 0, min(width, size[0] / scale), min(height, size[1] / scale))
    return np.asarray(Image.fromarray(grey).resize(size, method, box))


def place(grey: np.ndarray, ridges: np.ndarray, height: int, width: int) -> Canvas:
    """Crop or pad a print: the centre of its ridge region moves to the centre of a (height, width) frame.

    Raises:
        ImageError: there are no ridges (the message names no file).
    """
    rows, cols = np.flatnonzero(ridges.any(1)), np.flatnonzero(ridges.any(0))
    if not rows.size:
        raise ImageError("no ridges found")
    top = (rows[0] + rows[-1] + 1) // 2 - height // 2
    left = (cols[0] + cols[-1] + 1) // 2 - width // 2
    background = background_level(grey, ridges)
    placed = framed(grey, left, top, height, width, background)
    mask = framed(ridges, left, top, height, width, False)
    return Canvas(placed, mask, background, left=int(left), top=int(top))


def framed(values: np.ndarray, left: int, top: int, height: int, width: int, outside: float) -> np.ndarray:
    """The part of an image (H, W) inside a (height, width) frame whose upper left corner is at (left, top) px.

    Where the frame reaches beyond the image, the value is `outside`.
    """
    placed = np.full((height, width), outside, values.dtype)
    y0, y1 = max(top, 0), min(top + height, values.shape[0])
    x0, x1 = max(left, 0), min(left + width, values.shape[1])
    placed[y0 - top : y1 - top, x0 - left : x1 - left] = values[y0:y1, x0:x1]
    return placed


def canvas_of(
    scan: Scan, ridges: np.ndarray | None, ppi: float | None, target: float, height: int, width: int
) -> Canvas:
    """A scan's impression at `target` ppi in a (height, width) frame.

    ridges: bool, of the scan's shape, where there are ridges; None finds them after resampling (`ridge_mask`).
    ppi: of the scan, px per inch; None takes the file's, else `DEFAULT_PPI`.

    Raises:
        ImageError: there are no ridges, or too few or too many px at `target` (the message names no file).
        ValueError: `ridges` has another shape than the scan.
    """
    used, ppi_from = choose_ppi(scan, ppi)
    grey = to_ppi(scan.grey, used, target)
    if ridges is None:
        ridges = ridge_mask(grey, target)
    else:
        if ridges.shape != scan.grey.shape:
            raise ValueError(f"ridges of shape {ridges.shape} for an image of shape {scan.grey.shape}")
        if used != target:
            ridges = _resampled(255 * ridges.astype(np.uint8), used, target, Image.Resampling.BOX) > 127
    canvas = place(grey, ridges, height, width)
    return canvas._replace(ppi=used, ppi_from=ppi_from, inverted=scan.inverted)


def load_canvas(path: Path, ppi: float | None, target: float, height: int, width: int) -> Canvas:
    """A file's impression at `target` ppi in a (height, width) frame; see `canvas_of`.

    Raises:
        ImageError: the file cannot be used; the message names it.
    """
    return usable(from_image(path, ppi, lambda scan, ppi: canvas_of(scan, None, ppi, target, height, width)))
