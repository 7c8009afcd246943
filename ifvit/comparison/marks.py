"""Marks on the picture of a print: minutiae, the overlap's edge, the bent grid. Dashed marks are uncertain.

Each mark has a white rim, so that it is visible on dark ridges and the print below keeps its contrast.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw

from ifvit.enhancement.minutiae import Minutiae, MinutiaKind
from ifvit.pictures.captions import INK, PAPER, TEXT, Colour, font

BOTH, ONLY_A, ONLY_B, EDGE = (0, 140, 80), (215, 85, 0), (0, 100, 200), (125, 60, 160)  # RGB, for the colour-blind too
OUTSIDE, MODULE2 = (120, 120, 120), (225, 0, 150)
DASH, SPACE = 9, 8  # px
RADIUS, TAIL = 14, 20  # px of a minutia's mark, and of its direction
DOT = 5  # px, radius
NUMBER = 30  # px
SMOOTH = 4.0  # px of the print
SHIFT = 4  # bits of a pixel's fraction in OpenCV's points


class Style(NamedTuple):
    """How a line is drawn."""

    colour: Colour  # RGB
    width: int  # px
    rim: int = 3  # px of paper at each side
    dashed: bool = False


PAIRED, DOUBTFUL = Style(BOTH, 5), Style(BOTH, 3, 1, dashed=True)
ALONE_A, ALONE_B, BEYOND = Style(ONLY_A, 3), Style(ONLY_B, 3), Style(OUTSIDE, 2, 1)
ANY = Style(INK, 3)  # of both prints, in a legend
OVERLAP = Style(EDGE, 3)
CORRESPONDENCE = Style(MODULE2, 3, 2)
GRID_SURE, GRID_DOUBTFUL = Style(ONLY_B, 3), Style(ONLY_B, 2, 1, dashed=True)


class Sheet:
    """An enlarged print to draw on; `pixels` is uint8 RGB (H, W, 3). Points are px of the print.

    grey: uint8 (H, W). zoom: px of the sheet in a px of the print.
    """

    def __init__(self, grey: np.ndarray, zoom: float):
        self.zoom = zoom
        self.pixels = cv2.cvtColor(enlarge(grey, zoom), cv2.COLOR_GRAY2RGB)
        self._occupied: list[np.ndarray] = []  # places of marks and numbers, px of the sheet

    def to_sheet(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 2) px of the print, as px of the sheet."""
        return drawing_points(points, self.zoom)

    def line(self, points: np.ndarray, style: Style) -> None:
        """Draw a line along points (N, 2)."""
        stroke(self.pixels, self.to_sheet(points), style)

    def minutiae(self, minutiae: Minutiae, indices: np.ndarray, styles: Sequence[Style]) -> None:
        """Draw the minutiae of these indices, each in its style."""
        for k, style in zip(indices, styles, strict=True):
            centre = self.to_sheet(minutiae.points[k])
            draw_minutia(self.pixels, centre, float(minutiae.directions[k]), int(minutiae.kinds[k]), style)
            self._occupied.append(centre)

    def numbers(self, points: np.ndarray, colour: Colour) -> None:
        """Draw 1, 2, ... beside points (N, 2), each at the side where other marks and numbers are furthest."""
        image = Image.fromarray(self.pixels)
        drawing = ImageDraw.Draw(image)
        height, width = self.pixels.shape[:2]
        for number, point in enumerate(self.to_sheet(points), start=1):
            angles = np.deg2rad(45.0 * np.arange(8) - 45)
            candidates = point + (RADIUS + 22) * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
            candidates = np.clip(candidates, NUMBER * 0.7, (width - NUMBER * 0.7, height - NUMBER * 0.7))
            distances = np.linalg.norm(candidates[:, None] - np.array(self._occupied)[None], axis=-1)
            best = candidates[np.minimum(distances, 60).min(axis=1).argmax()]
            self._occupied.append(best)
            drawing.text(
                tuple(best), str(number), colour, font(NUMBER, bold=True), anchor="mm", stroke_width=4,
                stroke_fill=PAPER,
            )  # fmt: skip
        self.pixels = np.array(image)


def drawing_points(points: np.ndarray, zoom: float) -> np.ndarray:
    """Points (..., 2) px of a print, as px of its drawing."""
    return zoom * (np.asarray(points, np.float64) + 0.5) - 0.5


def enlarge(grey: np.ndarray, zoom: float) -> np.ndarray:
    """A print `zoom` times as large."""
    shrinks = zoom < 1
    size = tuple(max(1, round(zoom * side)) for side in grey.shape[::-1])
    return cv2.resize(grey, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def stroke(pixels: np.ndarray, path: np.ndarray, style: Style) -> None:
    """Draw along path (N, 2) px, in place."""
    pieces = _dashes(path) if style.dashed else [path]
    polylines = [np.round(piece * 2**SHIFT).astype(np.int32) for piece in pieces]
    for width, colour in ((style.width + 2 * style.rim, PAPER), (style.width, style.colour)):
        cv2.polylines(pixels, polylines, False, colour, width, cv2.LINE_AA, SHIFT)


def draw_minutia(pixels: np.ndarray, centre: np.ndarray, angle: float, kind: int, style: Style) -> None:
    """Draw a minutia, in place: a circle for an ending, a square for a bifurcation, and a line in its direction."""
    direction = np.array([np.cos(angle), np.sin(angle)])
    tail = np.array([centre + RADIUS * direction, centre + (RADIUS + TAIL) * direction])
    stroke(pixels, tail, style._replace(dashed=False))
    if kind == MinutiaKind.bifurcation:
        corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1)]) * 0.9
    else:
        turn = np.linspace(0, 2 * np.pi, 49)
        corners = np.stack([np.cos(turn), np.sin(turn)], axis=-1)
    stroke(pixels, centre + RADIUS * corners, style)


def draw_correspondence(pixels: np.ndarray, point: np.ndarray, partner: np.ndarray) -> None:
    """Draw a dot at a point of one print and a line to its partner in the other, px, in place."""
    stroke(pixels, np.array([point, partner]), CORRESPONDENCE)
    centre = tuple(np.round(np.asarray(point) * 2**SHIFT).astype(int).tolist())
    for radius, colour in ((DOT + CORRESPONDENCE.rim, PAPER), (DOT, CORRESPONDENCE.colour)):
        cv2.circle(pixels, centre, radius << SHIFT, colour, -1, cv2.LINE_AA, SHIFT)


def correspondence_mark() -> np.ndarray:
    """A dot with its line, for a legend."""
    mark = np.full((TEXT, 2 * TEXT, 3), PAPER, np.uint8)
    draw_correspondence(mark, np.array([DOT + 6.0, TEXT / 2]), np.array([2 * TEXT - 8.0, TEXT / 2]))
    return mark


def minutia_mark(style: Style, kind: MinutiaKind = MinutiaKind.ending, number: str = "") -> np.ndarray:
    """A minutia's mark, for a legend."""
    mark = np.full((2 * RADIUS + 10, 2 * RADIUS + TAIL + 12, 3), PAPER, np.uint8)
    draw_minutia(mark, np.array([RADIUS + 4.0, RADIUS + 4.0]), 0.0, kind, style)
    return mark


def line_mark(style: Style) -> np.ndarray:
    """A line, for a legend."""
    mark = np.full((TEXT, 2 * TEXT, 3), PAPER, np.uint8)
    stroke(mark, np.array([(4.0, TEXT / 2), (2 * TEXT - 4.0, TEXT / 2)]), style)
    return mark


def outlines_of(inside: np.ndarray) -> list[np.ndarray]:
    """The closed outlines (N, 2) px of a mask, bool (H, W), smoothed so that its cells' steps disappear."""
    smooth = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), SMOOTH, borderType=cv2.BORDER_REPLICATE) > 0.5
    outlines, _ = cv2.findContours(smooth.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return [np.concatenate([line[:, 0], line[:1, 0]]) for line in outlines if len(line) > 20]


def _dashes(path: np.ndarray) -> list[np.ndarray]:
    """The dashes of a path (N, 2) px."""
    lengths = np.r_[0, np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))]
    starts = np.arange(0, lengths[-1], DASH + SPACE)
    ends = np.minimum(starts + DASH, lengths[-1])
    pieces = []
    for start, end in zip(starts, ends, strict=True):
        lengths_at = np.linspace(start, end, 4)
        pieces.append(np.stack([np.interp(lengths_at, lengths, path[:, k]) for k in (0, 1)], axis=-1))
    return pieces
