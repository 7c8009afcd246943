"""Charts with axes, drawn by matplotlib, as uint8 RGB (H, W, 3) arrays; `picture_files` writes them.

matplotlib is imported where it draws, and never through pyplot, so that a chart changes nothing in the process. Texts
are not parsed: a name with a dollar sign is a name, no formula.
"""

from __future__ import annotations

import logging
import textwrap
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from ifvit.console import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine
    from matplotlib.typing import LineStyleType

# After Okabe and Ito, distinct for the colour-blind too.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#5a3c96")
GENUINE, IMPOSTOR = COLOURS[:2]
INK, FAINT = "#282828", "#787878"
DPI = 110
WIDTH = 8.0  # inches
LETTERS = 100  # in a line of that width
BINS = 40  # of a chart of scores in [0, 1]


class ScoreCounts(NamedTuple):
    """A histogram of pairs by score."""

    edges: np.ndarray  # (K + 1,) float
    genuine: np.ndarray  # (K,) int
    impostor: np.ndarray  # (K,) int


def sheet(heading: Sequence[str], height: float) -> Figure:
    """An empty figure, `height` inches high, with the heading's lines at its top."""
    from matplotlib.figure import Figure

    # Its warning of a font cache that cannot be written is of no use.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained", facecolor="white")
    cast("ConstrainedLayoutEngine", figure.get_layout_engine()).set(h_pad=0.08, w_pad=0.08)
    lines = "\n".join(textwrap.fill(printable(line), LETTERS) for line in heading)
    if lines:
        figure.suptitle(lines, x=0.01, ha="left", fontsize=10, color=INK, parse_math=False)
    return figure


def drawn(figure: Figure) -> np.ndarray:
    """The figure's pixels, uint8 RGB (H, W, 3)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a letter that the font lacks is drawn as a box
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def legend(figure: Figure, entries: Sequence[tuple[Any, str]]) -> None:
    """Add a legend below the axes: texts, each behind its handle."""
    handles = [handle for handle, _ in entries]
    below = figure.legend(
        handles, ["-"] * len(handles), loc="outside lower left", frameon=False, fontsize=9, labelcolor=INK
    )
    for label, (_, text) in zip(below.get_texts(), entries, strict=True):
        label.set_parse_math(False)
        label.set_text(textwrap.fill(printable(text), LETTERS))


def stroke(colour: str, style: LineStyleType = "-", **settings: Any) -> Any:
    """The handle of a line, for a legend."""
    from matplotlib.lines import Line2D

    return Line2D([], [], color=colour, linestyle=style, **settings)


def patch(colour: str) -> Any:
    """The handle of an area, for a legend."""
    from matplotlib.patches import Patch

    return Patch(facecolor=colour)


def tidy(axes: Axes, x: str, y: str) -> None:
    """Name both axes, and draw faint lines at their ticks."""
    axes.set_xlabel(printable(x), color=INK, parse_math=False)
    axes.set_ylabel(printable(y), color=INK, parse_math=False)
    axes.grid(color="#e1e1e1", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=9, colors=INK)


def percent(rate: float) -> str:
    """A rate as a tick's label."""
    return f"{100 * rate:g} %"


def counts_of(scores: np.ndarray, genuine: np.ndarray) -> ScoreCounts:
    """The histogram of P pairs. scores: (P,), in [0, 1] or a little outside. genuine: bool (P,)."""
    edges = np.linspace(min(scores.min(), 0.0), max(scores.max(), 1.0), BINS + 1)
    return ScoreCounts(edges, *(np.histogram(scores[kind], edges)[0] for kind in (genuine, ~genuine)))


def score_chart(
    counts: ScoreCounts, threshold: float, label: str, heading: Sequence[str], score: str, doubt: str = ""
) -> np.ndarray:
    """Two charts: above, the share of genuine and of impostor pairs at each score; below, FNMR and FMR.

    threshold: of the EER; not drawn where it is outside the scores, or nan. label: the EER. score: label of the x axis.
    doubt: why the EER means little; '' where it does not.
    """
    from matplotlib.ticker import PercentFormatter

    figure = sheet(heading, 6.4)
    shares, rates = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    entries = []
    lines: tuple[tuple[str, str, LineStyleType], ...] = (("genuine", GENUINE, "-"), ("impostor", IMPOSTOR, "--"))
    for kind, colour, style in lines:
        pairs = getattr(counts, kind)
        total = int(pairs.sum())
        if not total:
            continue
        share = pairs / total
        shares.stairs(share, counts.edges, color=colour, fill=True, alpha=0.3)
        shares.stairs(share, counts.edges, color=colour, linestyle=style)
        # With an edge as threshold all scores above it are accepted: there the rates are exact.
        accepted_share = np.append(pairs[::-1].cumsum()[::-1], 0) / total
        error_rate = 1 - accepted_share if kind == "genuine" else accepted_share
        rates.plot(counts.edges, error_rate, color=colour, linestyle=style)
        rate = "FNMR, genuine pairs rejected" if kind == "genuine" else "FMR, impostor pairs accepted"
        entries.append((stroke(colour, style), f"{total} {kind} pairs: their share at each score; below, {rate}"))
    if counts.edges[0] <= threshold <= counts.edges[-1]:
        for axes in (shares, rates):
            axes.axvline(threshold, color=INK, linewidth=1, linestyle=":")
        text = f"{label} at a threshold of {threshold:.4g}" + (f"; {doubt}" if doubt else "")
        entries.append((stroke(INK, ":"), text))
    tidy(shares, "", "share of pairs of the kind")
    tidy(rates, score, "rate at the threshold")
    for axes in (shares, rates):
        axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
        axes.set_ylim(bottom=0)
    rates.set_ylim(0, 1)
    rates.set_xlim(counts.edges[0], counts.edges[-1])
    legend(figure, entries)
    return drawn(figure)
