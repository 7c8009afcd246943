"""Minutiae of a print: the points where a ridge ends or divides, and their directions.

The enhanced ridges are thinned to lines one pixel wide (scikit-image). The crossing number of a pixel is the number of
lines that leave it: 1 at an ending and 3 at a bifurcation (Rutovitz, Pattern recognition, J. Royal Stat. Soc. A 129,
1966). False minutiae of the thinning are removed: short spurs, pairs closer than a ridge period, and line ends at the
print's border.

Points are (x, y) px at 500 ppi; a direction is in rad, from x towards y. It points to the side with more ridges: along
the ridge that ends, or between the two ridges on one side of a bifurcation. So it does not change when pressure turns
an ending into a bifurcation.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import cv2
import numpy as np
from skimage.morphology import skeletonize

BORDER = 10  # px from the edge of the ridges; lines that end there end with the print
SPUR = 9  # px; a shorter line that leaves another line is no ridge
REACH = 14  # px of a line that define its direction
CLOSEST = 7.0  # px; minutiae that are closer to one another come from a broken or bridged ridge
SMALLEST_ISLAND, SMALLEST_HOLE = 40, 20  # px; smaller ones are dirt and pores
# The neighbours of a pixel in a circle, as (row, column).
RING = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))
# The same neighbours, the diagonal ones last: the order in which a line is followed.
STEPS = ((-1, 0), (0, 1), (1, 0), (0, -1), (-1, -1), (-1, 1), (1, 1), (1, -1))

Pixel = tuple[int, int]


class MinutiaKind(IntEnum):
    """An ending or a bifurcation; the value is the crossing number."""

    ending = 1
    bifurcation = 3


class Minutiae(NamedTuple):
    """N minutiae, those deepest inside the print first."""

    points: np.ndarray  # (N, 2) float32, (x, y) px at 500 ppi
    directions: np.ndarray  # (N,) float32, rad in (-pi, pi]
    kinds: np.ndarray  # (N,) int32, values of `MinutiaKind`


def find_minutiae(grey: np.ndarray, ridges: np.ndarray) -> Minutiae:
    """The minutiae of an enhanced print at 500 ppi.

    grey: uint8 (H, W), dark ridges. ridges: bool (H, W), where there are ridges.
    """
    lines = _lines(grey, ridges)
    crossings = _crossing_number(lines)
    depth = np.pad(depth_in(ridges), 1)
    view = _view(lines)
    rows = [
        (col - 1, row - 1, direction, crossings[row, col], depth[row, col])
        for row, col in np.argwhere(np.isin(crossings, list(MinutiaKind)) & (depth > BORDER)).tolist()
        if (direction := _direction(view, (row, col))) is not None
    ]
    table = np.array(rows, np.float32).reshape(-1, 5)
    if len(table) > 1:
        apart = np.hypot(*(table[:, None, :2] - table[None, :, :2]).transpose(2, 0, 1))
        np.fill_diagonal(apart, np.inf)
        table = table[apart.min(axis=1) > CLOSEST]
    table = table[np.argsort(-table[:, 4], kind="stable")]
    return Minutiae(table[:, :2], table[:, 2], table[:, 3].astype(np.int32))


def depth_in(ridges: np.ndarray) -> np.ndarray:
    """The distance of each pixel of bool (H, W) from the edge of the ridges or of the image, (H, W) float32 px."""
    return cv2.distanceTransform(np.pad(ridges.astype(np.uint8), 1), cv2.DIST_L2, cv2.DIST_MASK_5)[1:-1, 1:-1]


def inside(minutiae: Minutiae, ridges: np.ndarray) -> Minutiae:
    """The minutiae that are more than `BORDER` px inside the ridges, bool (H, W), the deepest first."""
    col, row = np.rint(minutiae.points).astype(int).T
    height, width = ridges.shape
    within = (row >= 0) & (row < height) & (col >= 0) & (col < width)
    depth = np.where(within, depth_in(ridges)[np.where(within, row, 0), np.where(within, col, 0)], 0.0)
    order = np.argsort(-depth, kind="stable")
    return Minutiae(*(field[order[depth[order] > BORDER]] for field in minutiae))


def _lines(grey: np.ndarray, ridges: np.ndarray) -> np.ndarray:
    """The ridges as lines one pixel wide, bool (H + 2, W + 2), with a margin of one pixel."""
    ink = ((grey < 128) & ridges).astype(np.uint8)
    ink = cv2.morphologyEx(ink, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    ink[_small_regions(1 - ink, SMALLEST_HOLE, connectivity=4)] = 1
    ink[_small_regions(ink, SMALLEST_ISLAND, connectivity=8)] = 0
    lines = np.pad(skeletonize(ink > 0), 1)
    for _ in range(2):  # the end of one spur may leave another
        _remove_spurs(lines)
        lines = np.pad(skeletonize(lines[1:-1, 1:-1]), 1)
    return lines


def _small_regions(ink: np.ndarray, size: int, connectivity: int) -> np.ndarray:
    """The pixels of `ink`, uint8 (H, W), that are in regions of less than `size` px, bool (H, W)."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(ink, connectivity=connectivity)
    small = stats[:, cv2.CC_STAT_AREA] < size
    small[0] = False  # the background
    return small[labels]


def _crossing_number(lines: np.ndarray) -> np.ndarray:
    """The number of lines that leave each pixel of a line, uint8 (H, W); 0 at other pixels."""
    # A bit for each neighbour makes a number, and the number of lines is looked up.
    neighbours = cv2.filter2D(lines.view(np.uint8), cv2.CV_16S, _BITS, borderType=cv2.BORDER_CONSTANT)
    return np.where(lines, _CROSSINGS[neighbours], 0).astype(np.uint8)


_BITS = np.zeros((3, 3), np.int16)
for _bit, (_dy, _dx) in enumerate(RING):
    _BITS[1 + _dy, 1 + _dx] = 1 << _bit
_ON = (np.arange(256)[:, None] >> np.arange(8)) & 1 == 1  # (256, 8), which neighbours a number has
_CROSSINGS = (_ON & ~np.roll(_ON, 1, axis=1)).sum(axis=1).astype(np.uint8)


def _remove_spurs(lines: np.ndarray) -> None:
    """Remove, in place, each line that leaves another line and ends within `SPUR` px."""
    crossings = _crossing_number(lines)
    view, junctions = _view(lines), _view(crossings >= MinutiaKind.bifurcation)
    for row, col in np.argwhere(crossings == MinutiaKind.ending).tolist():
        if not view[row, col]:
            continue  # it was removed with another spur
        path, ended = _follow(view, [(row, col)], SPUR, junctions)
        if ended:
            lines[tuple(np.transpose(path))] = False


def _view(pixels: np.ndarray) -> memoryview:
    """The pixels (H, W) bool as memory that Python reads pixel by pixel in half of NumPy's time."""
    return pixels.view(np.uint8).data


def _follow(
    lines: memoryview, path: list[Pixel], length: int, junctions: memoryview | None = None
) -> tuple[list[Pixel], bool]:
    """The pixels of a line, from `path` on, at most `length`, and whether it ended, or met a bifurcation, before that.

    junctions: where bifurcations are; they are no part of the path. Without them the path does not stop there.
    """
    while len(path) <= length:
        row, col = path[-1]
        ahead = [(row + dy, col + dx) for dy, dx in STEPS if lines[row + dy, col + dx]]
        # The first step away from a minutia must not go to another neighbour of it, which belongs to another line.
        start = path[0] if len(path) == 2 else None
        ahead = [
            pixel for pixel in ahead
            if pixel not in path and (start is None or max(abs(pixel[0] - start[0]), abs(pixel[1] - start[1])) > 1)
        ]  # fmt: skip
        if not ahead:
            return path, True
        if junctions is not None and any(junctions[pixel] for pixel in ahead):
            return path, True
        path.append(ahead[0])
    return path, False


def _first_pixels(lines: memoryview, pixel: Pixel) -> list[Pixel]:
    """The first pixel of each line that leaves a pixel."""
    around = [bool(lines[pixel[0] + dy, pixel[1] + dx]) for dy, dx in RING]
    first = []
    for k in (k for k in range(8) if around[k] and not around[k - 1]):
        run = [k]
        while around[(run[-1] + 1) % 8] and len(run) < 8:
            run.append((run[-1] + 1) % 8)
        steps = [step for step in run if step % 2] or run  # above, below, left or right rather than diagonal
        dy, dx = RING[steps[len(steps) // 2]]
        first.append((pixel[0] + dy, pixel[1] + dx))
    return first


def _direction(lines: memoryview, pixel: Pixel) -> float | None:
    """The direction of a minutia, rad; None if one of its lines is too short to be a ridge."""
    total = np.zeros(2)
    for first in _first_pixels(lines, pixel):
        path, ended = _follow(lines, [pixel, first], REACH)
        if ended and len(path) < SPUR:
            return None
        step = np.subtract(path[-1], pixel)
        total += step / max(np.hypot(*step), 1.0)
    return float(np.arctan2(*total))
