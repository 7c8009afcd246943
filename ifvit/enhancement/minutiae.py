"""Minutiae of a print: where a ridge ends or divides, and which way.

The enhanced ridges are thinned to lines one pixel wide (scikit-image); the crossing number of a pixel, how many lines
leave it, tells endings (1) and bifurcations (3) (Rutovitz, Pattern recognition, J. Royal Stat. Soc. A 129, 1966). What
the thinning leaves behind is removed: short spurs, pairs closer than a ridge period, lines beside the print's border.

Points are (x, y) px at 500 ppi; a direction is in rad, from x towards y. It points to the side with more ridges: along
the ridge that ends, or between the two that a bifurcation has on one side. So it stays the same where pressure turns an
ending into a bifurcation.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import cv2
import numpy as np
from skimage.morphology import skeletonize

BORDER = 10  # px from the edge of the ridges, within which lines end because the print does
SPUR = 9  # px; a shorter line that leaves another is no ridge
REACH = 14  # px of line that tell a direction
CLOSEST = 7.0  # px; minutiae closer to one another than this come from a broken or bridged ridge
SMALLEST_ISLAND, SMALLEST_HOLE = 40, 20  # px; smaller ones are dirt and pores
# The neighbours of a pixel in a circle, as (row, column).
RING = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))
# The same with those beside and above before those across a corner: the order in which a line is followed.
STEPS = ((-1, 0), (0, 1), (1, 0), (0, -1), (-1, -1), (-1, 1), (1, 1), (1, -1))

Pixel = tuple[int, int]


class MinutiaKind(IntEnum):
    """What happens to the ridge; the value is the crossing number."""

    ending = 1
    bifurcation = 3


class Minutiae(NamedTuple):
    """N minutiae, those deepest inside the print first.

    points: float32 (N, 2), (x, y) px at 500 ppi.
    directions: float32 (N,), rad in (-pi, pi].
    kinds: int32 (N,), values of `MinutiaKind`.
    """

    points: np.ndarray
    directions: np.ndarray
    kinds: np.ndarray


def find_minutiae(grey: np.ndarray, ridges: np.ndarray) -> Minutiae:
    """The minutiae of an enhanced print at 500 ppi.

    grey: uint8 (H, W), dark ridges. ridges: bool (H, W), where there are ridges.
    """
    lines = _lines(grey, ridges)
    crossings = _crossing_number(lines)
    depth = np.pad(depth_in(ridges), 1)
    rows = [
        (col - 1, row - 1, direction, crossings[row, col], depth[row, col])
        for row, col in np.argwhere(np.isin(crossings, list(MinutiaKind)) & (depth > BORDER)).tolist()
        if (direction := _direction(lines, (row, col))) is not None
    ]
    table = np.array(rows, np.float32).reshape(-1, 5)
    if len(table) > 1:
        apart = np.hypot(*(table[:, None, :2] - table[None, :, :2]).transpose(2, 0, 1))
        np.fill_diagonal(apart, np.inf)
        table = table[apart.min(axis=1) > CLOSEST]
    table = table[np.argsort(-table[:, 4], kind="stable")]
    return Minutiae(table[:, :2], table[:, 2], table[:, 3].astype(np.int32))


def depth_in(ridges: np.ndarray) -> np.ndarray:
    """How far each pixel of bool (H, W) lies from where there are no ridges, and from the border, float32 px."""
    return cv2.distanceTransform(np.pad(ridges.astype(np.uint8), 1), cv2.DIST_L2, cv2.DIST_MASK_5)[1:-1, 1:-1]


def inside(minutiae: Minutiae, ridges: np.ndarray) -> Minutiae:
    """Those more than `BORDER` px inside the ridges, bool (H, W), the deepest first."""
    col, row = np.rint(minutiae.points).astype(int).T
    height, width = ridges.shape
    within = (row >= 0) & (row < height) & (col >= 0) & (col < width)
    depth = np.where(within, depth_in(ridges)[np.where(within, row, 0), np.where(within, col, 0)], 0.0)
    order = np.argsort(-depth, kind="stable")
    return Minutiae(*(field[order[depth[order] > BORDER]] for field in minutiae))


def _lines(grey: np.ndarray, ridges: np.ndarray) -> np.ndarray:
    """The ridges as lines one pixel wide, bool (H + 2, W + 2): a pixel of nothing lies around them."""
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
    """Where regions of `ink`, uint8 (H, W), of less than `size` px lie, bool (H, W)."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(ink, connectivity=connectivity)
    small = stats[:, cv2.CC_STAT_AREA] < size
    small[0] = False  # what is no ink
    return small[labels]


def _crossing_number(lines: np.ndarray) -> np.ndarray:
    """How many lines leave each pixel of a line, int8 (H, W); 0 off the lines."""
    height, width = lines.shape
    room = np.pad(lines, 1)
    ring = np.stack([room[1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width] for dy, dx in RING])
    return (lines * np.sum(ring & ~np.roll(ring, 1, axis=0), axis=0)).astype(np.int8)


def _remove_spurs(lines: np.ndarray) -> None:
    """Take away, in place, each line that leaves another and ends within `SPUR` px."""
    crossings = _crossing_number(lines)
    for row, col in np.argwhere(crossings == MinutiaKind.ending).tolist():
        if not lines[row, col]:
            continue  # it went with another spur
        path, ended = _followed(lines, [(row, col)], SPUR, crossings)
        if ended:
            lines[tuple(np.transpose(path))] = False


def _followed(
    lines: np.ndarray, path: list[Pixel], length: int, crossings: np.ndarray | None = None
) -> tuple[list[Pixel], bool]:
    """The pixels of a line from `path` on, at most `length`, and whether it ended or reached a bifurcation before that.

    A bifurcation is not part of the path; without `crossings` the line goes on there.
    """
    while len(path) <= length:
        row, col = path[-1]
        ahead = [(row + dy, col + dx) for dy, dx in STEPS if lines[row + dy, col + dx]]
        # The first step from a minutia must not lead to the neighbours from which other lines leave it.
        near = path[0] if len(path) == 2 else None
        ahead = [
            pixel for pixel in ahead
            if pixel not in path and (near is None or max(abs(pixel[0] - near[0]), abs(pixel[1] - near[1])) > 1)
        ]  # fmt: skip
        if not ahead:
            return path, True
        if crossings is not None and any(crossings[pixel] >= MinutiaKind.bifurcation for pixel in ahead):
            return path, True
        path.append(ahead[0])
    return path, False


def _leaving(lines: np.ndarray, pixel: Pixel) -> list[Pixel]:
    """The first pixel of each line that leaves a pixel."""
    around = [bool(lines[pixel[0] + dy, pixel[1] + dx]) for dy, dx in RING]
    first = []
    for k in (k for k in range(8) if around[k] and not around[k - 1]):
        run = [k]
        while around[(run[-1] + 1) % 8] and len(run) < 8:
            run.append((run[-1] + 1) % 8)
        beside = [step for step in run if step % 2] or run  # above, below, left or right rather than across a corner
        dy, dx = RING[beside[len(beside) // 2]]
        first.append((pixel[0] + dy, pixel[1] + dx))
    return first


def _direction(lines: np.ndarray, pixel: Pixel) -> float | None:
    """Which way a minutia points, rad; None where one of its lines is too short to be a ridge."""
    towards = np.zeros(2)
    for first in _leaving(lines, pixel):
        path, ended = _followed(lines, [pixel, first], REACH)
        if ended and len(path) < SPUR:
            return None
        away = np.subtract(path[-1], pixel)
        towards += away / max(np.hypot(*away), 1.0)
    return float(np.arctan2(*towards))
