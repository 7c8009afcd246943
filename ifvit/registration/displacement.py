"""A smooth displacement of the plane, given at the centres of a grid of blocks. Pure JAX.

Between the centres it is bilinear, beyond the outermost ones constant. The area of skin under such a map, the
determinant of its derivatives, is linear within each mesh of the grid; so it is positive everywhere where it is at the
corners of every mesh (`smallest_area`), and a map that keeps this never folds.

A displacement is float32 (..., R, C, 2), (x, y) px; the centre of block (row, col) is at `BlockGrid.centre`.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ifvit.registration.sampling import blurred

LEAST_AREA = 0.4  # of what it was; Cappelli's skin stays above .5, two levels on one another may need more than one
SMOOTHING_ROUNDS = 8  # of taking out a fold where it is
SHARES = 16  # of a displacement that are tried where that does not suffice
INVERSION_ROUNDS = 12
WIDTHS = ((0.6, 1.0), (1.5, 0.02), (5.0, 1e-4))  # blocks, share: of the Gaussians that carry a displacement on


class BlockGrid(NamedTuple):
    """Where blocks lie: the centre of the first one, and from one to the next, px along both axes."""

    first: float
    step: float


def displaced(field: jax.Array, blocks: BlockGrid, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Where points (x, y), each (...) px, go under a displacement (R, C, 2)."""
    rows, cols, _ = field.shape
    col, right = _place((x - blocks.first) / blocks.step, cols)
    row, down = _place((y - blocks.first) / blocks.step, rows)
    flat = jnp.asarray(field).reshape(-1, 2)
    beside, below = jnp.minimum(col + 1, cols - 1), jnp.minimum(row + 1, rows - 1)
    right, down = right[..., None], down[..., None]
    above = flat[row * cols + col] * (1 - right) + flat[row * cols + beside] * right
    under = flat[below * cols + col] * (1 - right) + flat[below * cols + beside] * right
    moved = above * (1 - down) + under * down
    return x + moved[..., 0], y + moved[..., 1]


def _place(at: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """The block before a place, and the share of the way to the next one."""
    at = jnp.clip(at, 0, count - 1)
    before = jnp.minimum(jnp.floor(at).astype(jnp.int32), max(count - 2, 0))
    return before, at - before


def smallest_area(field: jax.Array, step: float) -> jax.Array:
    """The smallest determinant at the corners of the meshes around each block, (..., R, C)."""
    room = jnp.pad(field, [(0, 0)] * (field.ndim - 3) + [(1, 1), (1, 1), (0, 0)], mode="edge")
    here = room[..., 1:-1, 1:-1, :]
    along_x = (room[..., 1:-1, 2:, :] - here) / step, (here - room[..., 1:-1, :-2, :]) / step
    along_y = (room[..., 2:, 1:-1, :] - here) / step, (here - room[..., :-2, 1:-1, :]) / step
    areas = [
        (1 + dx[..., 0]) * (1 + dy[..., 1]) - dx[..., 1] * dy[..., 0] for dx in along_x for dy in along_y
    ]  # fmt: skip
    return jnp.stack(areas).min(0)


def without_folds(field: jax.Array, step: float) -> jax.Array:
    """The displacement (..., R, C, 2), smoothed where it would squeeze skin below `LEAST_AREA`.

    Smoothing acts around the fold alone. What is left after `SMOOTHING_ROUNDS` is drawn back as a whole.
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
    """Means over 3x3 blocks, of (..., R, C, N); the border's values go on beyond it."""
    rows, cols = values.shape[-3:-1]
    room = jnp.pad(values, [(0, 0)] * (values.ndim - 3) + [(1, 1), (1, 1), (0, 0)], mode="edge")
    return sum(room[..., i : i + rows, j : j + cols, :] for i in range(3) for j in range(3)) / 9


def undisplaced(field: jax.Array, blocks: BlockGrid, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The points that a displacement (R, C, 2) takes to points (x, y), by fixed-point rounds."""

    def closer(_: int, place: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        to_x, to_y = displaced(field, blocks, *place)
        return place[0] + x - to_x, place[1] + y - to_y

    return jax.lax.fori_loop(0, INVERSION_ROUNDS, closer, (x, y))


def inverse(field: jax.Array, step: float) -> jax.Array:
    """The displacement (R, C, 2) that takes each block's centre back to where it came from."""
    rows, cols, _ = field.shape
    y, x = jnp.meshgrid(*(jnp.arange(count, dtype=field.dtype) * step for count in (rows, cols)), indexing="ij")
    from_x, from_y = undisplaced(field, BlockGrid(0.0, step), x, y)
    return jnp.stack([from_x - x, from_y - y], axis=-1)


def carried_on(field: jax.Array, weight: jax.Array) -> jax.Array:
    """The displacement (R, C, 2), smoothed by the weights (R, C) of its blocks; each of `WIDTHS` fills what the one
    before leaves open, so that a block of no weight follows the nearest ones that have some.
    """
    weighted = jnp.stack([field[..., 0] * weight, field[..., 1] * weight, weight])
    x, y, total = sum(share * blurred(weighted, width) for width, share in WIDTHS)
    return jnp.stack([x, y], axis=-1) / jnp.maximum(total, 1e-12)[..., None]
