"""How good a registration is, per sample. Pure JAX.

Each metric is a pair (total, count) of shape (B,), so that means over any number of batches are exact.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

PCK_PX = (1, 3, 5, 10)  # the thresholds reported, px of the network's frame

Totals = dict[str, tuple[jax.Array, jax.Array]]


def dense(log_p: jax.Array, labels: jax.Array, truth: jax.Array, grid_b: tuple[int, int], stride: int) -> Totals:
    """Cell accuracy, end-point error and PCK of the most confident cell of B for each labelled cell of A.

    Args:
        log_p: (B, Na, Nb); labels: (B, Na) int32, -1 where there is none.
        truth: (B, Na, 2) px, where the cell's pixel really lies in B.
        grid_b: rows and columns of B's cells; stride: px per cell.

    Returns:
        exact: the cell is the true one; within_one: at most one cell off in row and column; end_point_error: px;
        pck_N: within N px. The best possible end-point error is that of rounding to cells.
    """
    guess = jnp.argmax(log_p, axis=-1).astype(jnp.int32)  # (B, Na)
    held = labels >= 0
    count = held.sum(-1).astype(jnp.float32)
    rows = jnp.abs(guess // grid_b[1] - labels // grid_b[1])
    cols = jnp.abs(guess % grid_b[1] - labels % grid_b[1])
    error = jnp.linalg.norm(points_of(guess, grid_b, stride) - truth, axis=-1)  # (B, Na) px

    def over_labelled(values: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jnp.where(held, values, 0).sum(-1).astype(jnp.float32), count

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
        precision: share of the matches that are right (those between different fingers are all wrong);
        recall: right matches of labelled cells among all labelled cells; matches: their number per pair.
    """
    made = cells[..., 0] >= 0
    labelled = jnp.take_along_axis(labels, jnp.maximum(cells[..., 0], 0), axis=1) >= 0
    ones = jnp.ones(cells.shape[0], jnp.float32)
    count = made.sum(-1).astype(jnp.float32)
    return {
        "precision": ((right & made).sum(-1).astype(jnp.float32), count),
        "recall": (
            (right & made & labelled).sum(-1).astype(jnp.float32),
            (labels >= 0).sum(-1).astype(jnp.float32),
        ),
        "matches": (count, ones),
    }


def right_matches(
    cells: jax.Array, truth: jax.Array, shown: jax.Array, grid_b: tuple[int, int], stride: int
) -> jax.Array:
    """Which matches (B, M, 2) are right: i's pixel is shown in B and j's pixel lies within one stride of it, (B, M).

    truth: (B, Na, 2) px; shown: (B, Na) bool, false everywhere for a pair of different fingers.
    """
    known, target = true_points(cells, truth, shown)
    placed = points_of(jnp.maximum(cells[..., 1], 0), grid_b, stride)
    return known & (jnp.linalg.norm(placed - target, axis=-1) <= stride)


def true_points(cells: jax.Array, truth: jax.Array, shown: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Of each match, whether the truth is known (B, M), and where in B its pixel of A really lies (B, M, 2) px.

    Args:
        cells: (B, M, 2) int32 pairs (i in A, j in B), padded with -1.
        truth: (B, Na, 2) px; shown: (B, Na) bool, as in `right_matches`.
    """
    i = jnp.maximum(cells[..., 0], 0)
    known = jnp.take_along_axis(shown, i, axis=1) & (cells[..., 0] >= 0)
    return known, jnp.take_along_axis(truth, i[..., None], axis=1)


def pixel_errors(points_b: jax.Array, target: jax.Array, known: jax.Array) -> jax.Array:
    """How far (B, M) px each match's point in B (B, M, 2) lies from its true one; 0 where that is not known.

    Not nan, for which JAX_DEBUG_NANS would stop a sound run.
    """
    return jnp.where(known, jnp.linalg.norm(points_b - target, axis=-1), 0.0)


def over_matches(errors: np.ndarray) -> dict[str, float]:
    """Median and mean of errors (M,) px, and the share of them within each of `PCK_PX`; all nan where there is none."""
    if not len(errors):
        return {name: float("nan") for name in ("median", "mean", *(f"pck_{px}" for px in PCK_PX))}
    shares = {f"pck_{px}": float((errors <= px).mean()) for px in PCK_PX}
    return {"median": float(np.median(errors)), "mean": float(errors.mean(dtype=np.float64))} | shares


def points_of(cells: jax.Array, grid: tuple[int, int], stride: int) -> jax.Array:
    """The pixel (..., 2) that cell indices (...) stand for."""
    return jnp.stack([cells % grid[1], cells // grid[1]], axis=-1).astype(jnp.float32) * stride


def mean(totals: Totals) -> dict[str, float]:
    """The mean of each metric over everything counted; nan where nothing was."""
    result = {}
    for name, (total, count) in totals.items():
        n = float(jnp.sum(count))
        result[name] = float(jnp.sum(total)) / n if n else float("nan")
    return result


def term(totals: Totals, name: str) -> float:
    """The mean of one term of a loss; 0 where nothing was counted, as in training, and nan where it is no number."""
    total, count = (float(np.sum(part)) for part in totals[name])
    return total / count if count else 0.0
