"""The update of either stage: gradients over the parts of a batch, then the optimiser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from ifvit.config import Config
from ifvit.training.state import TrainState, schedule

TrainStep = Callable[[TrainState, Any], tuple[TrainState, dict[str, jax.Array]]]
EvalStep = Callable[[TrainState, Any], Any]


def make_update(
    inputs_of: Callable,
    counts_of: Callable,
    loss_of: Callable,
    optimizer: optax.GradientTransformation,
    config: Config,
) -> TrainStep:
    """The update for a loss, whose gradient is summed over `trainer.accumulate` parts of a batch, one by one.

    Args:
        inputs_of: batch or a part of it -> inputs, all that the loss reads of it.
        counts_of: (step, inputs of the batch) -> counts, the values of the full batch that all parts need.
        loss_of: (params, batch_stats, inputs, counts) -> (their share in the loss, (batch_stats, metrics)).
    """
    rate, parts = schedule(config), config.trainer.accumulate

    def gradients(params: Any, batch_stats: Any, inputs: Any, counts: Any) -> tuple[Any, Any, dict[str, jax.Array]]:
        """(gradient, batch_stats, metrics) of a batch or of a part of it."""
        grad = jax.value_and_grad(loss_of, has_aux=True)
        (_, (batch_stats, metrics)), grads = grad(params, batch_stats, inputs, counts)
        return grads, batch_stats, metrics

    def accumulated(params: Any, batch_stats: Any, batch: Any, counts: Any) -> tuple[Any, Any, dict[str, jax.Array]]:
        """The same, summed over the parts of a batch."""

        def parted(leaf: jax.Array) -> jax.Array:
            """The leaf (B, ...) as (parts, B / parts, ...)."""
            # Sample i goes to part i % parts. So each device keeps its samples, and none is moved to another device.
            return jnp.moveaxis(leaf.reshape(-1, parts, *leaf.shape[1:]), 1, 0)

        def part_gradients(batch_stats: Any, part: Any) -> tuple[Any, Any, dict[str, jax.Array]]:
            return gradients(params, batch_stats, inputs_of(part), counts)

        def add_part(carry: Any, part: Any) -> tuple[Any, None]:
            batch_stats, sums = carry
            grads, batch_stats, metrics = part_gradients(batch_stats, part)
            return (batch_stats, jax.tree.map(jnp.add, sums, (grads, metrics))), None

        first_part = jax.tree.map(lambda x: parted(x)[0], batch)
        _, _, metrics = jax.eval_shape(part_gradients, batch_stats, first_part)
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), (params, metrics))
        (batch_stats, (grads, metrics)), _ = jax.lax.scan(add_part, (batch_stats, zeros), jax.tree.map(parted, batch))
        return grads, batch_stats, metrics

    def train_step(state: TrainState, batch: Any) -> tuple[TrainState, dict[str, jax.Array]]:
        inputs = inputs_of(batch)
        counts = counts_of(state.step, inputs)
        if parts == 1:
            grads, batch_stats, metrics = gradients(state.params, state.batch_stats, inputs, counts)
        else:
            grads, batch_stats, metrics = accumulated(state.params, state.batch_stats, batch, counts)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics |= {"grad_norm": optax.global_norm(grads), "lr": jnp.asarray(rate(state.step), jnp.float32)}
        return TrainState(state.step + 1, params, batch_stats, opt_state), metrics

    return train_step
