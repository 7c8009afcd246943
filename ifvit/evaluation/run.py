"""A trained run, or the ridges alone, judged by a protocol of the field: every pair compared, scored, then reported."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ifvit.config import DataConfig, Source
from ifvit.data.protocols import PairList, Protocol, pairs
from ifvit.data.records import DataError, Record
from ifvit.data.sources import find
from ifvit.evaluation import peers
from ifvit.evaluation.calibrating import store_calibration
from ifvit.evaluation.comparisons import Comparisons, compare_all, gallery_digest, worst
from ifvit.evaluation.judges import Gallery, Judge, judge_of, refuse_seen
from ifvit.evaluation.report import write_pairs, write_report
from ifvit.evaluation.robustness import FMR, robustness
from ifvit.evaluation.verification import Figures, figures
from ifvit.rates import Ladder, lowest_fnmr
from ifvit.recognition.run_calibration import Score

WORST = 10  # pairs drawn of each kind
USUAL = {Source.fvc: Protocol.fvc, Source.sd4: Protocol.sd4}


class Evaluation(NamedTuple):
    """A protocol's pairs, compared.

    records, gallery: the impressions and their prints; compared, comparisons: the pairs and their scores.
    figures: of each database; about: what was evaluated, by name; key: the same, for comparison.
    """

    judge: Judge
    records: list[Record]
    gallery: Gallery
    compared: PairList
    comparisons: Comparisons
    figures: dict[str, Figures]
    about: dict[str, Any]
    key: dict[str, Any]

    def text(self) -> list[str]:
        """Lines for people."""
        return [
            *("\n  ".join([name, *figures.text()]) for name, figures in self.figures.items()),
            f"{self.about['ms a pair']:.0f} ms a pair",
        ]


def evaluate(
    run_dir: Path | None,
    data: DataConfig,
    protocol: Protocol | None,
    impostors: int | None,
    out: Path,
    score: str | Score = Score.fused,
) -> Evaluation:
    """Every pair compared. What was compared is kept in `out`, so that the same call goes on where it was stopped.

    run_dir: None compares by the ridges alone. protocol: None takes the data's usual one. impostors: how many to draw;
    None takes all. score: which score is judged.

    Raises:
        DataError: nothing found, data that do not suit the protocol, subjects that the run trained or validated on, or
            another evaluation's files in `out`.
        CheckpointError: no run, or a damaged one.
        ScoreError: there is no such score.
        OSError: `out` cannot be written.
    """
    judge = judge_of(run_dir, data.cache_dir, data.enhancement, Score(score))
    records = [record for some in find(data).values() for record in some]
    if not records:
        raise DataError("data: synthetic fingers are evaluated as a set (python -m ifvit synthesize), with data=fvc")
    refuse_seen(run_dir, records)
    protocol = protocol or USUAL.get(data.source, Protocol.all)
    compared = pairs(records, protocol, impostors)
    gallery = Gallery(judge, records)
    key = judge.key | {
        "images": gallery_digest(gallery), "protocol": str(protocol), "pairs": len(compared), "impostors": impostors,
    }  # fmt: skip
    comparisons = compare_all(judge, gallery, compared, out / "comparisons", key)
    found = by_database(records, compared, comparisons.score, comparisons.failed)
    about = judge.told | {
        "protocol": str(protocol), "score": judge.score, "ms a pair": round(float(np.median(comparisons.ms)), 1),
        "images": len(records), "unusable": list(gallery.unusable.values()),
    }  # fmt: skip
    return Evaluation(judge, records, gallery, compared, comparisons, found, about, key)


def report(done: Evaluation, out: Path, calibrate: bool | None = None, moved: int = 0) -> Iterator[str]:
    """Write the report of an evaluation into `out`, and the calibration of its score into its run; lines for people,
    each once its work is done.

    calibrate: whether the scores become the model's calibration; None: unless it has one of more impostor pairs.
    moved: how many genuine pairs are compared with a print moved, too.

    Raises:
        DataError: another evaluation's files in `out`.
        OSError: it cannot be written; what was compared is kept.
    """
    if calibrate is not False and done.judge.run_dir is not None:
        yield store_calibration(done.judge, *_impostor_scores(done), replace=calibrate is True)
    write_pairs(out, done.records, done.compared, done.comparisons)
    table = None
    if moved:
        threshold = _threshold(done.compared, done.comparisons, FMR)
        table = robustness(done.judge, done.records, done.compared, threshold, moved, out / "robustness", done.key)
        yield from table.text()
    baseline = None
    if reason := peers.unavailable():
        yield f"no baseline beside it: {reason}"
    else:
        baseline = peers.baseline(done.records, done.compared, out)
    write_report(out, done.about, done.figures, _drawn(done), baseline, table)
    names = {"look at": "report.html", "figures": "results.json", "pairs": "pairs.csv"}
    yield from (f"{what:<9}{out / name}" for what, name in names.items())


def _threshold(compared: PairList, comparisons: Comparisons, fmr: float) -> float:
    """The lowest score that at most a share `fmr` of all impostor pairs reach."""
    score = np.where(comparisons.failed, comparisons.score.min(), comparisons.score)
    _, threshold = lowest_fnmr(Ladder(score, compared.genuine).rates(), fmr)
    return float(threshold)


def by_database(
    records: Sequence[Record], compared: PairList, score: np.ndarray, failed: np.ndarray
) -> dict[str, Figures]:
    """The figures of each database; a pair of two belongs to the first one's."""
    identity = np.array([record.identity for record in records])
    database = np.array([record.database for record in records])
    found = {}
    for name in dict.fromkeys(database.tolist()):
        k = np.flatnonzero(database[compared.first] == name)
        if compared.genuine[k].any() and not compared.genuine[k].all():
            sides = identity[compared.first[k]], identity[compared.second[k]]
            found[name] = figures(score[k], compared.genuine[k], *sides, failed[k])
    return found


def _impostor_scores(done: Evaluation) -> tuple[np.ndarray, dict[str, Any]]:
    """The scores that calibrate, (N,), those of pairs that failed at the bottom; and whose they are."""
    # A pair that failed has no score and so reaches none.
    scores = np.where(done.comparisons.failed, -np.inf, done.comparisons.score)[~done.compared.genuine]
    lowest = scores[np.isfinite(scores)].min(initial=-1.0)
    about = {name: done.about[name] for name in ("protocol", "images")}
    genuine = int(done.compared.genuine.sum())
    databases = list(dict.fromkeys(record.database for record in done.records))
    return np.maximum(scores, lowest), about | {"databases": databases, "genuine": genuine}


def _drawn(done: Evaluation) -> list[tuple[str, np.ndarray]]:
    """The worst pairs, compared again and drawn."""
    captions, names, prints = [], [], []
    for kind, k in worst(done.compared, done.comparisons, WORST):
        numbers = int(done.compared.first[k]), int(done.compared.second[k])
        a, b = (done.records[number] for number in numbers)
        pair = tuple(done.gallery[number] for number in numbers)
        if None in pair:
            continue
        score = f"score {done.comparisons.score[k]:.3g}"
        captions.append(f"{kind}: {a.identity} {a.impression} and {b.identity} {b.impression}, {score}")
        names.append((str(a.path), str(b.path)))
        prints.append(pair)
    drawn = done.judge.drawn(names, prints)
    return [(f"{caption}; {line}", picture) for caption, (line, picture) in zip(captions, drawn, strict=True)]
