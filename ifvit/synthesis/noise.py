"""Random fields: what makes skin, ink and sensors uneven."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np


def perlin(key: jax.Array, height: int, width: int, rows: int, columns: int) -> jax.Array:
    """Gradient noise (height, width) of about unit amplitude, on a lattice of rows x columns cells (Perlin 1985).

    Each pixel sums its four nodes' slopes times the ways to them, weighted by how near it is. Weights and ways are
    products of one along x and one along y, so the sum over nodes is two matrix products.
    """
    angle = jax.random.uniform(key, (rows + 1, columns + 1), maxval=2 * jnp.pi)
    near_y, way_y = _to_nodes(height, rows)
    near_x, way_x = _to_nodes(width, columns)
    along_x = near_y @ jnp.cos(angle) @ (near_x * way_x).T
    along_y = (near_y * way_y) @ jnp.sin(angle) @ near_x.T
    return (along_x + along_y) * 2**0.5


def _to_nodes(size: int, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """The weight of each node for each pixel, and the way from the node to it, in cells: (size, cells + 1) float32."""
    way = np.arange(size)[:, None] * (cells / size) - np.arange(cells + 1)
    near = np.maximum(1 - np.abs(way), 0)
    fade = near**3 * (near * (near * 6 - 15) + 10)
    return fade.astype(np.float32), way.astype(np.float32)


def grains(noise: jax.Array, sigma: float) -> jax.Array:
    """White noise (H, W) of variance 1 in grains of about `sigma` px (static), of variance 1; opposite edges join."""
    reach = max(1, round(2 * sigma))
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    taps /= np.linalg.norm(taps)
    for axis in (0, 1):
        size, margin = noise.shape[axis], [(0, 0), (0, 0)]
        margin[axis] = (reach, reach)
        # The barriers keep the compiler from drawing every number, and adding up every row, once per tap.
        noise = jax.lax.optimization_barrier(noise)
        noise = jax.lax.optimization_barrier(jnp.pad(noise, margin, mode="wrap"))
        parts = (jax.lax.slice_in_dim(noise, n, n + size, axis=axis) for n in range(len(taps)))
        noise = sum(_rounded(tap * part) for tap, part in zip(taps.tolist(), parts, strict=True))
    return noise


def _rounded(product: jax.Array) -> jax.Array:
    """A product of noise that is to be added to others, rounded by itself.

    The compiler would round product and sum together where it has both in one loop, and where loops begin and end it
    decides anew in every program. No noise is as low as this limit.
    """
    return jnp.maximum(product, -1e3)
