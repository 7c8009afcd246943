"""Every picture the program draws, as uint8 RGB (H, W, 3) arrays; `pictures` writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np

RIGHT, WRONG = (30, 160, 60), (215, 40, 40)  # RGB
INK, PAPER = (40, 40, 40), (255, 255, 255)
FONT = cv2.FONT_HERSHEY_SIMPLEX
MARGIN = 12  # px
COMMON, ONLY_A, ONLY_B = (25, 25, 25), (225, 90, 30), (40, 110, 215)  # RGB
# Errors up to so many px in this colour, larger ones in WRONG.
ERROR_COLOURS = ((1, RIGHT), (3, (150, 170, 20)), (5, (225, 140, 20)))


class MatchedPair(NamedTuple):
    """A pair and its matches: images float (H, W) in [0, 1], points (M, 2) px, confidence (M,), right (M,) bool."""

    image_a: np.ndarray
    image_b: np.ndarray
    points_a: np.ndarray
    points_b: np.ndarray
    confidence: np.ndarray
    right: np.ndarray
    title: str


class Placed(NamedTuple):
    """Where a stage puts M matches in B: points (M, 2) px, errors (M,) px."""

    points: np.ndarray
    errors: np.ndarray


class PlacedPair(NamedTuple):
    """Image B float (H, W) in [0, 1], the true points (M, 2) px, and what each stage makes of them, by its name."""

    image_b: np.ndarray
    truth: np.ndarray
    stages: dict[str, Placed]


def draw_pair(pair: MatchedPair, zoom: int) -> np.ndarray:
    """A and B side by side under a title; a line per match, green if right and red if wrong, fainter if unsure."""
    left, right = (_enlarged(grey, zoom) for grey in (pair.image_a, pair.image_b))
    height = max(left.shape[0], right.shape[0])
    gap = 3 * MARGIN
    sheet = np.full((height, left.shape[1] + gap + right.shape[1], 3), PAPER, np.uint8)
    sheet[: left.shape[0], : left.shape[1]] = left
    sheet[: right.shape[0], left.shape[1] + gap :] = right
    shift = np.array([left.shape[1] + gap, 0])
    for k in np.argsort(pair.confidence):  # the surest on top
        a = np.round(pair.points_a[k] * zoom).astype(int)
        b = np.round(pair.points_b[k] * zoom).astype(int) + shift
        colour = RIGHT if pair.right[k] else WRONG
        over = sheet.copy()
        cv2.line(over, tuple(map(int, a)), tuple(map(int, b)), colour, 1, cv2.LINE_AA)
        for point in (a, b):
            cv2.circle(over, tuple(map(int, point)), 3, colour, -1, cv2.LINE_AA)
        strength = 0.25 + 0.75 * float(np.clip(pair.confidence[k], 0, 1))
        sheet = cv2.addWeighted(over, strength, sheet, 1 - strength, 0)
    return np.vstack([_text(pair.title, sheet.shape[1]), sheet])


def match_sheet(pairs: Sequence[MatchedPair], heading: Sequence[str], columns: int = 2, zoom: int = 3) -> np.ndarray:
    """Several pairs on one sheet, under the heading's lines and a legend."""
    drawn = [draw_pair(pair, zoom) for pair in pairs]
    height, width = max(d.shape[0] for d in drawn), max(d.shape[1] for d in drawn)
    tiles = [_padded(d, height + MARGIN, width + 2 * MARGIN) for d in drawn]
    while len(tiles) % columns:
        tiles.append(np.full_like(tiles[0], PAPER))
    rows = [np.hstack(tiles[k : k + columns]) for k in range(0, len(tiles), columns)]
    total = rows[0].shape[1]
    legend = "a line joins matched cells: green = right (within one cell of the truth), red = wrong; faint = unsure"
    return np.vstack([*(_text(line, total) for line in [*heading, legend]), *rows])


def draw_placements(pair: PlacedPair, zoom: int) -> np.ndarray:
    """B once for each stage, side by side: a dot where the match is put, a line to where it belongs."""
    drawn = []
    for name, placed in pair.stages.items():
        sheet = _enlarged(pair.image_b, zoom)
        for point, truth, error in zip(placed.points, pair.truth, placed.errors, strict=True):
            here, there = (tuple(int(v) for v in np.round(zoom * place)) for place in (point, truth))
            colour = next((colour for px, colour in ERROR_COLOURS if error <= px), WRONG)
            cv2.line(sheet, here, there, colour, 1, cv2.LINE_AA)
            cv2.circle(sheet, here, 3, colour, -1, cv2.LINE_AA)
        title = f"{name}: median error {np.median(placed.errors):.2f} px, {(placed.errors <= 3).mean():.0%} within 3 px"
        tile = np.vstack([_text(title, sheet.shape[1]), sheet])
        drawn.append(_padded(tile, tile.shape[0] + MARGIN, tile.shape[1] + 2 * MARGIN))
    return np.hstack(drawn)


def placement_sheet(pairs: Sequence[PlacedPair], heading: Sequence[str], zoom: int = 4) -> np.ndarray:
    """Several pairs, one below the other, under the heading's lines and a legend."""
    rows = [draw_placements(pair, zoom) for pair in pairs]
    total = max((row.shape[1] for row in rows), default=800)
    rows = [_widened(row, total) for row in rows]
    legend = (
        "in image B: a dot where the match is put, a line to its true place; green within 1 px, olive 3, orange 5, red"
    )
    return np.vstack([*(_text(line, total) for line in [*heading, legend]), *rows])


def contact_sheet(rows: Mapping[str, np.ndarray], heading: str, zoom: float) -> np.ndarray:
    """Rows of prints, uint8 (N, H, W) each, under their names and the heading; `zoom` sheet px a print px."""
    drawn = []
    for name, prints in rows.items():
        size = tuple(round(zoom * side) for side in prints.shape[:0:-1])
        small = [cv2.resize(grey, size, interpolation=cv2.INTER_AREA) for grey in prints]
        tiles = [np.pad(grey, MARGIN // 2, constant_values=PAPER[0]) for grey in small]
        row = cv2.cvtColor(np.hstack(tiles), cv2.COLOR_GRAY2RGB)
        drawn.append(np.vstack([_text(name, row.shape[1]), row]))
    total = max(row.shape[1] for row in drawn)
    return np.vstack([_text(heading, total), *(_widened(row, total) for row in drawn)])


def panels(rows: Sequence[Sequence[tuple[str, np.ndarray]]], heading: Sequence[str]) -> np.ndarray:
    """Rows of drawings, uint8 RGB (H, W, 3), each under its title, below the heading's lines."""
    drawn = []
    for row in rows:
        tiles = [np.vstack([_text(title, drawing.shape[1]), drawing]) for title, drawing in row]
        height = max(tile.shape[0] for tile in tiles) + MARGIN
        drawn.append(np.hstack([_padded(tile, height, tile.shape[1] + 2 * MARGIN) for tile in tiles]))
    total = max(row.shape[1] for row in drawn)
    return np.vstack([*(_text(line, total) for line in heading), *(_widened(row, total) for row in drawn)])


def _widened(drawing: np.ndarray, width: int) -> np.ndarray:
    return np.pad(drawing, ((0, 0), (0, width - drawing.shape[1]), (0, 0)), constant_values=255)


def _enlarged(grey: np.ndarray, zoom: int) -> np.ndarray:
    values = np.clip(255 * grey, 0, 255).astype(np.uint8)
    big = cv2.resize(values, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_LINEAR)
    # Half as much contrast, so that the lines stand out from the ridges.
    return cv2.cvtColor((128 + big // 2).astype(np.uint8), cv2.COLOR_GRAY2RGB)


def _text(line: str, width: int) -> np.ndarray:
    strip = np.full((26, width, 3), PAPER, np.uint8)
    scale = 0.5
    while scale > 0.3 and cv2.getTextSize(line, FONT, scale, 1)[0][0] > width - 2 * MARGIN:
        scale -= 0.05
    cv2.putText(strip, line, (MARGIN // 2, 18), FONT, scale, INK, 1, cv2.LINE_AA)
    return strip


def _padded(drawing: np.ndarray, height: int, width: int) -> np.ndarray:
    sheet = np.full((height, width, 3), PAPER, np.uint8)
    sheet[: drawing.shape[0], MARGIN : MARGIN + drawing.shape[1]] = drawing
    return sheet
