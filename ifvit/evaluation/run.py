"""A trained Module 1 judged by a protocol of the field: registers every pair, scores it, writes the report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ifvit import plots
from ifvit.config import DataConfig, Source
from ifvit.data.protocols import PairList, Protocol, pairs
from ifvit.data.records import DataError, Record
from ifvit.data.sources import find
from ifvit.data.splits import read_split
from ifvit.evaluation.comparisons import AT_ONCE, SCORE, Comparisons, Gallery, compare_all, worst
from ifvit.evaluation.report import write_pairs, write_report
from ifvit.evaluation.verification import Figures, figures
from ifvit.recognition.pair import Pair
from ifvit.recognition.trained import Trained, load_dense

WORST = 10  # pairs drawn of each kind
USUAL = {Source.fvc: Protocol.fvc, Source.sd4: Protocol.sd4}


def evaluate(
    run_dir: Path, data: DataConfig, protocol: Protocol | None, impostors: int | None, out: Path
) -> dict[str, Figures]:
    """The figures of each database; everything is written into `out`.

    protocol: None takes the data's usual one. impostors: how many to draw; None takes all.

    Raises:
        DataError: nothing found, data that do not suit the protocol, subjects that the run trained or validated on, or
            another evaluation's files in `out`.
        CheckpointError: no run, or a damaged one.
    """
    trained = load_dense(run_dir)
    records = [record for some in find(data).values() for record in some]
    if not records:
        raise DataError("data: synthetic fingers are evaluated as a set (python -m ifvit synthesize), with data=fvc")
    if (run_dir / "split.csv").exists():
        read_split(run_dir / "split.csv", "split.csv").refuse_seen(records, "the data")
    protocol = protocol or USUAL.get(data.source, Protocol.all)
    compared = pairs(records, protocol, impostors)
    gallery = Gallery(trained, records)
    key = {
        "state": f"{trained.which} {trained.step} of {run_dir.resolve()}", "images": gallery.digest(),
        "protocol": str(protocol), "pairs": len(compared), "impostors": impostors,
    }  # fmt: skip
    comparisons = compare_all(trained.registrar(at_once=AT_ONCE), gallery, compared, out / "comparisons", key)
    found = _by_database(records, compared, comparisons)
    told = {
        "run": str(run_dir), "state": f"{trained.which}, step {trained.step}", "protocol": str(protocol),
        "score": SCORE, "input": f"{trained.frame[1]}x{trained.frame[0]} px at {trained.ppi:g} ppi",
        "images": len(records), "unusable": list(gallery.unusable.values()),
    }  # fmt: skip
    write_pairs(out, records, compared, comparisons)
    write_report(out, told, found, _drawn(trained, records, gallery, compared, comparisons))
    return found


def _by_database(records: Sequence[Record], compared: PairList, comparisons: Comparisons) -> dict[str, Figures]:
    identity = np.array([record.identity for record in records])
    database = np.array([record.database for record in records])
    found = {}
    for name in dict.fromkeys(database.tolist()):
        # A pair of two databases belongs to the first one's.
        k = np.flatnonzero(database[compared.first] == name)
        if compared.genuine[k].any() and not compared.genuine[k].all():
            sides = identity[compared.first[k]], identity[compared.second[k]]
            found[name] = figures(comparisons.score[k], compared.genuine[k], *sides, comparisons.failed[k])
    return found


def _drawn(
    trained: Trained, records: Sequence[Record], gallery: Gallery, compared: PairList, comparisons: Comparisons
) -> list[tuple[str, np.ndarray]]:
    """The worst pairs, registered again and drawn."""
    chosen = [(kind, k) for kind, k in worst(compared, comparisons, WORST)]
    registrar = trained.registrar()
    drawn: list[tuple[str, np.ndarray]] = []
    for kind, k in chosen:
        a, b = int(compared.first[k]), int(compared.second[k])
        if gallery[a] is None or gallery[b] is None:
            continue
        registered = registrar.register(gallery[a], gallery[b])
        pair = Pair(records[a].path, records[b].path, gallery[a], gallery[b], trained.ppi, registered, 0.0)
        said = pair.text().splitlines()[0]
        caption = f"{kind}: {records[a].identity} {records[a].impression} and {records[b].identity} " + (
            f"{records[b].impression}, score {comparisons.score[k]:.3g}; {said}"
        )
        drawn.append((caption, pair.picture() if registered.aligned else _refused(pair)))
    return drawn


def _refused(pair: Pair) -> np.ndarray:
    """Two prints that were not laid on one another, with what matches there were."""
    matches: Any = pair.registered.matches
    greys = pair.canvas_a.grey / 255, pair.canvas_b.grey / 255
    points = matches.points_a, matches.points_b, matches.confidence, pair.registered.inliers
    return plots.draw_pair(plots.MatchedPair(*greys, *points, pair.text().splitlines()[0]), 4)
