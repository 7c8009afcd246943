"""LoFTR's fine stage (Sun et al. 2021): from matched cells to points between the pixels of B."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

WINDOW = 5  # fine cells a side
RADIUS = WINDOW // 2
_SMALLEST_VARIANCE = 1e-10
_EXACT = jax.lax.Precision.HIGHEST


class Refined(NamedTuple):
    """Where M matches of each pair lie, more finely than in cells; rows of padding hold no meaning.

    points_b (B, M, 2) px, to the pixel of cell i in A; offset (B, M, 2), points_b from the pixel of cell j, (x, y)
    as a share of the window's reach, in [-1, 1]; spread (B, M), the heatmap's standard deviations in x and y, summed,
    in the same unit. All float32.
    """

    points_b: jax.Array
    offset: jax.Array
    spread: jax.Array


def windows(fine_map, cells, ratio):
    """The fine features around each cell: fine_map (B, H, W, C), cells (B, M) row-major -> (B, M, WINDOW**2, C).

    `ratio` fine cells to a coarse one; windows are centred on fine cell ratio * (row, column), the same pixel, and
    zero beyond the map.
    """
    columns, channels = fine_map.shape[2] // ratio, fine_map.shape[3]
    padded = jnp.pad(fine_map, ((0, 0), (RADIUS, RADIUS), (RADIUS, RADIUS), (0, 0)))

    def cut(one_map, cell):
        corner = (cell // columns * ratio, cell % columns * ratio, 0)
        return jax.lax.dynamic_slice(one_map, corner, (WINDOW, WINDOW, channels))

    cut_out = jax.vmap(jax.vmap(cut, in_axes=(None, 0)))(padded, cells)
    return cut_out.reshape(*cells.shape, WINDOW**2, channels)


class FinePreprocess(nn.Module):
    """Tell a window of fine features what its coarse cell knows: both are concatenated and projected.

    Call: window (B, M, W, C) and its cells' tokens (B, M, D) -> (B, M, W, C).
    """

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, window, token):
        width = window.shape[-1]
        init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")  # as LoFTR
        context = nn.Dense(width, dtype=self.dtype, kernel_init=init, name="down_proj")(token)
        context = jnp.broadcast_to(context[..., None, :], window.shape)
        both = jnp.concatenate([window, context], axis=-1)
        return nn.Dense(width, dtype=self.dtype, kernel_init=init, name="merge_feat")(both)


def expectation(centre_a, window_b):
    """Where in its window the middle of A's lies in B: centre_a (..., C), window_b (..., WINDOW**2, C).

    Returns the mean (..., 2) of the softmax heatmap's place (x, y), the window's edges being at -1 and 1, and the sum
    (...) of its two standard deviations. float32.
    """
    centre_a, window_b = centre_a.astype(jnp.float32), window_b.astype(jnp.float32)
    logits = jnp.einsum("...c,...wc->...w", centre_a, window_b, precision=_EXACT) / centre_a.shape[-1] ** 0.5
    heatmap = jax.nn.softmax(logits, axis=-1)
    side = jnp.linspace(-1, 1, WINDOW)
    place = jnp.stack([jnp.tile(side, WINDOW), jnp.repeat(side, WINDOW)], axis=-1)  # (WINDOW**2, 2), x and y
    mean = jnp.einsum("...w,wp->...p", heatmap, place, precision=_EXACT)
    variance = jnp.einsum("...w,wp->...p", heatmap, place**2, precision=_EXACT) - mean**2
    return mean, jnp.sqrt(jnp.maximum(variance, _SMALLEST_VARIANCE)).sum(-1)
