"""Write an evaluation as files: figures as JSON, every pair as CSV, pictures, and an HTML page with all of it.

results.json   figures of each database, what was compared, calibration
pairs.csv      every pair: files, genuine or not, score
det.png        FNMR over FMR, a curve for each database; DATABASE.png its scores
worst/         the genuine pairs of the lowest scores, the impostor pairs of the highest
report.html    all of it on one page without other files (`page`)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ifvit.databases.protocols import PairList
from ifvit.databases.records import Record
from ifvit.evaluation.comparisons import Comparisons
from ifvit.evaluation.curves import draw_det, draw_heat_map, draw_histogram
from ifvit.evaluation.figures import Figures
from ifvit.evaluation.nbis import Baseline
from ifvit.evaluation.page import DET, ROBUSTNESS, Contents, WorstPair, chart_files, page
from ifvit.evaluation.robustness import Robustness
from ifvit.pictures import picture_files
from ifvit.pictures.charts import COLOURS
from ifvit.storage.csv_text import pieces
from ifvit.storage.files import write_whole
from ifvit.storage.json_files import write_json

HEADING = (
    "first", "second", "genuine", "database", "score", "global", "local", "failed", "paired_minutiae", "minutiae",
    "overlap",
)  # fmt: skip


def write_report(
    out: Path,
    about: Mapping[str, Any],
    figures: Mapping[str, Figures],
    worst: Sequence[WorstPair],
    baseline: Baseline | None = None,
    robustness: Robustness | None = None,
) -> None:
    """results.json, the pictures and report.html.

    about: what was evaluated, by name, with `date`, `ifvit` (the version), `protocol` and `score`. figures: by
    database. baseline: another matcher on the same pairs. robustness: FNMR of rotated and shifted prints.

    Raises:
        OSError: a file cannot be written.
    """
    results = {**about, "databases": {name: result.to_dict() for name, result in figures.items()}}
    if baseline:
        databases = {name: result.to_dict() for name, result in baseline.figures.items()}
        results["baseline"] = {"name": baseline.name, "version": baseline.version, "databases": databases}
    if robustness:
        results["robustness"] = robustness.to_dict()
    write_json(out / "results.json", results)
    charts = _charts(about, figures, robustness)
    for name, picture in charts.items():
        picture_files.save(out / name, picture)
    for number, pair in enumerate(worst):
        picture_files.save(out / pair.file_of(number), pair.picture)
    title = f"{', '.join(figures)} (protocol {about['protocol']})"
    content = page(Contents(title, about, figures, charts, worst, baseline, robustness)).encode()
    write_whole(out / "report.html", lambda file: file.write(content))


def _charts(
    about: Mapping[str, Any], figures: Mapping[str, Figures], robustness: Robustness | None
) -> dict[str, np.ndarray]:
    """The charts by file name, uint8 RGB (H, W, 3)."""
    heading = [f"{name}: {about[name]}" for name in ("run", "protocol") if name in about]
    charts = {}
    if 1 <= len(figures) <= len(COLOURS):
        charts[DET] = draw_det(figures, heading)
    for name, file in chart_files(figures).items():
        charts[file] = draw_histogram(figures[name], [name, *heading], about["score"])
    if robustness:
        charts[ROBUSTNESS] = draw_heat_map(robustness, robustness.text()[:1])
    return charts


def write_pairs(out: Path, records: Sequence[Record], pairs: PairList, comparisons: Comparisons) -> None:
    """Write pairs.csv.

    Raises:
        OSError: it cannot be written.
    """
    columns = comparisons.score, comparisons.global_cosine, comparisons.local_cosine
    rows = (
        (
            records[a].path, records[b].path, int(pairs.genuine[k]), records[a].database,
            *(_number_text(values[k]) for values in columns),
            int(comparisons.failed[k]), comparisons.paired[k], comparisons.minutiae[k], f"{comparisons.overlap[k]:.4f}",
        )
        for k, (a, b) in enumerate(zip(pairs.first, pairs.second, strict=True))
    )  # fmt: skip
    lines = (piece.encode() for piece in pieces(HEADING, rows))
    write_whole(out / "pairs.csv", lambda file: file.writelines(lines))


def _number_text(value: float) -> str:
    """A score or cosine with 6 digits; empty for nan."""
    return "" if np.isnan(value) else f"{value:.6g}"
