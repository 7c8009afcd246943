"""Every picture the program draws, as uint8 RGB (H, W, 3) arrays; `pictures` writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from ifvit.pictures import captions

# RGB, from blue over light blue and orange to vermilion: told apart by the colour-blind too.
RIGHT, NEAR, FAR, WRONG = (0, 80, 160), (86, 180, 233), (230, 159, 0), (196, 58, 0)
PAPER = captions.PAPER
MARGIN = 12  # px
CAPTION = 28  # px, letters of a sheet as wide as a page
NAME = 20  # px, letters of a contact sheet
DOT = 5  # px, radius
# A grade: how far off a match may be, what that means, and its colour. Of cells in cells, in x and in y: half a cell is
# all that whole cells can do. Of the fine stage in px.
CELL_GRADES = (
    (0.5, "in the true cell: all that cells can do", RIGHT), (1.5, "in a neighbour of it", NEAR),
    (np.inf, "further off", WRONG),
)  # fmt: skip
PIXEL_GRADES = (
    (1, "within 1 px", RIGHT), (3, "within 3 px", NEAR), (5, "within 5 px", FAR), (np.inf, "further off", WRONG),
)  # fmt: skip


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
    """Image B float (H, W) in [0, 1], the true points (M, 2) px, what each stage makes of them, by its name ('coarse',
    'fine'), and how many px a cell has.
    """

    image_b: np.ndarray
    truth: np.ndarray
    stages: dict[str, Placed]
    stride: int


def draw_pair(pair: MatchedPair, width: int) -> np.ndarray:
    """A and B side by side under a title, `width` px; a line per match, in the colour of right or wrong, fainter if
    unsure.
    """
    gap = 3 * MARGIN
    zoom = (width - gap) / (pair.image_a.shape[1] + pair.image_b.shape[1])
    left, right = (_enlarged(grey, zoom) for grey in (pair.image_a, pair.image_b))
    sheet = captions.beside([left, right], gap)
    shift = np.array([left.shape[1] + gap, 0])
    for k in np.argsort(pair.confidence):  # the surest on top
        a = np.round(pair.points_a[k] * zoom).astype(int)
        b = np.round(pair.points_b[k] * zoom).astype(int) + shift
        colour = RIGHT if pair.right[k] else WRONG
        over = sheet.copy()
        cv2.line(over, tuple(map(int, a)), tuple(map(int, b)), colour, 2, cv2.LINE_AA)
        for point in (a, b):
            cv2.circle(over, tuple(map(int, point)), DOT, colour, -1, cv2.LINE_AA)
        strength = _strength(pair.confidence[k])
        sheet = cv2.addWeighted(over, strength, sheet, 1 - strength, 0)
    return captions.stacked([captions.paragraph(pair.title, width, CAPTION), sheet])


def match_sheet(pairs: Sequence[MatchedPair], heading: Sequence[str], columns: int = 2) -> np.ndarray:
    """Several pairs on one sheet, under the heading's lines and a legend."""
    width = captions.PAGE - 2 * captions.TEXT
    gap = captions.TEXT
    drawn = [draw_pair(pair, (width - gap * (columns - 1)) // columns) for pair in pairs]
    entries = [
        (_line_mark(RIGHT), "right: at most a cell's width from the truth"),
        (_line_mark(WRONG), "wrong"),
        (_line_mark(RIGHT, 0.0), "the fainter, the less sure"),
    ]
    rows = [captions.beside(drawn[k : k + columns], gap) for k in range(0, len(drawn), columns)]
    return _sheet(heading, [captions.legend(entries, width, CAPTION), *rows])


def draw_placements(pair: PlacedPair, stage: str, width: int) -> np.ndarray:
    """B, `width` px: a dot where a stage puts a match, a line to where it belongs."""
    zoom = width / pair.image_b.shape[1]
    placed = pair.stages[stage]
    drawing = _enlarged(pair.image_b, zoom)
    for point, truth, grade in zip(placed.points, pair.truth, _grades(pair, stage), strict=True):
        here, there = (tuple(int(v) for v in np.round(zoom * place)) for place in (point, truth))
        _, _, colour = _grades_of(stage)[grade]
        for rim, ink in ((2, PAPER), (0, colour)):
            cv2.line(drawing, here, there, ink, 2 + 2 * rim, cv2.LINE_AA)
            cv2.circle(drawing, here, DOT + rim, ink, -1, cv2.LINE_AA)
    return captions.stacked([captions.paragraph(_placed_title(pair, stage), width, CAPTION), drawing])


def placement_sheet(pairs: Sequence[PlacedPair], heading: Sequence[str], columns: int = 3) -> np.ndarray:
    """A row of pairs for each stage, under the heading's lines; over each row what its colours mean."""
    width = captions.PAGE - 2 * captions.TEXT
    gap = captions.TEXT
    side = (width - gap * (columns - 1)) // columns
    blocks = []
    for stage in pairs[0].stages if pairs else ():
        marks = [(_dot_mark(colour), text) for _, text, colour in _grades_of(stage)]
        title = {"coarse": "Cells, the coarse stage", "fine": "Fine stage"}[stage]
        blocks += [
            captions.paragraph(f"{title}: a dot where a match is put in B, a line to its true place", width, CAPTION,
                               bold=True),
            captions.legend(marks, width, CAPTION),
            captions.beside([draw_placements(pair, stage, side) for pair in pairs[:columns]], gap),
        ]  # fmt: skip
    return _sheet(heading, blocks)


def _grades_of(stage: str) -> tuple[tuple[float, str, captions.Colour], ...]:
    return CELL_GRADES if stage == "coarse" else PIXEL_GRADES


def _grades(pair: PlacedPair, stage: str) -> np.ndarray:
    """Which grade each match has, int (M,)."""
    placed = pair.stages[stage]
    cells = np.abs(placed.points - pair.truth).max(axis=-1) / pair.stride
    off = cells if stage == "coarse" else placed.errors
    return np.searchsorted([limit for limit, *_ in _grades_of(stage)], off)


def _placed_title(pair: PlacedPair, stage: str) -> str:
    if stage == "coarse":
        grades = _grades(pair, stage)
        return f"{(grades == 0).mean():.0%} exact, {(grades <= 1).mean():.0%} within one cell"
    errors = pair.stages[stage].errors
    return f"median {np.median(errors):.2f} px, {(errors <= 3).mean():.0%} within 3 px"


def _sheet(heading: Sequence[str], blocks: Sequence[np.ndarray]) -> np.ndarray:
    """Blocks below lines of text, on a page."""
    width = captions.PAGE - 2 * captions.TEXT
    lines = captions.stacked([captions.paragraph(line, width, CAPTION) for line in heading], CAPTION // 4)
    return captions.framed(captions.stacked([lines, *blocks], captions.TEXT // 2), captions.TEXT)


def _strength(confidence: float) -> float:
    """How much a match's line covers, [0.25, 1]."""
    return 0.25 + 0.75 * float(np.clip(confidence, 0, 1))


def _line_mark(colour: captions.Colour, confidence: float = 1.0) -> np.ndarray:
    """A match's line for a legend."""
    mark = captions.swatch(None, CAPTION)
    line = mark.copy()
    cv2.line(line, (2, CAPTION // 2), (mark.shape[1] - 2, CAPTION // 2), colour, 4, cv2.LINE_AA)
    strength = _strength(confidence)
    return cv2.addWeighted(line, strength, mark, 1 - strength, 0)


def _dot_mark(colour: captions.Colour) -> np.ndarray:
    """A match's dot and line for a legend."""
    mark = _line_mark(colour)
    cv2.circle(mark, (2 * DOT, CAPTION // 2), 2 * DOT - 2, colour, -1, cv2.LINE_AA)
    return mark


def contact_sheet(rows: Mapping[str, np.ndarray], heading: str, zoom: float) -> np.ndarray:
    """Rows of prints, uint8 (N, H, W) each, under their names and the heading; `zoom` sheet px a print px."""
    drawn = {}
    for name, prints in rows.items():
        size = tuple(round(zoom * side) for side in prints.shape[:0:-1])
        small = [cv2.resize(grey, size, interpolation=cv2.INTER_AREA) for grey in prints]
        tiles = [np.pad(grey, MARGIN // 2, constant_values=PAPER[0]) for grey in small]
        drawn[name] = cv2.cvtColor(np.hstack(tiles), cv2.COLOR_GRAY2RGB)
    total = max(row.shape[1] for row in drawn.values())
    blocks = [block for name, row in drawn.items() for block in (_text(name, total), row)]
    return captions.stacked([_text(heading, total), *blocks])


def _enlarged(grey: np.ndarray, zoom: float) -> np.ndarray:
    values = np.clip(255 * grey, 0, 255).astype(np.uint8)
    big = cv2.resize(values, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_LINEAR)
    # Half as much contrast, so that the lines stand out from the ridges.
    return cv2.cvtColor((128 + big // 2).astype(np.uint8), cv2.COLOR_GRAY2RGB)


def _text(line: str, width: int) -> np.ndarray:
    side = MARGIN // 2
    text = captions.paragraph(line, width - 2 * side, NAME)
    return np.pad(text, ((0, 0), (side, side), (0, 0)), constant_values=PAPER[0])
