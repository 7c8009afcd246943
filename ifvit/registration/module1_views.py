"""A pair as the network sees it, turned this way and that, and the matches it finds there. Pure JAX.

A network that learned from upright prints finds matches while both are nearly upright. So it sees A turned by each of
K angles with B as it is, then B turned with A as it is: one batch of one compiled program, whose matches come back in
px of the unturned prints. What the backbone makes of a turned print is computed once (`see`), whatever it is compared
with. Turning A alone would not do: where B is upside down, the view in which they fit has both
upside down. On unseen synthetic fingers turned against each other by any angle, and a network trained on +-60 degrees,
22 % of pairs were refused and 10 % laid wrong by more than 15 px with A turned alone; with either, none.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ifvit import geometry
from ifvit.config import DenseConfig
from ifvit.models.dense import DenseModel
from ifvit.models.matching import extract_matches

# Exponent of P in a match's place. P is the product of two softmaxes, its root has the width of one; on synthetic
# fingers 1/2 and 1/4 placed best.
WIDTH = 0.5


class PrintViews(NamedTuple):
    """A print as the network sees it, turned by each of K angles.

    features: the backbone's maps, (K, ...) each. cells: bool (K, N), which cells show ridges.
    """

    features: Any
    cells: jax.Array


class Views(NamedTuple):
    """M matches in each of V views of B pairs, best first: points_a, points_b (B, V, M, 2) px of the unturned prints,
    confidence (B, V, M), 0 in padding.
    """

    points_a: jax.Array
    points_b: jax.Array
    confidence: jax.Array


def turn_angles(turns: int) -> np.ndarray:
    """The angles by which prints are turned, rad (turns,)."""
    return 2 * np.pi * np.arange(turns) / turns


def view_turns(turns: int) -> np.ndarray:
    """Which of the `turn_angles` each view turns A and B by, (V, 2): A by each with B as it is, then B by all but 0."""
    still = np.zeros(turns, int)
    return np.concatenate([np.stack([np.arange(turns), still], 1), np.stack([still, np.arange(turns)], 1)[1:]])


@partial(jax.jit, static_argnames=("model", "turns"))
def see(
    model: DenseModel, turns: int, variables: Any, grey: jax.Array, ridges: jax.Array, background: jax.Array
) -> PrintViews:
    """What the network sees of a print: grey uint8 (H, W), ridges bool (H, W), background uint8 ()."""
    points = _turned_back(geometry.pixel_grid(*grey.shape), grey.shape, turn_angles(turns)[:, None, None])

    def view(points: jax.Array) -> tuple[jax.Array, jax.Array]:
        seen = geometry.sample(grey.astype(jnp.float32), points, background.astype(jnp.float32))
        return seen / 255, geometry.sample(ridges.astype(jnp.float32), points, 0.0) > 0.5

    images, shown = jax.vmap(view)(points)
    return PrintViews(model.apply(variables, images, method="features"), geometry.at_cells(shown, model.stride))


@partial(jax.jit, static_argnames=("model", "dense", "frame", "turns"))
def search(
    model: DenseModel,
    dense: DenseConfig,
    frame: tuple[int, int],
    turns: int,
    variables: Any,
    prints: tuple[Sequence[PrintViews], Sequence[PrintViews]],
) -> Views:
    """The matches of B pairs in every view, from what the network sees of the As and of the Bs. Only cells that show
    ridges are matched.
    """
    (features_a, cells_a), (features_b, cells_b) = (
        _in_views(side, turned) for side, turned in zip(prints, view_turns(turns).T, strict=True)
    )
    output = model.apply(variables, features_a, features_b, method="match")
    grid = model.grid(*frame)
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
    by_a, by_b = turn_angles(turns)[view_turns(turns).T][..., None]
    by_view = (len(prints[0]), len(by_a), dense.max_matches)
    return Views(
        _turned_back(points_a.reshape(*by_view, 2), frame, by_a),
        _turned_back(points_b.reshape(*by_view, 2), frame, by_b),
        found.confidence.reshape(by_view),
    )


def _in_views(prints: Sequence[PrintViews], turned: np.ndarray) -> PrintViews:
    """B prints as each of V views turns them, (B * V, ...)."""
    together = jax.tree.map(lambda *leaves: jnp.stack(leaves)[:, turned], *prints)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), together)


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
