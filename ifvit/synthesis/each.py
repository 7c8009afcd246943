"""One function for many items, with the same bits for an item whoever shares its batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def each(function: Callable[[Any], Any], items: Any, at_once: int | None = None) -> Any:
    """`function` of every item along the leading axis of the pytree `items`, stacked.

    On a CPU one after the other: an item's arrays then stay in its caches, and its sums are always added in the same
    order. Elsewhere `at_once` side by side, None for all.
    """
    count = jax.tree.leaves(items)[0].shape[0]
    if jax.default_backend() == "cpu":
        at_once = 1
    if count == 1:
        # A loop of one turn would be taken apart by the compiler, and its numbers rounded otherwise: it gets two.
        items = jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf]), items)
    # With a batch_size of 1 it would map over batches of one, which is another program than one of single items.
    many = {} if at_once == 1 else {"batch_size": at_once or count}
    done = jax.lax.map(function, items, **many)
    return jax.tree.map(lambda leaf: leaf[:count], done)
