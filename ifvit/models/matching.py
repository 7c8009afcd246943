"""From two token maps to match probabilities, and from those to a list of matches."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

_MASKED_SIMILARITY = -1e9  # LoFTR


class CellMatches(NamedTuple):
    """The best matches of each pair, best first; a static shape, so padded.

    cells (B, M, 2) int32: row-major cell index in A and in B, -1 in padding. confidence (B, M) float32: P of
    the match in [0, 1], 0 in padding.
    """

    cells: jax.Array
    confidence: jax.Array


def log_dual_softmax(feat_a, feat_b, temperature, mask_a=None, mask_b=None):
    """log P of every cell pair: softmax over B's cells times softmax over A's, in log space.

    feat_a (B, Na, C), feat_b (B, Nb, C); masks floats (B, N) or (B, h, w), 1 = real. Similarity is
    <a, b> / (C temperature), -1e9 where either cell is padded. Returns (B, Na, Nb) float32, at most 0. Source: LoFTR.
    """
    channels = feat_a.shape[-1]
    # Scaled before the product: a scaling after it is fused into each use, where it rounds differently, so that a
    # similarity exceeds its own maximum: log P rises above 0, and exp overflows once similarities are large.
    feat_a, feat_b = feat_a.astype(jnp.float32) / (channels * temperature), feat_b.astype(jnp.float32)
    similarity = jnp.einsum("bnc,bmc->bnm", feat_a, feat_b, precision=jax.lax.Precision.HIGHEST)
    if mask_a is not None:
        real = mask_a.reshape(mask_a.shape[0], -1, 1) > 0  # (B, Na, 1)
        similarity = jnp.where(real, similarity, _MASKED_SIMILARITY)
    if mask_b is not None:
        real = mask_b.reshape(mask_b.shape[0], 1, -1) > 0  # (B, 1, Nb)
        similarity = jnp.where(real, similarity, _MASKED_SIMILARITY)
    return jax.nn.log_softmax(similarity, axis=2) + jax.nn.log_softmax(similarity, axis=1)


def _span(real, border):
    """Positions in a line of flags (B, L) that lie `border` inside its first and last true one: (B, L)."""
    place = jnp.arange(real.shape[1])
    first = jnp.argmax(real, axis=1)[:, None]
    last = real.shape[1] - 1 - jnp.argmax(real[:, ::-1], axis=1)[:, None]
    return (place >= first + border) & (place <= last - border)


def _allowed_cells(batch, grid, border, mask):
    """Cells that may match, (B, h*w) bool: real, and `border` cells inside the real area.

    LoFTR takes the real area to start at the top left; here it is the real cells' bounding box, wherever it
    lies.
    """
    real = jnp.ones((batch, *grid), bool) if mask is None else mask.reshape(batch, *grid) > 0
    rows, columns = _span(real.any(axis=2), border), _span(real.any(axis=1), border)
    return (real & rows[:, :, None] & columns[:, None, :]).reshape(batch, -1)


def extract_matches(log_p, grid_a, grid_b, *, threshold, border, max_matches, mask_a=None, mask_b=None):
    """Pick the mutual nearest cell pairs with P > threshold, best first.

    log_p (B, Na, Nb); grid_a, grid_b the (rows, columns) of the cells; `border` cells are dropped at every
    edge of both grids, or of their real area where a mask ((B, N) or (B, h, w), floats, 1 = real) is given.
    Nearest is judged over all cells, borders included, as in LoFTR; of equal probabilities the first cell
    counts. Returns `CellMatches` of `max_matches` rows, padded even where fewer cells exist. Grids, `border` and
    `max_matches` must be static under jit. Raises ValueError when a grid does not fit log_p.
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
    score, chosen_a = jax.lax.top_k(jnp.where(keep, confidence, -1.0), count)  # (B, count)
    cells = jnp.stack([chosen_a, jnp.take_along_axis(nearest_b, chosen_a, axis=1)], axis=-1)
    found = score >= 0
    cells = jnp.where(found[..., None], cells, -1).astype(jnp.int32)
    padding = max_matches - count
    return CellMatches(
        cells=jnp.pad(cells, ((0, 0), (0, padding), (0, 0)), constant_values=-1),
        confidence=jnp.pad(jnp.where(found, score, 0.0), ((0, 0), (0, padding))),
    )
