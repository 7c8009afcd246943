"""Module 1's validation on unseen fingers: means over fixed pairs, and some of the pairs for pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, cast

import jax
import numpy as np

from ifvit import metrics
from ifvit.config import LossConfig
from ifvit.data.warped_pairs import TrainingPairs
from ifvit.pictures import plots
from ifvit.training.dense_step import Validation
from ifvit.training.state import TrainState

MATCHED_PAIRS = 6  # in the picture of matches
DIFFERENT = "different fingers"  # begins the title of an impostor pair
NO_MATCH = "no match found"
SOURCE_METRICS = ("exact", "within_one")  # reported for each source of a mixture
PLACED_PAIRS = 3  # in the picture of placements: fewer and larger, because errors of single px must be visible

Evaluate = Callable[[TrainState, TrainingPairs], Validation[jax.Array]]


class ValidationReport(NamedTuple):
    """The results of a validation."""

    means: dict[str, float]  # over all pairs, by name
    matched: list[plots.MatchedPair]  # the first pairs, with their matches
    # The first pairs with matches whose true point is known, with their placements.
    placed: list[plots.RegistrationPlot]
    pairs: int  # number of pairs
    sources: dict[str, dict[str, float]]  # of a mixture: the means of SOURCE_METRICS, by source


def validate(
    evaluate: Evaluate,
    state: TrainState,
    batches: Iterable[TrainingPairs],
    settings: LossConfig,
    stride: int,
    shares: Mapping[str, int] | None = None,
) -> ValidationReport:
    """Validate the state on all batches.

    shares: of a mixture: the number of pairs of each source in a batch, in the order of the batch.

    The means are those of `metrics.dense` and `metrics.matches`, `loss` and its terms, and those of
    `metrics.over_matches` for each stage, like `coarse_median` and `fine_pck_3`. A mean without values is nan.
    """
    sums: dict[str, np.ndarray] = {}
    errors: dict[str, list[np.ndarray]] = {}
    matched: list[plots.MatchedPair] = []
    placed: list[plots.RegistrationPlot] = []
    pairs = 0
    source_sums: dict[str, dict[str, np.ndarray]] = {name: {} for name in shares or {}}
    for batch in batches:
        validation: Validation[np.ndarray] = jax.device_get(evaluate(state, batch))
        pairs += len(validation.right)
        first = 0
        for source, size in (shares or {}).items():
            of_source = {name: validation.totals[name] for name in SOURCE_METRICS}
            add_totals(source_sums[source], of_source, slice(first, first + size))
            first += size
        add_totals(sums, validation.totals)
        for stage, stage_errors in validation.errors.items():
            errors.setdefault(stage, []).append(stage_errors[validation.known])
        if len(matched) < MATCHED_PAIRS:
            matched += matched_pairs(batch, validation, stride, MATCHED_PAIRS - len(matched))
        if len(placed) < PLACED_PAIRS:
            placed += placed_pairs(batch, validation, stride, PLACED_PAIRS - len(placed))
    means = metrics.mean(sums)
    weights = {"positive": 1.0, "negative": settings.negative_weight, "fine": settings.fine_weight}
    means["loss"] = sum(weight * metrics.term(sums, name) for name, weight in weights.items() if name in sums)
    for stage, batch_errors in errors.items():
        means |= {
            f"{stage}_{name}": value for name, value in metrics.over_matches(np.concatenate(batch_errors)).items()
        }
    return ValidationReport(
        means, matched, placed, pairs, {name: metrics.mean(sums) for name, sums in source_sums.items()}
    )


def add_totals(
    sums: dict[str, np.ndarray], totals: Mapping[str, tuple[np.ndarray, np.ndarray]], pairs: slice = slice(None)
) -> None:
    """Add some pairs of a batch to the sums over batches; `totals` as in `metrics.Totals`, on the host."""
    for name, parts in totals.items():
        sums[name] = sums.get(name, 0) + np.array([part[pairs].sum(dtype=np.float64) for part in parts])


def matched_pairs(
    batch: TrainingPairs, validation: Validation[np.ndarray], stride: int, count: int
) -> list[plots.MatchedPair]:
    """The first `count` pairs of a batch with their matches, for a picture."""
    images = batch.images.map(lambda image: jax.device_get(image[:count]))
    genuine = jax.device_get(batch.genuine[:count])
    columns = images.a.shape[2] // stride
    points_b = validation.points.get("fine", validation.points["coarse"])
    pairs = []
    for k in range(len(genuine)):
        present = validation.matches.cells[k, :, 0] >= 0
        cells = validation.matches.cells[k, present, 0]
        points = stride * np.stack([cells % columns, cells // columns], -1), points_b[k, present]
        right = validation.right[k, present]
        kind = "same finger" if genuine[k] else DIFFERENT
        title = f"{kind}: {f'{right.sum()} of {present.sum()} matches right' if present.any() else NO_MATCH}"
        confidence = cast(np.ndarray, validation.matches.confidence)[k, present]
        pairs.append(plots.MatchedPair(images.a[k], images.b[k], *points, confidence, right, title))
    return pairs


def placed_pairs(
    batch: TrainingPairs, validation: Validation[np.ndarray], stride: int, count: int
) -> list[plots.RegistrationPlot]:
    """The first `count` pairs of a batch that have matches whose true point is known, for a picture."""
    known = validation.known  # (B, M)
    pairs = []
    for k in np.flatnonzero(known.any(axis=1))[:count]:
        stages = {name: plots.StagePoints(points[k, known[k]], validation.errors[name][k, known[k]])
                  for name, points in validation.points.items()}  # fmt: skip
        pairs.append(
            plots.RegistrationPlot(jax.device_get(batch.images.b[k]), validation.target[k, known[k]], stages, stride)
        )
    return pairs
