"""Whether an image has dark ridges on a light ground, or is inverted: light ridges on a dark ground."""

from __future__ import annotations

import cv2
import numpy as np

SMALLEST_BLOCK = 8  # px: about a ridge period at 500 ppi
BLOCKS = 40  # along the shorter side, so that the result does not depend on the ppi
NEIGHBOURHOOD = 9  # blocks
RIDGES, GROUND = 0.6, 0.33  # of the strongest contrast: ridges are above the first, ground is below the second
MARGIN = 0.4  # of the ridges' contrast (mean deviation)
BORDER_SHARE = 0.4  # of the blocks along the image's border must be ground
LEAST_SHARE = 0.01  # of all blocks must be ground beside ridges


def is_inverted(grey: np.ndarray) -> bool:
    """Whether the ridges are light and the ground is dark; False if this cannot be decided.

    grey: uint8 (H, W).

    The ground is as light as the valleys, and the mean of ridges and valleys is halfway between both. So the ground is
    lighter than the ridge region beside it, or darker in an inverted image. Each quiet block is compared with the ridge
    blocks near it, because many sensors are darker towards the border by more than a print's contrast. The median of
    the differences must be beyond the margin. Quiet blocks inside a print may be wet spots, which are dark and have no
    ridges. So quiet blocks count as ground only if they are a large share of the image's border; a print that fills its
    image cannot be decided.

    None of FVC2002's set B (320 images) counts as inverted, and all inverted copies do. If 30, 60 or 90 px are cut off
    on all sides, which leaves less ground, 1, 1 and 0 count as inverted. A print on a black background looks inverted.
    """
    side = max(SMALLEST_BLOCK, min(grey.shape) // BLOCKS)
    rows, cols = (length // side for length in grey.shape)
    grey = grey[: rows * side, : cols * side]
    mean = cv2.resize(grey, (cols, rows), interpolation=cv2.INTER_AREA)
    deviation = cv2.absdiff(grey, cv2.resize(mean, grey.shape[::-1], interpolation=cv2.INTER_NEAREST))
    contrast = cv2.resize(deviation, (cols, rows), interpolation=cv2.INTER_AREA).astype(np.float32)
    level = mean.astype(np.float32)
    strong = np.percentile(contrast, 95)
    ridges = (contrast > RIDGES * strong).astype(np.float32)
    quiet = contrast < GROUND * strong
    border = np.concatenate([quiet[0], quiet[-1], quiet[:, 0], quiet[:, -1]])

    def sum_nearby(blocks: np.ndarray) -> np.ndarray:
        window = NEIGHBOURHOOD, NEIGHBOURHOOD
        return cv2.boxFilter(blocks, -1, window, normalize=False, borderType=cv2.BORDER_CONSTANT)

    count = sum_nearby(ridges)
    ground = quiet & (count > 1.5)  # with two ridge blocks or more nearby
    if border.mean() < BORDER_SHARE or ground.sum() < max(4, LEAST_SHARE * ground.size):
        return False
    difference = level[ground] * count[ground] - sum_nearby(level * ridges)[ground]
    return bool(np.median(difference / sum_nearby(contrast * ridges)[ground]) < -MARGIN)
