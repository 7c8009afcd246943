"""How well the ridges of two prints agree where both show them, once the skin's bend is followed. Pure JAX.

The local correlation of ridges is n(x) = G(ab) / sqrt(G(a^2) G(b^2)), with G a Gaussian of about 1.3 ridge periods and
a, b the ridges of A (seen through the map) and B in [-1, 1], 0 outside the overlap. Mates agree at about .9, others at
.3: a map that may bend finds some agreement anywhere, but not everywhere.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ifvit.registration.elastic import ElasticMap, Ridges
from ifvit.registration.sampling import blurred, sample_points, sampled, shown

SIGMA = 12.0  # px at 500 ppi
CELL = 4  # px, of the map of agreement
AGREES = 0.6  # local correlation of ridges that are the same
LEAST_AREA = 500.0  # px; a smaller overlap tells nothing
LEAST_ENERGY = 1e-3  # of the product of both local energies; below it there are no ridges


class Agreement(NamedTuple):
    """Of a pair, in B's frame (H, W).

    local: float32 (H / CELL, W / CELL), the local correlation in [-1, 1]; 0 outside the overlap.
    cover: float32, of the same shape, the share of a cell that lies in the overlap.
    mean: float32 (), of the local correlation over the overlap.
    agrees: float32 (), the share of the overlap where it is above `AGREES`.
    area: float32 (), of the overlap, px at 500 ppi.
    share: float32 (), of the smaller print's ridges that lie in the overlap.
    """

    local: jax.Array
    cover: jax.Array
    mean: jax.Array
    agrees: jax.Array
    area: jax.Array
    share: jax.Array


def agreement_of(a: Ridges, b: Ridges, to_a: ElasticMap, spacing: int = 1) -> Agreement:
    """The agreement of A, seen through a map from B to A, with B. The frame's sides are multiples of `CELL`.

    spacing: px between the samples, 1 or 2; 2 takes a quarter of the time and tells the mean to some hundredths.
    """
    points = to_a.on_samples(b.mask.shape, spacing)
    in_b = sample_points(b.mask.shape, spacing)
    both = (shown(a.mask, *points) & shown(b.mask, *in_b)).astype(jnp.float32)
    seen_a = sampled(a.for_spacing(spacing), *points) * both
    seen_b = sampled(b.for_spacing(spacing), *in_b) * both
    side = CELL // spacing
    product, energy_a, energy_b = (
        blurred(_cells(signal, side), SIGMA / CELL) for signal in (seen_a * seen_b, seen_a**2, seen_b**2)
    )
    cover = _cells(both, side)
    local = product / jnp.sqrt(jnp.maximum(energy_a * energy_b, LEAST_ENERGY**2)) * (cover > 0)
    area = both.sum() * spacing**2
    total = jnp.maximum(cover.sum(), 1e-6)
    enough = area > LEAST_AREA
    mean = jnp.where(enough, (local * cover).sum() / total, 0.0)
    agrees = jnp.where(enough, ((local > AGREES) * cover).sum() / total, 0.0)
    smaller = jnp.maximum(jnp.minimum(a.mask.sum(), b.mask.sum()), 1.0)
    return Agreement(local, cover, mean, agrees, area, area / smaller)


def _cells(values: jax.Array, side: int) -> jax.Array:
    """Means over cells of `side` samples."""
    height, width = values.shape
    return values.reshape(height // side, side, width // side, side).mean((1, 3))
