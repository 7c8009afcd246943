"""Select cell pairs: the matches of the coarse stage, and the targets that the fine stage learns from."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ifvit.config import DenseConfig, LossConfig
from ifvit.data.warped_pairs import Truth
from ifvit.geometry import cell_points
from ifvit.models.dense import DenseModel
from ifvit.models.matching import CellMatches, extract_matches
from ifvit.pair import Pair

Grids = Pair[tuple[int, int]]  # (rows, columns) of A's cells and of B's


class FineTargets(NamedTuple):
    """M places of each of B pairs that the fine stage learns from."""

    cells: jax.Array  # (B, M, 2) int32, (cell of A, cell of B); -1 in empty places
    target: jax.Array  # (B, M, 2) float32, from B's cell pixel to the true point, divided by the fine window's reach
    present: jax.Array  # (B, M) bool, False in empty places


def select_matches(
    log_p: jax.Array,
    grids: Grids,
    dense: DenseConfig,
    ridges: Pair[jax.Array] | None = None,
    max_matches: int | None = None,
) -> CellMatches:
    """The matches of log_p (B, Na, Nb) under the config's threshold and border.

    ridges: (B, Na) and (B, Nb) bool, the cells that show ridges; only these can match. None: all cells can.
    max_matches: of each pair; None: `dense.max_matches`.
    """
    if ridges:
        # Not the masks of `extract_matches`: it would count the border from the edge of the ridges.
        log_p = jnp.where(ridges.a[:, :, None] & ridges.b[:, None, :], log_p, -jnp.inf)
    return extract_matches(
        log_p,
        *grids,
        threshold=dense.threshold,
        border=dense.border,
        max_matches=dense.max_matches if max_matches is None else max_matches,
    )


def fine_targets(
    model: DenseModel, matches: CellMatches, grids: Grids, truth: Truth, order: jax.Array, settings: LossConfig
) -> FineTargets:
    """The places for the fine stage: the model's own matches where they are right, else labelled cells (the teacher).

    While the coarse stage finds nothing, the fine stage learns from labels only; later it learns from the matches that
    it will get in use. The last `loss.fine_teacher` (a share) of the places always come from the labels. The number of
    places that are present depends on the labels only.

    Args:
        matches: all matches of the model.
        order: (Na,) int, a permutation of A's cells: which cells are drawn first.
    """
    places = settings.fine_matches
    labels = truth.labels
    cells = jnp.broadcast_to(jnp.arange(labels.shape[1]), labels.shape)
    teacher = _draw(jnp.stack([cells, labels], axis=-1), labels >= 0, order, places)
    shown = jnp.take_along_axis(truth.shown, jnp.maximum(matches.cells[..., 0], 0), axis=1)
    is_near = (jnp.abs(_target(model, matches.cells, grids, truth)) < 1).all(-1)
    own = _draw(matches.cells, (matches.cells[..., 0] >= 0) & shown & is_near, order, places)
    own_allowed = jnp.arange(places) < places - round(settings.fine_teacher * places)
    present = teacher[..., 0] >= 0
    use_own = (own[..., 0] >= 0) & present & own_allowed
    cells_ij = jnp.where(use_own[..., None], own, teacher)
    return FineTargets(cells_ij, _target(model, cells_ij, grids, truth), present)


def _draw(cells: jax.Array, eligible: jax.Array, order: jax.Array, places: int) -> jax.Array:
    """The eligible cells, of (B, N, 2), whose cell of A has the highest `order`: (B, places, 2), padded with -1."""
    score = jnp.where(eligible, order[jnp.maximum(cells[..., 0], 0)], -1)
    count = min(places, cells.shape[1])
    score, row = jax.lax.top_k(score, count)  # (B, count)
    selected = jnp.where((score >= 0)[..., None], jnp.take_along_axis(cells, row[..., None], axis=1), -1)
    return jnp.pad(selected, ((0, 0), (0, places - count), (0, 0)), constant_values=-1)


def _target(model: DenseModel, cells: jax.Array, grids: Grids, truth: Truth) -> jax.Array:
    """`FineTargets.target` of cells (B, M, 2)."""
    i, j = jnp.maximum(cells[..., 0], 0), jnp.maximum(cells[..., 1], 0)
    points = jnp.take_along_axis(truth.points, i[..., None], axis=1)  # (B, M, 2) px
    return (points - cell_points(grids.b, model.stride)[j]) / model.reach
