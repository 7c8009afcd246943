"""One update and one validation, as pure functions of the state and a batch of pairs; each compiles once per shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ifvit import losses, metrics
from ifvit.config import Config, LossConfig, LossForm
from ifvit.data.warped_pairs import TrainingPairs, Truth, truth_of
from ifvit.geometry import at_cells
from ifvit.models.dense import DenseModel, DenseOutput
from ifvit.models.matching import CellMatches
from ifvit.training.dense_matches import Grids, found_matches, taught_matches
from ifvit.training.state import TrainState, schedule

TAUGHT_STREAM = 5  # of random numbers under the run's seed

TrainStep = Callable[[TrainState, Any], tuple[TrainState, dict[str, jax.Array]]]


class BatchCounts(NamedTuple):
    """What the parts of a batch must know of the whole: how many labelled cells, lone cell pairs and places taught to
    the fine stage it has, all (), and the order (Na,) in which the teacher takes A's cells at this step.
    """

    labelled: jax.Array
    lone: jax.Array
    taught: jax.Array
    order: jax.Array


class LossParts(NamedTuple):
    """The positive and the negative term, summed per sample."""

    positive: losses.Sum
    negative: losses.Sum


def loss_parts(log_p: jax.Array, truth: Truth, settings: LossConfig) -> LossParts:
    """Both terms of L_D for log_p (B, Na, Nb)."""
    focal = settings.form is LossForm.focal
    shape = {"alpha": settings.focal_alpha, "gamma": settings.focal_gamma} if focal else {}
    return LossParts(
        losses.positive(log_p, truth.labels, **shape),
        losses.negative(log_p, truth.lone_a, truth.lone_b, **shape),
    )


def make_train_step(model: DenseModel, optimizer: optax.GradientTransformation, config: Config) -> TrainStep:
    """The update of Module 1: (state, pairs) -> (state, metrics of () arrays)."""

    def loss_of(params: Any, batch_stats: Any, pairs: TrainingPairs, whole: BatchCounts):
        """The share that `pairs` have in the loss of the whole batch."""
        truth = truth_of(pairs, model.stride)
        output, updated = model.apply(
            {"params": params, "batch_stats": batch_stats},
            pairs.image_a,
            pairs.image_b,
            train=True,
            mutable=["batch_stats"],
        )
        terms = loss_parts(output.log_p, truth, config.loss)
        positive, negative = terms.positive.total.sum() / whole.labelled, terms.negative.total.sum() / whole.lone
        loss = positive + config.loss.negative_weight * negative
        said = {"positive": positive, "negative": negative}
        if model.has_fine:
            said["fine"] = fine_term(params, output, pairs, truth, whole)
            loss += config.loss.fine_weight * said["fine"]
        accuracy = dense_totals(model, output, pairs, truth)
        said |= {name: accuracy[name][0].sum() / whole.labelled for name in ("exact", "within_one")}
        said["labelled"] = losses.positive_count(truth.labels).sum()
        return loss, (updated["batch_stats"], said | {"loss": loss})

    def fine_term(
        params: Any, output: DenseOutput, pairs: TrainingPairs, truth: Truth, whole: BatchCounts
    ) -> jax.Array:
        grids = grids_of(model, pairs)
        everything = output.log_p.shape[1]
        found = found_matches(jax.lax.stop_gradient(output.log_p), grids, config.dense, most=everything)
        taught = taught_matches(model, found, grids, truth, whole.order, config.loss)
        refined = model.apply({"params": params}, output, taught.cells, method="refine")
        return losses.fine(refined.offset, refined.spread, taught.target, taught.held).total.sum() / whole.taught

    def whole_batch(step: jax.Array, pairs: TrainingPairs) -> BatchCounts:
        truth = truth_of(pairs, model.stride)
        cells = losses.positive_count(truth.labels)  # (B,)
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(config.seed), TAUGHT_STREAM), step)
        return BatchCounts(
            labelled=jnp.maximum(cells.sum(), 1),
            lone=jnp.maximum(losses.negative_count(truth.lone_a, truth.lone_b).sum(), 1),
            taught=jnp.maximum(jnp.minimum(cells, config.loss.fine_matches).sum(), 1),
            order=jax.random.permutation(key, truth.labels.shape[1]),
        )

    return make_update(loss_of, whole_batch, optimizer, config)


def make_update(
    loss_of: Callable, whole_batch: Callable, optimizer: optax.GradientTransformation, config: Config
) -> TrainStep:
    """The update of a loss, over `trainer.accumulate` parts of a batch one after the other.

    Args:
        loss_of: (params, batch_stats, part of the batch, whole) -> (its share in the loss, (batch_stats, metrics)).
        whole_batch: (step, batch) -> `whole`, what the parts must know of the whole batch.
    """
    rate, parts = schedule(config), config.trainer.accumulate

    def gradients(params: Any, batch_stats: Any, batch: Any, whole: Any):
        grad = jax.value_and_grad(loss_of, has_aux=True)
        (_, (batch_stats, said)), grads = grad(params, batch_stats, batch, whole)
        return grads, batch_stats, said

    def accumulated(params: Any, batch_stats: Any, batch: Any, whole: Any):
        """The same, summed over the parts."""

        def parted(leaf: jax.Array) -> jax.Array:
            # Sample i goes to part i % parts: every device keeps its own samples, nothing is gathered.
            return jnp.moveaxis(leaf.reshape(-1, parts, *leaf.shape[1:]), 1, 0)

        def add(carry, part: Any):
            batch_stats, sums = carry
            grads, batch_stats, said = gradients(params, batch_stats, part, whole)
            return (batch_stats, jax.tree.map(jnp.add, sums, (grads, said))), None

        first = jax.tree.map(lambda x: parted(x)[0], batch)
        _, _, said = jax.eval_shape(gradients, params, batch_stats, first, whole)
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), (params, said))
        (batch_stats, (grads, said)), _ = jax.lax.scan(add, (batch_stats, zeros), jax.tree.map(parted, batch))
        return grads, batch_stats, said

    def train_step(state: TrainState, batch: Any):
        compute = gradients if parts == 1 else accumulated
        grads, batch_stats, said = compute(state.params, state.batch_stats, batch, whole_batch(state.step, batch))
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        said |= {"grad_norm": optax.global_norm(grads), "lr": jnp.asarray(rate(state.step), jnp.float32)}
        return TrainState(state.step + 1, params, batch_stats, opt_state), said

    return train_step


class Validation(NamedTuple):
    """One batch, judged: per-sample sums, the matches, and how far off each is.

    points: float32 (B, M, 2) px of B, by stage ('coarse': the cell's pixel; 'fine': refined, where there is a fine
    stage) where the matches put A's cells.
    known: bool (B, M), the matches whose truth is known.
    errors: (B, M) px by stage, meaningful where `known`.
    target: (B, M, 2) px, the truth.
    """

    totals: metrics.Totals
    matches: CellMatches
    right: jax.Array
    points: dict[str, jax.Array]
    known: jax.Array
    errors: dict[str, jax.Array]
    target: jax.Array


def make_eval_step(model: DenseModel, config: Config) -> Callable[[TrainState, TrainingPairs], Validation]:
    """Validation of a batch: losses, accuracy of all labelled cells, precision and recall of the matches."""

    def eval_step(state: TrainState, pairs: TrainingPairs) -> Validation:
        truth = truth_of(pairs, model.stride)
        output = model.apply(state.variables, pairs.image_a, pairs.image_b, train=False)
        grids = grids_of(model, pairs)
        ridges = at_cells(pairs.ridges_a, model.stride), at_cells(pairs.ridges_b, model.stride)
        found = found_matches(output.log_p, grids, config.dense, ridges)
        right = metrics.right_matches(found.cells, truth.points, truth.shown, grids[1], model.stride)
        points = {"coarse": metrics.points_of(jnp.maximum(found.cells[..., 1], 0), grids[1], model.stride)}
        terms = loss_parts(output.log_p, truth, config.loss)
        totals = dense_totals(model, output, pairs, truth) | metrics.matches(found.cells, truth.labels, right)
        totals |= {"positive": tuple(terms.positive), "negative": tuple(terms.negative)}
        known, target = metrics.true_points(found.cells, truth.points, truth.shown)
        if model.has_fine:
            refined = model.apply(state.variables, output, found.cells, method="refine")
            points["fine"] = refined.points_b
            wanted = (target - points["coarse"]) / model.reach
            totals["fine"] = tuple(losses.fine(refined.offset, refined.spread, wanted, known))
        errors = {stage: metrics.pixel_errors(where, target, known) for stage, where in points.items()}
        return Validation(totals, found, right, points, known, errors, target)

    return eval_step


def grids_of(model: DenseModel, pairs: TrainingPairs) -> Grids:
    """Rows and columns of A's cells and of B's."""
    return model.grid(*pairs.image_a.shape[1:]), model.grid(*pairs.image_b.shape[1:])


def dense_totals(model: DenseModel, output: DenseOutput, pairs: TrainingPairs, truth: Truth) -> metrics.Totals:
    """`metrics.dense` of a batch."""
    grid_b = grids_of(model, pairs)[1]
    return metrics.dense(output.log_p, truth.labels, truth.points, grid_b, model.stride)
