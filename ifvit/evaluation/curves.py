"""Charts of an evaluation: DET curves, score histograms, and the heat map of rotated and shifted prints.

Each is a uint8 RGB (H, W, 3) array. The axes of a DET chart are logarithmic, as in FVC, and end at half the rate of one
pair, the finest rate that the pairs allow. A logarithmic axis cannot show a rate of 0: it is drawn at the end of the
axis with the label 0. The curve from the rate of one pair to 0 is a thin line, which ends in a dot at ZeroFMR. The line
of equal rates, on which an EER lies, is drawn where the pairs distinguish a rate from 0; a diamond on it is an EER with
its interval.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ifvit.calibration import RULE_OF_THREE
from ifvit.evaluation.figures import FMRS, LITTLE, POINTS, TOO_FEW, Figures
from ifvit.evaluation.robustness import Robustness
from ifvit.pictures.charts import (
    COLOURS,
    FAINT,
    INK,
    ScoreCounts,
    drawn,
    legend,
    patch,
    percent,
    score_chart,
    sheet,
    stroke,
    tidy,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

UNRESOLVED = "#f0f0f0"  # area of rates that the pairs do not distinguish from 0
CLOSE_TICKS = 2.5  # decades: a shorter axis has ticks at 1, 2 and 5, a longer one at 1


def draw_det(curves: Mapping[str, Figures], heading: Sequence[str]) -> np.ndarray:
    """FNMR over FMR of up to 7 evaluations, by name, with their figures in the legend.

    Raises:
        ValueError: there is no curve, or there are more than colours.
    """
    if not 1 <= len(curves) <= len(COLOURS):
        raise ValueError(f"a DET picture holds 1 to {len(COLOURS)} curves, not {len(curves)}")
    figure = sheet(heading, 8.3 + 0.3 * len(curves))
    axes = figure.subplots()
    limits = _axes(
        axes, *(max(getattr(result.pairs, kind) for result in curves.values()) for kind in ("impostor", "genuine"))
    )
    entries = []
    for (name, result), colour in zip(curves.items(), COLOURS, strict=False):
        path = np.maximum(_visible_path(result.det), limits)
        axes.plot(*path.T, color=colour, linewidth=1)
        axes.plot(*path[1:-1].T, color=colour, linewidth=2.2)
        axes.plot(*path[-1], color=colour, marker="o", clip_on=False, zorder=3)
        if not result.doubt("eer"):
            _mark_eer(axes, result, max(limits), colour)
        entries.append((stroke(colour, linewidth=2.2), f"{name}: {_rates(result)}"))
    entries.append(_eer_entry(curves.values()))
    entries.append((stroke(FAINT, "", marker="o"), "ZeroFMR: the lowest FNMR that accepts no impostor pair"))
    entries.append((patch(UNRESOLVED), f"a rate of fewer than {RULE_OF_THREE:g} pairs, which is not told from none"))
    if not all(all(result.enough.values()) for result in curves.values()):
        entries.append((stroke("none"), TOO_FEW))
    legend(figure, entries)
    return drawn(figure)


def _axes(axes: Axes, impostor: int, genuine: int) -> tuple[float, float]:
    """Set up the axes for so many pairs. Returns the FMR and FNMR at their ends, which stand for a rate of 0."""
    from matplotlib.ticker import NullLocator

    limits = 0.5 / impostor, 0.5 / genuine
    for axis, scale, set_limits, ticks, end, pairs in (
        (axes.xaxis, axes.set_xscale, axes.set_xlim, axes.set_xticks, limits[0], impostor),
        (axes.yaxis, axes.set_yscale, axes.set_ylim, axes.set_yticks, limits[1], genuine),
    ):
        scale("log")
        set_limits(end, 1)
        values = rate_ticks(1 / pairs)
        ticks([end, *values], ["0", *map(percent, values)])
        axis.set_minor_locator(NullLocator())
    axes.set_box_aspect(1)
    tidy(axes, "FMR, impostor pairs accepted", "FNMR, genuine pairs rejected")
    axes.axvspan(limits[0], RULE_OF_THREE / impostor, color=UNRESOLVED, zorder=0)
    axes.axhspan(limits[1], RULE_OF_THREE / genuine, color=UNRESOLVED, zorder=0)
    start = min(1, RULE_OF_THREE / min(impostor, genuine))
    axes.plot([start, 1], [start, 1], color=FAINT, linewidth=1, linestyle="--")
    axes.annotate("FMR = FNMR", (0.8, 0.8), xytext=(-10, 0), textcoords="offset points", ha="right", color=FAINT)
    for name, fmr in FMRS.items():
        if fmr >= 1 / impostor:
            axes.axvline(fmr, color=FAINT, linewidth=1, linestyle=":")
            axes.annotate(
                POINTS[name], (fmr, 1), xytext=(3, -4), textcoords="offset points", va="top", fontsize=9, color=FAINT
            )
    return limits


def _mark_eer(axes: Axes, result: Figures, least: float, colour: str) -> None:
    """Draw an EER on the line of equal rates, and its interval along that line, down to `least`."""
    interval = [max(rate, least) for rate in result.intervals["eer"]]
    axes.plot(interval, interval, color=colour, linewidth=6, alpha=0.35, solid_capstyle="butt", gid="interval")
    axes.plot(result.eer, result.eer, color=colour, marker="D", markeredgecolor="white", markersize=8, zorder=4)


def _eer_entry(results: Collection[Figures]) -> tuple[Any, str]:
    """The legend's entry about EERs: their mark, or that the pairs are too few for one."""
    if not all(result.doubt("eer") for result in results):
        return stroke(FAINT, linewidth=3, marker="D"), "EER: FMR and FNMR are equal; the band is its 95 % interval"
    reasons = dict.fromkeys(result.doubt("eer").removeprefix(LITTLE) for result in results)
    return stroke(FAINT, "--"), f"no EER is marked: {', '.join(reasons)}"


def rate_ticks(least: float) -> list[float]:
    """Round rates from `least` up to 1."""
    decades = -math.log10(least)
    steps = (1, 2, 5) if decades < CLOSE_TICKS else (1,)
    values = [step * 10.0**decade for decade in range(math.floor(-decades), 1) for step in steps]
    return [value for value in values if least * (1 - 1e-9) <= value <= 1]


def _rates(result: Figures) -> str:
    """The figures of a curve as text for the legend."""
    if result.missing_reason:
        return result.missing_reason
    rates = {key: f"{100 * getattr(result, key):.2f} %{result.mark(key)}" for key in POINTS}
    if not result.doubt("eer"):
        low, high = (100 * rate for rate in result.intervals["eer"])
        rates["eer"] += f" [{low:.2f}, {high:.2f}]"
    return ", ".join(f"{POINTS[key]} {text}" for key, text in rates.items())


def draw_heat_map(table: Robustness, heading: Sequence[str]) -> np.ndarray:
    """FNMR by angle (rows) and shift (columns), with numbers: white is 0 %, deep orange is 100 %."""
    figure = sheet(heading, 5.0)
    axes = figure.subplots()
    image = axes.imshow(100 * table.fnmr, cmap="Oranges", vmin=0, vmax=100, aspect="auto")
    axes.set_xticks(range(len(table.shifts)), [f"{shift:g}" for shift in table.shifts])
    axes.set_yticks(range(len(table.angles)), [f"{angle:g}" for angle in table.angles])
    axes.set_xlabel("the second print moved by, mm", color=INK)
    axes.set_ylabel("and turned by, degrees", color=INK)
    for (row, column), rate in np.ndenumerate(table.fnmr):
        colour = "white" if rate > 0.6 else INK
        axes.text(column, row, f"{100 * rate:.1f} %", ha="center", va="center", color=colour, fontsize=9)
    figure.colorbar(image, ax=axes, label="FNMR, % of genuine pairs")
    return drawn(figure)


def draw_histogram(figures: Figures, heading: Sequence[str], score: str = "score") -> np.ndarray:
    """The shares of genuine and impostor pairs by score, the rates by threshold, and the threshold of the EER."""
    counts = ScoreCounts(*figures.histogram)
    label = f"EER {100 * figures.eer:.2f} %"
    return score_chart(counts, figures.eer_threshold, label, heading, score, figures.doubt("eer"))


def _visible_path(det: np.ndarray) -> np.ndarray:
    """The path (L, 2) from the last of the corners (K, 2) with an FNMR of 0 to the first with an FMR of 0.

    Where both rates change at once, the line between two corners is straight in the rates: on logarithmic axes it
    is a curve.
    """
    det = det[np.flatnonzero(det[:, 1] == 0)[-1] : np.flatnonzero(det[:, 0] == 0)[0] + 1]
    near = np.geomspace(1e-6, 0.5, 40)
    fractions = np.concatenate([near, 1 - near[::-1]])[:, None]
    path = [det[:1]]
    for start, end in zip(det[:-1], det[1:], strict=True):
        if (start != end).all():
            path.append(start + fractions * (end - start))
        path.append(end[None])
    return np.concatenate(path)
