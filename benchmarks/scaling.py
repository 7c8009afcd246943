"""Time and memory against the size of the work: curves, a table and JSON.

    .venv/bin/python benchmarks/scaling.py [--only pairs] [--rounds 3] [--out bench]

A training step of `dense=loftr` against pairs in the batch, side of the image and layers, and comparisons without a run
against their number. Each point is a process of its own, so that its peak memory is its own. `growth` is the exponent
between a point and the one before: 1 is proportional to the work.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
from bench import OURS, Subject, Worker, git, machine
from cases import BATCH, comparisons, training
from rounds import serve

from ifvit import program

SIDE, FEW = 128, 4  # px; pairs in a batch where the images are large
SERIES = {
    "pairs in a batch, 128x128 px": ("batch {}", (4, 8, 16, 32, 64)),
    "side of the image, px, 4 pairs": ("side {}", (128, 192, 256, 384, 512)),
    "layers, 128x128 px, 16 pairs": ("layers {}", (2, 4, 8)),
    "pairs compared, 8 at once": ("comparisons {}", (64, 256, 1024)),
}
PAIRS = {"batch": lambda n: n, "side": lambda n: FEW, "layers": lambda n: BATCH, "comparisons": lambda n: n}
MAKERS = {
    "batch": lambda n: partial(training, SIDE, SIDE, batch=n),
    "side": lambda n: partial(training, n, n, batch=FEW),
    "layers": lambda n: partial(training, SIDE, SIDE, layers=n),
    "comparisons": lambda n: partial(comparisons, n),
}


class Point(NamedTuple):
    """A measured point of a series."""

    series: str
    size: int
    ms: float  # of a step, or of all comparisons
    peak_mb: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="", help="series whose name has this text")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("bench"), help="folder of scaling.json and scaling.png")
    arguments = parser.parse_args()
    points: list[Point] = []
    for series, (case, sizes) in SERIES.items():
        if arguments.only not in series:
            continue
        print(f"\n{series}")
        for size in sizes:
            before = points[-1] if points and points[-1].series == series else None
            points.append(measured(series, case.format(size), size, arguments.rounds))
            print_point(points[-1], before)
    arguments.out.mkdir(parents=True, exist_ok=True)
    content = {"machine": machine(), "commit": git("rev-parse", "HEAD"), "points": [p._asdict() for p in points]}
    (arguments.out / "scaling.json").write_text(json.dumps(content, indent=1) + "\n")
    draw(points, arguments.out / "scaling.png")
    print(f"\nlook at  {arguments.out / 'scaling.png'}")


def measured(series: str, case: str, size: int, rounds: int) -> Point:
    """The point of one case, by the median of its rounds."""
    worker = Worker(Subject(series, case, OURS, case, "pair"), Path(__file__).name)
    for _ in range(rounds):
        worker.run_round()
    worker.close()
    figures: dict[str, Any] = worker.figures()
    return Point(series, size, figures["ms"] * PAIRS[case.split()[0]](size), figures["peak_mb"])


def growth(value: float, before: float, size: int, size_before: int) -> float:
    """The exponent of a power law through two points."""
    return math.log(value / before) / math.log(size / size_before)


def print_point(point: Point, before: Point | None) -> None:
    """A line of the table."""
    line = f"  {point.size:6} {point.ms:10.1f} ms {point.peak_mb:7.0f} MB"
    if before is not None:
        exponents = (growth(point[k], before[k], point.size, before.size) for k in (2, 3))
        line += "   growth {:.2f} of time, {:.2f} of memory".format(*exponents)
    print(line, flush=True)


def draw(points: list[Point], path: Path) -> None:
    """A panel for each series: time in blue, memory in orange; dotted: proportional to the work."""
    names = list(dict.fromkeys(point.series for point in points))
    figure, all_axes = plt.subplots(1, len(names), figsize=(4.2 * len(names), 3.6), squeeze=False, layout="constrained")
    for axes, name in zip(all_axes[0], names, strict=True):
        members = [point for point in points if point.series == name]
        sizes = [point.size for point in members]
        for label, values, colour in (
            ("time, ms", [p.ms for p in members], "tab:blue"),
            ("peak memory, MB", [p.peak_mb for p in members], "tab:orange"),
        ):
            axes.loglog(sizes, values, "o-", color=colour, label=label)
        axes.loglog(
            sizes,
            [members[0].ms * size / sizes[0] for size in sizes],
            ":",
            color="tab:gray",
            label="time, if proportional",
        )
        axes.set(xlabel=name, xticks=sizes, xticklabels=map(str, sizes))
        axes.minorticks_off()
        axes.legend()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    cases = {case.format(n): MAKERS[case.split()[0]](n) for case, sizes in SERIES.values() for n in sizes}
    if " ".join(sys.argv[1:2]) in cases:
        with program.started("bench"):
            serve(cases)
    else:
        main()
