"""Marks on the picture of a print: minutiae, the overlap's edge, the bent grid. What is not sure is dashed.

Each mark lies on a rim of paper, so that it is seen on dark ridges and the print beneath keeps its contrast.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw

from ifvit.enhancement.minutiae import Minutiae, MinutiaKind
from ifvit.pictures.captions import INK, PAPER, TEXT, Colour, font

BOTH, ONLY_A, ONLY_B, EDGE = (0, 140, 80), (215, 85, 0), (0, 100, 200), (125, 60, 160)  # RGB, told apart by most eyes
OUTSIDE, FOUND = (120, 120, 120), (225, 0, 150)
DASH, SPACE = 9, 8  # px
RADIUS, TAIL = 14, 20  # px of a minutia's mark, and of its direction
DOT = 5  # px, radius
NUMBER = 30  # px
SMOOTH = 4.0  # px of the print
SHIFT = 4  # bits of a pixel's fraction in OpenCV's points


class Style(NamedTuple):
    """How a line is drawn: its width and the paper beside it, px."""

    colour: Colour
    width: int
    rim: int = 3
    dashed: bool = False


PAIRED, DOUBTFUL = Style(BOTH, 5), Style(BOTH, 3, 1, dashed=True)
ALONE_A, ALONE_B, BEYOND = Style(ONLY_A, 3), Style(ONLY_B, 3), Style(OUTSIDE, 2, 1)
ANY = Style(INK, 3)  # of either, in a legend
OVERLAP = Style(EDGE, 3)
PLACE = Style(FOUND, 3, 2)
GRID_SURE, GRID_DOUBTFUL = Style(ONLY_B, 3), Style(ONLY_B, 2, 1, dashed=True)


class Sheet:
    """A print enlarged, to draw on. pixels: uint8 RGB (H, W, 3). Points are px of the print."""

    def __init__(self, grey: np.ndarray, zoom: float):
        self.zoom = zoom
        self.pixels = cv2.cvtColor(enlarged(grey, zoom), cv2.COLOR_GRAY2RGB)
        self._taken: list[np.ndarray] = []  # places of marks and numbers, px of the sheet

    def place(self, points: np.ndarray) -> np.ndarray:
        """Where points (..., 2) of the print lie, px of the sheet."""
        return placed(points, self.zoom)

    def line(self, points: np.ndarray, style: Style) -> None:
        """A line along points (N, 2)."""
        stroke(self.pixels, self.place(points), style)

    def minutiae(self, minutiae: Minutiae, which: np.ndarray, styles: Sequence[Style]) -> None:
        """The marks of some minutiae, each in its style."""
        for k, style in zip(which, styles, strict=True):
            place = self.place(minutiae.points[k])
            draw_minutia(self.pixels, place, float(minutiae.directions[k]), int(minutiae.kinds[k]), style)
            self._taken.append(place)

    def numbers(self, points: np.ndarray, colour: Colour) -> None:
        """1, 2, ... beside points (N, 2), each where the fewest other marks and numbers are."""
        image = Image.fromarray(self.pixels)
        drawing = ImageDraw.Draw(image)
        height, width = self.pixels.shape[:2]
        for number, point in enumerate(self.place(points), start=1):
            angles = np.deg2rad(45.0 * np.arange(8) - 45)
            around = point + (RADIUS + 22) * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
            around = np.clip(around, NUMBER * 0.7, (width - NUMBER * 0.7, height - NUMBER * 0.7))
            apart = np.linalg.norm(around[:, None] - np.array(self._taken)[None], axis=-1)
            best = around[np.minimum(apart, 60).min(axis=1).argmax()]
            self._taken.append(best)
            drawing.text(
                tuple(best), str(number), colour, font(NUMBER, bold=True), anchor="mm", stroke_width=4,
                stroke_fill=PAPER,
            )  # fmt: skip
        self.pixels = np.array(image)


def placed(points: np.ndarray, zoom: float) -> np.ndarray:
    """Where points (..., 2) px of a print lie on its drawing, px."""
    return zoom * (np.asarray(points, np.float64) + 0.5) - 0.5


def enlarged(grey: np.ndarray, zoom: float) -> np.ndarray:
    """A print `zoom` times as large."""
    shrinks = zoom < 1
    size = tuple(max(1, round(zoom * side)) for side in grey.shape[::-1])
    return cv2.resize(grey, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def stroke(pixels: np.ndarray, path: np.ndarray, style: Style) -> None:
    """Draw along path (N, 2) px, in place."""
    pieces = _dashes(path) if style.dashed else [path]
    fixed = [np.round(piece * 2**SHIFT).astype(np.int32) for piece in pieces]
    for width, colour in ((style.width + 2 * style.rim, PAPER), (style.width, style.colour)):
        cv2.polylines(pixels, fixed, False, colour, width, cv2.LINE_AA, SHIFT)


def draw_minutia(pixels: np.ndarray, place: np.ndarray, angle: float, kind: int, style: Style) -> None:
    """A circle where a ridge ends, a square where it divides, and which way."""
    ahead = np.array([np.cos(angle), np.sin(angle)])
    stroke(pixels, np.array([place + RADIUS * ahead, place + (RADIUS + TAIL) * ahead]), style._replace(dashed=False))
    if kind == MinutiaKind.bifurcation:
        corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1)]) * 0.9
    else:
        turn = np.linspace(0, 2 * np.pi, 49)
        corners = np.stack([np.cos(turn), np.sin(turn)], axis=-1)
    stroke(pixels, place + RADIUS * corners, style)


def draw_place(pixels: np.ndarray, place: np.ndarray, other: np.ndarray) -> None:
    """A dot at a place, and a line to where another print shows it; px, in place."""
    stroke(pixels, np.array([place, other]), PLACE)
    centre = tuple(np.round(np.asarray(place) * 2**SHIFT).astype(int).tolist())
    for radius, colour in ((DOT + PLACE.rim, PAPER), (DOT, PLACE.colour)):
        cv2.circle(pixels, centre, radius << SHIFT, colour, -1, cv2.LINE_AA, SHIFT)


def place_of() -> np.ndarray:
    """A place for a legend."""
    mark = np.full((TEXT, 2 * TEXT, 3), PAPER, np.uint8)
    draw_place(mark, np.array([DOT + 6.0, TEXT / 2]), np.array([2 * TEXT - 8.0, TEXT / 2]))
    return mark


def mark_of(style: Style, kind: MinutiaKind = MinutiaKind.ending, number: str = "") -> np.ndarray:
    """A minutia's mark for a legend."""
    mark = np.full((2 * RADIUS + 10, 2 * RADIUS + TAIL + 12, 3), PAPER, np.uint8)
    draw_minutia(mark, np.array([RADIUS + 4.0, RADIUS + 4.0]), 0.0, kind, style)
    return mark


def line_of(style: Style) -> np.ndarray:
    """A line for a legend."""
    mark = np.full((TEXT, 2 * TEXT, 3), PAPER, np.uint8)
    stroke(mark, np.array([(4.0, TEXT / 2), (2 * TEXT - 4.0, TEXT / 2)]), style)
    return mark


def edges_of(inside: np.ndarray) -> list[np.ndarray]:
    """The closed outlines (N, 2) px of bool (H, W), without the steps of its cells."""
    smooth = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), SMOOTH, borderType=cv2.BORDER_REPLICATE) > 0.5
    found, _ = cv2.findContours(smooth.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return [np.concatenate([line[:, 0], line[:1, 0]]) for line in found if len(line) > 20]


def _dashes(path: np.ndarray) -> list[np.ndarray]:
    """The dashes of a path (N, 2) px."""
    lengths = np.r_[0, np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))]
    starts = np.arange(0, lengths[-1], DASH + SPACE)
    ends = np.minimum(starts + DASH, lengths[-1])
    pieces = []
    for start, end in zip(starts, ends, strict=True):
        at = np.linspace(start, end, 4)
        pieces.append(np.stack([np.interp(at, lengths, path[:, k]) for k in (0, 1)], axis=-1))
    return pieces
