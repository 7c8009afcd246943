"""What was computed of the last objects, kept by their identity: a print is compared with many, and computed once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

import jax


class Recent:
    """Keeps what `compute` returns, trees of arrays of at most `limit` bytes together; what was not asked for longest
    goes first. The newest stays, however large.

    For one thread.
    """

    def __init__(self, limit: int):
        self._limit, self._bytes = limit, 0
        # With the object itself, so that its identity is nobody else's meanwhile.
        self._entries: OrderedDict[tuple, tuple[Any, Any, int]] = OrderedDict()

    def of(self, thing: Any, compute: Callable[[], Any], *further: Hashable) -> Any:
        """What was computed of `thing`; `further` tells apart several results of one object."""
        key = (id(thing), *further)
        if key not in self._entries:
            result = compute()
            size = sum(leaf.nbytes for leaf in jax.tree.leaves(result))
            self._entries[key] = thing, result, size
            self._bytes += size
        self._entries.move_to_end(key)
        while self._bytes > self._limit and len(self._entries) > 1:
            _, (_, _, size) = self._entries.popitem(last=False)
            self._bytes -= size
        return self._entries[key][1]
