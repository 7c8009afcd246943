"""One update and one validation, as pure functions of the state and a batch of pairs; each compiles once per shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ifvit import losses, metrics
from ifvit.config import Config, LossConfig, LossForm
from ifvit.data.pairs import Pairs, Truth, truth_of
from ifvit.models.dense import DenseModel, DenseOutput
from ifvit.models.matching import Matches, extract_matches
from ifvit.training.state import TrainState, schedule

TrainStep = Callable[[TrainState, Pairs], tuple[TrainState, dict[str, jax.Array]]]


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
    """The update: (state, pairs) -> (state, metrics of () arrays)."""
    rate, parts = schedule(config), config.trainer.accumulate

    def loss_of(params: Any, batch_stats: Any, pairs: Pairs, labelled: jax.Array, lone: jax.Array):
        """The share that `pairs` have in the loss of a batch with so many labelled cells and lone cell pairs."""
        truth = truth_of(pairs, model.stride)
        output, updated = model.apply(
            {"params": params, "batch_stats": batch_stats},
            pairs.image_a,
            pairs.image_b,
            train=True,
            mutable=["batch_stats"],
        )
        terms = loss_parts(output.log_p, truth, config.loss)
        positive, negative = terms.positive.total.sum() / labelled, terms.negative.total.sum() / lone
        loss = positive + config.loss.negative_weight * negative
        accuracy = dense_totals(model, output, pairs, truth)
        shares = {name: accuracy[name][0].sum() / labelled for name in ("exact", "within_one")}
        return loss, (updated["batch_stats"], {"loss": loss, "positive": positive, "negative": negative} | shares)

    def gradients(params: Any, batch_stats: Any, pairs: Pairs, labelled: jax.Array, lone: jax.Array):
        grad = jax.value_and_grad(loss_of, has_aux=True)
        (_, (batch_stats, said)), grads = grad(params, batch_stats, pairs, labelled, lone)
        return grads, batch_stats, said

    def accumulated(params: Any, batch_stats: Any, pairs: Pairs, labelled: jax.Array, lone: jax.Array):
        """The same, summed over `accumulate` parts of the batch, one after the other."""

        def parted(leaf: jax.Array) -> jax.Array:
            # Sample i goes to part i % parts: every device keeps its own samples, nothing is gathered.
            return jnp.moveaxis(leaf.reshape(-1, parts, *leaf.shape[1:]), 1, 0)

        def add(carry, part: Pairs):
            batch_stats, sums = carry
            grads, batch_stats, said = gradients(params, batch_stats, part, labelled, lone)
            return (batch_stats, jax.tree.map(jnp.add, sums, (grads, said))), None

        first = jax.tree.map(lambda x: parted(x)[0], pairs)
        _, _, said = jax.eval_shape(gradients, params, batch_stats, first, labelled, lone)
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), (params, said))
        (batch_stats, (grads, said)), _ = jax.lax.scan(add, (batch_stats, zeros), jax.tree.map(parted, pairs))
        return grads, batch_stats, said

    def train_step(state: TrainState, pairs: Pairs):
        truth = truth_of(pairs, model.stride)
        labelled = jnp.maximum(losses.positive_count(truth.labels).sum(), 1)
        lone = jnp.maximum(losses.negative_count(truth.lone_a, truth.lone_b).sum(), 1)
        compute = gradients if parts == 1 else accumulated
        grads, batch_stats, said = compute(state.params, state.batch_stats, pairs, labelled, lone)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        said |= {"grad_norm": optax.global_norm(grads), "lr": jnp.asarray(rate(state.step), jnp.float32)}
        return TrainState(state.step + 1, params, batch_stats, opt_state), said

    return train_step


class Validation(NamedTuple):
    """One batch, judged: per-sample sums, and what a picture needs."""

    totals: metrics.Totals
    matches: Matches
    right: jax.Array


def make_eval_step(model: DenseModel, config: Config) -> Callable[[TrainState, Pairs], Validation]:
    """Validation of a batch: losses, accuracy of all labelled cells, precision and recall of the matches."""
    dense = config.dense

    def eval_step(state: TrainState, pairs: Pairs) -> Validation:
        truth = truth_of(pairs, model.stride)
        output = model.apply(state.variables, pairs.image_a, pairs.image_b, train=False)
        grid_a, grid_b = model.grid(*pairs.image_a.shape[1:]), model.grid(*pairs.image_b.shape[1:])
        found = extract_matches(
            output.log_p,
            grid_a,
            grid_b,
            threshold=dense.threshold,
            border=dense.border,
            max_matches=dense.max_matches,
        )
        right = metrics.right_matches(found.cells, truth.points, truth.shown, grid_b, model.stride)
        terms = loss_parts(output.log_p, truth, config.loss)
        totals = dense_totals(model, output, pairs, truth) | metrics.matches(found.cells, truth.labels, right)
        totals |= {"positive": tuple(terms.positive), "negative": tuple(terms.negative)}
        return Validation(totals, found, right)

    return eval_step


def dense_totals(model: DenseModel, output: DenseOutput, pairs: Pairs, truth: Truth) -> metrics.Totals:
    """`metrics.dense` of a batch."""
    grid_b = model.grid(*pairs.image_b.shape[1:])
    return metrics.dense(output.log_p, truth.labels, truth.points, grid_b, model.stride)
