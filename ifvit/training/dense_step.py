"""Module 1's update and validation, pure functions of the state and a batch. Each compiles once per shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax

from ifvit import losses, metrics
from ifvit.config import Config, LossConfig, LossForm
from ifvit.data.warped_pairs import Arrays, TrainingPairs, Truth, truth_of
from ifvit.geometry import at_cells
from ifvit.models.dense import DenseModel, DenseOutput, Refined
from ifvit.models.matching import CellMatches
from ifvit.training.dense_matches import Grids, fine_targets, select_matches
from ifvit.training.state import TrainState, schedule

FINE_TEACHER_STREAM = 5  # stream of random numbers under the run's seed

TrainStep = Callable[[TrainState, Any], tuple[TrainState, dict[str, jax.Array]]]


class BatchCounts(NamedTuple):
    """Values of a full batch that all its parts need; each number is at least 1."""

    labelled: jax.Array  # () the number of labelled cells
    lone: jax.Array  # () the number of lone cell pairs
    fine_places: jax.Array  # () the number of targets of the fine stage
    order: jax.Array  # (Na,) int, the permutation of A's cells of `fine_targets` at this step


class LossParts(NamedTuple):
    """Both terms of the registration loss L_D, summed per sample."""

    positive: losses.Sum  # of labelled cells
    negative: losses.Sum  # of lone cell pairs


def loss_parts(log_p: jax.Array, truth: Truth, settings: LossConfig) -> LossParts:
    """Both terms of L_D for log_p, (B, Na, Nb)."""
    focal = settings.form is LossForm.focal
    shape = {"alpha": settings.focal_alpha, "gamma": settings.focal_gamma} if focal else {}
    return LossParts(
        losses.positive(log_p, truth.labels, **shape),
        losses.negative(log_p, truth.lone_a, truth.lone_b, **shape),
    )


def make_train_step(model: DenseModel, optimizer: optax.GradientTransformation, config: Config) -> TrainStep:
    """The update of Module 1: (state, pairs) -> (state, metrics of () arrays)."""

    def loss_of(
        params: Any, batch_stats: Any, pairs: TrainingPairs, counts: BatchCounts
    ) -> tuple[jax.Array, tuple[Any, dict[str, jax.Array]]]:
        """The share of `pairs` in the loss of the full batch; (batch_stats, metrics)."""
        truth = truth_of(pairs, model.stride)
        output, updated = model.apply(
            {"params": params, "batch_stats": batch_stats},
            pairs.image_a,
            pairs.image_b,
            train=True,
            mutable=["batch_stats"],
        )
        terms = loss_parts(output.log_p, truth, config.loss)
        positive, negative = terms.positive.total.sum() / counts.labelled, terms.negative.total.sum() / counts.lone
        loss = positive + config.loss.negative_weight * negative
        metrics = {"positive": positive, "negative": negative}
        if model.has_fine:
            metrics["fine"] = fine_term(params, output, pairs, truth, counts)
            loss += config.loss.fine_weight * metrics["fine"]
        accuracy = dense_totals(model, output, pairs, truth)
        metrics |= {name: accuracy[name][0].sum() / counts.labelled for name in ("exact", "within_one")}
        metrics["labelled"] = losses.positive_count(truth.labels).sum()
        return loss, (updated["batch_stats"], metrics | {"loss": loss})

    def fine_term(
        params: Any, output: DenseOutput, pairs: TrainingPairs, truth: Truth, counts: BatchCounts
    ) -> jax.Array:
        """The share of these pairs in the fine loss of the full batch."""
        grids = grids_of(model, pairs)
        cell_count = output.log_p.shape[1]
        matches = select_matches(jax.lax.stop_gradient(output.log_p), grids, config.dense, max_matches=cell_count)
        targets = fine_targets(model, matches, grids, truth, counts.order, config.loss)
        refined = cast(Refined, model.apply({"params": params}, output, targets.cells, method="refine"))
        loss = losses.fine(refined.offset, refined.spread, targets.target, targets.present)
        return loss.total.sum() / counts.fine_places

    def batch_counts(step: jax.Array, pairs: TrainingPairs) -> BatchCounts:
        truth = truth_of(pairs, model.stride)
        cells = losses.positive_count(truth.labels)  # (B,)
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(config.seed), FINE_TEACHER_STREAM), step)
        return BatchCounts(
            labelled=jnp.maximum(cells.sum(), 1),
            lone=jnp.maximum(losses.negative_count(truth.lone_a, truth.lone_b).sum(), 1),
            fine_places=jnp.maximum(jnp.minimum(cells, config.loss.fine_matches).sum(), 1),
            order=jax.random.permutation(key, truth.labels.shape[1]),
        )

    return make_update(loss_of, batch_counts, optimizer, config)


def make_update(
    loss_of: Callable, batch_counts: Callable, optimizer: optax.GradientTransformation, config: Config
) -> TrainStep:
    """The update for a loss, whose gradient is summed over `trainer.accumulate` parts of a batch, one by one.

    Args:
        loss_of: (params, batch_stats, part of the batch, counts) -> (its share in the loss, (batch_stats, metrics)).
        batch_counts: (step, batch) -> counts, the values of the full batch that all parts need.
    """
    rate, parts = schedule(config), config.trainer.accumulate

    def gradients(params: Any, batch_stats: Any, batch: Any, counts: Any) -> tuple[Any, Any, dict[str, jax.Array]]:
        """(gradient, batch_stats, metrics) of a batch or a part of it."""
        grad = jax.value_and_grad(loss_of, has_aux=True)
        (_, (batch_stats, metrics)), grads = grad(params, batch_stats, batch, counts)
        return grads, batch_stats, metrics

    def accumulated(params: Any, batch_stats: Any, batch: Any, counts: Any) -> tuple[Any, Any, dict[str, jax.Array]]:
        """The same, summed over the parts of a batch."""

        def parted(leaf: jax.Array) -> jax.Array:
            """The leaf (B, ...) as (parts, B / parts, ...)."""
            # Sample i goes to part i % parts. So each device keeps its samples, and none is moved to another device.
            return jnp.moveaxis(leaf.reshape(-1, parts, *leaf.shape[1:]), 1, 0)

        def add_part(carry: Any, part: Any) -> tuple[Any, None]:
            batch_stats, sums = carry
            grads, batch_stats, metrics = gradients(params, batch_stats, part, counts)
            return (batch_stats, jax.tree.map(jnp.add, sums, (grads, metrics))), None

        first_part = jax.tree.map(lambda x: parted(x)[0], batch)
        _, _, metrics = jax.eval_shape(gradients, params, batch_stats, first_part, counts)
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), (params, metrics))
        (batch_stats, (grads, metrics)), _ = jax.lax.scan(add_part, (batch_stats, zeros), jax.tree.map(parted, batch))
        return grads, batch_stats, metrics

    def train_step(state: TrainState, batch: Any) -> tuple[TrainState, dict[str, jax.Array]]:
        gradients_of = gradients if parts == 1 else accumulated
        counts = batch_counts(state.step, batch)
        grads, batch_stats, metrics = gradients_of(state.params, state.batch_stats, batch, counts)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics |= {"grad_norm": optax.global_norm(grads), "lr": jnp.asarray(rate(state.step), jnp.float32)}
        return TrainState(state.step + 1, params, batch_stats, opt_state), metrics

    return train_step


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


def make_eval_step(model: DenseModel, config: Config) -> Callable[[TrainState, TrainingPairs], Validation[jax.Array]]:
    """The validation of a batch: losses, accuracy of all labelled cells, precision and recall of the matches."""

    def eval_step(state: TrainState, pairs: TrainingPairs) -> Validation[jax.Array]:
        truth = truth_of(pairs, model.stride)
        output = cast(DenseOutput, model.apply(state.variables, pairs.image_a, pairs.image_b, train=False))
        grids = grids_of(model, pairs)
        ridges = at_cells(pairs.ridges_a, model.stride), at_cells(pairs.ridges_b, model.stride)
        matches = select_matches(output.log_p, grids, config.dense, ridges)
        right = metrics.right_matches(matches.cells, truth.points, truth.shown, grids[1], model.stride)
        points = {"coarse": metrics.points_of(jnp.maximum(matches.cells[..., 1], 0), grids[1], model.stride)}
        terms = loss_parts(output.log_p, truth, config.loss)
        totals = dense_totals(model, output, pairs, truth) | metrics.matches(matches.cells, truth.labels, right)
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

    return eval_step


def grids_of(model: DenseModel, pairs: TrainingPairs) -> Grids:
    """(rows, columns) of A's cells and of B's."""
    return model.grid(*pairs.image_a.shape[1:]), model.grid(*pairs.image_b.shape[1:])


def dense_totals(model: DenseModel, output: DenseOutput, pairs: TrainingPairs, truth: Truth) -> metrics.Totals:
    """`metrics.dense` of a batch: sums per sample."""
    grid_b = grids_of(model, pairs)[1]
    return metrics.dense(output.log_p, truth.labels, truth.points, grid_b, model.stride)
