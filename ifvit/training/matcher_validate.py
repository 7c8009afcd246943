"""Module 2's validation on unseen fingers: the scores of fixed pairs, and figures of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import jax
import numpy as np

from ifvit import metrics
from ifvit.config import LossConfig, MatcherConfig
from ifvit.data.aligned_pairs import AlignedBatch
from ifvit.rates import Thresholds, auc, equal_error
from ifvit.training.dense_validate import add_totals
from ifvit.training.matcher_step import BRANCHES, BatchScores
from ifvit.training.state import TrainState

SOURCE_METRICS = ("eer", "auc")  # reported for each source of a mixture

Evaluate = Callable[[TrainState, AlignedBatch], BatchScores]


class ValidationReport(NamedTuple):
    """The results of a validation of P pairs."""

    means: dict[str, float]  # over all pairs, by name
    scores: np.ndarray  # (P,) the fused cosine of each pair
    genuine: np.ndarray  # (P,) bool
    sources: dict[str, dict[str, float]]  # of a mixture: the SOURCE_METRICS, by source


def validate(
    evaluate: Evaluate,
    state: TrainState,
    batches: Iterable[AlignedBatch],
    settings: LossConfig,
    weights: MatcherConfig,
    shares: Mapping[str, int] | None = None,
) -> ValidationReport:
    """Validate the state on all batches.

    shares: of a mixture: the number of pairs of each source in a batch, in the order of the batch.

    The means are those of `score_figures`, `loss` and its terms, and the AUC and the accuracy of each branch. A mean
    without values is nan.
    """
    sums: dict[str, np.ndarray] = {}
    parts: list[BatchScores] = []
    for batch in batches:
        batch_scores = jax.device_get(evaluate(state, batch))
        parts.append(batch_scores)
        add_totals(sums, batch_scores.totals)
    cos_global, cos_local, genuine = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("cos_global", "cos_local", "genuine")
    )
    scores = weights.global_weight * cos_global + weights.local_weight * cos_local
    means = metrics.mean(sums) | score_figures(scores, genuine)
    for name, cosine in zip(BRANCHES, (cos_global, cos_local), strict=True):
        means[f"{name}_auc"] = score_figures(cosine, genuine)["auc"]
    registration = [
        metrics.term(sums, f"{name}_positive") + settings.negative_weight * metrics.term(sums, f"{name}_negative")
        for name in BRANCHES
    ]
    embedding = [means[f"{name}_embedding"] for name in BRANCHES]
    loss = settings.matcher
    means["loss"] = float(loss.dense_weight * np.mean(registration) + loss.embedding_weight * np.mean(embedding))
    return ValidationReport(means, scores, genuine, _source_figures(scores, genuine, shares or {}, len(parts)))


def score_figures(scores: np.ndarray, genuine: np.ndarray) -> dict[str, float]:
    """EER, AUC and the mean scores of P pairs; nan if all are genuine, or none.

    scores: (P,). genuine: (P,) bool.
    """
    if genuine.all() or not genuine.any():
        return dict.fromkeys(("eer", "auc", "genuine_score", "impostor_score"), float("nan"))
    rates = Thresholds(scores.astype(np.float64), genuine).rates()
    return {
        "eer": float(equal_error(rates).rate),
        "auc": float(auc(rates)),
        "genuine_score": float(scores[genuine].mean()),
        "impostor_score": float(scores[~genuine].mean()),
    }


def _source_figures(scores: np.ndarray, genuine: np.ndarray, shares: Mapping[str, int], batches: int) -> dict:
    """EER and AUC of each source of a mixture. In each batch the first pairs are those of the first source."""
    figures, start = {}, 0
    for name, count in shares.items():
        source_values = [values.reshape(batches, -1)[:, start : start + count].ravel() for values in (scores, genuine)]
        figures[name] = {key: value for key, value in score_figures(*source_values).items() if key in SOURCE_METRICS}
        start += count
    return figures
