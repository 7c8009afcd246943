"""Results in memory for the latest objects, by their identity: a print is compared with many others, computed once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

import jax


class Recent:
    """Computed results (pytrees of arrays), of at most `limit` bytes together, for use in one thread.

    The least recently used results are dropped first. The newest one stays, even if it is larger than `limit`.
    """

    def __init__(self, limit: int):
        self._limit, self._bytes = limit, 0
        # By key: the object, its result and the result's bytes. The object is stored, so that no other one gets its id.
        self._entries: OrderedDict[tuple, tuple[Any, Any, int]] = OrderedDict()

    def get(self, item: Any, compute: Callable[[], Any], *labels: Hashable) -> Any:
        """The result for an object, by `compute` if it is not stored. labels: distinguish several results of one."""
        key = (id(item), *labels)
        if key not in self._entries:
            result = compute()
            size = sum(leaf.nbytes for leaf in jax.tree.leaves(result))
            self._entries[key] = item, result, size
            self._bytes += size
        self._entries.move_to_end(key)
        while self._bytes > self._limit and len(self._entries) > 1:
            _, (_, _, size) = self._entries.popitem(last=False)
            self._bytes -= size
        return self._entries[key][1]
