"""LoFTR's fine stage (Sun et al. 2021): from matched cells to points between the pixels of B."""

from __future__ import annotations

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

WINDOW = 5  # side of a window, in fine cells
RADIUS = WINDOW // 2
_SMALLEST_VARIANCE = 1e-10
_EXACT = jax.lax.Precision.HIGHEST


class Refined(NamedTuple):
    """Points between the pixels for M matches (i in A, j in B) of each pair. Rows of padding have no meaning."""

    points_b: jax.Array  # (B, M, 2) float32, (x, y) px: the point of B that the pixel of cell i in A shows
    # (B, M, 2) float32, (x, y) in [-1, 1]: points_b minus the pixel of cell j, as a share of the window's reach
    offset: jax.Array
    spread: jax.Array  # (B, M) float32: sum of the heatmap's standard deviations in x and y, in the unit of offset


def windows(fine_map: jax.Array, cells: jax.Array, ratio: int) -> jax.Array:
    """The window of fine features around each coarse cell, (B, M, WINDOW**2, C), its places row-major.

    A window is centred on the fine cell ratio * (row, column), which stands for the same pixel as the coarse cell.
    It is zero beyond the map.

    Args:
        fine_map: (B, H, W, C).
        cells: (B, M) int, row-major indices of coarse cells.
        ratio: fine cells per coarse cell along each axis.
    """
    columns, channels = fine_map.shape[2] // ratio, fine_map.shape[3]
    padded = jnp.pad(fine_map, ((0, 0), (RADIUS, RADIUS), (RADIUS, RADIUS), (0, 0)))

    def cut(image_map: jax.Array, cell: jax.Array) -> jax.Array:
        corner = (cell // columns * ratio, cell % columns * ratio, 0)
        return jax.lax.dynamic_slice(image_map, corner, (WINDOW, WINDOW, channels))

    cutouts = jax.vmap(jax.vmap(cut, in_axes=(None, 0)))(padded, cells)
    return cutouts.reshape(*cells.shape, WINDOW**2, channels)


class FinePreprocess(nn.Module):
    """Concatenate the token of the coarse cell to each place of its window of fine features, and project the result.

    Call: windows (B, M, W, C) and the tokens (B, M, D) of their cells -> (B, M, W, C).
    """

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, window: jax.Array, token: jax.Array) -> jax.Array:
        width = window.shape[-1]
        init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")  # as LoFTR
        context = nn.Dense(width, dtype=self.dtype, kernel_init=init, name="down_proj")(token)
        context = jnp.broadcast_to(context[..., None, :], window.shape)
        both = jnp.concatenate([window, context], axis=-1)
        return nn.Dense(width, dtype=self.dtype, kernel_init=init, name="merge_feat")(both)


def expectation(centre_a: jax.Array, window_b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The expected place in B's window of the centre of A's window.

    The heatmap is the softmax of the similarities between A's centre and the places of B's window, whose edges are
    at -1 and 1.

    Args:
        centre_a: (..., C), the features at the centre of A's window.
        window_b: (..., WINDOW**2, C).

    Returns:
        The mean (x, y) of the heatmap (..., 2) and the sum of its two standard deviations (...), float32.
    """
    centre_a, window_b = centre_a.astype(jnp.float32), window_b.astype(jnp.float32)
    logits = jnp.einsum("...c,...wc->...w", centre_a, window_b, precision=_EXACT) / centre_a.shape[-1] ** 0.5
    heatmap = jax.nn.softmax(logits, axis=-1)
    side = jnp.linspace(-1, 1, WINDOW)
    place = jnp.stack([jnp.tile(side, WINDOW), jnp.repeat(side, WINDOW)], axis=-1)  # (WINDOW**2, 2), x and y
    mean = jnp.einsum("...w,wp->...p", heatmap, place, precision=_EXACT)
    variance = jnp.einsum("...w,wp->...p", heatmap, place**2, precision=_EXACT) - mean**2
    return mean, jnp.sqrt(jnp.maximum(variance, _SMALLEST_VARIANCE)).sum(-1)
