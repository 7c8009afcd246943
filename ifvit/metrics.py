"""Metrics of registrations, per sample. Pure JAX.

Each metric is a pair (total, count) of shape (B,), so that means over any number of batches are exact.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

PCK_PX = (1, 3, 5, 10)  # the reported thresholds of PCK (percentage of correct keypoints), px of the network's frame

Totals = dict[str, tuple[jax.Array, jax.Array]]  # metric -> (total (B,), count (B,))
Sums = dict[str, np.ndarray]  # metric -> (2,) float64, its total and count in all samples


def dense(log_p: jax.Array, labels: jax.Array, truth: jax.Array, grid_b: tuple[int, int], stride: int) -> Totals:
    """Cell accuracy, end-point error and PCK of the most probable cell of B for each labelled cell of A.

    Args:
        log_p: (B, Na, Nb).
        labels: (B, Na) int32, the true cell of B, -1 where there is none.
        truth: (B, Na, 2) px, the true point of B for the cell's pixel.
        grid_b: rows and columns of B's cells.
        stride: px per cell.

    Returns:
        exact: the cell is the true one.
        within_one: the cell is at most one cell off in row and in column.
        end_point_error: px; at best it is the error of rounding to cells.
        pck_N: the cell's pixel is within N px.
    """
    guess = jnp.argmax(log_p, axis=-1).astype(jnp.int32)  # (B, Na)
    labelled = labels >= 0
    count = labelled.sum(-1).astype(jnp.float32)
    rows = jnp.abs(guess // grid_b[1] - labels // grid_b[1])
    cols = jnp.abs(guess % grid_b[1] - labels % grid_b[1])
    error = jnp.linalg.norm(points_of(guess, grid_b, stride) - truth, axis=-1)  # (B, Na) px

    def over_labelled(values: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jnp.where(labelled, values, 0).sum(-1).astype(jnp.float32), count

    totals = {
        "exact": over_labelled(guess == labels),
        "within_one": over_labelled(jnp.maximum(rows, cols) <= 1),
        "end_point_error": over_labelled(error),
    }
    return totals | {f"pck_{px}": over_labelled(error <= px) for px in PCK_PX}


def matches(cells: jax.Array, labels: jax.Array, right: jax.Array) -> Totals:
    """Precision and recall of the extracted matches.

    Args:
        cells: (B, M, 2) int32 pairs (i in A, j in B), padded with -1.
        labels: (B, Na) int32, -1 where there is none.
        right: (B, M) bool, from `right_matches`.

    Returns:
        precision: the share of right matches among the matches; those of an impostor pair are all wrong.
        recall: the share of labelled cells that have a right match.
        matches: the number of matches per pair.
    """
    is_match = cells[..., 0] >= 0
    labelled = jnp.take_along_axis(labels, jnp.maximum(cells[..., 0], 0), axis=1) >= 0
    ones = jnp.ones(cells.shape[0], jnp.float32)
    count = is_match.sum(-1).astype(jnp.float32)
    return {
        "precision": ((right & is_match).sum(-1).astype(jnp.float32), count),
        "recall": (
            (right & is_match & labelled).sum(-1).astype(jnp.float32),
            (labels >= 0).sum(-1).astype(jnp.float32),
        ),
        "matches": (count, ones),
    }


def right_matches(
    cells: jax.Array, truth: jax.Array, visible: jax.Array, grid_b: tuple[int, int], stride: int
) -> jax.Array:
    """Which matches (i, j) are right, (B, M) bool: B shows i's pixel, at most one stride from j's pixel.

    Args:
        cells: (B, M, 2) int32 pairs (i in A, j in B), padded with -1.
        truth: (B, Na, 2) px, the true point of B for the pixel of each cell of A.
        visible: (B, Na) bool, whether B shows that point; false everywhere for an impostor pair.
        grid_b: rows and columns of B's cells.
        stride: px per cell.
    """
    known, target = true_points(cells, truth, visible)
    points_b = points_of(jnp.maximum(cells[..., 1], 0), grid_b, stride)
    return known & (jnp.linalg.norm(points_b - target, axis=-1) <= stride)


def true_points(cells: jax.Array, truth: jax.Array, visible: jax.Array) -> tuple[jax.Array, jax.Array]:
    """For each match whether its true point in B is known, (B, M) bool, and that point, (B, M, 2) px.

    The arguments are those of `right_matches`.
    """
    i = jnp.maximum(cells[..., 0], 0)
    known = jnp.take_along_axis(visible, i, axis=1) & (cells[..., 0] >= 0)
    return known, jnp.take_along_axis(truth, i[..., None], axis=1)


def pixel_errors(points_b: jax.Array, target: jax.Array, known: jax.Array) -> jax.Array:
    """The distance (B, M) px of each match's point in B (B, M, 2) from its true point; 0 where that is not known.

    It is not nan there, because JAX_DEBUG_NANS would stop a correct run.
    """
    return jnp.where(known, jnp.linalg.norm(points_b - target, axis=-1), 0.0)


def over_matches(errors: np.ndarray) -> dict[str, float]:
    """The median and mean of errors (M,) px, and the share within each of `PCK_PX`; all nan where there are none."""
    if not len(errors):
        return {name: float("nan") for name in ("median", "mean", *(f"pck_{px}" for px in PCK_PX))}
    shares = {f"pck_{px}": float((errors <= px).mean()) for px in PCK_PX}
    return {"median": float(np.median(errors)), "mean": float(errors.mean(dtype=np.float64))} | shares


def points_of(cells: jax.Array, grid: tuple[int, int], stride: int) -> jax.Array:
    """The pixels (x, y) of cells: row-major indices (...) in the (rows, cols) grid -> (..., 2) float32 px."""
    return jnp.stack([cells % grid[1], cells // grid[1]], axis=-1).astype(jnp.float32) * stride


def mean(totals: Totals | Sums) -> dict[str, float]:
    """The mean of each metric over its count in all samples; nan where the count is 0."""
    result = {}
    for name, (total, count) in totals.items():
        n = float(jnp.sum(count))
        result[name] = float(jnp.sum(total)) / n if n else float("nan")
    return result


def term(totals: Totals | Sums, name: str) -> float:
    """The mean of the loss term `name`; 0 where its count is 0, as in training, and nan where its total is nan."""
    total, count = (float(np.sum(part)) for part in totals[name])
    return total / count if count else 0.0
