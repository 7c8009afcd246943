"""The picture of a comparison: the evidence that a person needs in order to check the answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from ifvit.comparison import marks
from ifvit.comparison.marks import Sheet
from ifvit.enhancement.minutiae import MinutiaKind
from ifvit.image import PpiFrom
from ifvit.pictures import captions
from ifvit.registration.agreement import AGREES
from ifvit.registration.registrar import RidgeAlignment
from ifvit.registration.ridge_print import PPI, RidgePrint

MARGIN, GAP = 40, 40  # px of the page
CAPTION = 30  # px, size of letters
TALLEST = 800  # px of a drawing
LARGEST_ZOOM = 6.0  # picture px of a print px
GRID = 24  # px between the lines of the bent grid
STEP = 4  # px between the points of its lines
COMMON = (25, 25, 25)  # RGB, of ridges that both prints have
PALE = 0.3  # share of a colour that remains outside the overlap
PLACES = 30  # of Module 2's matches, drawn at most
HEAT = 0.6  # opacity of the agreement's colours over the print


class Head(NamedTuple):
    """The text above the drawings."""

    answer: str
    lines: Sequence[str]  # the evidence for the answer
    facts: Sequence[tuple[str, str]]  # (name, text): the files, the method and the date


Places = tuple[np.ndarray, np.ndarray]  # (N, 2) px of A and of B, the points of Module 2's matches, best first
NO_PLACES = np.zeros((0, 2)), np.zeros((0, 2))


class AlignedImages(NamedTuple):
    """Two aligned prints, prepared for the drawings; B is (H, W) px."""

    a: RidgePrint
    b: RidgePrint
    alignment: RidgeAlignment
    to_a: np.ndarray  # (H, W, 2) float64, the point of A at each pixel of B, px
    local: np.ndarray  # (H, W), local agreement at each pixel of B, 0 outside the overlap
    places: Places = NO_PLACES  # of Module 2's matches


def aligned_images(
    a: RidgePrint, b: RidgePrint, alignment: RidgeAlignment, places: Places = NO_PLACES
) -> AlignedImages:
    """Two prints with the map and the agreement at each pixel of B."""
    points = _pixels(b)
    return AlignedImages(a, b, alignment, alignment.to_a(points), alignment.agreement_at(points), places)


def draw_ridge_comparison(
    a: RidgePrint, b: RidgePrint, alignment: RidgeAlignment, head: Head, places: Places = NO_PLACES
) -> np.ndarray:
    """The picture, uint8 RGB (H, W, 3): both prints with minutiae, the overlay, the agreement and the bent grid."""
    pair = aligned_images(a, b, alignment, places)
    width = captions.PAGE - 2 * MARGIN
    blocks = [
        captions.paragraph(f"{head.answer[0].upper()}{head.answer[1:]}", width, captions.TITLE, bold=True),
        captions.stacked([captions.paragraph(line, width) for line in head.lines], captions.TEXT // 4),
        captions.table(head.facts, width),
        _prints_row(pair, width),
        _evidence_row(pair, width),
    ]
    return captions.framed(captions.stacked(blocks, MARGIN // 2), MARGIN)


def _pixels(print_: RidgePrint) -> np.ndarray:
    """The coordinates (H, W, 2) of a print's pixels."""
    y, x = np.mgrid[: print_.ridges.shape[0], : print_.ridges.shape[1]]
    return np.stack([x, y], axis=-1)


def _zoom(prints: Sequence[RidgePrint], width: int) -> float:
    """The zoom at which the largest of the prints fits into `width` px and `TALLEST`."""
    sides = np.array([print_.ridges.shape for print_ in prints]).max(axis=0)
    return float(min(TALLEST / sides[0], width / sides[1], LARGEST_ZOOM))


class _Panel(NamedTuple):
    """A drawing with its title and legend."""

    title: str
    drawing: np.ndarray  # (H, W, 3) uint8, RGB
    print_: RidgePrint  # whose px the drawing has
    key: np.ndarray | None = None  # legend of its colours, uint8 RGB


def _row(panels: Sequence[_Panel], zoom: float, width: int) -> np.ndarray:
    """Panels side by side, each `width` px: the drawing below its title, above its scale bar and key."""
    tallest = max(panel.drawing.shape[0] for panel in panels)
    columns = []
    for panel in panels:
        note = " (ppi assumed)" if panel.print_.ppi_from is PpiFrom.assumed else ""
        blocks = [
            captions.paragraph(panel.title, width, CAPTION, bold=True),
            captions.centred(panel.drawing, width, tallest),
            captions.scale_bar(zoom * PPI / 25.4, width // 2, CAPTION, note),
            *([] if panel.key is None else [panel.key]),
        ]
        columns.append(captions.stacked(blocks, CAPTION // 2))
    return captions.beside(columns, GAP)


def _prints_row(pair: AlignedImages, width: int) -> np.ndarray:
    """Both prints with their minutiae and the edge of the overlap."""
    side = (width - GAP) // 2
    zoom = _zoom((pair.a, pair.b), side)
    paired = pair.alignment.paired
    agrees = pair.alignment.agreement_at(pair.b.minutiae.points[paired.second]) >= AGREES
    in_b = pair.local != 0
    in_a = pair.alignment.agreement_at(pair.alignment.to_b(_pixels(pair.a))) != 0
    drawings = [
        _draw_minutiae(print_, zoom, overlap, agrees, numbered, alone, style)
        for print_, overlap, numbered, alone, style in (
            (pair.a, in_a, paired.first, paired.only_a, marks.ALONE_A),
            (pair.b, in_b, paired.second, paired.only_b, marks.ALONE_B),
        )
    ]
    panels = [_Panel("A", drawings[0], pair.a), _Panel("B", drawings[1], pair.b)]
    # True of any two prints: minutiae of different fingers meet too, by chance.
    entries = [
        (marks.minutia_mark(marks.PAIRED), "minutiae that meet (same number)"),
        (marks.minutia_mark(marks.DOUBTFUL), "that meet where ridges do not agree: unsure"),
        (marks.minutia_mark(marks.ALONE_A), "of A, that meet none of B's"),
        (marks.minutia_mark(marks.ALONE_B), "of B, that meet none of A's"),
        (marks.minutia_mark(marks.BEYOND), "outside the overlap, or at its edge"),
        (marks.minutia_mark(marks.ANY, MinutiaKind.ending), "ending"),
        (marks.minutia_mark(marks.ANY, MinutiaKind.bifurcation), "bifurcation"),
        (marks.line_mark(marks.OVERLAP), "edge of the overlap"),
    ]
    return captions.stacked([_row(panels, zoom, side), captions.legend(entries, width, CAPTION)], CAPTION // 2)


def _draw_minutiae(
    print_: RidgePrint,
    zoom: float,
    overlap: np.ndarray,
    agrees: np.ndarray,
    numbered: np.ndarray,
    alone: np.ndarray,
    alone_style: marks.Style,
) -> np.ndarray:
    """A print with its minutiae.

    overlap: bool (H, W). numbered: indices of paired minutiae, numbered from 1. agrees: bool, whether the ridges agree
    at each of these. alone: indices of minutiae in the overlap without a partner.
    """
    sheet = Sheet(print_.grey, zoom)
    for edge in marks.outlines_of(overlap):
        sheet.line(edge, marks.OVERLAP)
    beyond = np.setdiff1d(np.arange(len(print_.minutiae.points)), np.concatenate([numbered, alone]))
    sheet.minutiae(print_.minutiae, beyond, [marks.BEYOND] * len(beyond))
    sheet.minutiae(print_.minutiae, alone, [alone_style] * len(alone))
    sheet.minutiae(print_.minutiae, numbered, [marks.PAIRED if sure else marks.DOUBTFUL for sure in agrees])
    sheet.numbers(print_.minutiae.points[numbered], marks.BOTH)
    return sheet.pixels


def _evidence_row(pair: AlignedImages, width: int) -> np.ndarray:
    """The overlay, the agreement of the ridges, and the bent grid."""
    side = (width - 2 * GAP) // 3
    zoom = _zoom((pair.a, pair.b), side)
    overlay_key = [
        (captions.swatch(COMMON, CAPTION), "ridges of both"),
        (captions.swatch(marks.ONLY_A, CAPTION), "of A alone"),
        (captions.swatch(marks.ONLY_B, CAPTION), "of B alone"),
        (_pale_swatch(), "outside the overlap"),
        *_places_key(len(pair.places[0])),
    ]
    grid_key = [
        (marks.line_mark(marks.GRID_SURE), "where ridges agree"),
        (marks.line_mark(marks.GRID_DOUBTFUL), "where they do not: unsure"),
    ]
    panels = [
        _Panel("A aligned with B", overlay(pair, zoom), pair.b, captions.legend(overlay_key, side, CAPTION)),
        _Panel("Agreement of the ridges", heat_map(pair, zoom), pair.b, _heat_key(side)),
        _Panel("A square grid of B, in A", bent_grid(pair, zoom), pair.a, captions.legend(grid_key, side, CAPTION)),
    ]
    return _row(panels, zoom, side)


def overlay(pair: AlignedImages, zoom: float) -> np.ndarray:
    """The ridges of A, mapped to B, and of B; pale outside the overlap. uint8 RGB."""
    ink_a, ink_b = (((255 - print_.enhanced) * print_.ridges).astype(np.float32) for print_ in (pair.a, pair.b))
    x, y = np.moveaxis(pair.to_a.astype(np.float32), -1, 0)
    ink_a_in_b = cv2.remap(ink_a, x, y, cv2.INTER_LINEAR, borderValue=0)
    # The step from paper to ink takes one pixel of the picture, so that edges are smooth and valleys are white.
    a, b = (np.clip((marks.enlarge(ink, zoom) - 127) / 40 + 0.5, 0, 1)[..., None] for ink in (ink_a_in_b, ink_b))
    layers = ((a * b, COMMON), (a * (1 - b), marks.ONLY_A), (b * (1 - a), marks.ONLY_B))
    inside = marks.enlarge((pair.local != 0).astype(np.float32), zoom)[..., None] > 0.5
    drawing = np.full((*a.shape[:2], 3), captions.PAPER, np.float32)
    for share, colour in layers:
        drawing += np.where(inside, 1.0, PALE) * share * (np.array(colour) - captions.PAPER)
    drawing = np.clip(drawing, 0, 255).astype(np.uint8)
    in_a, in_b = (places[:PLACES] for places in pair.places)
    for point, partner in zip(in_b, pair.alignment.to_b(in_a), strict=True):
        marks.draw_correspondence(drawing, marks.drawing_points(point, zoom), marks.drawing_points(partner, zoom))
    return drawing


def _places_key(count: int) -> list[tuple[np.ndarray, str]]:
    """The legend of Module 2's matches, `count` of them; empty where there are none."""
    selection = f"the surest {PLACES} of {count}" if count > PLACES else f"all {count}"
    text = f"Module 2's places of B, a line to A's where they lie apart ({selection})"
    return [(marks.correspondence_mark(), text)] if count else []


def _pale_swatch() -> np.ndarray:
    """The colours of A and of B outside the overlap."""
    return captions.beside([captions.swatch(_pale(colour), CAPTION) for colour in (marks.ONLY_A, marks.ONLY_B)])


def _pale(colour: captions.Colour) -> captions.Colour:
    """A colour as it is drawn outside the overlap."""
    red, green, blue = (round(255 + PALE * (part - 255)) for part in colour)
    return red, green, blue


def _agreement_colours(local: np.ndarray) -> np.ndarray:
    """The colours of an agreement (H, W), [0, 1], as uint8 RGB (H, W, 3)."""
    return cv2.applyColorMap((255 * np.clip(local, 0, 1)).astype(np.uint8), cv2.COLORMAP_VIRIDIS)[..., ::-1]


def heat_map(pair: AlignedImages, zoom: float) -> np.ndarray:
    """The ridges of B under the colours of the local agreement, pale outside the overlap. uint8 RGB."""
    ridges = np.where(pair.b.ridges, pair.b.enhanced, np.uint8(255))
    grey = cv2.cvtColor(marks.enlarge(ridges, zoom), cv2.COLOR_GRAY2RGB)
    local = pair.local.astype(np.float32)
    inside = marks.enlarge((local != 0).astype(np.float32), zoom)[..., None] > 0.5
    coloured = HEAT * _agreement_colours(marks.enlarge(local, zoom)) + (1 - HEAT) * grey
    return np.where(inside, coloured, 255 - PALE * (255 - grey.astype(np.float32))).astype(np.uint8)


def _heat_key(width: int) -> np.ndarray:
    """The legend of the agreement's colours."""
    shades = HEAT * _agreement_colours(np.linspace(0, 1, width - 4 * CAPTION)[None])[0] + (1 - HEAT) * 255
    bar = captions.colour_bar(shades, [(0, "0"), (0.3, "0.3"), (AGREES, f"{AGREES:g}"), (1, "1")], CAPTION)
    text = f"1: the same ridges; from {AGREES:g} on they agree; about 0.3: different fingers"
    return captions.stacked([bar, captions.paragraph(text, width, CAPTION)], CAPTION // 4)


def bent_grid(pair: AlignedImages, zoom: float) -> np.ndarray:
    """A with a square grid of B mapped to it, in the overlap; dashed where the ridges do not agree. uint8 RGB."""
    sheet = Sheet(pair.a.grey, zoom)
    height, width = pair.b.ridges.shape
    for axis, (length, extent) in enumerate(((height, width), (width, height))):
        for offset in range(GRID // 2, length, GRID):
            positions = np.arange(0, extent, STEP)
            line = np.stack([positions, np.full_like(positions, offset)], axis=-1)
            line = line if axis == 0 else line[:, ::-1]
            line_in_a, local = pair.alignment.to_a(line), pair.local[line[:, 1], line[:, 0]]
            kinds = np.where(local == 0, 0, np.where(local >= AGREES, 1, 2))
            for kind, start, stop in runs_of(kinds):
                if kind:
                    style = marks.GRID_SURE if kind == 1 else marks.GRID_DOUBTFUL
                    sheet.line(line_in_a[start : stop + 1], style)
    return sheet.pixels


def runs_of(kinds: np.ndarray) -> list[tuple[int, int, int]]:
    """(kind, first, last index) of each run of equal kinds (N,). A run reaches into the next one, if that is drawn."""
    starts = np.r_[0, np.flatnonzero(np.diff(kinds)) + 1]
    ends = np.r_[starts[1:], len(kinds)]
    runs = []
    for start, end in zip(starts, ends, strict=True):
        touches = end < len(kinds) and kinds[end] != 0
        runs.append((int(kinds[start]), int(start), int(end if touches else end - 1)))
    return runs
