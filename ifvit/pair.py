"""A pair of prints or images: a value for each of its two sides."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:  # this file imports neither JAX nor NumPy
    import jax
    import numpy as np

# Of a value that is passed between host and device: its arrays on the device, or on the host.
Arrays = TypeVar("Arrays", "jax.Array", "np.ndarray")
Value = TypeVar("Value", covariant=True)
Result = TypeVar("Result")


class Pair(NamedTuple, Generic[Value]):
    """A value of side A, and that of side B."""

    a: Value
    b: Value

    def map(self, function: Callable[[Value], Result]) -> Pair[Result]:
        """The results of a function for both sides."""
        return Pair(function(self.a), function(self.b))
