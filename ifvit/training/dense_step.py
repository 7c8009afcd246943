"""Module 1's update and validation, pure functions of the state and a batch. Each compiles once per shape."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Generic, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax

from ifvit import losses, metrics
from ifvit.config import Config, LossConfig, LossForm
from ifvit.data.warped_pairs import TrainingPairs, Truth, truth_of
from ifvit.geometry import at_cells
from ifvit.models.dense import DenseModel, DenseOutput, Refined
from ifvit.models.matching import CellMatches
from ifvit.pair import Arrays, Pair
from ifvit.training.dense_matches import Grids, fine_targets, select_matches
from ifvit.training.state import TrainState
from ifvit.training.update import TrainStep, make_update

FINE_TEACHER_STREAM = 5  # stream of random numbers under the run's seed


class DenseInputs(NamedTuple):
    """What the losses read of B pairs."""

    images: Pair[jax.Array]  # (B, H, W) float32 in [0, 1]
    truth: Truth


class DenseCounts(NamedTuple):
    """Values of a full batch that all its parts need; each number is at least 1."""

    labelled: jax.Array  # () the number of labelled cells
    lone: jax.Array  # () the number of lone cell pairs
    fine_places: jax.Array  # () the number of targets of the fine stage
    order: jax.Array  # (Na,) int, the permutation of A's cells of `fine_targets` at this step


class LossParts(NamedTuple):
    """Both terms of the registration loss L_D, summed per sample."""

    positive: losses.Sum  # of labelled cells
    negative: losses.Sum  # of lone cell pairs


class Validation(NamedTuple, Generic[Arrays]):
    """The validation of one batch of B pairs with up to M matches each."""

    totals: dict[str, tuple[Arrays, Arrays]]  # sums per sample, by name
    matches: CellMatches
    right: Arrays  # (B, M) bool, the matches that are right
    # By stage: 'coarse' (the cell's pixel), and 'fine' (refined) where the model has a fine stage.
    points: dict[str, Arrays]  # (B, M, 2) float32, px of B, where the matches place A's cells
    known: Arrays  # (B, M) bool, the matches whose true point is known
    errors: dict[str, Arrays]  # (B, M) px, by stage; valid where `known`
    target: Arrays  # (B, M, 2) px of B, the true points


def dense_inputs(pairs: TrainingPairs, stride: int) -> DenseInputs:
    """The images and the ground truth of pairs, for an update or a validation."""
    return DenseInputs(pairs.images, truth_of(pairs, stride))


def make_dense_step(model: DenseModel, optimizer: optax.GradientTransformation, config: Config) -> TrainStep:
    """The update of Module 1: (state, pairs) -> (state, metrics of () arrays)."""

    def counts_of(step: jax.Array, inputs: DenseInputs) -> DenseCounts:
        truth = inputs.truth
        cells = losses.positive_count(truth.labels)  # (B,)
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(config.seed), FINE_TEACHER_STREAM), step)
        return DenseCounts(
            labelled=jnp.maximum(cells.sum(), 1),
            lone=jnp.maximum(losses.negative_count(*truth.lone).sum(), 1),
            fine_places=jnp.maximum(jnp.minimum(cells, config.loss.fine_matches).sum(), 1),
            order=jax.random.permutation(key, truth.labels.shape[1]),
        )

    def loss_of(
        params: Any, batch_stats: Any, inputs: DenseInputs, counts: DenseCounts
    ) -> tuple[jax.Array, tuple[Any, dict[str, jax.Array]]]:
        """The share of these pairs in the loss of the full batch; (batch_stats, metrics)."""
        variables = {"params": params, "batch_stats": batch_stats}
        output, updated = model.apply(variables, *inputs.images, train=True, mutable=["batch_stats"])
        terms = loss_parts(output.log_p, inputs.truth, config.loss)
        positive, negative = terms.positive.total.sum() / counts.labelled, terms.negative.total.sum() / counts.lone
        loss = positive + config.loss.negative_weight * negative
        metrics = {"positive": positive, "negative": negative}
        if model.has_fine:
            metrics["fine"] = fine_term(params, output, inputs, counts)
            loss += config.loss.fine_weight * metrics["fine"]
        accuracy = dense_totals(model, output, inputs)
        metrics |= {name: accuracy[name][0].sum() / counts.labelled for name in ("exact", "within_one")}
        metrics["labelled"] = losses.positive_count(inputs.truth.labels).sum()
        return loss, (updated["batch_stats"], metrics | {"loss": loss})

    def fine_term(params: Any, output: DenseOutput, inputs: DenseInputs, counts: DenseCounts) -> jax.Array:
        """The share of these pairs in the fine loss of the full batch."""
        grids = grids_of(model, inputs.images)
        cell_count = output.log_p.shape[1]
        matches = select_matches(jax.lax.stop_gradient(output.log_p), grids, config.dense, max_matches=cell_count)
        targets = fine_targets(model, matches, grids, inputs.truth, counts.order, config.loss)
        refined = cast(Refined, model.apply({"params": params}, output, targets.cells, method="refine"))
        loss = losses.fine(refined.offset, refined.spread, targets.target, targets.present)
        return loss.total.sum() / counts.fine_places

    return make_update(partial(dense_inputs, stride=model.stride), counts_of, loss_of, optimizer, config)


def make_dense_eval(model: DenseModel, config: Config) -> Callable[[TrainState, TrainingPairs], Validation[jax.Array]]:
    """The validation of a batch: losses, accuracy of all labelled cells, precision and recall of the matches."""

    def evaluate(state: TrainState, pairs: TrainingPairs) -> Validation[jax.Array]:
        inputs = dense_inputs(pairs, model.stride)
        truth = inputs.truth
        output = cast(DenseOutput, model.apply(state.variables, *inputs.images, train=False))
        grids = grids_of(model, inputs.images)
        ridges = pairs.sides.map(lambda side: at_cells(side.ridges, model.stride))
        matches = select_matches(output.log_p, grids, config.dense, ridges)
        right = metrics.right_matches(matches.cells, truth.points, truth.shown, grids.b, model.stride)
        points = {"coarse": metrics.points_of(jnp.maximum(matches.cells[..., 1], 0), grids.b, model.stride)}
        terms = loss_parts(output.log_p, truth, config.loss)
        totals = dense_totals(model, output, inputs) | metrics.matches(matches.cells, truth.labels, right)
        # [:] makes plain tuples.
        totals |= {"positive": terms.positive[:], "negative": terms.negative[:]}
        known, target = metrics.true_points(matches.cells, truth.points, truth.shown)
        if model.has_fine:
            refined = cast(Refined, model.apply(state.variables, output, matches.cells, method="refine"))
            points["fine"] = refined.points_b
            offset_target = (target - points["coarse"]) / model.reach
            totals["fine"] = losses.fine(refined.offset, refined.spread, offset_target, known)[:]
        errors = {stage: metrics.pixel_errors(positions, target, known) for stage, positions in points.items()}
        return Validation(totals, matches, right, points, known, errors, target)

    return evaluate


def loss_parts(log_p: jax.Array, truth: Truth, settings: LossConfig) -> LossParts:
    """Both terms of L_D for log_p, (B, Na, Nb)."""
    focal = settings.form is LossForm.focal
    shape = {"alpha": settings.focal_alpha, "gamma": settings.focal_gamma} if focal else {}
    return LossParts(
        losses.positive(log_p, truth.labels, **shape),
        losses.negative(log_p, truth.lone.a, truth.lone.b, **shape),
    )


def grids_of(model: DenseModel, images: Pair[jax.Array]) -> Grids:
    """(rows, columns) of A's cells and of B's."""
    return images.map(lambda image: model.grid(*image.shape[1:]))


def dense_totals(model: DenseModel, output: DenseOutput, inputs: DenseInputs) -> metrics.Totals:
    """`metrics.dense` of a batch: sums per sample."""
    grid_b = grids_of(model, inputs.images).b
    return metrics.dense(output.log_p, inputs.truth.labels, inputs.truth.points, grid_b, model.stride)
