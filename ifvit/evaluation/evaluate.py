"""Evaluate a trained run, or the ridges alone, by a protocol: compare every pair, compute the figures, report them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ifvit import __version__
from ifvit.comparison.result import FMR as VERDICT_FMR
from ifvit.comparison.run_calibration import Score
from ifvit.comparison.synthetic_calibration import synthetic_calibration
from ifvit.comparison.verdict import verdict
from ifvit.databases.protocols import PairList
from ifvit.evaluation import nbis
from ifvit.evaluation.calibrating import UNDONE, store_calibration
from ifvit.evaluation.comparisons import Comparisons, compare_all, gallery_digest, worst_pairs
from ifvit.evaluation.figures import Figures
from ifvit.evaluation.page import WorstPair
from ifvit.evaluation.report import write_pairs, write_report
from ifvit.evaluation.robustness import FMR, robustness
from ifvit.evaluation.scorers import Gallery, Scorer, load_scorer
from ifvit.evaluation.task import Task
from ifvit.evaluation.verification import by_database
from ifvit.progress import Progress
from ifvit.rates import Thresholds, lowest_fnmr

WORST = 10  # pairs drawn of each kind


class Evaluation(NamedTuple):
    """The results of a task."""

    scorer: Scorer
    task: Task
    gallery: Gallery  # the prints of the task's records
    comparisons: Comparisons  # the results of the task's pairs
    figures: dict[str, Figures]  # by database
    about: dict[str, Any]  # what was evaluated, as text and numbers for the report
    key: dict[str, Any]  # what the results depend on, as JSON can store it

    def text(self) -> list[str]:
        """Lines for people."""
        return [
            *("\n  ".join([name, *figures.text()]) for name, figures in self.figures.items()),
            *self._verdict_text(),
            f"{self.about['ms a pair']:.0f} ms a pair",
        ]

    def _verdict_text(self) -> list[str]:
        """How often the verdict of `compare` would be wrong, by the synthetic calibration; none for cosines alone."""
        if self.task.score != Score.fused:
            return []
        networks = self.scorer.matcher.networks
        table = synthetic_calibration(networks is not None and networks.module2 is not None)
        accepted = np.array([verdict(score, VERDICT_FMR, None, table).accepted for score in self.comparisons.score])
        accepted &= ~self.comparisons.failed.astype(bool)
        genuine = self.task.pairs.genuine
        refused, wrong = (~accepted & genuine).sum(), (accepted & ~genuine).sum()
        return [
            f"compare's verdict at an FMR of {100 * VERDICT_FMR:g} %, by synthetic fingers: {refused} of "
            f"{genuine.sum()} genuine pairs are not accepted, {wrong} of {(~genuine).sum()} impostor pairs are"
        ]


def evaluate(task: Task, out: Path) -> Evaluation:
    """Compare every pair. Results are stored in `out`, so that the same call resumes where it was stopped.

    Raises:
        DataError: no image can be used, or `out` has files of another evaluation.
        CheckpointError: there is no run, or it is damaged.
        EnhancementError: the enhancement is not installed.
        ScoreError: there is no such score.
        OSError: `out` cannot be written.
    """
    scorer = load_scorer(task.run_dir, task.data.cache_dir, task.data.ridge_mask, Score(task.score))
    records, pairs = task.records, task.pairs
    gallery = Gallery(scorer, records)
    key = scorer.key | {
        "images": gallery_digest(gallery), "protocol": str(task.protocol), "pairs": len(pairs),
        "impostors": task.impostors,
    }  # fmt: skip
    comparisons = compare_all(scorer, gallery, pairs, out / "comparisons", key)
    figures = by_database(records, pairs, comparisons.score, comparisons.failed)
    about = scorer.about | {
        "protocol": str(task.protocol), "score": scorer.score, "ms a pair": round(float(np.median(comparisons.ms)), 1),
        "images": len(records), "unusable": list(gallery.unusable.values()),
    }  # fmt: skip
    return Evaluation(scorer, task, gallery, comparisons, figures, about, key)


def report(
    evaluation: Evaluation, out: Path, command: str, calibrate: bool | None = None, robustness_pairs: int = 0
) -> Iterator[str]:
    """Write the report of an evaluation into `out`, and the calibration of its score into its run.

    Yields lines for people, each when its work is done.

    command: as it was typed. calibrate: whether the scores become the run's calibration; None: unless the run has a
    better one (`store_calibration`). robustness_pairs: how many genuine pairs are also compared rotated and shifted.

    Raises:
        DataError: `out` has files of another evaluation.
        OSError: it cannot be written; the stored comparisons stay.
    """
    task, comparisons = evaluation.task, evaluation.comparisons
    if calibrate is not False and evaluation.scorer.run_dir is not None:
        yield _calibrate(evaluation, calibrate is True)
    write_pairs(out, task.records, task.pairs, comparisons)
    table = None
    if robustness_pairs:
        threshold = _threshold(task.pairs, comparisons, FMR)
        folder = out / "robustness"
        table = robustness(
            evaluation.scorer, task.records, task.pairs, threshold, robustness_pairs, folder, evaluation.key
        )
        yield from table.text()
    baseline = None
    if reason := nbis.unavailable():
        yield f"no baseline beside it: {reason}"
    else:
        baseline = nbis.run_baseline(task.records, task.pairs, out)
    date = datetime.now().astimezone().isoformat(" ", "minutes")
    provenance = {"date": date, "ifvit": __version__, "command": command}
    write_report(out, evaluation.about | provenance, evaluation.figures, _draw_worst(evaluation), baseline, table)
    names = {"look at": "report.html", "figures": "results.json", "pairs": "pairs.csv"}
    yield from (f"{label:<9}{out / name}" for label, name in names.items())


def _calibrate(evaluation: Evaluation, replace: bool) -> str:
    """Calibrate the run by the impostor pairs. Returns a line for people."""
    task, failed = evaluation.task, evaluation.comparisons.failed
    impostor = ~task.pairs.genuine
    if failed[impostor].all():
        return f"{UNDONE}no impostor pair could be compared"
    # A pair that failed reaches no threshold: it gets the lowest score.
    score = evaluation.comparisons.score
    scores = np.where(failed, score[impostor & ~failed].min(), score)[impostor]
    origin = {
        "protocol": str(task.protocol), "images": len(task.records), "databases": task.databases,
        "genuine": int(task.pairs.genuine.sum()), "content": evaluation.key["images"],
    }  # fmt: skip
    return store_calibration(evaluation.scorer, scores, origin, replace)


def _threshold(pairs: PairList, comparisons: Comparisons, fmr: float) -> float:
    """The lowest score that at most a share `fmr` of all impostor pairs reach."""
    score = np.where(comparisons.failed, comparisons.score.min(), comparisons.score)
    _, threshold = lowest_fnmr(Thresholds(score, pairs.genuine).rates(), fmr)
    return float(threshold)


def _draw_worst(evaluation: Evaluation) -> list[WorstPair]:
    """Compare the worst pairs again and draw them."""
    task = evaluation.task
    usable = []
    for kind, k in worst_pairs(task.pairs, evaluation.comparisons, WORST):
        numbers = int(task.pairs.first[k]), int(task.pairs.second[k])
        pair = tuple(evaluation.gallery[number] for number in numbers)
        if None not in pair:
            file_a, file_b = (str(task.records[number].path) for number in numbers)
            usable.append((kind, (file_a, file_b), pair))
    progress = Progress("drawing the worst pairs", len(usable))
    pictures = evaluation.scorer.draw([files for _, files, _ in usable], [pair for *_, pair in usable])
    worst = []
    for (kind, files, _), (caption, picture) in zip(usable, pictures, strict=True):
        # Files in two folders may have the same name.
        name_a, name_b = ("/".join(Path(file).parts[-2:]) for file in files)
        worst.append(WorstPair(kind, (name_a, name_b), caption, picture))
        progress.step()
    return worst
