"""Module 2's update and validation, pure functions of the state and a batch of aligned pairs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax

from ifvit import losses, metrics
from ifvit.comparison.module2_inputs import Box, branch_inputs, cut, local_sides
from ifvit.config import Config
from ifvit.data.aligned_pairs import AlignedBatch
from ifvit.data.batches import Renewal
from ifvit.data.warped_pairs import TrainingPairs, Truth, truth_of
from ifvit.geometry import inside, mask_at
from ifvit.models.matcher import MatcherModel, MatcherOutput
from ifvit.training.dense_step import TrainStep, loss_parts, make_update
from ifvit.training.state import TrainState

CLASSES = "classes"  # key of ArcFace's directions in the parameters: (C, D) of each branch
CLASS_STREAM = 8  # stream of random numbers under the run's seed
BRANCHES = ("global", "local")

Scalar = jax.Array | float  # a () array, or the number that a sum of such arrays begins with


class PairCounts(NamedTuple):
    """Counts of a full batch that all its parts need. Each is at least 1."""

    labelled: jax.Array  # (2,) labelled cells, by branch
    lone: jax.Array  # (2,) lone cell pairs, by branch
    pairs: jax.Array  # () pairs


class BatchScores(NamedTuple):
    """The validation of one batch of B pairs."""

    cos_global: jax.Array  # (B,) cosine of the global branch's vectors
    cos_local: jax.Array  # (B,) cosine of the local branch's vectors
    genuine: jax.Array  # (B,) bool
    totals: metrics.Totals  # sums per sample, by name


def new_classes(seed: int, count: int, vector: int) -> dict[str, jax.Array]:
    """The initial directions of ArcFace for `count` classes: of each branch (count, vector)."""
    key = jax.random.fold_in(jax.random.key(seed), CLASS_STREAM)
    return {
        name: jax.random.normal(jax.random.fold_in(key, k), (count, vector)) * vector**-0.5
        for k, name in enumerate(BRANCHES)
    }


def renew_classes(classes: dict[str, jax.Array], renewal: Renewal, seed: int, step: jax.Array) -> dict[str, jax.Array]:
    """The classes before update `step`: those whose finger was replaced get new random directions."""
    places = renewal.first + ((step - 1) * renewal.each + jnp.arange(renewal.each)) % renewal.count
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), CLASS_STREAM), 2 + step)
    fresh = {}
    for k, (name, directions) in enumerate(sorted(classes.items())):
        vector = directions.shape[1]
        rows = jax.random.normal(jax.random.fold_in(key, k), (renewal.each, vector)) * vector**-0.5
        fresh[name] = jnp.where(step > 0, directions.at[places].set(rows), directions)
    return fresh


def branch_truths(batch: AlignedBatch, box: Box, stride: int) -> tuple[Truth, Truth]:
    """The labels and lone cells of the global and of the local branch."""
    pairs = batch.pairs
    overlap = pairs.ridges_a & pairs.ridges_b
    at_b = jax.vmap(mask_at)(overlap, pairs.map_ab)
    at_a = jax.vmap(mask_at)(overlap, pairs.map_ba)
    of_global = pairs._replace(
        ridges_a=overlap, ridges_b=overlap, valid_ab=pairs.valid_ab & overlap & at_b,
        valid_ba=pairs.valid_ba & overlap & at_a,
    )  # fmt: skip
    return truth_of(of_global, stride), truth_of(_cropped(pairs, box, stride), stride)


def _cropped(pairs: TrainingPairs, box: Box, stride: int) -> TrainingPairs:
    """The pairs' maps and masks within the box, padded to multiples of the stride. The cropped images are not used."""
    height, width = pairs.image_b.shape[1:]
    sides = local_sides((height, width))
    pad = [(0, 0), *((0, -side % stride) for side in sides)]
    corner = jnp.stack([box.left, box.top], axis=-1)[:, None, None]

    def mask(values: jax.Array) -> jax.Array:
        """The box's part of a mask or image, padded with 0."""
        return jnp.pad(cut(values, box), pad)

    maps = [cut(values, box) - corner for values in (pairs.map_ab, pairs.map_ba)]
    valid_ab, valid_ba = (
        jnp.pad(cut(values, box) & inside(places, *sides), pad)
        for values, places in ((pairs.valid_ab, maps[0]), (pairs.valid_ba, maps[1]))
    )
    map_ab, map_ba = (jnp.pad(places, [*pad, (0, 0)], mode="edge") for places in maps)
    return TrainingPairs(
        mask(pairs.image_a), mask(pairs.image_b), map_ab, map_ba, mask(pairs.ridges_a), mask(pairs.ridges_b),
        valid_ab, valid_ba, pairs.genuine,
    )  # fmt: skip


def make_matcher_step(
    model: MatcherModel, optimizer: optax.GradientTransformation, config: Config, renewal: Renewal | None
) -> TrainStep:
    """The update of Module 2: (state, aligned pairs) -> (state, metrics of () arrays)."""
    stride, matcher = model.branch.stride, config.loss.matcher

    def loss_of(
        params: Any, batch_stats: Any, batch: AlignedBatch, counts: PairCounts
    ) -> tuple[Scalar, tuple[Any, dict[str, Scalar]]]:
        """The share of these pairs in the loss of the full batch; (batch_stats, metrics)."""
        *inputs, box = branch_inputs(batch.images, stride)
        own = {name: params[name] for name in model.names}
        variables = {"params": own, "batch_stats": batch_stats}
        output, updated = model.apply(variables, *inputs, train=True, mutable=["batch_stats"])
        metrics: dict[str, Scalar] = dict.fromkeys(
            ("positive", "negative", "exact", "embedding", "arc", "labelled"), 0.0
        )
        truths = branch_truths(batch, box, stride)
        for k, (name, branch, truth) in enumerate(zip(BRANCHES, output, truths, strict=True)):
            terms = loss_parts(branch.log_p, truth, config.loss)
            right = (jnp.argmax(branch.log_p, -1) == truth.labels).sum()
            parts = {
                "positive": terms.positive.total.sum() / counts.labelled[k],
                "negative": terms.negative.total.sum() / counts.lone[k],
                "exact": right / counts.labelled[k],
                "labelled": losses.positive_count(truth.labels).sum(),
                "embedding": losses.embedding(branch.cosine, batch.pairs.genuine, matcher.embedding_margin).total.sum()
                / counts.pairs,
                "arc": arc_loss(branch, params[CLASSES][name], batch) / (2 * counts.pairs),
            }
            metrics = {key: metrics[key] + parts[key] / 2 for key in metrics}
        registration = metrics["positive"] + config.loss.negative_weight * metrics["negative"]
        loss = (
            matcher.dense_weight * registration
            + matcher.embedding_weight * metrics["embedding"]
            + matcher.arc_weight * metrics["arc"]
        )
        return loss, (updated["batch_stats"], metrics | {"loss": loss})

    def arc_loss(branch: Any, classes: jax.Array, batch: AlignedBatch) -> jax.Array:
        """ArcFace's loss of a branch, summed over the prints of these pairs."""
        vectors = jnp.concatenate([branch.vector_a, branch.vector_b])
        labels = jnp.concatenate([batch.label_a, batch.label_b])
        return losses.arcface(vectors, classes, labels, scale=matcher.arc_scale, margin=matcher.arc_margin).total.sum()

    def batch_counts(_: jax.Array, batch: AlignedBatch) -> PairCounts:
        box = branch_inputs(batch.images, stride)[2]
        truths = branch_truths(batch, box, stride)
        labelled = [losses.positive_count(truth.labels).sum() for truth in truths]
        lone = [losses.negative_count(truth.lone_a, truth.lone_b).sum() for truth in truths]
        return PairCounts(
            jnp.maximum(jnp.stack(labelled), 1), jnp.maximum(jnp.stack(lone), 1), jnp.float32(len(batch.label_a))
        )

    update = make_update(loss_of, batch_counts, optimizer, config)
    if renewal is None:
        return update

    def step(state: TrainState, batch: AlignedBatch) -> tuple[TrainState, dict[str, jax.Array]]:
        classes = renew_classes(state.params[CLASSES], renewal, config.seed, state.step)
        return update(replace(state, params={**state.params, CLASSES: classes}), batch)

    return step


def make_matcher_eval(model: MatcherModel, config: Config) -> Callable[[TrainState, AlignedBatch], BatchScores]:
    """The validation of a batch: cosines, losses, and accuracy of all labelled cells."""
    stride = model.branch.stride

    def evaluate(state: TrainState, batch: AlignedBatch) -> BatchScores:
        *inputs, box = branch_inputs(batch.images, stride)
        variables = {
            "params": {name: state.params[name] for name in model.names}, "batch_stats": state.batch_stats
        }  # fmt: skip
        output = cast(MatcherOutput, model.apply(variables, *inputs, train=False))
        totals: metrics.Totals = {}
        truths = branch_truths(batch, box, stride)
        for name, branch, truth, branch_input in zip(BRANCHES, output, truths, inputs, strict=True):
            rows, columns = branch_input.cells.shape[1:]
            cells = metrics.dense(branch.log_p, truth.labels, truth.points, (rows, columns), stride)
            terms = loss_parts(branch.log_p, truth, config.loss)
            totals |= {f"{name}_{key}": cells[key] for key in ("exact", "within_one")}
            # [:] makes plain tuples.
            totals |= {f"{name}_positive": terms.positive[:], f"{name}_negative": terms.negative[:]}
            loss = losses.embedding(branch.cosine, batch.pairs.genuine, config.loss.matcher.embedding_margin)
            totals[f"{name}_embedding"] = loss[:]
        return BatchScores(output.of_global.cosine, output.of_local.cosine, batch.pairs.genuine, totals)

    return evaluate
