"""Which cell pairs become matches: those the model is sure of, and those its fine stage learns from."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ifvit.config import DenseConfig, LossConfig
from ifvit.data.warped_pairs import Truth
from ifvit.geometry import cell_points
from ifvit.models.dense import DenseModel
from ifvit.models.matching import CellMatches, extract_matches

Grids = tuple[tuple[int, int], tuple[int, int]]  # rows and columns of A's cells and of B's


class FineTargets(NamedTuple):
    """M places a pair for the fine stage to learn from.

    cells: int32 (B, M, 2), pairs (i in A, j in B); target: float32 (B, M, 2), i's pixel in B from j's pixel, as a share
    of the fine window's reach; held: bool (B, M), false in places that stay empty.
    """

    cells: jax.Array
    target: jax.Array
    held: jax.Array


def found_matches(
    log_p: jax.Array,
    grids: Grids,
    dense: DenseConfig,
    ridges: tuple[jax.Array, jax.Array] | None = None,
    most: int | None = None,
) -> CellMatches:
    """The matches of log_p (B, Na, Nb) under the config's threshold and border; `most` in place of its number.

    ridges: bool (B, Na) and (B, Nb), the cells that show ridges: only between these are there matches.
    """
    if ridges:
        # Not as masks of `extract_matches`, which would count the border from the ridges' edge.
        log_p = jnp.where(ridges[0][:, :, None] & ridges[1][:, None, :], log_p, -jnp.inf)
    return extract_matches(
        log_p,
        *grids,
        threshold=dense.threshold,
        border=dense.border,
        max_matches=dense.max_matches if most is None else most,
    )


def taught_matches(
    model: DenseModel, found: CellMatches, grids: Grids, truth: Truth, order: jax.Array, settings: LossConfig
) -> FineTargets:
    """The model's own matches where they are right, and the teacher's in all other places.

    So a coarse stage that finds nothing yet is taught by the truth alone, and a better one by what it will meet in use;
    the last `fine_teacher` of the places are always the teacher's. How many places are held depends on the truth alone.

    Args:
        found: all of the model's own matches.
        order: int (Na,), a permutation of A's cells: matches are drawn in it.
    """
    places = settings.fine_matches
    labels = truth.labels
    cells = jnp.broadcast_to(jnp.arange(labels.shape[1]), labels.shape)
    teacher = _drawn(jnp.stack([cells, labels], axis=-1), labels >= 0, order, places)
    shown = jnp.take_along_axis(truth.shown, jnp.maximum(found.cells[..., 0], 0), axis=1)
    near = (jnp.abs(_target(model, found.cells, grids, truth)) < 1).all(-1)
    own = _drawn(found.cells, (found.cells[..., 0] >= 0) & shown & near, order, places)
    may_be_own = jnp.arange(places) < places - round(settings.fine_teacher * places)
    held = teacher[..., 0] >= 0
    use_own = (own[..., 0] >= 0) & held & may_be_own
    chosen = jnp.where(use_own[..., None], own, teacher)
    return FineTargets(chosen, _target(model, chosen, grids, truth), held)


def _drawn(cells: jax.Array, wanted: jax.Array, order: jax.Array, places: int) -> jax.Array:
    """The wanted ones of cells (B, N, 2) whose cell in A comes last in `order`: (B, places, 2), padded with -1."""
    score = jnp.where(wanted, order[jnp.maximum(cells[..., 0], 0)], -1)
    count = min(places, cells.shape[1])
    score, row = jax.lax.top_k(score, count)  # (B, count)
    drawn = jnp.where((score >= 0)[..., None], jnp.take_along_axis(cells, row[..., None], axis=1), -1)
    return jnp.pad(drawn, ((0, 0), (0, places - count), (0, 0)), constant_values=-1)


def _target(model: DenseModel, cells: jax.Array, grids: Grids, truth: Truth) -> jax.Array:
    i, j = jnp.maximum(cells[..., 0], 0), jnp.maximum(cells[..., 1], 0)
    there = jnp.take_along_axis(truth.points, i[..., None], axis=1)  # (B, M, 2) px
    return (there - cell_points(grids[1], model.stride)[j]) / model.reach
