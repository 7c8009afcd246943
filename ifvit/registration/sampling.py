"""Images sampled between their pixels, blurred images, and interpolation from a coarse lattice. Pure JAX.

A point is (x, y) px, pixel centres are whole numbers. A homography is float32 (3, 3), with lower right 1.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np

LATTICE = 8  # px between the points where a smooth map is computed; between them it is interpolated
EXACT = jax.lax.Precision.HIGHEST  # of matrix products: float32, with the same results on every device
Array = TypeVar("Array", jax.Array, np.ndarray)


def project(homography: Array, x: Array, y: Array) -> tuple[Array, Array]:
    """The points (x, y), mapped by a homography (3, 3); of JAX or NumPy."""
    to_x, to_y, scale = (row[0] * x + row[1] * y + row[2] for row in homography)
    return to_x / scale, to_y / scale


def sample(image: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    """The bilinear values of an image (H, W) at points (x, y); 0 outside. One index finds all four neighbours."""
    height, width = image.shape
    x, y = jnp.clip(x + 1, 0, width + 1), jnp.clip(y + 1, 0, height + 1)
    col, row = jnp.floor(x).astype(jnp.int32), jnp.floor(y).astype(jnp.int32)
    right, down = x - col, y - row
    flat = jnp.pad(image, (1, 2)).reshape(-1)
    index = row * (width + 3) + col

    def at(offset: int) -> jax.Array:
        return flat.at[index + offset].get(mode="promise_in_bounds")

    above = at(0) * (1 - right) + at(1) * right
    below = at(width + 3) * (1 - right) + at(width + 4) * right
    return above * (1 - down) + below * down


def blur(image: jax.Array, sigma: float) -> jax.Array:
    """An image (..., H, W) blurred by a Gaussian of `sigma` px, with 0 outside; a matrix product along each axis."""
    of_rows, of_cols = (_gaussian(length, sigma) for length in image.shape[-2:])
    return jnp.matmul(jnp.matmul(of_rows, image, precision=EXACT), of_cols, precision=EXACT)


@lru_cache
def _gaussian(length: int, sigma: float) -> np.ndarray:
    """The matrix (length, length) that blurs along an axis."""
    position = np.arange(length)
    offset = np.arange(-np.ceil(4 * sigma), np.ceil(4 * sigma) + 1)
    kernel = np.exp(-0.5 * ((position[:, None] - position) / sigma) ** 2) / np.exp(-0.5 * (offset / sigma) ** 2).sum()
    return kernel.astype(np.float32)


def sample_points(frame: tuple[int, int], spacing: int) -> tuple[jax.Array, jax.Array]:
    """The points x and y, each (h, w) px, at the centres of the squares of `spacing` px of a frame (H, W)."""
    along = (jnp.arange(side // spacing, dtype=jnp.float32) * spacing + (spacing - 1) / 2 for side in frame)
    y, x = jnp.meshgrid(*along, indexing="ij")
    return x, y


def mask_at(mask: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    """Whether a mask (H, W) is above .5 at the pixel nearest to each point (x, y); False outside."""
    height, width = mask.shape
    col, row = (jnp.round(along).astype(jnp.int32) for along in (x, y))
    inside = (row >= 0) & (row < height) & (col >= 0) & (col < width)
    index = jnp.where(inside, row * width + col, 0)
    return inside & (mask.reshape(-1).at[index].get(mode="promise_in_bounds") > 0.5)


def on_samples(lattice: jax.Array, frame: tuple[int, int], spacing: int) -> jax.Array:
    """Values at `sample_points`, (N, h, w), by bilinear interpolation from values at `lattice_points`, (N, h', w')."""
    of_rows, of_cols = (_upsampling(side, spacing) for side in frame)
    return jnp.matmul(jnp.matmul(of_rows, lattice, precision=EXACT), of_cols.T, precision=EXACT)


def lattice_points(frame: tuple[int, int]) -> tuple[jax.Array, jax.Array]:
    """The points x and y, each (h', w') px, of the lattice that covers a frame (H, W)."""
    along = (jnp.arange(side // LATTICE + 1, dtype=jnp.float32) * LATTICE for side in frame)
    y, x = jnp.meshgrid(*along, indexing="ij")
    return x, y


@lru_cache
def _upsampling(side: int, spacing: int) -> np.ndarray:
    """The matrix (samples, lattice points) of bilinear interpolation along an axis."""
    position = (np.arange(side // spacing) * spacing + (spacing - 1) / 2) / LATTICE
    return np.maximum(1 - np.abs(position[:, None] - np.arange(side // LATTICE + 1)), 0).astype(np.float32)
