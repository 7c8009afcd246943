"""A smooth displacement field, with values at the centres of a grid of blocks. Pure JAX.

Between the centres the field is bilinear, outside it is constant. The relative area of skin under such a map is the
determinant of its derivatives. It is linear inside each mesh of the grid: if it is positive at the corners of all
meshes (`smallest_area`), it is positive everywhere, and the map has no folds.

A displacement is float32 (..., R, C, 2), (x, y) px. The centre of block (row, col) is at x = first + col step, and y
likewise (`BlockGrid`).
"""

from __future__ import annotations

from typing import NamedTuple, cast

import jax
import jax.numpy as jnp

from ifvit.registration.sampling import blur

LEAST_AREA = 0.4  # relative to 1: in Cappelli's model skin stays above .5, but a map is composed of several levels
SMOOTHING_ROUNDS = 8  # of local smoothing at folds
SHARES = 16  # steps of the factor that scales a field whose folds remain
INVERSION_ROUNDS = 12
WIDTHS = ((0.6, 1.0), (1.5, 0.02), (5.0, 1e-4))  # of Gaussians: the standard deviation, blocks, and the weight


class BlockGrid(NamedTuple):
    """The centres of blocks, the same along both axes."""

    first: float  # px, the centre of the first block
    step: float  # px, from one centre to the next


def displace(field: jax.Array, blocks: BlockGrid, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The points (x, y), each (...) px, moved by a displacement (R, C, 2)."""
    rows, cols, _ = field.shape
    col, right = _interval((x - blocks.first) / blocks.step, cols)
    row, down = _interval((y - blocks.first) / blocks.step, rows)
    flat = jnp.asarray(field).reshape(-1, 2)
    next_col, next_row = jnp.minimum(col + 1, cols - 1), jnp.minimum(row + 1, rows - 1)
    right, down = right[..., None], down[..., None]
    above = flat[row * cols + col] * (1 - right) + flat[row * cols + next_col] * right
    below = flat[next_row * cols + col] * (1 - right) + flat[next_row * cols + next_col] * right
    shift = above * (1 - down) + below * down
    return x + shift[..., 0], y + shift[..., 1]


def _interval(position: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """The block before a position along an axis of `count` blocks, and the position between it and the next, 0 to 1."""
    position = jnp.clip(position, 0, count - 1)
    before = jnp.minimum(jnp.floor(position).astype(jnp.int32), max(count - 2, 0))
    return before, position - before


def smallest_area(field: jax.Array, step: float) -> jax.Array:
    """The smallest determinant at the corners of the meshes around each block, (..., R, C); step: of the grid, px."""
    padded = jnp.pad(field, [(0, 0)] * (field.ndim - 3) + [(1, 1), (1, 1), (0, 0)], mode="edge")
    centre = padded[..., 1:-1, 1:-1, :]
    along_x = (padded[..., 1:-1, 2:, :] - centre) / step, (centre - padded[..., 1:-1, :-2, :]) / step
    along_y = (padded[..., 2:, 1:-1, :] - centre) / step, (centre - padded[..., :-2, 1:-1, :]) / step
    areas = [
        (1 + dx[..., 0]) * (1 + dy[..., 1]) - dx[..., 1] * dy[..., 0] for dx in along_x for dy in along_y
    ]  # fmt: skip
    return jnp.stack(areas).min(0)


def remove_folds(field: jax.Array, step: float) -> jax.Array:
    """The displacement (..., R, C, 2), smoothed where the relative area of skin is below `LEAST_AREA`.

    Only blocks around a fold are smoothed. If folds remain after `SMOOTHING_ROUNDS`, the field is scaled down until
    there are none. step: of the grid, px.
    """

    def smooth_folds(_: int, field: jax.Array) -> jax.Array:
        folded = (smallest_area(field, step) < LEAST_AREA).astype(field.dtype)[..., None]
        return field + jnp.minimum(9 * _box_mean(folded), 1.0) * (_box_mean(field) - field)

    field = jax.lax.fori_loop(0, SMOOTHING_ROUNDS, smooth_folds, field)
    shares = jnp.arange(SHARES, -1, -1, dtype=field.dtype) / SHARES
    areas = jax.vmap(lambda share: smallest_area(field * share, step).min((-1, -2)))(shares)
    share = shares[(areas >= LEAST_AREA).argmax(0)]
    return field * share[..., None, None, None]


def _box_mean(values: jax.Array) -> jax.Array:
    """The means over 3x3 blocks of (..., R, C, N); outside, the values of the border are repeated."""
    rows, cols = values.shape[-3:-1]
    padded = jnp.pad(values, [(0, 0)] * (values.ndim - 3) + [(1, 1), (1, 1), (0, 0)], mode="edge")
    total = sum(padded[..., i : i + rows, j : j + cols, :] for i in range(3) for j in range(3))
    return cast(jax.Array, total) / 9


def undo_displacement(field: jax.Array, blocks: BlockGrid, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The points that a displacement (R, C, 2) moves to the points (x, y), by fixed-point iteration."""

    def iterate(_: int, point: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        to_x, to_y = displace(field, blocks, *point)
        return point[0] + x - to_x, point[1] + y - to_y

    return jax.lax.fori_loop(0, INVERSION_ROUNDS, iterate, (x, y))


def inverse(field: jax.Array, step: float) -> jax.Array:
    """The inverse displacement (R, C, 2), at the same centres of blocks; step: of the grid, px."""
    rows, cols, _ = field.shape
    y, x = jnp.meshgrid(*(jnp.arange(count, dtype=field.dtype) * step for count in (rows, cols)), indexing="ij")
    from_x, from_y = undo_displacement(field, BlockGrid(0.0, step), x, y)
    return jnp.stack([from_x - x, from_y - y], axis=-1)


def smooth(field: jax.Array, weight: jax.Array) -> jax.Array:
    """The displacement (R, C, 2), smoothed with the weights (R, C) of its blocks.

    A block without weight gets the displacement of the nearest blocks with weight: each of `WIDTHS` fills blocks that
    are too far for the one before it.
    """
    weighted = jnp.stack([field[..., 0] * weight, field[..., 1] * weight, weight])
    x, y, total = cast(jax.Array, sum(share * blur(weighted, width) for width, share in WIDTHS))
    return jnp.stack([x, y], axis=-1) / jnp.maximum(total, 1e-12)[..., None]
