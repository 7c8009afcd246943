"""A trained run, or the ridges alone, judged by a protocol of the field: every pair compared, scored, then reported."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ifvit import __version__
from ifvit.comparison.run_calibration import Score
from ifvit.databases.protocols import PairList
from ifvit.evaluation import nbis
from ifvit.evaluation.calibrating import UNDONE, store_calibration
from ifvit.evaluation.comparisons import Comparisons, compare_all, gallery_digest, worst
from ifvit.evaluation.page import WorstPair
from ifvit.evaluation.report import write_pairs, write_report
from ifvit.evaluation.robustness import FMR, robustness
from ifvit.evaluation.scorers import Gallery, Scorer, judge_of
from ifvit.evaluation.task import Task
from ifvit.evaluation.verification import Figures, by_database
from ifvit.progress import Progress
from ifvit.rates import Thresholds, lowest_fnmr

WORST = 10  # pairs drawn of each kind


class Evaluation(NamedTuple):
    """A task's pairs, compared.

    gallery: the prints of its records; comparisons: the scores of its pairs. figures: of each database; about: what was
    evaluated, by name; key: the same, for comparison.
    """

    judge: Scorer
    task: Task
    gallery: Gallery
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


def evaluate(task: Task, out: Path) -> Evaluation:
    """Every pair compared. What was compared is kept in `out`, so that the same call goes on where it was stopped.

    Raises:
        DataError: no image can be used, or another evaluation's files in `out`.
        CheckpointError: no run, or a damaged one.
        EnhancementError: the enhancement is not installed.
        ScoreError: there is no such score.
        OSError: `out` cannot be written.
    """
    judge = judge_of(task.run_dir, task.data.cache_dir, task.data.ridge_mask, Score(task.score))
    records, pairs = task.records, task.pairs
    gallery = Gallery(judge, records)
    key = judge.key | {
        "images": gallery_digest(gallery), "protocol": str(task.protocol), "pairs": len(pairs),
        "impostors": task.impostors,
    }  # fmt: skip
    comparisons = compare_all(judge, gallery, pairs, out / "comparisons", key)
    found = by_database(records, pairs, comparisons.score, comparisons.failed)
    about = judge.about | {
        "protocol": str(task.protocol), "score": judge.score, "ms a pair": round(float(np.median(comparisons.ms)), 1),
        "images": len(records), "unusable": list(gallery.unusable.values()),
    }  # fmt: skip
    return Evaluation(judge, task, gallery, comparisons, found, about, key)


def report(done: Evaluation, out: Path, command: str, calibrate: bool | None = None, moved: int = 0) -> Iterator[str]:
    """Write the report of an evaluation into `out`, and the calibration of its score into its run; lines for people,
    each once its work is done.

    command: as it was typed. calibrate: whether the scores become the run's calibration; None: unless it has a better
    one (`store_calibration`). moved: how many genuine pairs are compared with a print moved, too.

    Raises:
        DataError: another evaluation's files in `out`.
        OSError: it cannot be written; what was compared is kept.
    """
    task, comparisons = done.task, done.comparisons
    if calibrate is not False and done.judge.run_dir is not None:
        yield _calibrated(done, calibrate is True)
    write_pairs(out, task.records, task.pairs, comparisons)
    table = None
    if moved:
        threshold = _threshold(task.pairs, comparisons, FMR)
        table = robustness(done.judge, task.records, task.pairs, threshold, moved, out / "robustness", done.key)
        yield from table.text()
    baseline = None
    if reason := nbis.unavailable():
        yield f"no baseline beside it: {reason}"
    else:
        baseline = nbis.baseline(task.records, task.pairs, out)
    origin = {"date": datetime.now().astimezone().isoformat(" ", "minutes"), "ifvit": __version__, "command": command}
    write_report(out, done.about | origin, done.figures, _drawn(done), baseline, table)
    names = {"look at": "report.html", "figures": "results.json", "pairs": "pairs.csv"}
    yield from (f"{what:<9}{out / name}" for what, name in names.items())


def _calibrated(done: Evaluation, replace: bool) -> str:
    """The run calibrated by the impostor pairs; what was done, in a line."""
    task, failed = done.task, done.comparisons.failed
    impostor = ~task.pairs.genuine
    if failed[impostor].all():
        return f"{UNDONE}no impostor pair could be compared"
    # A pair that failed has no score and so reaches none: the bottom.
    scores = np.where(failed, done.comparisons.score[impostor & ~failed].min(), done.comparisons.score)[impostor]
    of = {
        "protocol": str(task.protocol), "images": len(task.records), "databases": task.databases,
        "genuine": int(task.pairs.genuine.sum()), "content": done.key["images"],
    }  # fmt: skip
    return store_calibration(done.judge, scores, of, replace)


def _threshold(compared: PairList, comparisons: Comparisons, fmr: float) -> float:
    """The lowest score that at most a share `fmr` of all impostor pairs reach."""
    score = np.where(comparisons.failed, comparisons.score.min(), comparisons.score)
    _, threshold = lowest_fnmr(Thresholds(score, compared.genuine).rates(), fmr)
    return float(threshold)


def _drawn(done: Evaluation) -> list[WorstPair]:
    """The worst pairs, compared again and drawn."""
    task = done.task
    listed = []
    for kind, k in worst(task.pairs, done.comparisons, WORST):
        numbers = int(task.pairs.first[k]), int(task.pairs.second[k])
        pair = tuple(done.gallery[number] for number in numbers)
        if None not in pair:
            files = tuple(str(task.records[number].path) for number in numbers)
            listed.append((kind, files, pair))
    progress = Progress("drawing the worst pairs", len(listed))
    pictures = done.judge.drawn([files for _, files, _ in listed], [pair for *_, pair in listed])
    drawn = []
    for (kind, files, _), (caption, picture) in zip(listed, pictures, strict=True):
        names = tuple("/".join(Path(file).parts[-2:]) for file in files)  # two folders may hold one name
        drawn.append(WorstPair(kind, names, caption, picture))
        progress.step()
    return drawn
