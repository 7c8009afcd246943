"""Validation on unseen fingers: means over fixed pairs, and the picture of some of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from ifvit import metrics
from ifvit.config import LossConfig
from ifvit.data.warped_pairs import TrainingPairs
from ifvit.pictures import plots
from ifvit.training.dense_step import Validation
from ifvit.training.state import TrainState

SHOWN_PAIRS = 6
DIFFERENT = "different fingers"  # begins the title of a pair that is none
NO_MATCH = "no match found"
PER_SOURCE = ("exact", "within_one")  # told of each source of a mixture
SHOWN_PLACEMENTS = 3  # larger, for they show errors of single pixels

Evaluate = Callable[[TrainState, TrainingPairs], Validation]


class ValidationReport(NamedTuple):
    """A validation: the means over all pairs, the first pairs with their matches and with where these lie, the number
    of pairs, and of a mixture the means of PER_SOURCE by source.
    """

    means: dict[str, float]
    shown: list[plots.MatchedPair]
    placed: list[plots.RegistrationPlot]
    pairs: int
    sources: dict[str, dict[str, float]]


def validate(
    evaluate: Evaluate,
    state: TrainState,
    batches: Iterable[TrainingPairs],
    settings: LossConfig,
    stride: int,
    shares: Mapping[str, int] | None = None,
) -> ValidationReport:
    """Judge all batches.

    shares: of a mixture, how many pairs of each batch are of which source, in their order.

    The means are those of `metrics.dense` and `metrics.matches`, `loss` and its terms, and those of
    `metrics.over_matches` for each stage, like `coarse_median` and `fine_pck_3`; nan where nothing was counted.
    """
    sums: dict[str, np.ndarray] = {}
    errors: dict[str, list[np.ndarray]] = {}
    shown: list[plots.MatchedPair] = []
    placed: list[plots.RegistrationPlot] = []
    pairs = 0
    own: dict[str, dict[str, np.ndarray]] = {name: {} for name in shares or {}}
    for batch in batches:
        judged = jax.device_get(evaluate(state, batch))
        pairs += len(judged.right)
        start = 0
        for source, count in (shares or {}).items():
            for name in PER_SOURCE:
                summed = np.array([part[start : start + count].sum(dtype=np.float64) for part in judged.totals[name]])
                own[source][name] = own[source].get(name, 0) + summed
            start += count
        for name, parts in judged.totals.items():
            sums[name] = sums.get(name, 0) + np.array([part.sum(dtype=np.float64) for part in parts])
        for stage, found in judged.errors.items():
            errors.setdefault(stage, []).append(found[judged.known])
        if len(shown) < SHOWN_PAIRS:
            shown += matched_pairs(batch, judged, stride, SHOWN_PAIRS - len(shown))
        if len(placed) < SHOWN_PLACEMENTS:
            placed += placed_pairs(batch, judged, stride, SHOWN_PLACEMENTS - len(placed))
    means = metrics.mean(sums)
    weights = {"positive": 1.0, "negative": settings.negative_weight, "fine": settings.fine_weight}
    means["loss"] = sum(weight * metrics.term(sums, name) for name, weight in weights.items() if name in sums)
    for stage, found in errors.items():
        means |= {f"{stage}_{name}": value for name, value in metrics.over_matches(np.concatenate(found)).items()}
    return ValidationReport(means, shown, placed, pairs, {name: metrics.mean(sums) for name, sums in own.items()})


def matched_pairs(batch: TrainingPairs, judged: Validation, stride: int, most: int) -> list[plots.MatchedPair]:
    """The first `most` pairs of a batch, ready to draw."""
    images = jax.device_get((batch.image_a[:most], batch.image_b[:most], batch.genuine[:most]))
    columns = images[0].shape[2] // stride
    points_b = judged.points.get("fine", judged.points["coarse"])
    drawn = []
    for k in range(len(images[0])):
        made = judged.matches.cells[k, :, 0] >= 0
        cells = judged.matches.cells[k, made, 0]
        points = stride * np.stack([cells % columns, cells // columns], -1), points_b[k, made]
        right = judged.right[k, made]
        kind = "same finger" if images[2][k] else DIFFERENT
        title = f"{kind}: {f'{right.sum()} of {made.sum()} matches right' if made.any() else NO_MATCH}"
        confidence = judged.matches.confidence[k, made]
        drawn.append(plots.MatchedPair(images[0][k], images[1][k], *points, confidence, right, title))
    return drawn


def placed_pairs(batch: TrainingPairs, judged: Validation, stride: int, most: int) -> list[plots.RegistrationPlot]:
    """The first `most` pairs of a batch that have matches whose truth is known, ready to draw."""
    known = judged.known  # (B, M)
    drawn = []
    for k in np.flatnonzero(known.any(axis=1))[:most]:
        stages = {name: plots.StagePoints(points[k, known[k]], judged.errors[name][k, known[k]])
                  for name, points in judged.points.items()}  # fmt: skip
        drawn.append(
            plots.RegistrationPlot(jax.device_get(batch.image_b[k]), judged.target[k, known[k]], stages, stride)
        )
    return drawn


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers for JSON, which knows no nan: null stands for a mean of nothing."""
    return {name: None if np.isnan(value) else round(float(value), 6) for name, value in values.items()}
