"""Coordinate maps between two prints, and the cells they connect. Pure JAX.

One convention of place, everywhere: a point is (x, y) in px, x to the right and y down, and pixel centres are whole
numbers. A map is an array (..., H, W, 2): `map_ab[r, c]` is the point of B that pixel (x=c, y=r) of A shows. Cell
(row, col) of a feature map of stride s stands for the pixel (x, y) = (s col, s row), the centre of its feature under
symmetric padding (LoFTR's convention); there is no half-cell offset.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates

NEWTON_STEPS = 3  # the error squares each time: from 4 px below 1e-4 px in two, below float32's in three


class Waves(NamedTuple):
    """A smooth displacement field: the sum of K plane waves, in closed form at any point.

    amplitude (K, 2) px, frequency (K, 2) rad/px, phase (K,) rad. It does not fold while
    sum_k |amplitude_k| |frequency_k| < 1; at 1/4 the Jacobian's determinant stays above 9/16.
    """

    amplitude: jax.Array
    frequency: jax.Array
    phase: jax.Array


def pixel_grid(height: int, width: int) -> jax.Array:
    """The points of all pixels, (height, width, 2)."""
    y, x = jnp.meshgrid(jnp.arange(height, dtype=jnp.float32), jnp.arange(width, dtype=jnp.float32), indexing="ij")
    return jnp.stack([x, y], axis=-1)


class Bend(NamedTuple):
    """A displacement field at some points: `x`, `y` px, and its derivatives, `xy` that of x along y. All (...).

    By coordinates, because a trailing axis of two makes a CPU several times slower.
    """

    x: jax.Array
    y: jax.Array
    xx: jax.Array
    xy: jax.Array
    yx: jax.Array
    yy: jax.Array


def displacement(waves: Waves, x: jax.Array, y: jax.Array) -> Bend:
    """The waves' displacement at the points (x, y), each (...)."""
    sums = Bend(*(jnp.zeros_like(x) for _ in Bend._fields))
    for amplitude, frequency, phase in zip(*waves, strict=True):
        angle = x * frequency[0] + y * frequency[1] + phase
        sine, cosine = jnp.sin(angle), jnp.cos(angle)
        slopes = (cosine * (amplitude[i] * frequency[j]) for i in (0, 1) for j in (0, 1))
        wave = (sine * amplitude[0], sine * amplitude[1], *slopes)
        sums = Bend(*(total + part for total, part in zip(sums, wave, strict=True)))
    return sums


def moved(displace: Callable[[jax.Array, jax.Array], Bend], points: jax.Array) -> jax.Array:
    """Where the field `displace` of (x, y) takes points (..., 2)."""
    x, y = points[..., 0], points[..., 1]
    bend = displace(x, y)
    return jnp.stack([x + bend.x, y + bend.y], axis=-1)


def undo(displace: Callable[[jax.Array, jax.Array], Bend], points: jax.Array, steps: int) -> jax.Array:
    """The points (..., 2) that the field takes to `points`, by `steps` of Newton's method. It must not fold."""
    to_x, to_y = points[..., 0], points[..., 1]

    def closer(_, place: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        bend = displace(*place)
        left_x, left_y = place[0] + bend.x - to_x, place[1] + bend.y - to_y
        a, d = 1 + bend.xx, 1 + bend.yy
        area = a * d - bend.xy * bend.yx
        return (
            place[0] - (d * left_x - bend.xy * left_y) / area,
            place[1] - (a * left_y - bend.yx * left_x) / area,
        )

    return jnp.stack(jax.lax.fori_loop(0, steps, closer, (to_x, to_y)), axis=-1)


def rotate(points: jax.Array, angle: jax.Array) -> jax.Array:
    """Points (..., 2) turned about the origin by `angle` rad (from x towards y, so clockwise on the screen)."""
    c, s = jnp.cos(angle), jnp.sin(angle)
    x, y = points[..., 0], points[..., 1]
    return jnp.stack([c * x - s * y, s * x + c * y], axis=-1)


class Warp(NamedTuple):
    """The map u -> rotate(u + waves(u) - centre_from, angle) + centre_to, invertible.

    angle () rad; centre_from, centre_to (2,) px.
    """

    angle: jax.Array
    centre_from: jax.Array
    centre_to: jax.Array
    waves: Waves

    def __call__(self, points: jax.Array) -> jax.Array:
        """Where points (..., 2) go."""
        bent = moved(partial(displacement, self.waves), points)
        return rotate(bent - self.centre_from, self.angle) + self.centre_to

    def inverse(self, points: jax.Array) -> jax.Array:
        """Where points (..., 2) come from."""
        target = rotate(points - self.centre_to, -self.angle) + self.centre_from
        return undo(partial(displacement, self.waves), target, NEWTON_STEPS)


def sample(image: jax.Array, points: jax.Array, outside: float | jax.Array) -> jax.Array:
    """Bilinear values of image (H, W) at points (..., 2); beyond the border it is `outside`."""
    # `cval` has to be a Python number, `outside` may differ from image to image.
    seen = map_coordinates(image - outside, [points[..., 1], points[..., 0]], order=1, mode="constant", cval=0.0)
    return seen + outside


def inside(points: jax.Array, height: int, width: int) -> jax.Array:
    """Which points (..., 2) lie within the pixel centres of a (height, width) image: (...) bool."""
    x, y = points[..., 0], points[..., 1]
    return (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)


def mask_at(mask: jax.Array, points: jax.Array) -> jax.Array:
    """The mask (H, W) at the pixel nearest to each point; false outside."""
    height, width = mask.shape
    nearest = jnp.round(points).astype(jnp.int32)
    x, y = jnp.clip(nearest[..., 0], 0, width - 1), jnp.clip(nearest[..., 1], 0, height - 1)
    return mask[y, x] & inside(points, height, width)


def at_cells(pixels: jax.Array, stride: int) -> jax.Array:
    """The values of (B, H, W, ...) at the cells' pixels, flattened row-major: (B, H/stride * W/stride, ...)."""
    cells = pixels[:, ::stride, ::stride]
    return cells.reshape(cells.shape[0], -1, *cells.shape[3:])


def nearest_cell(points: jax.Array, grid: tuple[int, int], stride: int) -> jax.Array:
    """The cell whose pixel is nearest to points (..., 2), as its row-major index; -1 outside the (rows, cols) grid."""
    col = jnp.round(points[..., 0] / stride).astype(jnp.int32)
    row = jnp.round(points[..., 1] / stride).astype(jnp.int32)
    held = (row >= 0) & (row < grid[0]) & (col >= 0) & (col < grid[1])
    return jnp.where(held, row * grid[1] + col, -1)


def cell_points(grid: tuple[int, int], stride: int) -> jax.Array:
    """The pixel of every cell, (rows * cols, 2), row-major."""
    return stride * pixel_grid(*grid).reshape(-1, 2)


def cell_labels(map_ab: jax.Array, valid_ab: jax.Array, map_ba: jax.Array, stride: int) -> jax.Array:
    """The true cell of B for every cell of A, or -1: mutual nearest cells under the exact map (SPEC of LoFTR's labels).

    Args:
        map_ab: (B, Ha, Wa, 2) px, valid_ab: (B, Ha, Wa) bool: inside B, and ridges in both.
        map_ba: (B, Hb, Wb, 2) px, the inverse.
        stride: px per cell, of both images.

    Returns:
        (B, Na) int32: cell i maps into j, j is in the grid and visible, and j's pixel maps back into i.
    """
    grid_a = map_ab.shape[1] // stride, map_ab.shape[2] // stride
    grid_b = map_ba.shape[1] // stride, map_ba.shape[2] // stride
    there = nearest_cell(at_cells(map_ab, stride), grid_b, stride)  # (B, Na)
    back = nearest_cell(at_cells(map_ba, stride), grid_a, stride)  # (B, Nb)
    returned = jnp.take_along_axis(back, jnp.maximum(there, 0), axis=1)
    own = jnp.arange(grid_a[0] * grid_a[1], dtype=jnp.int32)
    held = at_cells(valid_ab, stride) & (there >= 0) & (returned == own)
    return jnp.where(held, there, -1)
