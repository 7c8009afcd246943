"""Pictures of matches, of registrations and of many prints, as uint8 RGB (H, W, 3); `picture_files` writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from ifvit.pictures import captions

# RGB, from blue over light blue and orange to vermilion: distinct for the colour-blind too.
RIGHT, NEAR, FAR, WRONG = (0, 80, 160), (86, 180, 233), (230, 159, 0), (196, 58, 0)
PAPER = captions.PAPER
MARGIN = 12  # px
CAPTION = 28  # px, letters of a sheet as wide as a page
NAME = 20  # px, letters of a contact sheet
DOT = 5  # px, radius
# A grade: the largest error, its meaning, and its colour. Errors of cells are in cells, the larger of x and y: half a
# cell is the best that cells can reach. Errors of the fine stage are in px.
CELL_GRADES = (
    (0.5, "in the true cell: all that cells can do", RIGHT), (1.5, "in a neighbour of it", NEAR),
    (np.inf, "further off", WRONG),
)  # fmt: skip
PIXEL_GRADES = (
    (1, "within 1 px", RIGHT), (3, "within 3 px", NEAR), (5, "within 5 px", FAR), (np.inf, "further off", WRONG),
)  # fmt: skip


class MatchedPair(NamedTuple):
    """A pair with M matches."""

    image_a: np.ndarray  # (H, W) float, [0, 1]
    image_b: np.ndarray  # (H, W) float, [0, 1]
    points_a: np.ndarray  # (M, 2) px
    points_b: np.ndarray  # (M, 2) px
    confidence: np.ndarray  # (M,), [0, 1]
    right: np.ndarray  # (M,) bool, whether the match is right
    title: str


class StagePoints(NamedTuple):
    """The M matches of one stage, in B."""

    points: np.ndarray  # (M, 2) px
    errors: np.ndarray  # (M,) px, distance from the true points


class RegistrationPlot(NamedTuple):
    """A registered pair, to plot: the M matches of each stage beside their true points."""

    image_b: np.ndarray  # (H, W) float, [0, 1]
    truth: np.ndarray  # (M, 2) px, the true points in B
    stages: dict[str, StagePoints]  # by stage: 'coarse', 'fine'
    stride: int  # px of a cell


def draw_pair(pair: MatchedPair, width: int) -> np.ndarray:
    """A and B side by side under a title, `width` px wide.

    Each match is a line, in the colour of right or wrong, fainter at a lower confidence.
    """
    gap = 3 * MARGIN
    zoom = (width - gap) / (pair.image_a.shape[1] + pair.image_b.shape[1])
    image_a, image_b = (_enlarged(grey, zoom) for grey in (pair.image_a, pair.image_b))
    sheet = captions.beside([image_a, image_b], gap)
    shift = np.array([image_a.shape[1] + gap, 0])
    for k in np.argsort(pair.confidence):  # the best on top
        a = np.round(pair.points_a[k] * zoom).astype(int)
        b = np.round(pair.points_b[k] * zoom).astype(int) + shift
        colour = RIGHT if pair.right[k] else WRONG
        line_layer = sheet.copy()
        cv2.line(line_layer, tuple(map(int, a)), tuple(map(int, b)), colour, 2, cv2.LINE_AA)
        for point in (a, b):
            cv2.circle(line_layer, tuple(map(int, point)), DOT, colour, -1, cv2.LINE_AA)
        strength = _opacity(pair.confidence[k])
        sheet = cv2.addWeighted(line_layer, strength, sheet, 1 - strength, 0)
    return captions.stacked([captions.paragraph(pair.title, width, CAPTION), sheet])


def match_sheet(pairs: Sequence[MatchedPair], heading: Sequence[str], columns: int = 2) -> np.ndarray:
    """Several pairs on a sheet, under the heading's lines and a legend."""
    width = captions.PAGE - 2 * captions.TEXT
    gap = captions.TEXT
    panels = [draw_pair(pair, (width - gap * (columns - 1)) // columns) for pair in pairs]
    entries = [
        (_line_mark(RIGHT), "right: at most a cell's width from the truth"),
        (_line_mark(WRONG), "wrong"),
        (_line_mark(RIGHT, 0.0), "the fainter, the less sure"),
    ]
    rows = [captions.beside(panels[k : k + columns], gap) for k in range(0, len(panels), columns)]
    return _sheet(heading, [captions.legend(entries, width, CAPTION), *rows])


def draw_registration(pair: RegistrationPlot, stage: str, width: int) -> np.ndarray:
    """B, `width` px wide, with a dot at each match of a stage and a line to its true point."""
    zoom = width / pair.image_b.shape[1]
    stage_points = pair.stages[stage]
    drawing = _enlarged(pair.image_b, zoom)
    for point, truth, grade in zip(stage_points.points, pair.truth, _grades(pair, stage), strict=True):
        point_px, truth_px = (tuple(int(v) for v in np.round(zoom * place)) for place in (point, truth))
        _, _, colour = _grades_of(stage)[grade]
        for rim, ink in ((2, PAPER), (0, colour)):
            cv2.line(drawing, point_px, truth_px, ink, 2 + 2 * rim, cv2.LINE_AA)
            cv2.circle(drawing, point_px, DOT + rim, ink, -1, cv2.LINE_AA)
    return captions.stacked([captions.paragraph(_registration_title(pair, stage), width, CAPTION), drawing])


def registration_sheet(pairs: Sequence[RegistrationPlot], heading: Sequence[str], columns: int = 3) -> np.ndarray:
    """A row of pairs for each stage, under the heading's lines; above each row its legend."""
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
            captions.beside([draw_registration(pair, stage, side) for pair in pairs[:columns]], gap),
        ]  # fmt: skip
    return _sheet(heading, blocks)


def _grades_of(stage: str) -> tuple[tuple[float, str, captions.Colour], ...]:
    return CELL_GRADES if stage == "coarse" else PIXEL_GRADES


def _grades(pair: RegistrationPlot, stage: str) -> np.ndarray:
    """The index of each match's grade, int (M,)."""
    stage_points = pair.stages[stage]
    cells = np.abs(stage_points.points - pair.truth).max(axis=-1) / pair.stride
    errors = cells if stage == "coarse" else stage_points.errors
    return np.searchsorted([limit for limit, *_ in _grades_of(stage)], errors)


def _registration_title(pair: RegistrationPlot, stage: str) -> str:
    if stage == "coarse":
        grades = _grades(pair, stage)
        return f"{(grades == 0).mean():.0%} exact, {(grades <= 1).mean():.0%} within one cell"
    errors = pair.stages[stage].errors
    return f"median {np.median(errors):.2f} px, {(errors <= 3).mean():.0%} within 3 px"


def _sheet(heading: Sequence[str], blocks: Sequence[np.ndarray]) -> np.ndarray:
    """Blocks below the heading's lines, on a page."""
    width = captions.PAGE - 2 * captions.TEXT
    lines = captions.stacked([captions.paragraph(line, width, CAPTION) for line in heading], CAPTION // 4)
    return captions.framed(captions.stacked([lines, *blocks], captions.TEXT // 2), captions.TEXT)


def _opacity(confidence: float) -> float:
    """The opacity of a match's line, [0.25, 1]."""
    return 0.25 + 0.75 * float(np.clip(confidence, 0, 1))


def _line_mark(colour: captions.Colour, confidence: float = 1.0) -> np.ndarray:
    """A match's line, for a legend."""
    mark = captions.swatch(None, CAPTION)
    line = mark.copy()
    cv2.line(line, (2, CAPTION // 2), (mark.shape[1] - 2, CAPTION // 2), colour, 4, cv2.LINE_AA)
    strength = _opacity(confidence)
    return cv2.addWeighted(line, strength, mark, 1 - strength, 0)


def _dot_mark(colour: captions.Colour) -> np.ndarray:
    """A match's dot and line, for a legend."""
    mark = _line_mark(colour)
    cv2.circle(mark, (2 * DOT, CAPTION // 2), 2 * DOT - 2, colour, -1, cv2.LINE_AA)
    return mark


def contact_sheet(rows: Mapping[str, np.ndarray], heading: str, zoom: float) -> np.ndarray:
    """Rows of prints, uint8 (N, H, W) each, under their names and the heading. zoom: sheet px in a print px."""
    row_images = {}
    for name, prints in rows.items():
        size = tuple(round(zoom * side) for side in prints.shape[:0:-1])
        tiles_small = [cv2.resize(grey, size, interpolation=cv2.INTER_AREA) for grey in prints]
        tiles = [np.pad(grey, MARGIN // 2, constant_values=PAPER[0]) for grey in tiles_small]
        row_images[name] = cv2.cvtColor(np.hstack(tiles), cv2.COLOR_GRAY2RGB)
    total = max(row.shape[1] for row in row_images.values())
    blocks = [block for name, row in row_images.items() for block in (_text(name, total), row)]
    return captions.stacked([_text(heading, total), *blocks])


def _enlarged(grey: np.ndarray, zoom: float) -> np.ndarray:
    values = np.clip(255 * grey, 0, 255).astype(np.uint8)
    image = cv2.resize(values, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_LINEAR)
    # Half as much contrast, so that the lines stand out from the ridges.
    return cv2.cvtColor((128 + image // 2).astype(np.uint8), cv2.COLOR_GRAY2RGB)


def _text(line: str, width: int) -> np.ndarray:
    side = MARGIN // 2
    text = captions.paragraph(line, width - 2 * side, NAME)
    return np.pad(text, ((0, 0), (side, side), (0, 0)), constant_values=PAPER[0])
