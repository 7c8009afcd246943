"""Map a function over many items so that the bits of a result do not depend on the other items of the batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def each(function: Callable[[Any], Any], items: Any, at_once: int | None = None) -> Any:
    """The results of `function` for every item along the leading axis of the pytree `items`, stacked.

    On a CPU the items are computed one after the other: the arrays of an item stay in the caches, and its sums are
    always added in the same order. On other devices `at_once` items are computed in parallel; None: all of them.
    """
    count = jax.tree.leaves(items)[0].shape[0]
    if jax.default_backend() == "cpu":
        at_once = 1
    if count == 1:
        # The compiler unrolls a loop of one iteration, and rounds its numbers differently: let the loop have two.
        items = jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf]), items)
    # A batch_size of 1 maps over batches of one item, which is another program than a map over single items.
    batching = {} if at_once == 1 else {"batch_size": at_once or count}
    results = jax.lax.map(function, items, **batching)
    return jax.tree.map(lambda leaf: leaf[:count], results)
