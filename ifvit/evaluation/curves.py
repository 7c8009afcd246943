"""Pictures of an evaluation: DET curves, and how genuine and impostor scores lie. uint8 RGB (H, W, 3) arrays.

DET axes are logarithmic, as FVC draws them, down to the decade that holds one pair in all. A rate of 0 has no place on
them: the stretches from the last pair to none are thin lines out to the edges, on the left to a dot at ZeroFMR.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from ifvit.evaluation.robustness import Robustness
from ifvit.evaluation.verification import POINTS, TOO_FEW, Figures
from ifvit.plots import FONT, INK, MARGIN, PAPER, RIGHT, WRONG

# After Okabe and Ito, told apart by the colour-blind too.
COLOURS = ((0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (230, 159, 0), (86, 180, 233), (90, 60, 150))
KINDS = ("genuine", "impostor")
FAINT, GRID = (120, 120, 120), (225, 225, 225)
SIZE = 560  # px, the height of the field the curves are drawn in, and its width in a DET picture
LEFT, BELOW, LINE = 76, 54, 26  # px, room for the labels and for a line of text
FINE = 16  # parts of a px that OpenCV places lines at


class Field(NamedTuple):
    """Where a value lies in a picture: x and y from the first to the last value fill width x height px."""

    x: tuple[float, float]
    y: tuple[float, float]
    width: int
    height: int

    def at(self, x: float | np.ndarray, y: float | np.ndarray) -> np.ndarray:
        """The places (..., 2), px, float, of values of one shape."""
        right = LEFT + self.width * (np.asarray(x) - self.x[0]) / (self.x[1] - self.x[0])
        up = self.height * (np.asarray(y) - self.y[0]) / (self.y[1] - self.y[0])
        return np.stack([right, MARGIN + self.height - up], -1)


def draw_det(curves: Mapping[str, Figures], heading: Sequence[str]) -> np.ndarray:
    """FNMR over FMR of up to 7 evaluations, by name, under the heading's lines and above a legend with their figures.

    Raises:
        ValueError: there is no curve, or there are more than colours.
    """
    if not 1 <= len(curves) <= len(COLOURS):
        raise ValueError(f"a DET picture holds 1 to {len(COLOURS)} curves, not {len(curves)}")
    lowest_fmr, lowest_fnmr = (_decade(max(getattr(f.pairs, k) for f in curves.values())) for k in KINDS[::-1])
    field = Field((lowest_fmr, 0), (lowest_fnmr, 0), SIZE, SIZE)
    sheet = _sheet(field)
    for decade in range(lowest_fmr, 1):
        _tick(sheet, field, decade, _percent(10.0**decade), upright=True)
    for decade in range(lowest_fnmr, 1):
        _tick(sheet, field, decade, _percent(10.0**decade), upright=False)
    _line(sheet, field.at(*[[max(lowest_fmr, lowest_fnmr), 0]] * 2), FAINT)
    _write(sheet, "EER", field.at(-0.05, -0.05) + [-44, 14], FAINT)
    for decade, name in ((-2, "FMR100"), (-3, "FMR1000")):
        _line(sheet, field.at([decade, decade], field.y), FAINT)
        _write(sheet, name, field.at(decade, 0) + [4, 16], FAINT)
    _frame(sheet, field, "FMR", "FNMR")
    legend = []
    for (name, figures), colour in zip(curves.items(), COLOURS, strict=False):
        path = _visible(figures.det)
        with np.errstate(divide="ignore"):
            path = field.at(*np.maximum(np.log10(path), [lowest_fmr, lowest_fnmr]).T)
        _line(sheet, path, colour)
        _line(sheet, path[1:-1], colour, 2)
        cv2.circle(sheet, _fine(path[-1]).tolist(), 4 * FINE, colour, -1, cv2.LINE_AA, 4)
        rates = (f"{label} {100 * getattr(figures, key):.2f} %{figures.mark(key)}" for key, label in POINTS.items())
        legend.append((colour, f"{name}: {', '.join(rates)}"))
    if not all(all(figures.enough.values()) for figures in curves.values()):
        legend.append((None, TOO_FEW))
    return _assembled(sheet, heading, legend)


def draw_heat_map(table: Robustness, heading: Sequence[str]) -> np.ndarray:
    """FNMR by angle (rows) and shift (columns): white is none, deep orange is all; with the figures."""
    side, tall = 104, 44
    rows, columns = table.fnmr.shape
    sheet = np.full((MARGIN + tall * rows + BELOW, LEFT + side * columns + MARGIN, 3), PAPER, np.uint8)
    for row in range(rows):
        for column in range(columns):
            rate = float(table.fnmr[row, column])
            colour = tuple(int(v) for v in np.array(PAPER) * (1 - rate) + np.array(COLOURS[1]) * rate)
            left, top = LEFT + side * column, MARGIN + tall * row
            cv2.rectangle(sheet, (left, top), (left + side - 2, top + tall - 2), colour, -1)
            _write(sheet, f"{100 * rate:.1f} %", np.array([left + 24, top + 28]), INK)
    for row, angle in enumerate(table.angles):
        _write(sheet, f"{angle:g} deg", np.array([8, MARGIN + tall * row + 28]), INK)
    for column, shift in enumerate(table.shifts):
        _write(sheet, f"{shift:g} mm", np.array([LEFT + side * column + 24, MARGIN + tall * rows + 22]), INK)
    return _assembled(sheet, heading, [])


def draw_histogram(figures: Figures, heading: Sequence[str]) -> np.ndarray:
    """The share of genuine and of impostor pairs at each score, and the threshold of the EER."""
    edges = figures.histogram.edges
    shares = {kind: getattr(figures.histogram, kind) / getattr(figures.pairs, kind) for kind in KINDS}
    top = 1.05 * max(share.max() for share in shares.values())
    field = Field((edges[0], edges[-1]), (0, top), SIZE * 3 // 2, SIZE * 2 // 3)
    sheet = _sheet(field)
    for value in _round_values(*field.x):
        _tick(sheet, field, value, f"{value:g}", upright=True)
    for value in _round_values(*field.y):
        _tick(sheet, field, value, _percent(value), upright=False)
    outlines = {kind: field.at(np.repeat(edges, 2), np.pad(np.repeat(s, 2), 1)) for kind, s in shares.items()}
    colours = dict(zip(KINDS, (RIGHT, WRONG), strict=True))
    for kind, outline in outlines.items():
        over = sheet.copy()
        cv2.fillPoly(over, [_fine(outline)], colours[kind], cv2.LINE_AA, 4)
        sheet = cv2.addWeighted(over, 0.35, sheet, 0.65, 0)
    for kind, outline in outlines.items():
        _line(sheet, outline, colours[kind])
    legend = [(colours[kind], f"{getattr(figures.pairs, kind)} {kind} pairs, share of them") for kind in KINDS]
    if field.x[0] <= figures.eer_threshold <= field.x[1]:
        _line(sheet, field.at([figures.eer_threshold] * 2, field.y), INK)
        doubt = f"; {figures.doubt('eer')}" if figures.doubt("eer") else ""
        legend.append((INK, f"EER {100 * figures.eer:.2f} % at a score of {figures.eer_threshold:.4g}{doubt}"))
    _frame(sheet, field, "score", "share")
    return _assembled(sheet, heading, legend)


def _decade(pairs: int) -> int:
    """The exponent of the decade that one pair of so many lies in, at most that of 0.1 %."""
    return min(-3, math.floor(-math.log10(pairs)))


def _visible(det: np.ndarray) -> np.ndarray:
    """Of the corners (K, 2) the path (L, 2) from the last with an FNMR of 0 to the first with an FMR of 0.

    Where both rates change at once the stretch between is straight in the rates, and so is bent on logarithmic axes.
    """
    det = det[np.flatnonzero(det[:, 1] == 0)[-1] : np.flatnonzero(det[:, 0] == 0)[0] + 1]
    near = np.geomspace(1e-6, 0.5, 40)
    along = np.concatenate([near, 1 - near[::-1]])[:, None]
    path = [det[:1]]
    for start, end in zip(det[:-1], det[1:], strict=True):
        if (start != end).all():
            path.append(start + along * (end - start))
        path.append(end[None])
    return np.concatenate(path)


def _sheet(field: Field) -> np.ndarray:
    return np.full((MARGIN + field.height + BELOW, LEFT + field.width + 3 * MARGIN, 3), PAPER, np.uint8)


def _tick(sheet: np.ndarray, field: Field, value: float, label: str, upright: bool) -> None:
    """A faint line across the field at a value of x (upright) or y, and its label outside."""
    ends = field.at([value] * 2, field.y) if upright else field.at(field.x, [value] * 2)
    _line(sheet, ends, GRID)
    wide = cv2.getTextSize(label, FONT, 0.42, 1)[0][0]
    _write(sheet, label, ends[0] + ([-wide / 2, 18] if upright else [-wide - 8, 4]))


def _frame(sheet: np.ndarray, field: Field, x: str, y: str) -> None:
    _line(sheet, field.at(np.array(field.x)[[0, 1, 1, 0, 0]], np.array(field.y)[[0, 0, 1, 1, 0]]), INK)
    corner = field.at(field.x[1], field.y[0])
    _write(sheet, x, corner + [-field.width / 2 - 14, 40])
    _write(sheet, y, [4, MARGIN + field.height / 2 - 24])


def _assembled(sheet: np.ndarray, heading: Sequence[str], legend: Sequence[tuple]) -> np.ndarray:
    """The heading's lines, the sheet, and for each (colour, text) of the legend a line that begins with a stroke."""
    lines = [(None, line) for line in heading], [*legend]
    texts = [line for part in lines for _, line in part]
    width = max([sheet.shape[1], *(LEFT + MARGIN + cv2.getTextSize(t, FONT, 0.5, 1)[0][0] for t in texts)])
    above, below = (np.full((LINE * len(part) + MARGIN, width, 3), PAPER, np.uint8) for part in lines)
    for part, strip in zip(lines, (above, below), strict=True):
        for k, (colour, line) in enumerate(part):
            if colour:
                _line(strip, np.array([[LEFT - 40, LINE * k + 13], [LEFT - 10, LINE * k + 13]]), colour, 3)
            _write(strip, line, [LEFT if colour else MARGIN, LINE * k + 18], scale=0.5)
    wide = np.pad(sheet, ((0, 0), (0, width - sheet.shape[1]), (0, 0)), constant_values=PAPER[0])
    return np.vstack([above, wide, below])


def _write(sheet: np.ndarray, text: str, place: Sequence[float], colour: tuple = INK, scale: float = 0.42) -> None:
    cv2.putText(sheet, text, tuple(round(float(v)) for v in place), FONT, scale, colour, 1, cv2.LINE_AA)


def _line(sheet: np.ndarray, path: np.ndarray, colour: tuple, thickness: int = 1) -> None:
    if len(path):
        cv2.polylines(sheet, [_fine(path)], False, colour, thickness, cv2.LINE_AA, 4)


def _fine(path: np.ndarray) -> np.ndarray:
    return np.round(FINE * np.asarray(path)).astype(np.int32)


def _percent(rate: float) -> str:
    return f"{100 * rate:g} %"


def _round_values(low: float, high: float) -> np.ndarray:
    """Some 5 to 10 round values from low to high: multiples of 1, 2 or 5 times a power of ten."""
    step = 10 ** math.floor(math.log10((high - low) / 5))
    step *= next(k for k in (5, 2, 1) if (high - low) / (k * step) >= 5)
    return step * np.arange(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
