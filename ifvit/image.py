"""Fingerprint images: read, bring to a resolution, find the ridges, place in a frame.

Grey means uint8 (H, W), dark ridges on a light ground. Lengths are px of the image at hand unless said otherwise.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

# OpenCV reads this once, when it loads: an image that claims more pixels is refused before memory is taken.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(2**26))

import cv2
import numpy as np

SMALLEST_SIDE = 16  # px; anything smaller is no fingerprint
RIDGE_PERIOD_MM = 0.46  # 9 px at 500 ppi, the mean of adult fingers


class ImageError(ValueError):
    """An image that cannot be used; the message names the file and says why."""


class Canvas(NamedTuple):
    """An impression placed in a frame: its ridge region centred, nothing squashed.

    grey: uint8 (H, W); ridges: bool (H, W), where there are ridges; background: the grey level around the print.
    """

    grey: np.ndarray
    ridges: np.ndarray
    background: int


def read_grey(path: Path) -> np.ndarray:
    """The image as uint8 (H, W).

    Raises:
        ImageError: the file is missing, unreadable, truncated, too small or blank.
    """
    try:
        content = np.fromfile(path, np.uint8)
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror})") from error
    if not content.size:
        raise ImageError(f"{path}: the file is empty")
    _check_whole(path, content)
    try:
        grey = cv2.imdecode(content, cv2.IMREAD_GRAYSCALE)
    except cv2.error as error:
        raise ImageError(f"{path}: not decodable ({error.err or 'OpenCV refused it'})") from error
    if grey is None:
        raise ImageError(f"{path}: not an image that can be decoded, or damaged")
    if min(grey.shape) < SMALLEST_SIDE:
        raise ImageError(f"{path}: {grey.shape[1]}x{grey.shape[0]} px is too small for a fingerprint")
    if grey.min() == grey.max():
        raise ImageError(f"{path}: blank, every pixel is {grey.min()}")
    return grey


def _check_whole(path: Path, content: np.ndarray) -> None:
    """Refuse a truncated TIFF or PNG: decoders fill the missing part with grey and say nothing."""
    head = content[:4].tobytes()
    if head[:4] == b"\x89PNG" and b"IEND" not in content[-64:].tobytes():
        raise ImageError(f"{path}: the PNG is truncated")
    if head in (b"II*\0", b"MM\0*") and _tiff_end(content.tobytes()) > content.size:
        raise ImageError(f"{path}: the TIFF is truncated")


def _tiff_end(content: bytes) -> int:
    """The byte at which the first image of a TIFF ends, by its own directory; past the content if that is cut."""
    order = "little" if content[:2] == b"II" else "big"

    def number(at: int, size: int) -> int:
        return int.from_bytes(content[at : at + size], order)

    def values(entry: int) -> list[int]:
        size = {3: 2, 4: 4}.get(number(entry + 2, 2), 0)
        count = number(entry + 4, 4)
        if not size or count > 2**20:
            return []
        start = entry + 8 if size * count <= 4 else number(entry + 8, 4)
        return [number(start + size * k, size) for k in range(count)]

    directory = number(4, 4)
    entries = number(directory, 2)
    if directory + 2 + 12 * entries > len(content):
        return len(content) + 1
    tags = {number(directory + 2 + 12 * k, 2): directory + 2 + 12 * k for k in range(entries)}
    if 273 not in tags or 279 not in tags:  # StripOffsets, StripByteCounts: a tiled TIFF is left to the decoder
        return 0
    ends = [a + n for a, n in zip(values(tags[273]), values(tags[279]), strict=False)]
    return max(ends, default=0)


def to_ppi(grey: np.ndarray, ppi: float, target: float) -> np.ndarray:
    """The image resampled from `ppi` to `target`, with anti-aliasing when it shrinks."""
    if ppi == target:
        return grey
    scale = target / ppi
    size = max(1, round(grey.shape[1] * scale)), max(1, round(grey.shape[0] * scale))
    return cv2.resize(grey, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)


def ridge_mask(grey: np.ndarray, ppi: float) -> np.ndarray:
    """Where there are ridges, bool (H, W): one region of high local contrast, closed and without holes."""
    period = RIDGE_PERIOD_MM / 25.4 * ppi  # px
    values = grey.astype(np.float32)
    window = _odd(2 * period)
    mean = cv2.blur(values, (window, window), borderType=cv2.BORDER_REPLICATE)
    square = cv2.blur(values**2, (window, window), borderType=cv2.BORDER_REPLICATE)
    contrast = np.sqrt(np.maximum(square - mean**2, 0))
    contrast = cv2.GaussianBlur(contrast, (0, 0), period)
    # A third of the strong contrast: far above sensor noise, and faint ridges still pass.
    mask = (contrast > 0.33 * np.percentile(contrast, 95)).astype(np.uint8)
    size = _odd(3 * period)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, kernel)
    # Closing beside the border would fill every bay there, so it gets room.
    mask = cv2.copyMakeBorder(mask, size, size, size, size, cv2.BORDER_CONSTANT, value=0)
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, kernel)[size:-size, size:-size]
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros_like(mask)
    if outlines:
        cv2.drawContours(filled, [max(outlines, key=cv2.contourArea)], -1, 1, cv2.FILLED)
    # The windows look about a period beyond the ridges' edge; what touches the image's border stays.
    rim = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (window, window))
    return cv2.erode(filled, rim).astype(bool)


def _odd(length: float) -> int:
    return 2 * int(length // 2) + 1


def background_level(grey: np.ndarray, ridges: np.ndarray) -> int:
    """The grey level around the print: the median off the ridges, or of the border where ridges fill the image."""
    outside = grey[~ridges]
    if outside.size < grey.size // 50:
        outside = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    return int(np.median(outside))


def place(grey: np.ndarray, ridges: np.ndarray, height: int, width: int) -> Canvas:
    """Crop or pad, never squash: the centre of the ridge region comes to the centre of a (height, width) frame.

    Raises:
        ImageError: there are no ridges (the message names no file; the caller knows it).
    """
    rows, cols = np.flatnonzero(ridges.any(1)), np.flatnonzero(ridges.any(0))
    if not rows.size:
        raise ImageError("no ridges found")
    top = (rows[0] + rows[-1] + 1) // 2 - height // 2
    left = (cols[0] + cols[-1] + 1) // 2 - width // 2
    background = background_level(grey, ridges)
    placed = np.full((height, width), background, np.uint8)
    mask = np.zeros((height, width), bool)
    y0, y1 = max(top, 0), min(top + height, grey.shape[0])
    x0, x1 = max(left, 0), min(left + width, grey.shape[1])
    to = slice(y0 - top, y1 - top), slice(x0 - left, x1 - left)
    placed[to], mask[to] = grey[y0:y1, x0:x1], ridges[y0:y1, x0:x1]
    return Canvas(placed, mask, background)


def load_canvas(path: Path, ppi: float, target: float, height: int, width: int) -> Canvas:
    """A file's impression at `target` ppi in a (height, width) frame.

    Raises:
        ImageError: naming the file.
    """
    grey = to_ppi(read_grey(path), ppi, target)
    try:
        return place(grey, ridge_mask(grey, target), height, width)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error
