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


def speckle(key: jax.Array, height: int, width: int, sigma: float) -> jax.Array:
    """Gaussian noise (height, width) of variance 1, in grains of about `sigma` px (static); opposite edges join."""
    reach = max(1, round(2 * sigma))
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    taps /= np.linalg.norm(taps)
    noise = jax.random.normal(key, (height, width))
    for axis in (0, 1):
        # The barrier keeps the compiler from drawing every number, and adding up every row, once per tap.
        noise = jax.lax.optimization_barrier(noise)
        noise = sum(tap * jnp.roll(noise, n - reach, axis) for n, tap in enumerate(taps.tolist()))
    return noise
