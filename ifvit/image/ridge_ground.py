"""Where the ridges of a print are, by their contrast, and the grey level of the background.

`canvas` calls it where no enhancement is wanted; enhancement finds a better mask of its own.
"""

from __future__ import annotations

import cv2
import numpy as np

LEAST_CONTRAST = 1.5  # grey levels; with less, ridges look the same as the noise of an empty sensor
RIDGE_PERIOD_MM = 0.46  # 9 px at 500 ppi, the mean of adult fingers


def ridge_mask(grey: np.ndarray, ppi: float) -> np.ndarray:
    """Where there are ridges, bool (H, W): the largest region of high local contrast, closed and without holes."""
    period = RIDGE_PERIOD_MM / 25.4 * ppi  # px
    values = grey.astype(np.float32)
    window = _odd(2 * period)
    mean = cv2.blur(values, (window, window), borderType=cv2.BORDER_REPLICATE)
    square = cv2.blur(values * values, (window, window), borderType=cv2.BORDER_REPLICATE)
    # These are means over two periods, so two values per period are enough.
    step = max(1, int(period // 2))
    size = -(-grey.shape[1] // step), -(-grey.shape[0] // step)
    mean, square = (cv2.resize(array, size, interpolation=cv2.INTER_AREA) for array in (mean, square))
    contrast = cv2.sqrt(np.maximum(square - mean * mean, 0))
    coarse = _one_region(cv2.GaussianBlur(contrast, (0, 0), period / step), period / step)
    return cv2.resize(255 * coarse, grey.shape[::-1], interpolation=cv2.INTER_LINEAR) > 127


def _one_region(contrast: np.ndarray, period: float) -> np.ndarray:
    """The largest region of high contrast, closed, uint8 (H, W) of 0 and 1; period: of the ridges, px of this array."""
    # A third of the strong contrast is far above sensor noise, and below the contrast of faint ridges.
    mask = (contrast > max(0.33 * np.percentile(contrast, 95), LEAST_CONTRAST)).astype(np.uint8)
    size = _odd(3 * period)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, kernel)
    # Closing would fill each bay at the image's border, so the image is padded.
    mask = cv2.copyMakeBorder(mask, size, size, size, size, cv2.BORDER_CONSTANT, value=0)
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, kernel)[size:-size, size:-size]
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros_like(mask)
    if outlines:
        cv2.drawContours(filled, [max(outlines, key=cv2.contourArea)], -1, 1, cv2.FILLED)
    # The windows extend the region about a period beyond the ridges; at the image's border nothing is eroded.
    window = _odd(2 * period)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (window, window))
    return cv2.erode(filled, kernel)


def _odd(length: float) -> int:
    return 2 * int(length // 2) + 1


def background_level(grey: np.ndarray, ridges: np.ndarray) -> int:
    """The grey level around the print: the median outside the ridges, or of the border if ridges fill the image."""
    outside = grey[~ridges]
    if outside.size < grey.size // 50:
        outside = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    return int(np.median(outside))
