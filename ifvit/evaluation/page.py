"""report.html: an evaluation on one page without other files, for a screen, for paper and for screen readers.

Every text is escaped: names of files and databases come from outside. The pictures are embedded: charts as PNG with few
colours, the worst pairs as JPEG thumbnails that link to the file in worst/.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image

from ifvit import glossary
from ifvit.calibration import counted
from ifvit.evaluation.figures import POINTS, TOO_FEW, Figures
from ifvit.evaluation.nbis import Baseline
from ifvit.evaluation.robustness import Robustness

COLUMNS = (
    *(f"{name} %" for name in POINTS.values()), "TAR % at FAR 0.1 %", "genuine pairs failed", "impostor pairs failed"
)  # fmt: skip
THUMBNAIL = 560  # px, wide
LONGEST = 80  # characters of a chart's name
DET, ROBUSTNESS = "det.png", "robustness.png"
OTHER_FILES = (
    "results.json: every figure, for programs",
    "pairs.csv: every pair, its files and its score",
    "det.png, DATABASE.png: the charts",
    "worst/: the worst pairs as large pictures",
)
STYLE = """
body{font-family:sans-serif;line-height:1.45;max-width:72em;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse;margin:1em 0}caption{text-align:left;font-weight:bold;padding:.3em 0}
th,td{padding:.2em .8em .2em 0;text-align:left;vertical-align:top;border-bottom:1px solid #ddd}
.figures td,.figures tbody th{white-space:nowrap}.figures td,.figures thead th+th{text-align:right}
.figures .other th{padding-left:1.5em;font-weight:normal}.wide{overflow-x:auto}
code{overflow-wrap:anywhere}pre{overflow-x:auto}
img{max-width:100%;height:auto}figure{margin:1em 0}.pairs{display:flex;flex-wrap:wrap;gap:1.5em}
.pairs figure{width:26em;margin:0}dt{font-weight:bold}dd{margin:0 0 .4em 2em}
@media print{body{max-width:none;margin:0;font-size:9pt}.figures{font-size:7.5pt}figure,tr,pre,dd{break-inside:avoid}
h2,h3,h3+p,dt{break-after:avoid}.pairs{display:block}.pairs figure{display:inline-block;
width:39%;margin-right:4%}.wide,pre{overflow:visible}pre{white-space:pre-wrap;font-size:7pt}a{color:inherit;text-decoration:none}}
"""


class WorstPair(NamedTuple):
    """The picture of a pair."""

    kind: str  # 'genuine' or 'impostor'
    files: tuple[str, str]  # names of both
    caption: str  # the result of the comparison in a line
    picture: np.ndarray  # (H, W, 3) uint8 RGB

    @staticmethod
    def file_of(number: int) -> str:
        """The path of the picture of the pair with this number, relative to the page."""
        return f"worst/{number:02d}.png"


class Contents(NamedTuple):
    """What a page shows."""

    title: str
    about: Mapping[str, Any]  # what was evaluated, by name
    figures: Mapping[str, Figures]  # by database
    charts: Mapping[str, np.ndarray]  # file name (DET, ROBUSTNESS, `chart_files`) -> (H, W, 3) uint8 RGB
    worst: Sequence[WorstPair]
    baseline: Baseline | None = None  # another matcher on the same pairs
    robustness: Robustness | None = None  # FNMR of rotated and shifted prints


class _Section(NamedTuple):
    anchor: str  # id of the heading
    title: str
    body: Sequence[str]  # HTML


def page(contents: Contents) -> str:
    """The page as HTML."""
    title = f"Verification: {contents.title}"
    sections = list(_sections(contents))
    about = contents.about
    links = "".join(f'<li><a href="#{section.anchor}">{_text(section.title)}</a></li>' for section in sections)
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{_text(title)} - IFViT</title><style>{STYLE}</style></head><body>",
        f"<header><h1>{_text(title)}</h1><p>IFViT {_text(about['ifvit'])}, {_text(about['date'])}</p></header>",
        f'<nav aria-labelledby="contents"><h2 id="contents">Contents</h2><ol>{links}</ol></nav><main>',
    ]
    for section in sections:
        parts += [f'<section><h2 id="{section.anchor}">{_text(section.title)}</h2>', *section.body, "</section>"]
    return "\n".join([*parts, "</main></body></html>", ""])


def _sections(contents: Contents) -> Iterator[_Section]:
    figures, charts, files = contents.figures, contents.charts, chart_files(contents.figures)
    yield _Section("evaluated", "What was evaluated", _about(contents.about))
    yield _Section("figures", "Figures", _table(figures, contents.baseline))
    if DET in charts:
        descriptions = "; ".join(f"{name}: {_figures_text(result)}" for name, result in figures.items())
        yield _Section("det", "FNMR over FMR", [_figure(charts, DET, f"DET curves. {descriptions}")])
    for number, (name, result) in enumerate(figures.items()):
        chart = _figure(charts, files[name], f"Scores of {name}. {_figures_text(result)}")
        yield _Section(f"database-{number}", name, [f"<pre>{_text(chr(10).join(result.text()))}</pre>", chart])
    if contents.robustness:
        yield _Section("moved", "Turned and moved prints", _robustness(contents.robustness, charts))
    if contents.worst:
        yield _Section("worst", "The worst pairs", list(_worst_pairs(contents.worst)))
    yield _Section("files", "Files beside this page", [_list(OTHER_FILES)])
    yield _Section("glossary", "Glossary", list(_glossary()))


def chart_files(databases: Iterable[str]) -> dict[str, str]:
    """The file name of each database's chart: without folders, and all different."""
    files: dict[str, str] = {}
    for name in databases:
        stem = name.replace("/", "_")[:LONGEST]
        used = {DET, ROBUSTNESS, *files.values()}
        names = (f"{stem}{'_' * more}.png" for more in range(len(used) + 1))
        files[name] = next(file for file in names if file not in used)
    return files


def _about(about: Mapping[str, Any]) -> list[str]:
    rows = []
    for name, value in about.items():
        if name == "command":
            cell = f"<code>{_text(value)}</code>"
        elif isinstance(value, (list, tuple)):
            cell = _list(value) if value else "none"
        else:
            cell = _text(value)
        rows.append(f'<tr><th scope="row">{_text(name)}</th><td>{cell}</td></tr>')
    return [f"<table><caption>Run, data and command</caption><tbody>{''.join(rows)}</tbody></table>"]


def _table(figures: Mapping[str, Figures], baseline: Baseline | None) -> list[str]:
    """A row for each database, and below it the row of the baseline."""
    heads = "".join(f'<th scope="col">{name}</th>' for name in ("database", *COLUMNS))
    results = [*figures.values(), *(baseline.figures.values() if baseline else ())]
    has_intervals = any(not result.doubt(key) for result in results for key in POINTS)
    brackets = "In brackets: 95 % intervals over fingers. " if has_intervals else ""
    rows = []
    for name, result in figures.items():
        rows.append(_row(name, result))
        if baseline and name in baseline.figures:
            rows.append(_row(baseline.name, baseline.figures[name], ' class="other"'))
    return [
        '<div class="wide"><table class="figures"><caption>Rates in per cent, by database</caption>'
        f"<thead><tr>{heads}</tr></thead><tbody>",
        *rows,
        f"</tbody></table></div><p>{brackets}{TOO_FEW}.</p>",
    ]


def _row(name: str, result: Figures, kind: str = "") -> str:
    tar = next(tar for tar in result.tar if tar.far == 0.001)
    pairs = result.pairs
    cells = [
        *(_cell(result, key) for key in POINTS),
        f"{100 * tar.tar:.2f}{'' if tar.enough else '*'}",
        f"{pairs.failed_genuine} of {pairs.genuine}",
        f"{pairs.failed_impostor} of {pairs.impostor}",
    ]
    if result.missing_reason:
        cells[: len(POINTS) + 1] = ["-"] * (len(POINTS) + 1)
    return f'<tr{kind}><th scope="row">{_text(name)}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'


def _cell(result: Figures, key: str) -> str:
    if mark := result.mark(key):
        return f"{100 * getattr(result, key):.2f}{mark}"
    low, high = (100 * value for value in result.intervals[key])
    return f"{100 * getattr(result, key):.2f} [{low:.2f}, {high:.2f}]"


def _figures_text(result: Figures) -> str:
    """The figures of a chart as text, for screen readers."""
    if result.missing_reason:
        return result.missing_reason
    rates = ", ".join(f"{label} {100 * getattr(result, key):.2f} %" for key, label in POINTS.items())
    return f"{rates}, by {counted(result.pairs.genuine, 'genuine')} and {counted(result.pairs.impostor, 'impostor')}"


def _robustness(robustness: Robustness, charts: Mapping[str, np.ndarray]) -> list[str]:
    text = "\n".join(robustness.text())
    alt = "FNMR by the angle and the shift of the second print; the table below has its figures"
    return [_figure(charts, ROBUSTNESS, alt), f"<pre>{_text(text)}</pre>"]


def _worst_pairs(worst: Sequence[WorstPair]) -> Iterator[str]:
    titles = {"genuine": "Genuine pairs of the lowest scores", "impostor": "Impostor pairs of the highest scores"}
    for kind, title in titles.items():
        numbered = [(number, pair) for number, pair in enumerate(worst) if pair.kind == kind]
        if not numbered:
            continue
        yield f'<h3>{title}</h3><p>A picture opens the large one, in worst/.</p><div class="pairs">'
        for number, pair in numbered:
            names = " and ".join(pair.files)
            yield (
                f'<figure><a href="{pair.file_of(number)}"><img alt="{_text(f"{kind} pair {names}. {pair.caption}")}" '
                f'src="data:image/jpeg;base64,{_encoded(thumbnail(pair.picture))}"></a>'
                f"<figcaption><code>{_text(names)}</code><br>{_text(pair.caption)}</figcaption></figure>"
            )
        yield "</div>"


def _glossary() -> Iterator[str]:
    yield f"<p>At length, with formulas: {glossary.DOCS} of the program.</p><dl>"
    for term in glossary.VERIFICATION:
        more = f" {term.more}" if term.more else ""
        yield f"<dt>{_text(term.name)}</dt><dd>{_text(f'{term.means}.{more}')}</dd>"
    yield "</dl>"


def _figure(charts: Mapping[str, np.ndarray], file: str, alt: str) -> str:
    return (
        f'<figure><img alt="{_text(alt)}" src="data:image/png;base64,{_encoded(few_colours(charts[file]))}">'
        f"<figcaption><code>{_text(file)}</code></figcaption></figure>"
    )


def few_colours(chart: np.ndarray) -> bytes:
    """A chart, uint8 RGB (H, W, 3), as a PNG of 64 colours."""
    content = io.BytesIO()
    Image.fromarray(chart).quantize(64).save(content, "PNG", optimize=True)
    return content.getvalue()


def thumbnail(picture: np.ndarray) -> bytes:
    """A picture, uint8 RGB (H, W, 3), as a JPEG that is at most THUMBNAIL px wide."""
    height, width = picture.shape[:2]
    if width > THUMBNAIL:
        size = THUMBNAIL, max(1, round(height * THUMBNAIL / width))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    content = io.BytesIO()
    Image.fromarray(picture).save(content, "JPEG", quality=75, optimize=True)
    return content.getvalue()


def _encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _list(values: Sequence[Any]) -> str:
    return f"<ul>{''.join(f'<li>{_text(value)}</li>' for value in values)}</ul>"


def _text(value: Any) -> str:
    return html.escape(str(value))
