"""Module 2's update and validation, pure functions of the state and a batch of aligned pairs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax

from ifvit import losses, metrics
from ifvit.comparison.module2_inputs import Box, branch_inputs, cut, local_sides
from ifvit.config import Config
from ifvit.data.aligned_pairs import AlignedBatch
from ifvit.data.batches import Renewal
from ifvit.data.warped_pairs import Side, TrainingPairs, Truth, truth_of
from ifvit.geometry import inside, mask_at
from ifvit.models.matcher import BranchInput, BranchOutput, MatcherModel, MatcherOutput
from ifvit.pair import Pair
from ifvit.training.dense_step import loss_parts
from ifvit.training.state import TrainState
from ifvit.training.update import TrainStep, make_update

CLASSES = "classes"  # key of ArcFace's directions in the parameters: (C, D) of each branch
CLASS_STREAM = 8  # stream of random numbers under the run's seed
BRANCHES = ("global", "local")

Scalar = jax.Array | float  # a () array, or the number that a sum of such arrays begins with


class MatcherInputs(NamedTuple):
    """What the losses read of B pairs. Tuples: the global branch, then the local one."""

    branches: tuple[BranchInput, BranchInput]
    truths: tuple[Truth, Truth]
    genuine: jax.Array  # (B,) bool
    labels: Pair[jax.Array]  # (B,) int32, the class of the print's finger, or NO_CLASS


class MatcherCounts(NamedTuple):
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


def matcher_inputs(batch: AlignedBatch, stride: int) -> MatcherInputs:
    """The inputs and the ground truth of both branches, for an update or a validation."""
    of_global, of_local, box = branch_inputs(batch.images, stride)
    truths = branch_truths(batch.pairs, box, stride)
    return MatcherInputs((of_global, of_local), truths, batch.pairs.genuine, batch.labels)


def make_matcher_step(
    model: MatcherModel, optimizer: optax.GradientTransformation, config: Config, renewal: Renewal | None
) -> TrainStep:
    """The update of Module 2: (state, aligned pairs) -> (state, metrics of () arrays)."""
    matcher = config.loss.matcher

    def counts_of(_: jax.Array, inputs: MatcherInputs) -> MatcherCounts:
        labelled = [losses.positive_count(truth.labels).sum() for truth in inputs.truths]
        lone = [losses.negative_count(*truth.lone).sum() for truth in inputs.truths]
        pairs = jnp.float32(len(inputs.genuine))
        return MatcherCounts(jnp.maximum(jnp.stack(labelled), 1), jnp.maximum(jnp.stack(lone), 1), pairs)

    def loss_of(
        params: Any, batch_stats: Any, inputs: MatcherInputs, counts: MatcherCounts
    ) -> tuple[Scalar, tuple[Any, dict[str, Scalar]]]:
        """The share of these pairs in the loss of the full batch; (batch_stats, metrics)."""
        variables = network_variables(model, params, batch_stats)
        output, updated = model.apply(variables, *inputs.branches, train=True, mutable=["batch_stats"])
        metrics: dict[str, Scalar] = dict.fromkeys(
            ("positive", "negative", "exact", "embedding", "arc", "labelled"), 0.0
        )
        for k, (name, branch, truth) in enumerate(zip(BRANCHES, output, inputs.truths, strict=True)):
            terms = loss_parts(branch.log_p, truth, config.loss)
            right = (jnp.argmax(branch.log_p, -1) == truth.labels).sum()
            embedding = losses.embedding(branch.cosine, inputs.genuine, matcher.embedding_margin)
            parts = {
                "positive": terms.positive.total.sum() / counts.labelled[k],
                "negative": terms.negative.total.sum() / counts.lone[k],
                "exact": right / counts.labelled[k],
                "labelled": losses.positive_count(truth.labels).sum(),
                "embedding": embedding.total.sum() / counts.pairs,
                "arc": arc_loss(branch, params[CLASSES][name], inputs.labels) / (2 * counts.pairs),
            }
            metrics = {key: metrics[key] + parts[key] / 2 for key in metrics}
        registration = metrics["positive"] + config.loss.negative_weight * metrics["negative"]
        loss = (
            matcher.dense_weight * registration
            + matcher.embedding_weight * metrics["embedding"]
            + matcher.arc_weight * metrics["arc"]
        )
        return loss, (updated["batch_stats"], metrics | {"loss": loss})

    def arc_loss(branch: BranchOutput, classes: jax.Array, labels: Pair[jax.Array]) -> jax.Array:
        """ArcFace's loss of a branch, summed over the prints of these pairs."""
        return losses.arcface(
            jnp.concatenate(branch.vectors),
            classes,
            jnp.concatenate(labels),
            scale=matcher.arc_scale,
            margin=matcher.arc_margin,
        ).total.sum()

    inputs_of = partial(matcher_inputs, stride=model.branch.stride)
    update = make_update(inputs_of, counts_of, loss_of, optimizer, config)
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
        inputs = matcher_inputs(batch, stride)
        variables = network_variables(model, state.params, state.batch_stats)
        output = cast(MatcherOutput, model.apply(variables, *inputs.branches, train=False))
        totals: metrics.Totals = {}
        for name, branch, truth, branch_input in zip(BRANCHES, output, inputs.truths, inputs.branches, strict=True):
            rows, columns = branch_input.cells.shape[1:]
            cells = metrics.dense(branch.log_p, truth.labels, truth.points, (rows, columns), stride)
            terms = loss_parts(branch.log_p, truth, config.loss)
            totals |= {f"{name}_{key}": cells[key] for key in ("exact", "within_one")}
            # [:] makes plain tuples.
            totals |= {f"{name}_positive": terms.positive[:], f"{name}_negative": terms.negative[:]}
            loss = losses.embedding(branch.cosine, inputs.genuine, config.loss.matcher.embedding_margin)
            totals[f"{name}_embedding"] = loss[:]
        return BatchScores(output.of_global.cosine, output.of_local.cosine, inputs.genuine, totals)

    return evaluate


def network_variables(model: MatcherModel, params: Any, batch_stats: Any) -> dict[str, Any]:
    """The variables as `model.apply` takes them: without ArcFace's classes."""
    return {"params": {name: params[name] for name in model.names}, "batch_stats": batch_stats}


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


def branch_truths(pairs: TrainingPairs, box: Box, stride: int) -> tuple[Truth, Truth]:
    """The ground truth of the global branch, and that of the local branch, which sees the box."""
    overlap = pairs.sides.a.ridges & pairs.sides.b.ridges

    def within_overlap(side: Side) -> Side:
        overlap_of_other = jax.vmap(mask_at)(overlap, side.to_other)
        return side._replace(ridges=overlap, valid=side.valid & overlap & overlap_of_other)

    of_global = pairs._replace(sides=pairs.sides.map(within_overlap))
    of_local = pairs._replace(sides=pairs.sides.map(lambda side: _cropped(side, box, stride)))
    return truth_of(of_global, stride), truth_of(of_local, stride)


def _cropped(side: Side, box: Box, stride: int) -> Side:
    """A side's map and masks within the box, padded to multiples of the stride. The cropped image is not used."""
    sides = local_sides(side.image.shape[1:])
    pad = [(0, 0), *((0, -length % stride) for length in sides)]
    corner = jnp.stack([box.left, box.top], axis=-1)[:, None, None]
    to_other = cut(side.to_other, box) - corner
    return Side(
        image=jnp.pad(cut(side.image, box), pad),
        ridges=jnp.pad(cut(side.ridges, box), pad),
        to_other=jnp.pad(to_other, [*pad, (0, 0)], mode="edge"),
        valid=jnp.pad(cut(side.valid, box) & inside(to_other, *sides), pad),
    )
