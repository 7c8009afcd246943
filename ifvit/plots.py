"""Every picture the program draws. Images are uint8 RGB (H, W, 3) arrays; only `save` touches a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

RIGHT, WRONG = (30, 160, 60), (215, 40, 40)  # RGB
INK, PAPER = (40, 40, 40), (255, 255, 255)
FONT = cv2.FONT_HERSHEY_SIMPLEX
MARGIN = 12  # px


class MatchedPair(NamedTuple):
    """A pair and its matches: images float (H, W) in [0, 1], points (M, 2) px, confidence (M,), right (M,) bool."""

    image_a: np.ndarray
    image_b: np.ndarray
    points_a: np.ndarray
    points_b: np.ndarray
    confidence: np.ndarray
    right: np.ndarray
    title: str


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


def save(path: Path, picture: np.ndarray) -> None:
    """Write the picture as PNG.

    Raises:
        OSError: it cannot be written.
    """
    done, content = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    if not done:
        raise OSError(f"{path}: the picture could not be encoded")
    path.write_bytes(content.tobytes())
