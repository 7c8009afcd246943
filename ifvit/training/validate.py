"""Validation on unseen fingers: means over fixed pairs, and the picture of some of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np

from ifvit import metrics, plots
from ifvit.config import LossConfig
from ifvit.data.pairs import Pairs
from ifvit.training.state import TrainState
from ifvit.training.step import Validation

SHOWN_PAIRS = 6

Evaluate = Callable[[TrainState, Pairs], Validation]


def validate(
    evaluate: Evaluate, state: TrainState, batches: Iterable[Pairs], settings: LossConfig, stride: int
) -> tuple[dict[str, float], list[plots.MatchedPair], int]:
    """Means over all batches, the first pairs with their matches, and the number of pairs.

    The means are those of `metrics.dense` and `metrics.matches`, with `loss`, `positive` and `negative`; nan where
    nothing was counted.
    """
    sums: dict[str, np.ndarray] = {}
    shown: list[plots.MatchedPair] = []
    pairs = 0
    for batch in batches:
        judged = jax.device_get(evaluate(state, batch))
        pairs += len(judged.right)
        for name, parts in judged.totals.items():
            sums[name] = sums.get(name, 0) + np.array([part.sum(dtype=np.float64) for part in parts])
        if len(shown) < SHOWN_PAIRS:
            shown += matched_pairs(batch, judged, stride, SHOWN_PAIRS - len(shown))
    means = metrics.mean(sums)
    terms = {name: 0.0 if np.isnan(means[name]) else means[name] for name in ("positive", "negative")}
    means["loss"] = terms["positive"] + settings.negative_weight * terms["negative"]
    return means, shown, pairs


def matched_pairs(batch: Pairs, judged: Validation, stride: int, most: int) -> list[plots.MatchedPair]:
    """The first `most` pairs of a batch, ready to draw."""
    images = jax.device_get((batch.image_a[:most], batch.image_b[:most], batch.genuine[:most]))
    columns = [image.shape[2] // stride for image in images[:2]]
    drawn = []
    for k in range(len(images[0])):
        made = judged.matches.cells[k, :, 0] >= 0
        points = [
            stride * np.stack([cells % width, cells // width], -1)
            for cells, width in zip(judged.matches.cells[k, made].T, columns, strict=True)
        ]
        right = judged.right[k, made]
        kind = "same finger" if images[2][k] else "different fingers"
        title = f"{kind}: {right.sum()} of {made.sum()} matches right"
        confidence = judged.matches.confidence[k, made]
        drawn.append(plots.MatchedPair(images[0][k], images[1][k], *points, confidence, right, title))
    return drawn


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers for JSON, which knows no nan: null stands for a mean of nothing."""
    return {name: None if np.isnan(value) else round(float(value), 6) for name, value in values.items()}
