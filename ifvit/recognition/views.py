"""A pair as the network sees it, turned this way and that, and the matches it finds there. Pure JAX.

A network that learned from upright prints finds matches while both are nearly upright. So it sees A turned by each of
K angles with B as it is, then B turned with A as it is: one batch of one compiled program, whose matches come back in
px of the unturned prints. Turning A alone would not do: where B is upside down, the view in which they fit has both
upside down. On unseen synthetic fingers turned against each other by any angle, and a network trained on +-60 degrees,
22 % of pairs were refused and 10 % laid wrong by more than 15 px with A turned alone; with either, none.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ifvit import geometry
from ifvit.config import DenseConfig
from ifvit.models.dense import DenseModel
from ifvit.models.matching import extract_matches

Angles = tuple[tuple[float, float], ...]  # of each view: how far it turns A and B, rad

# Exponent of P in a match's place. P is the product of two softmaxes, its root has the width of one; on synthetic
# fingers 1/2 and 1/4 placed best.
WIDTH = 0.5


class Sides(NamedTuple):
    """B pairs as the device gets them: grey uint8 (B, H, W), ridges bool (B, H, W), background uint8 (B,)."""

    grey_a: jax.Array
    ridges_a: jax.Array
    background_a: jax.Array
    grey_b: jax.Array
    ridges_b: jax.Array
    background_b: jax.Array


class Views(NamedTuple):
    """M matches in each of V views of B pairs, best first: points_a, points_b (B, V, M, 2) px of the unturned prints,
    confidence (B, V, M), 0 in padding.
    """

    points_a: jax.Array
    points_b: jax.Array
    confidence: jax.Array


def view_angles(turns: int) -> Angles:
    """How far each view turns A and B, rad: A by each of `turns` angles of the circle, then B by each but none."""
    angles = [2 * np.pi * k / turns for k in range(turns)]
    return (*((angle, 0.0) for angle in angles), *((0.0, angle) for angle in angles[1:]))


@partial(jax.jit, static_argnames=("model", "dense", "angles"))
def search(model: DenseModel, dense: DenseConfig, angles: Angles, variables: Any, sides: Sides) -> Views:
    """The matches of B pairs in every view. Only cells that show ridges are matched."""
    frame = sides.grey_a.shape[1:]
    by_a, by_b = np.array(angles).T
    image_a, ridges_a = _in_views(sides.grey_a, sides.ridges_a, sides.background_a, by_a)
    image_b, ridges_b = _in_views(sides.grey_b, sides.ridges_b, sides.background_b, by_b)
    output = model.apply(variables, image_a, image_b, train=False)
    grid = model.grid(*frame)
    cells_a, cells_b = (geometry.at_cells(ridges, model.stride) for ridges in (ridges_a, ridges_b))
    found = extract_matches(
        # Not as masks of `extract_matches`, which would count the border from the ridges' edge.
        jnp.where(cells_a[:, :, None] & cells_b[:, None, :], output.log_p, -jnp.inf),
        grid,
        grid,
        threshold=dense.threshold,
        border=dense.border,
        max_matches=dense.max_matches,
    )
    points_a = geometry.cell_points(grid, model.stride)[jnp.maximum(found.cells[..., 0], 0)]
    if model.has_fine:
        points_b = model.apply(variables, output, found.cells, method="refine").points_b
    else:
        points_b = expected_places(output.log_p, found.cells, grid, model.stride)
    by_view = (len(sides.grey_a), len(angles), dense.max_matches)
    return Views(
        _turned_back(points_a.reshape(*by_view, 2), frame, by_a[:, None]),
        _turned_back(points_b.reshape(*by_view, 2), frame, by_b[:, None]),
        found.confidence.reshape(by_view),
    )


def _in_views(
    grey: jax.Array, ridges: jax.Array, background: jax.Array, angles: np.ndarray
) -> tuple[jax.Array, jax.Array]:
    """One print of each pair turned by V angles: in [0, 1], (B * V, H, W), and its ridges."""
    frame = grey.shape[1:]
    points = _turned_back(geometry.pixel_grid(*frame), frame, angles[:, None, None])  # (V, H, W, 2)

    def view(grey: jax.Array, ridges: jax.Array, background: jax.Array, points: jax.Array):
        seen = geometry.sample(grey.astype(jnp.float32), points, background.astype(jnp.float32))
        return seen / 255, geometry.sample(ridges.astype(jnp.float32), points, 0.0) > 0.5

    views = jax.vmap(jax.vmap(view, (None, None, None, 0)), (0, 0, 0, None))(grey, ridges, background, points)
    return jax.tree.map(lambda x: x.reshape(-1, *frame), views)


def _turned_back(points: jax.Array, frame: tuple[int, int], angle: np.ndarray) -> jax.Array:
    """Where points (..., 2) of a print that was turned by `angle` about the frame's middle lie in the unturned one."""
    middle = jnp.array([frame[1] - 1, frame[0] - 1]) / 2
    return geometry.rotate(points - middle, -jnp.asarray(angle, jnp.float32)) + middle


def expected_places(log_p: jax.Array, cells: jax.Array, grid_b: tuple[int, int], stride: int) -> jax.Array:
    """Where in B matches (B, M, 2) of cells lie, (B, M, 2) px: the mean of B's cell and its eight neighbours, weighted
    by P ** `WIDTH`. Between the cells, where the pixel of B's cell alone is up to half a stride off.
    """
    i, j = jnp.maximum(cells[..., 0], 0), jnp.maximum(cells[..., 1], 0)
    y, x = np.mgrid[-1:2, -1:2].reshape(2, -1)
    row, column = j[..., None] // grid_b[1] + y, j[..., None] % grid_b[1] + x  # (B, M, 9)
    held = (row >= 0) & (row < grid_b[0]) & (column >= 0) & (column < grid_b[1])
    index = jnp.where(held, row * grid_b[1] + column, 0)
    near = jax.vmap(lambda table, i, index: table[i[:, None], index])(log_p, i, index)
    weight = jax.nn.softmax(jnp.where(held, WIDTH * near, -jnp.inf), axis=-1)
    return stride * jnp.stack([jnp.sum(weight * column, -1), jnp.sum(weight * row, -1)], -1)
