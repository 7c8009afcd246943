"""The picture of two prints compared by their ridges: what a person needs in order to agree with the answer, or not."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from ifvit import plots
from ifvit.recognition.ridge_matcher import RidgeAlignment
from ifvit.recognition.ridge_print import RidgePrint

ZOOM = 2  # picture px of a print px
GRID = 24  # px between the lines of the bent grid
PAIRED, ALONE = (20, 140, 60), (200, 60, 40)  # RGB
TAIL = 9  # px, of a minutia's direction


def draw_ridge_comparison(
    a: RidgePrint, b: RidgePrint, alignment: RidgeAlignment, heading: Sequence[str]
) -> np.ndarray:
    """A and B with their minutiae; A's ridges on B's; where they agree; how the skin is bent. uint8 RGB (H, W, 3)."""
    paired = alignment.paired
    y, x = np.mgrid[: b.ridges.shape[0], : b.ridges.shape[1]]
    points = np.stack([x, y], axis=-1)
    to_a = alignment.to_a(points)
    first_row = [
        ("A: minutiae with a partner in B green, numbered; else red", _minutiae(a, paired.first, paired.only_a)),
        ("B: the same numbers; red: none in A though A shows the place", _minutiae(b, paired.second, paired.only_b)),
    ]  # fmt: skip
    second_row = [
        ("A on B, bent: ridges of both dark, of A alone orange, of B alone blue", _overlay(a, b, to_a)),
        ("agreement: yellow 1, violet 0 or less", _heat_map(b, alignment.agreement_at(points))),
        ("a square grid of B as it lies in A", _bent_grid(a, b, alignment)),
    ]
    return plots.panels([first_row, second_row], heading)


def _paper(shown: RidgePrint) -> np.ndarray:
    """The print itself, with half its contrast, enlarged: what is drawn on it stands out."""
    big = cv2.resize(shown.grey, None, fx=ZOOM, fy=ZOOM, interpolation=cv2.INTER_LINEAR)
    return cv2.cvtColor((128 + big // 2).astype(np.uint8), cv2.COLOR_GRAY2RGB)


def _place(point: np.ndarray) -> tuple[int, int]:
    x, y = np.round(ZOOM * (np.asarray(point) + 0.5)).astype(int)
    return int(x), int(y)


def _minutiae(shown: RidgePrint, numbered: np.ndarray, alone: np.ndarray) -> np.ndarray:
    """The print with its minutiae: `numbered` ones in their order from 1, `alone` ones without a number."""
    drawing = _paper(shown)
    minutiae = shown.minutiae
    for colour, places in ((ALONE, alone), (PAIRED, numbered)):
        for k in places:
            point, angle = minutiae.points[k], minutiae.directions[k]
            tail = point + TAIL * np.array([np.cos(angle), np.sin(angle)])
            cv2.circle(drawing, _place(point), 5, colour, 1 + (colour is PAIRED), cv2.LINE_AA)
            cv2.line(drawing, _place(point), _place(tail), colour, 1 + (colour is PAIRED), cv2.LINE_AA)
    for number, k in enumerate(numbered, start=1):
        x, y = _place(minutiae.points[k])
        for thickness, colour in ((3, plots.PAPER), (1, PAIRED)):
            cv2.putText(drawing, str(number), (x + 7, y - 5), plots.FONT, 0.45, colour, thickness, cv2.LINE_AA)
    return drawing


def _overlay(a: RidgePrint, b: RidgePrint, to_a: np.ndarray) -> np.ndarray:
    """The ridges of A, seen at the points `to_a` (H, W, 2) of A, and of B."""
    ink_a, ink_b = (((255 - shown.enhanced) * shown.ridges).astype(np.float32) for shown in (a, b))
    seen = cv2.remap(ink_a, *np.moveaxis(to_a.astype(np.float32), -1, 0), cv2.INTER_LINEAR, borderValue=0)
    dark_a, dark_b = (
        cv2.resize(ink, None, fx=ZOOM, fy=ZOOM, interpolation=cv2.INTER_CUBIC) > 127 for ink in (seen, ink_b)
    )
    drawing = np.full((*dark_b.shape, 3), plots.PAPER, np.uint8)
    for where, colour in (
        (dark_a & ~dark_b, plots.ONLY_A), (dark_b & ~dark_a, plots.ONLY_B), (dark_a & dark_b, plots.COMMON),
    ):  # fmt: skip
        drawing[where] = colour
    return drawing


def _heat_map(b: RidgePrint, local: np.ndarray) -> np.ndarray:
    """The local agreement (H, W) in colours, where there is an overlap; elsewhere B in grey."""
    big = cv2.resize(local.astype(np.float32), None, fx=ZOOM, fy=ZOOM, interpolation=cv2.INTER_NEAREST)
    colours = cv2.applyColorMap((255 * np.clip(big, 0, 1)).astype(np.uint8), cv2.COLORMAP_VIRIDIS)[..., ::-1]
    return np.where((big != 0)[..., None], colours, _paper(b)).astype(np.uint8)


def _bent_grid(a: RidgePrint, b: RidgePrint, alignment: RidgeAlignment) -> np.ndarray:
    """A with the lines of a square grid of B, where both show ridges."""
    drawing = _paper(a)
    height, width = b.ridges.shape
    fine = np.arange(0, max(height, width), 4)
    for axis, (length, end) in enumerate(((height, width), (width, height))):
        for at in range(GRID // 2, length, GRID):
            along = fine[fine < end]
            line = np.stack([along, np.full_like(along, at)], axis=-1)
            line = line if axis == 0 else line[:, ::-1]
            there, known = alignment.to_a(line), alignment.agreement_at(line) != 0
            for k in np.flatnonzero(known[1:] & known[:-1]):
                cv2.line(drawing, _place(there[k]), _place(there[k + 1]), (40, 110, 215), 1, cv2.LINE_AA)
    return drawing
