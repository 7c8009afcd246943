"""An evaluation as files: figures as JSON, every pair as CSV, pictures, and one HTML page that needs none of them.

results.json   figures of each database, what was compared, calibration
pairs.csv      every pair: files, genuine or not, score
det.png        FNMR over FMR, a curve for each database; DATABASE.png its scores
worst/         the genuine pairs of the lowest scores, the impostor pairs of the highest
report.html    all of it on one page
"""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ifvit import pictures
from ifvit.checkpoint import write_json
from ifvit.data.protocols import PairList
from ifvit.data.records import Record
from ifvit.data.tables import pieces
from ifvit.evaluation.comparisons import Comparisons
from ifvit.evaluation.curves import COLOURS, draw_det, draw_heat_map, draw_histogram
from ifvit.evaluation.peers import Baseline
from ifvit.evaluation.robustness import Robustness
from ifvit.evaluation.verification import POINTS, TOO_FEW, Figures
from ifvit.files import write_whole

HEADING = (
    "first", "second", "genuine", "database", "score", "global", "local", "failed", "agreeing_matches", "matches",
    "overlap",
)  # fmt: skip
COLUMNS = (
    "database", *(f"{name} %" for name in POINTS.values()), "TAR % at FAR 0.1 %", "genuine pairs failed",
    "impostor pairs failed",
)  # fmt: skip
STYLE = (
    ".figures td,.figures th{padding:.2em .8em;text-align:right}body{font-family:sans-serif;max-width:70em;"
    "margin:2em auto;padding:0 1em}img{max-width:100%}pre{overflow:auto}"
)


def write_report(
    out: Path,
    told: Mapping[str, Any],
    figures: Mapping[str, Figures],
    worst: Sequence[tuple[str, np.ndarray]],
    baseline: Baseline | None = None,
    moved: Robustness | None = None,
) -> None:
    """results.json, the pictures and report.html.

    told: what was evaluated, by name. figures: by database. worst: captions and pictures, uint8 RGB. baseline: another
    matcher on the same pairs. moved: FNMR of turned and moved prints.

    Raises:
        OSError: a file cannot be written.
    """
    results = {**told, "databases": {name: one.tree() for name, one in figures.items()}}
    if baseline:
        own = {name: one.tree() for name, one in baseline.figures.items()}
        results["baseline"] = {"name": baseline.name, "version": baseline.version, "databases": own}
    if moved:
        results["robustness"] = moved.tree()
    write_json(out / "results.json", results)
    heading = [f"{name}: {value}" for name, value in told.items() if name in ("protocol", "run")]
    drawn = {}
    if len(figures) <= len(COLOURS):
        drawn["det"] = draw_det(figures, heading)
    drawn |= {name.replace("/", "_"): draw_histogram(one, [name, *heading]) for name, one in figures.items()}
    if moved:
        drawn["robustness"] = draw_heat_map(moved, moved.text()[:1])
    for name, picture in drawn.items():
        pictures.save(out / f"{name}.png", picture)
    for k, (_, picture) in enumerate(worst):
        pictures.save(out / "worst" / f"{k:02d}.png", picture)
    page = _page(told, figures, drawn, worst, baseline).encode()
    write_whole(out / "report.html", lambda file: file.write(page))


def write_pairs(out: Path, records: Sequence[Record], pairs: PairList, comparisons: Comparisons) -> None:
    """pairs.csv."""
    rows = (
        (
            records[a].path, records[b].path, int(pairs.genuine[k]), records[a].database,
            *(_cosine(values[k]) for values in (comparisons.score, comparisons.of_global, comparisons.of_local)),
            int(comparisons.failed[k]), comparisons.agree[k], comparisons.made[k], f"{comparisons.overlap[k]:.4f}",
        )
        for k, (a, b) in enumerate(zip(pairs.first, pairs.second, strict=True))
    )  # fmt: skip
    lines = (piece.encode() for piece in pieces(HEADING, rows))
    write_whole(out / "pairs.csv", lambda file: file.writelines(lines))


def _cosine(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.6g}"


def _page(
    told: Mapping,
    figures: Mapping[str, Figures],
    drawn: Mapping[str, np.ndarray],
    worst: Sequence,
    baseline: Baseline | None,
) -> str:
    """One HTML page with its pictures inside; every text in it is escaped, names of files are strangers'."""
    parts = [f"<!doctype html><meta charset=utf-8><title>IFViT evaluation</title><style>{STYLE}</style>"]
    parts.append("<h1>Verification</h1><table>")
    parts += [f"<tr><td>{_text(name)}</td><td>{_text(value)}</td></tr>" for name, value in told.items()]
    parts.append("</table>")
    parts += _table(figures, baseline)
    if "det" in drawn:
        parts.append(_image(drawn["det"]))
    for name, one in figures.items():
        parts.append(f"<h2>{_text(name)}</h2><pre>{_text(chr(10).join(one.text()))}</pre>")
        parts.append(_image(drawn[name.replace("/", "_")]))
    if "robustness" in drawn:
        parts.append(f"<h2>Turned and moved</h2>{_image(drawn['robustness'])}")
    parts.append("<h2>The worst pairs</h2>" if worst else "")
    parts += [f"<h3>{_text(caption)}</h3>{_image(picture)}" for caption, picture in worst]
    return "\n".join(parts)


def _table(figures: Mapping[str, Figures], baseline: Baseline | None) -> list[str]:
    """A row for each database, and under it the baseline's."""
    rows = ["<table class=figures><tr>" + "".join(f"<th>{name}</th>" for name in COLUMNS) + "</tr>"]
    for name, one in figures.items():
        rows.append(_row(name, one))
        if baseline and name in baseline.figures:
            rows.append(_row(f"&nbsp; {_text(baseline.name)}", baseline.figures[name], escaped=True))
    return [*rows, f"</table><p>In brackets: 95 % intervals over fingers. {TOO_FEW}.</p>"]


def _row(name: str, one: Figures, escaped: bool = False) -> str:
    def with_interval(key: str) -> str:
        if not one.enough[key]:
            return f"{100 * getattr(one, key):.2f}{one.mark(key)}"
        low, high = (100 * value for value in one.intervals[key])
        return f"{100 * getattr(one, key):.2f} [{low:.2f}, {high:.2f}]"

    tar = next(tar for tar in one.tar if tar.far == 0.001)
    failed = one.pairs.failed_genuine, one.pairs.failed_impostor
    cells = [
        name if escaped else _text(name), *(with_interval(key) for key in POINTS),
        f"{100 * tar.tar:.2f}" + ("" if tar.enough else "*"), f"{failed[0]} of {one.pairs.genuine}",
        f"{failed[1]} of {one.pairs.impostor}",
    ]  # fmt: skip
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _text(value: Any) -> str:
    return html.escape(str(value))


def _image(picture: np.ndarray) -> str:
    return f'<img src="data:image/png;base64,{base64.b64encode(pictures.encoded(picture)).decode()}">'
