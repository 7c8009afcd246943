"""Random fields, for the unevenness of skin, ink and sensors."""

from __future__ import annotations

from typing import cast

import jax
import jax.numpy as jnp
import numpy as np


def perlin(key: jax.Array, height: int, width: int, rows: int, columns: int) -> jax.Array:
    """Gradient noise (height, width) of about unit amplitude, on a lattice of rows x columns cells (Perlin 1985).

    The value of a pixel is a weighted sum over its four nodes, of the node's gradient times the offset from the node.
    Weights and offsets are separable in x and y, so the sum over nodes is two matrix products.
    """
    angle = jax.random.uniform(key, (rows + 1, columns + 1), maxval=2 * jnp.pi)
    weight_y, offset_y = _to_nodes(height, rows)
    weight_x, offset_x = _to_nodes(width, columns)
    along_x = weight_y @ jnp.cos(angle) @ (weight_x * offset_x).T
    along_y = (weight_y * offset_y) @ jnp.sin(angle) @ weight_x.T
    return (along_x + along_y) * 2**0.5


def _to_nodes(size: int, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """The weight of each node for each pixel, and the offset from node to pixel in cells: (size, cells + 1) float32."""
    offset = np.arange(size)[:, None] * (cells / size) - np.arange(cells + 1)
    nearness = np.maximum(1 - np.abs(offset), 0)
    weight = nearness**3 * (nearness * (nearness * 6 - 15) + 10)
    return weight.astype(np.float32), offset.astype(np.float32)


def grains(noise: jax.Array, sigma: float) -> jax.Array:
    """White noise (H, W), smoothed to grains of about `sigma` px (static), of variance 1. Opposite edges join."""
    reach = max(1, round(2 * sigma))
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    taps /= np.linalg.norm(taps)
    for axis in (0, 1):
        size, margin = noise.shape[axis], [(0, 0), (0, 0)]
        margin[axis] = (reach, reach)
        # Without the barriers the compiler draws every number, and adds up every row, once per tap.
        noise = jax.lax.optimization_barrier(noise)
        noise = jax.lax.optimization_barrier(jnp.pad(noise, margin, mode="wrap"))
        parts = (jax.lax.slice_in_dim(noise, n, n + size, axis=axis) for n in range(len(taps)))
        terms = (_rounded(tap * part) for tap, part in zip(taps.tolist(), parts, strict=True))
        noise = cast(jax.Array, sum(terms))
    return noise


def _rounded(product: jax.Array) -> jax.Array:
    """A product of noise, rounded before it is added to others.

    The compiler rounds product and sum together where both are in one loop, and it chooses the loops anew in every
    program. The maximum prevents that; no noise is as low as its limit.
    """
    return jnp.maximum(product, -1e3)
