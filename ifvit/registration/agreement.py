"""How well the ridges of two prints agree in their overlap, under an elastic map between them. Pure JAX.

The local correlation of ridges is n(x) = G(ab) / sqrt(G(a^2) G(b^2)). G is a Gaussian of about 1.3 ridge periods, a and
b are the ridges of the aligned A and of B in [-1, 1], 0 outside the overlap. The mean is about .9 for genuine pairs and
about .3 for impostors: an elastic map can make the ridges of two fingers agree in some places, but not everywhere.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ifvit.registration.elastic import ElasticMap, Ridges
from ifvit.registration.sampling import blur, mask_at, sample, sample_points

SIGMA = 12.0  # px at 500 ppi
CELL = 4  # px, the side of a cell of `Agreement.local`
AGREES = 0.6  # the local correlation above which ridges agree
LEAST_AREA = 500.0  # px; with a smaller overlap the agreement is 0
LEAST_ENERGY = 1e-3  # of the geometric mean of both local energies; with less there are no ridges


class Agreement(NamedTuple):
    """The agreement of a pair, in B's frame (H, W)."""

    local: jax.Array  # (H / CELL, W / CELL) float32, the local correlation in [-1, 1]; 0 outside the overlap
    cover: jax.Array  # (H / CELL, W / CELL) float32, the share of a cell that is in the overlap
    mean: jax.Array  # () float32, the mean of the local correlation over the overlap
    agrees: jax.Array  # () float32, the share of the overlap whose local correlation is above `AGREES`
    area: jax.Array  # () float32, the overlap, px at 500 ppi
    share: jax.Array  # () float32, the overlap's share of the smaller print's ridges


def agreement_of(a: Ridges, b: Ridges, to_a: ElasticMap, spacing: int = 1) -> Agreement:
    """The agreement of B with A, aligned by a map from B to A.

    a, b: in frames whose sides are multiples of `CELL`.
    spacing: px between the samples, 1 or 2; 2 takes a quarter of the time, and its mean differs by some hundredths.
    """
    in_a = to_a.on_samples(b.frame, spacing)
    in_b = sample_points(b.frame, spacing)
    overlap = (mask_at(a.mask, *in_a) & mask_at(b.mask, *in_b)).astype(jnp.float32)
    ridges_a = sample(a.for_spacing(spacing), *in_a) * overlap
    ridges_b = sample(b.for_spacing(spacing), *in_b) * overlap
    side = CELL // spacing
    product, energy_a, energy_b = (
        blur(_cells(signal, side), SIGMA / CELL) for signal in (ridges_a * ridges_b, ridges_a**2, ridges_b**2)
    )
    cover = _cells(overlap, side)
    local = product / jnp.sqrt(jnp.maximum(energy_a * energy_b, LEAST_ENERGY**2)) * (cover > 0)
    area = overlap.sum() * spacing**2
    total = jnp.maximum(cover.sum(), 1e-6)
    is_large = area > LEAST_AREA
    mean = jnp.where(is_large, (local * cover).sum() / total, 0.0)
    agrees = jnp.where(is_large, ((local > AGREES) * cover).sum() / total, 0.0)
    smaller = jnp.maximum(jnp.minimum(a.mask.sum(), b.mask.sum()), 1.0)
    return Agreement(local, cover, mean, agrees, area, area / smaller)


def _cells(values: jax.Array, side: int) -> jax.Array:
    """The means over cells of `side` x `side` samples."""
    height, width = values.shape
    return values.reshape(height // side, side, width // side, side).mean((1, 3))
