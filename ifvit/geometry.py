"""Coordinate maps between two prints, and the cells they connect. Pure JAX.

All coordinates follow one convention. A point is (x, y) in px, x to the right and y down, and pixel centres are whole
numbers. A map is an array (..., H, W, 2): `map_ab[r, c]` is the point of B that pixel (x=c, y=r) of A shows. Cell
(row, col) of a feature map of stride s stands for the pixel (x, y) = (s col, s row), the centre of its feature under
symmetric padding (LoFTR's convention). There is no half-cell offset.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates

# Every step squares the error: from 4 px it is below 1e-4 px after two steps, below float32's precision after three.
NEWTON_STEPS = 3


class Waves(NamedTuple):
    """A smooth displacement field: the sum of K plane waves, in closed form at any point.

    It does not fold while sum_k |amplitude_k| |frequency_k| < 1; at 1/4 the Jacobian's determinant stays above 9/16.
    """

    amplitude: jax.Array  # (K, 2) px
    frequency: jax.Array  # (K, 2) rad/px
    phase: jax.Array  # (K,) rad


def pixel_grid(height: int, width: int) -> jax.Array:
    """The points of all pixels, (height, width, 2)."""
    y, x = jnp.meshgrid(jnp.arange(height, dtype=jnp.float32), jnp.arange(width, dtype=jnp.float32), indexing="ij")
    return jnp.stack([x, y], axis=-1)


class Displacement(NamedTuple):
    """The values of a displacement field at points, and its derivatives.

    Coordinates are apart, because a trailing axis of two makes a CPU several times slower.
    """

    x: jax.Array  # (...) px
    y: jax.Array  # (...) px
    xx: jax.Array  # (...), derivative of x along x
    xy: jax.Array  # (...), derivative of x along y
    yx: jax.Array  # (...), derivative of y along x
    yy: jax.Array  # (...), derivative of y along y


Field = Callable[[jax.Array, jax.Array], Displacement]  # (x, y) px -> the displacement there


def displacement(waves: Waves, x: jax.Array, y: jax.Array) -> Displacement:
    """The waves' displacement at the points (x, y), each (...) px."""
    sums = Displacement(*(jnp.zeros_like(x) for _ in Displacement._fields))
    for amplitude, frequency, phase in zip(*waves, strict=True):
        angle = x * frequency[0] + y * frequency[1] + phase
        sine, cosine = jnp.sin(angle), jnp.cos(angle)
        slopes = (cosine * (amplitude[i] * frequency[j]) for i in (0, 1) for j in (0, 1))
        wave = (sine * amplitude[0], sine * amplitude[1], *slopes)
        sums = Displacement(*(total + part for total, part in zip(sums, wave, strict=True)))
    return sums


def displace(field: Field, points: jax.Array) -> jax.Array:
    """Points (..., 2) px plus their displacement, (..., 2) px."""
    x, y = points[..., 0], points[..., 1]
    shift = field(x, y)
    return jnp.stack([x + shift.x, y + shift.y], axis=-1)


def undo_displacement(field: Field, points: jax.Array, steps: int) -> jax.Array:
    """The points (..., 2) px that `displace` maps to `points`, by `steps` of Newton's method.

    The field must not fold.
    """
    target_x, target_y = points[..., 0], points[..., 1]

    def newton_step(_: jax.Array, place: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        shift = field(*place)
        error_x, error_y = place[0] + shift.x - target_x, place[1] + shift.y - target_y
        a, d = 1 + shift.xx, 1 + shift.yy
        area = a * d - shift.xy * shift.yx
        return (
            place[0] - (d * error_x - shift.xy * error_y) / area,
            place[1] - (a * error_y - shift.yx * error_x) / area,
        )

    return jnp.stack(jax.lax.fori_loop(0, steps, newton_step, (target_x, target_y)), axis=-1)


def rotate(points: jax.Array, angle: jax.Array) -> jax.Array:
    """Points (..., 2) turned about the origin by `angle` () rad, from x towards y (clockwise on the screen)."""
    c, s = jnp.cos(angle), jnp.sin(angle)
    x, y = points[..., 0], points[..., 1]
    return jnp.stack([c * x - s * y, s * x + c * y], axis=-1)


class Warp(NamedTuple):
    """The invertible map u -> rotate(u + waves(u) - centre_from, angle) + centre_to."""

    angle: jax.Array  # () rad
    centre_from: jax.Array  # (2,) px
    centre_to: jax.Array  # (2,) px
    waves: Waves

    def __call__(self, points: jax.Array) -> jax.Array:
        """The images (..., 2) px of points (..., 2) px."""
        bent = displace(partial(displacement, self.waves), points)
        return rotate(bent - self.centre_from, self.angle) + self.centre_to

    def inverse(self, points: jax.Array) -> jax.Array:
        """The points (..., 2) px whose images are `points` (..., 2) px."""
        target = rotate(points - self.centre_to, -self.angle) + self.centre_from
        return undo_displacement(partial(displacement, self.waves), target, NEWTON_STEPS)


def sample(image: jax.Array, points: jax.Array, outside: float | jax.Array) -> jax.Array:
    """The bilinear values (...) of an image (H, W) at points (..., 2) px; `outside` beyond the image."""
    # `cval` has to be a Python number; `outside` may differ from image to image.
    values = map_coordinates(image - outside, [points[..., 1], points[..., 0]], order=1, mode="constant", cval=0.0)
    return values + outside


def inside(points: jax.Array, height: int, width: int) -> jax.Array:
    """Which points (..., 2) px lie within the outermost pixel centres of a (height, width) image: (...) bool."""
    x, y = points[..., 0], points[..., 1]
    return (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)


def mask_at(mask: jax.Array, points: jax.Array) -> jax.Array:
    """The mask (H, W) bool at the pixel nearest to each point (..., 2) px: (...) bool, false outside."""
    height, width = mask.shape
    nearest = jnp.round(points).astype(jnp.int32)
    x, y = jnp.clip(nearest[..., 0], 0, width - 1), jnp.clip(nearest[..., 1], 0, height - 1)
    return mask[y, x] & inside(points, height, width)


def at_cells(pixels: jax.Array, stride: int) -> jax.Array:
    """The values of (B, H, W, ...) at the cells' pixels, flattened row-major: (B, H/stride * W/stride, ...)."""
    cells = pixels[:, ::stride, ::stride]
    return cells.reshape(cells.shape[0], -1, *cells.shape[3:])


def nearest_cell(points: jax.Array, grid: tuple[int, int], stride: int) -> jax.Array:
    """The row-major index (...) int32 of the cell whose pixel is nearest to each point (..., 2) px.

    It is -1 outside the grid, which is (rows, cols). stride: px per cell.
    """
    col = jnp.round(points[..., 0] / stride).astype(jnp.int32)
    row = jnp.round(points[..., 1] / stride).astype(jnp.int32)
    in_grid = (row >= 0) & (row < grid[0]) & (col >= 0) & (col < grid[1])
    return jnp.where(in_grid, row * grid[1] + col, -1)


def cell_points(grid: tuple[int, int], stride: int) -> jax.Array:
    """The pixel (x, y) of every cell of a (rows, cols) grid, (rows * cols, 2) px, row-major."""
    return stride * pixel_grid(*grid).reshape(-1, 2)


def cell_labels(map_ab: jax.Array, valid_ab: jax.Array, map_ba: jax.Array, stride: int) -> jax.Array:
    """The true cell of B for every cell of A, or -1: mutual nearest cells under the exact map, as LoFTR's labels.

    Args:
        map_ab: (B, Ha, Wa, 2) px.
        valid_ab: (B, Ha, Wa) bool, the pixels whose point lies inside B and on ridges of both prints.
        map_ba: (B, Hb, Wb, 2) px, the inverse of map_ab.
        stride: px per cell, of both images.

    Returns:
        (B, Na) int32: cell j of B where i maps into j, j is in the grid and visible, and j's pixel maps back into i.
    """
    grid_a = map_ab.shape[1] // stride, map_ab.shape[2] // stride
    grid_b = map_ba.shape[1] // stride, map_ba.shape[2] // stride
    cell_b = nearest_cell(at_cells(map_ab, stride), grid_b, stride)  # (B, Na)
    cell_a = nearest_cell(at_cells(map_ba, stride), grid_a, stride)  # (B, Nb)
    round_trip = jnp.take_along_axis(cell_a, jnp.maximum(cell_b, 0), axis=1)  # (B, Na)
    own = jnp.arange(grid_a[0] * grid_a[1], dtype=jnp.int32)
    mutual = at_cells(valid_ab, stride) & (cell_b >= 0) & (round_trip == own)
    return jnp.where(mutual, cell_b, -1)
