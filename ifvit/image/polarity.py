"""Which way round an image is: dark ridges on a light ground, or light ones on a dark ground."""

from __future__ import annotations

import cv2
import numpy as np

BLOCK = 8  # px at least: about a ridge period at 500 ppi
BLOCKS = 40  # along the shorter side, so that the scale of a file without ppi does not matter
NEIGHBOURHOOD = 9  # blocks
RIDGES, GROUND = 0.6, 0.33  # of the strongest contrast: above is ridges, below is ground
MARGIN = 0.4  # of the ridges' contrast (mean deviation)
RIM = 0.4  # of the blocks along the image's border have to be ground
LEAST = 0.01  # of all blocks: ground beside ridges to be judged by


def is_inverted(grey: np.ndarray) -> bool:
    """Whether the ridges are light and the ground is dark; False where it cannot be told.

    grey: uint8 (H, W). Ground is at the level of the valleys, ridges and valleys together lie halfway between: so the
    ground is lighter than the ridge region beside it, or darker in an inverted image. Every quiet block is compared
    with the ridge blocks near it, because the light of many sensors falls off towards the border by more than a print's
    contrast; the median has to pass the margin. Quiet blocks inside a print may be wet spots, dark and without ridges,
    so a print that fills its image cannot be told: ground is believed where it makes up much of the border.

    Of FVC2002's set B (320 images) none passes and all inverted copies do. With 30, 60 or 90 px cut off all around,
    which leaves ever less ground, 1, 1 and 0 pass. A print cut out and laid on black looks inverted.
    """
    side = max(BLOCK, min(grey.shape) // BLOCKS)
    rows, cols = (length // side for length in grey.shape)
    grey = grey[: rows * side, : cols * side]
    mean = cv2.resize(grey, (cols, rows), interpolation=cv2.INTER_AREA)
    away = cv2.absdiff(grey, cv2.resize(mean, grey.shape[::-1], interpolation=cv2.INTER_NEAREST))
    contrast = cv2.resize(away, (cols, rows), interpolation=cv2.INTER_AREA).astype(np.float32)
    level = mean.astype(np.float32)
    strong = np.percentile(contrast, 95)
    ridges = (contrast > RIDGES * strong).astype(np.float32)
    quiet = contrast < GROUND * strong
    rim = np.concatenate([quiet[0], quiet[-1], quiet[:, 0], quiet[:, -1]])

    def nearby(blocks: np.ndarray) -> np.ndarray:
        window = NEIGHBOURHOOD, NEIGHBOURHOOD
        return cv2.boxFilter(blocks, -1, window, normalize=False, borderType=cv2.BORDER_CONSTANT)

    count = nearby(ridges)
    judged = quiet & (count > 1.5)  # two ridge blocks or more
    if rim.mean() < RIM or judged.sum() < max(4, LEAST * judged.size):
        return False
    lighter = level[judged] * count[judged] - nearby(level * ridges)[judged]
    return bool(np.median(lighter / nearby(contrast * ridges)[judged]) < -MARGIN)
