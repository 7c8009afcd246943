"""From two token maps to match probabilities, and from match probabilities to a list of matches."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

_MASKED_SIMILARITY = -1e9  # LoFTR


class CellMatches(NamedTuple):
    """The best matches of each pair, best first, padded to M rows."""

    cells: jax.Array  # (B, M, 2) int32: row-major cell index in A and in B, -1 in padding
    confidence: jax.Array  # (B, M) float32: P of the match in [0, 1], 0 in padding


def log_dual_softmax(
    feat_a: jax.Array,
    feat_b: jax.Array,
    temperature: float,
    mask_a: jax.Array | None = None,
    mask_b: jax.Array | None = None,
) -> jax.Array:
    """log P of every cell pair: softmax over B's cells times softmax over A's cells, in log space. Source: LoFTR.

    The similarity is <a, b> / (C temperature), and -1e9 where either cell is padded.

    Args:
        feat_a: (B, Na, C). feat_b: (B, Nb, C).
        temperature: of the softmax.
        mask_a, mask_b: float (B, N) or (B, h, w), 1 = real, 0 = padded; None: all cells are real.

    Returns:
        float32 (B, Na, Nb), at most 0.
    """
    channels = feat_a.shape[-1]
    # Scaled before the product. The compiler fuses a scaling after it into each use, where it rounds differently: a
    # similarity then exceeds its own maximum, log P rises above 0, and exp overflows for large similarities.
    feat_a, feat_b = feat_a.astype(jnp.float32) / (channels * temperature), feat_b.astype(jnp.float32)
    similarity = jnp.einsum("bnc,bmc->bnm", feat_a, feat_b, precision=jax.lax.Precision.HIGHEST)
    if mask_a is not None:
        real = mask_a.reshape(mask_a.shape[0], -1, 1) > 0  # (B, Na, 1)
        similarity = jnp.where(real, similarity, _MASKED_SIMILARITY)
    if mask_b is not None:
        real = mask_b.reshape(mask_b.shape[0], 1, -1) > 0  # (B, 1, Nb)
        similarity = jnp.where(real, similarity, _MASKED_SIMILARITY)
    return jax.nn.log_softmax(similarity, axis=2) + jax.nn.log_softmax(similarity, axis=1)


def _span(real: jax.Array, border: int) -> jax.Array:
    """Which positions (B, L) lie at least `border` inside the first and last true flag of `real` (B, L)."""
    place = jnp.arange(real.shape[1])
    first = jnp.argmax(real, axis=1)[:, None]
    last = real.shape[1] - 1 - jnp.argmax(real[:, ::-1], axis=1)[:, None]
    return (place >= first + border) & (place <= last - border)


def _allowed_cells(batch: int, grid: tuple[int, int], border: int, mask: jax.Array | None) -> jax.Array:
    """The cells that may match, (B, h*w) bool: real cells, at least `border` cells inside the real area.

    In LoFTR the real area starts at the top left. Here it is the bounding box of the real cells, at any place.
    """
    real = jnp.ones((batch, *grid), bool) if mask is None else mask.reshape(batch, *grid) > 0
    rows, columns = _span(real.any(axis=2), border), _span(real.any(axis=1), border)
    return (real & rows[:, :, None] & columns[:, None, :]).reshape(batch, -1)


def extract_matches(
    log_p: jax.Array,
    grid_a: tuple[int, int],
    grid_b: tuple[int, int],
    *,
    threshold: float,
    border: int,
    max_matches: int,
    mask_a: jax.Array | None = None,
    mask_b: jax.Array | None = None,
) -> CellMatches:
    """Pick the mutual nearest cell pairs with P > threshold, best first.

    The nearest cell is searched over all cells, those at the edges included, as in LoFTR. Of equal probabilities the
    first cell counts. Grids, `border` and `max_matches` must be static under jit.

    Args:
        log_p: (B, Na, Nb).
        grid_a, grid_b: (rows, columns) of the cells.
        threshold: on P, in [0, 1].
        border: number of cells dropped at every edge of both grids, or of their real area where there is a mask.
        max_matches: rows of the result; it is padded even where fewer cells exist.
        mask_a, mask_b: float (B, N) or (B, h, w), 1 = real, 0 = padded; None: all cells are real.

    Raises:
        ValueError: a grid does not fit log_p.
    """
    batch, num_a, num_b = log_p.shape
    if (grid_a[0] * grid_a[1], grid_b[0] * grid_b[1]) != (num_a, num_b):
        raise ValueError(f"log P is {num_a} x {num_b} cells, the grids are {tuple(grid_a)} and {tuple(grid_b)}")
    cell_a = jnp.arange(num_a)
    nearest_b = jnp.argmax(log_p, axis=2)  # (B, Na)
    nearest_a = jnp.argmax(log_p, axis=1)  # (B, Nb)
    confidence = jnp.exp(jnp.max(log_p, axis=2)).astype(jnp.float32)  # (B, Na)
    keep = jnp.take_along_axis(nearest_a, nearest_b, axis=1) == cell_a
    keep &= confidence > threshold
    keep &= _allowed_cells(batch, grid_a, border, mask_a)
    keep &= jnp.take_along_axis(_allowed_cells(batch, grid_b, border, mask_b), nearest_b, axis=1)

    count = min(max_matches, num_a)
    score, best_a = jax.lax.top_k(jnp.where(keep, confidence, -1.0), count)  # (B, count)
    cells = jnp.stack([best_a, jnp.take_along_axis(nearest_b, best_a, axis=1)], axis=-1)
    is_match = score >= 0
    cells = jnp.where(is_match[..., None], cells, -1).astype(jnp.int32)
    padding = max_matches - count
    return CellMatches(
        cells=jnp.pad(cells, ((0, 0), (0, padding), (0, 0)), constant_values=-1),
        confidence=jnp.pad(jnp.where(is_match, score, 0.0), ((0, 0), (0, padding))),
    )
