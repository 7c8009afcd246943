"""A trained run judged by a protocol of the field: compares every pair, scores it, writes the report."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ifvit.calibration import calibration
from ifvit.checkpoint import write_json
from ifvit.config import DataConfig, Source
from ifvit.data.protocols import PairList, Protocol, pairs
from ifvit.data.records import DataError, Record
from ifvit.data.sources import find
from ifvit.evaluation import peers
from ifvit.evaluation.comparisons import Comparisons, compare_all, gallery_digest, worst
from ifvit.evaluation.judges import Gallery, Judge, MatcherJudge, judge_of, refuse_seen
from ifvit.evaluation.report import write_pairs, write_report
from ifvit.evaluation.robustness import FMR, robustness
from ifvit.evaluation.verification import Figures, figures
from ifvit.rates import Ladder, lowest_fnmr
from ifvit.recognition.comparer import CALIBRATION

WORST = 10  # pairs drawn of each kind
USUAL = {Source.fvc: Protocol.fvc, Source.sd4: Protocol.sd4}


class Evaluation(NamedTuple):
    """figures: of each database; ms: median time of a comparison; notes: what else is to be said, in lines."""

    figures: dict[str, Figures]
    ms: float
    notes: list[str]


def evaluate(
    run_dir: Path,
    data: DataConfig,
    protocol: Protocol | None,
    impostors: int | None,
    out: Path,
    calibrate: bool = True,
    moved: int = 0,
) -> Evaluation:
    """The figures of each database; everything is written into `out`, and a Module 2's calibration into its run.

    protocol: None takes the data's usual one. impostors: how many to draw; None takes all. calibrate: whether the
    scores become the model's calibration. moved: how many genuine pairs are compared with a print moved, too.

    Raises:
        DataError: nothing found, data that do not suit the protocol, subjects that the run trained or validated on, or
            another evaluation's files in `out`.
        CheckpointError: no run, or a damaged one.
    """
    judge = judge_of(run_dir, data.cache_dir)
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
    ms = float(np.median(comparisons.ms))
    told = judge.told | {
        "protocol": str(protocol), "score": judge.score, "ms a pair": round(ms, 1), "images": len(records),
        "unusable": list(gallery.unusable.values()),
    }  # fmt: skip
    write_pairs(out, records, compared, comparisons)
    notes = []
    if calibrate and isinstance(judge, MatcherJudge):
        notes.append(_calibrate(run_dir, judge, compared, comparisons, told | {"databases": list(found)}))
    table = None
    if moved:
        threshold = _threshold(compared, comparisons, FMR)
        table = robustness(judge, records, compared, threshold, moved, out / "robustness", key)
        notes += table.text()
    baseline = _baseline(records, compared, out, notes)
    write_report(out, told, found, _drawn(judge, records, gallery, compared, comparisons), baseline, table)
    return Evaluation(found, ms, notes)


def _threshold(compared: PairList, comparisons: Comparisons, fmr: float) -> float:
    """The lowest score that at most a share `fmr` of all impostor pairs reach."""
    score = np.where(comparisons.failed, comparisons.score.min(), comparisons.score)
    _, threshold = lowest_fnmr(Ladder(score, compared.genuine).rates(), fmr)
    return float(threshold)


def _baseline(records: Sequence[Record], compared: PairList, out: Path, notes: list[str]) -> peers.Baseline | None:
    """The same pairs by NIST's matcher, where it is installed."""
    if reason := peers.unavailable():
        notes.append(f"no baseline beside it: {reason}")
        return None
    return peers.baseline(records, compared, out)


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


def _calibrate(
    run_dir: Path, judge: MatcherJudge, compared: PairList, comparisons: Comparisons, told: Mapping[str, Any]
) -> str:
    """Store with the model how often different fingers reach a score; what was done, in a line."""
    impostor = ~compared.genuine
    # A pair that failed has no score and so reaches none.
    scores = np.where(comparisons.failed, -np.inf, comparisons.score)[impostor]
    if not len(scores):
        return "not calibrated: there is no impostor pair"
    lowest = scores[np.isfinite(scores)].min(initial=-1.0)
    table = calibration(np.maximum(scores, lowest))
    of = {name: told[name] for name in ("protocol", "databases", "images")}
    try:
        write_json(run_dir / CALIBRATION, {**judge.calibration_key, "of": of, "table": table.tree()})
    except OSError as error:
        print(f"{run_dir / CALIBRATION} cannot be written ({error.strerror}): not calibrated", file=sys.stderr)
        return "not calibrated: the run's folder cannot be written"
    return f"calibrated with {len(scores)} impostor pairs: {run_dir / CALIBRATION}"


def _drawn(
    judge: Judge, records: Sequence[Record], gallery: Gallery, compared: PairList, comparisons: Comparisons
) -> list[tuple[str, np.ndarray]]:
    """The worst pairs, compared again and drawn."""
    drawn: list[tuple[str, np.ndarray]] = []
    for kind, k in worst(compared, comparisons, WORST):
        a, b = int(compared.first[k]), int(compared.second[k])
        if gallery[a] is None or gallery[b] is None:
            continue
        said, picture = judge.drawn((str(records[a].path), str(records[b].path)), gallery[a], gallery[b])
        caption = f"{kind}: {records[a].identity} {records[a].impression} and {records[b].identity} " + (
            f"{records[b].impression}, score {comparisons.score[k]:.3g}; {said}"
        )
        drawn.append((caption, picture))
    return drawn
