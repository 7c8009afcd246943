"""The training state, its initial values and its optimiser."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, cast

import flax.struct
import flax.traverse_util
import jax
import jax.numpy as jnp
import optax

from ifvit.config import Config
from ifvit.models.dense import DenseModel

INIT_STREAM = 4  # stream of random numbers under the run's seed


@flax.struct.dataclass
class TrainState:
    """Everything that an update changes: arrays only."""

    step: jax.Array  # () int32, the number of updates so far
    params: Any  # the model's trainable variables
    batch_stats: Any  # the model's running statistics
    opt_state: Any  # Optax's

    @property
    def variables(self) -> dict[str, Any]:
        """The variables as `model.apply` takes them."""
        return {"params": self.params, "batch_stats": self.batch_stats}


def init_variables(model: DenseModel, seed: int, frame: tuple[int, int]) -> dict[str, Any]:
    """The model's variables before any training, for images of (height, width) px."""
    image = jnp.zeros((1, *frame), jnp.float32)
    key = jax.random.fold_in(jax.random.key(seed), INIT_STREAM)
    return cast(dict[str, Any], model.init(key, image, image))


def new_state(variables: dict[str, Any], optimizer: optax.GradientTransformation) -> TrainState:
    """The state at step 0."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables["params"],
        batch_stats=variables["batch_stats"],
        opt_state=optimizer.init(variables["params"]),
    )


def schedule(config: Config) -> optax.Schedule:
    """The learning rate of each update: a linear warm-up, then a cosine decay until the run's last step."""
    settings, steps = config.optimizer, config.trainer.max_steps
    warmup = min(settings.warmup_steps, steps // 2)
    return optax.warmup_cosine_decay_schedule(
        init_value=settings.lr / max(warmup, 1),
        peak_value=settings.lr,
        warmup_steps=warmup,
        decay_steps=max(steps, warmup + 1),
        end_value=settings.lr * settings.final_lr,
    )


def make_optimizer(config: Config, merged: Collection[str]) -> optax.GradientTransformation:
    """Clipping by the global norm, then AdamW. Weight decay spares biases and norms, as is usual with AdamW.

    merged: paths of the parameters that pretrained weights filled, like 'transformer/layers_0/q_proj/kernel'. Their
        learning rate is multiplied by `dense.merged_lr`.
    """
    settings, factor = config.optimizer, config.dense.merged_lr

    def is_merged(params: Any) -> Any:
        return flax.traverse_util.path_aware_map(
            lambda path, _: "/".join(cast(tuple[str, ...], path)) in merged, params
        )

    def is_kernel(params: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf.ndim > 1, params)

    return optax.chain(
        optax.clip_by_global_norm(settings.clip_norm),
        optax.adamw(
            schedule(config),
            b1=settings.beta1,
            b2=settings.beta2,
            weight_decay=settings.weight_decay,
            mask=is_kernel,
        ),
        optax.masked(optax.scale(factor), is_merged),
    )


def parameter_count(params: Any) -> int:
    """The number of trainable values."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
