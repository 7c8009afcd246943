"""The picture of two prints compared by their ridges: what a person needs in order to agree with the answer, or not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from ifvit.comparison import marks as marks
from ifvit.comparison.marks import Sheet
from ifvit.enhancement.minutiae import MinutiaKind
from ifvit.image import PpiFrom
from ifvit.pictures import captions
from ifvit.registration.agreement import AGREES
from ifvit.registration.registrar import RidgeAlignment
from ifvit.registration.ridge_print import PPI, RidgePrint

MARGIN, GAP = 40, 40  # px of the page
CAPTION = 30  # px, letters
TALLEST = 800  # px of a drawing
LARGEST_ZOOM = 6.0  # picture px of a print px
GRID = 24  # px between the lines of the bent grid
STEP = 4  # px between the points of its lines
COMMON = (25, 25, 25)  # RGB, of ridges that both prints have
PALE = 0.3  # how much is left of a colour outside the overlap
PLACES = 30  # of Module 2, drawn at most
HEAT = 0.6  # how much of a colour of agreement covers the print


class Head(NamedTuple):
    """What stands above the drawings.

    answer: in a few words.
    lines: what it rests on.
    facts: what was compared, how and when, as (name, text).
    """

    answer: str
    lines: Sequence[str]
    facts: Sequence[tuple[str, str]]


Places = tuple[np.ndarray, np.ndarray]  # (N, 2) px of A and of B that Module 2 finds to correspond, surest first
NO_PLACES = np.zeros((0, 2)), np.zeros((0, 2))


class AlignedImages(NamedTuple):
    """Two prints, where each px of B (H, W) lies in A, (H, W, 2), and the agreement there, 0 outside the overlap.

    places: that Module 2 finds to correspond.
    """

    a: RidgePrint
    b: RidgePrint
    alignment: RidgeAlignment
    to_a: np.ndarray
    local: np.ndarray
    places: Places = NO_PLACES


def laid_pair(a: RidgePrint, b: RidgePrint, alignment: RidgeAlignment, places: Places = NO_PLACES) -> AlignedImages:
    """Two prints as the drawings need them."""
    points = _pixels(b)
    return AlignedImages(a, b, alignment, alignment.to_a(points), alignment.agreement_at(points), places)


def draw_ridge_comparison(
    a: RidgePrint, b: RidgePrint, alignment: RidgeAlignment, head: Head, places: Places = NO_PLACES
) -> np.ndarray:
    """A and B with their minutiae; A's ridges on B's; where they agree; how the skin is bent. uint8 RGB (H, W, 3)."""
    pair = laid_pair(a, b, alignment, places)
    width = captions.PAGE - 2 * MARGIN
    blocks = [
        captions.paragraph(f"{head.answer[0].upper()}{head.answer[1:]}", width, captions.TITLE, bold=True),
        captions.stacked([captions.paragraph(line, width) for line in head.lines], captions.TEXT // 4),
        captions.table(head.facts, width),
        _prints_row(pair, width),
        _evidence_row(pair, width),
    ]
    return captions.framed(captions.stacked(blocks, MARGIN // 2), MARGIN)


def _pixels(shown: RidgePrint) -> np.ndarray:
    """The points (H, W, 2) of a print's pixels."""
    y, x = np.mgrid[: shown.ridges.shape[0], : shown.ridges.shape[1]]
    return np.stack([x, y], axis=-1)


def _zoom(prints: Sequence[RidgePrint], width: int) -> float:
    """At which the largest of the prints fits into `width` px and `TALLEST`."""
    sides = np.array([shown.ridges.shape for shown in prints]).max(axis=0)
    return float(min(TALLEST / sides[0], width / sides[1], LARGEST_ZOOM))


class _Panel(NamedTuple):
    """A drawing; `shown` is the print whose px it has, `key` what its colours mean."""

    title: str
    drawing: np.ndarray
    shown: RidgePrint
    key: np.ndarray | None = None


def _row(panels: Sequence[_Panel], zoom: float, width: int) -> np.ndarray:
    """Panels side by side, each `width` px: the drawing below its title, above its scale bar and key."""
    tallest = max(panel.drawing.shape[0] for panel in panels)
    columns = []
    for panel in panels:
        note = " (ppi assumed)" if panel.shown.ppi_from is PpiFrom.assumed else ""
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
        _minutiae(shown, zoom, overlap, agrees, numbered, alone, style)
        for shown, overlap, numbered, alone, style in (
            (pair.a, in_a, paired.first, paired.only_a, marks.ALONE_A),
            (pair.b, in_b, paired.second, paired.only_b, marks.ALONE_B),
        )
    ]
    panels = [_Panel("A", drawings[0], pair.a), _Panel("B", drawings[1], pair.b)]
    # True of any two prints: minutiae of different fingers meet too, by chance.
    entries = [
        (marks.mark_of(marks.PAIRED), "minutiae that meet (same number)"),
        (marks.mark_of(marks.DOUBTFUL), "that meet where ridges do not agree: unsure"),
        (marks.mark_of(marks.ALONE_A), "of A, that meet none of B's"),
        (marks.mark_of(marks.ALONE_B), "of B, that meet none of A's"),
        (marks.mark_of(marks.BEYOND), "outside the overlap, or at its edge"),
        (marks.mark_of(marks.ANY, MinutiaKind.ending), "ending"),
        (marks.mark_of(marks.ANY, MinutiaKind.bifurcation), "bifurcation"),
        (marks.line_of(marks.OVERLAP), "edge of the overlap"),
    ]
    return captions.stacked([_row(panels, zoom, side), captions.legend(entries, width, CAPTION)], CAPTION // 2)


def _minutiae(
    shown: RidgePrint,
    zoom: float,
    overlap: np.ndarray,
    agrees: np.ndarray,
    numbered: np.ndarray,
    alone: np.ndarray,
    alone_style: marks.Style,
) -> np.ndarray:
    """A print with its minutiae: `numbered` ones in their order from 1, sure where `agrees`, `alone` ones without."""
    sheet = Sheet(shown.grey, zoom)
    for edge in marks.edges_of(overlap):
        sheet.line(edge, marks.OVERLAP)
    beyond = np.setdiff1d(np.arange(len(shown.minutiae.points)), np.concatenate([numbered, alone]))
    sheet.minutiae(shown.minutiae, beyond, [marks.BEYOND] * len(beyond))
    sheet.minutiae(shown.minutiae, alone, [alone_style] * len(alone))
    sheet.minutiae(shown.minutiae, numbered, [marks.PAIRED if sure else marks.DOUBTFUL for sure in agrees])
    sheet.numbers(shown.minutiae.points[numbered], marks.BOTH)
    return sheet.pixels


def _evidence_row(pair: AlignedImages, width: int) -> np.ndarray:
    """A's ridges on B's, how well they agree, and how the skin is bent."""
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
        (marks.line_of(marks.GRID_SURE), "where ridges agree"),
        (marks.line_of(marks.GRID_DOUBTFUL), "where they do not: unsure"),
    ]
    panels = [
        _Panel("A laid on B", overlay(pair, zoom), pair.b, captions.legend(overlay_key, side, CAPTION)),
        _Panel("Agreement of the ridges", heat_map(pair, zoom), pair.b, _heat_key(side)),
        _Panel("A square grid of B, in A", bent_grid(pair, zoom), pair.a, captions.legend(grid_key, side, CAPTION)),
    ]
    return _row(panels, zoom, side)


def overlay(pair: AlignedImages, zoom: float) -> np.ndarray:
    """The ridges of A, carried to B, and of B; pale where one print alone shows the place."""
    ink_a, ink_b = (((255 - shown.enhanced) * shown.ridges).astype(np.float32) for shown in (pair.a, pair.b))
    seen = cv2.remap(ink_a, *np.moveaxis(pair.to_a.astype(np.float32), -1, 0), cv2.INTER_LINEAR, borderValue=0)
    # From no ink to ink within a pixel of the picture, so that edges are smooth and between the ridges is paper.
    a, b = (np.clip((marks.enlarged(ink, zoom) - 127) / 40 + 0.5, 0, 1)[..., None] for ink in (seen, ink_b))
    layers = ((a * b, COMMON), (a * (1 - b), marks.ONLY_A), (b * (1 - a), marks.ONLY_B))
    inside = marks.enlarged((pair.local != 0).astype(np.float32), zoom)[..., None] > 0.5
    drawing = np.full((*a.shape[:2], 3), captions.PAPER, np.float32)
    for share, colour in layers:
        drawing += np.where(inside, 1.0, PALE) * share * (np.array(colour) - captions.PAPER)
    drawing = np.clip(drawing, 0, 255).astype(np.uint8)
    in_a, in_b = (places[:PLACES] for places in pair.places)
    for place, other in zip(in_b, pair.alignment.to_b(in_a), strict=True):
        marks.draw_place(drawing, marks.placed(place, zoom), marks.placed(other, zoom))
    return drawing


def _places_key(count: int) -> list[tuple[np.ndarray, str]]:
    """What the places mean that are drawn of so many; nothing where there is none."""
    which = f"the surest {PLACES} of {count}" if count > PLACES else f"all {count}"
    text = f"Module 2's places of B, a line to A's where they lie apart ({which})"
    return [(marks.place_of(), text)] if count else []


def _pale_swatch() -> np.ndarray:
    """Both colours as they are outside the overlap."""
    halves = [
        captions.swatch(tuple(round(255 + PALE * (part - 255)) for part in colour), CAPTION)
        for colour in (marks.ONLY_A, marks.ONLY_B)
    ]
    return captions.beside(halves)


def _colours(local: np.ndarray) -> np.ndarray:
    """Agreement (H, W) from 0 to 1 in colours, uint8 RGB (H, W, 3)."""
    return cv2.applyColorMap((255 * np.clip(local, 0, 1)).astype(np.uint8), cv2.COLORMAP_VIRIDIS)[..., ::-1]


def heat_map(pair: AlignedImages, zoom: float) -> np.ndarray:
    """The ridges of B under the colours of the local agreement, where there is an overlap."""
    ridges = np.where(pair.b.ridges, pair.b.enhanced, np.uint8(255))
    grey = cv2.cvtColor(marks.enlarged(ridges, zoom), cv2.COLOR_GRAY2RGB)
    local = pair.local.astype(np.float32)
    inside = marks.enlarged((local != 0).astype(np.float32), zoom)[..., None] > 0.5
    mixed = HEAT * _colours(marks.enlarged(local, zoom)) + (1 - HEAT) * grey
    return np.where(inside, mixed, 255 - PALE * (255 - grey.astype(np.float32))).astype(np.uint8)


def _heat_key(width: int) -> np.ndarray:
    """The colours of agreement, and what they mean."""
    shades = HEAT * _colours(np.linspace(0, 1, width - 4 * CAPTION)[None])[0] + (1 - HEAT) * 255
    bar = captions.colour_bar(shades, [(0, "0"), (0.3, "0.3"), (AGREES, f"{AGREES:g}"), (1, "1")], CAPTION)
    text = f"1: the same ridges; from {AGREES:g} on they agree; about 0.3: different fingers"
    return captions.stacked([bar, captions.paragraph(text, width, CAPTION)], CAPTION // 4)


def bent_grid(pair: AlignedImages, zoom: float) -> np.ndarray:
    """A with the lines of a square grid of B, where both show ridges; dashed where these do not agree."""
    sheet = Sheet(pair.a.grey, zoom)
    height, width = pair.b.ridges.shape
    for axis, (length, end) in enumerate(((height, width), (width, height))):
        for at in range(GRID // 2, length, GRID):
            along = np.arange(0, end, STEP)
            line = np.stack([along, np.full_like(along, at)], axis=-1)
            line = line if axis == 0 else line[:, ::-1]
            there, local = pair.alignment.to_a(line), pair.local[line[:, 1], line[:, 0]]
            kinds = np.where(local == 0, 0, np.where(local >= AGREES, 1, 2))
            for kind, first, last in runs_of(kinds):
                if kind:
                    style = marks.GRID_SURE if kind == 1 else marks.GRID_DOUBTFUL
                    sheet.line(there[first : last + 1], style)
    return sheet.pixels


def runs_of(kinds: np.ndarray) -> list[tuple[int, int, int]]:
    """(kind, first, last place) of each run of equal kinds (N,); where one meets another that is drawn, they touch."""
    starts = np.r_[0, np.flatnonzero(np.diff(kinds)) + 1]
    ends = np.r_[starts[1:], len(kinds)]
    runs = []
    for start, end in zip(starts, ends, strict=True):
        touches = end < len(kinds) and kinds[end] != 0
        runs.append((int(kinds[start]), int(start), int(end if touches else end - 1)))
    return runs
