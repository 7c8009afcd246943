"""How two prints may lie on one another, by minutiae whose neighbourhoods look alike. Pure JAX.

Around each minutia, in its own direction, two things are kept: the ridges of a patch some six periods wide, and the
orientation of the ridges on rings further out. Neither changes when the print is turned. Where a minutia of A and one
of B look alike, laying one on the other says how the prints lie; such pairs vote for one another, and each guess is
fitted to those that agree (in the manner of Cappelli, Ferrara and Maltoni, Minutia cylinder-code, IEEE PAMI 32, 2010,
whose local similarities are consolidated alike). This finds small overlaps and prints whose flow has no landmark, where
`orientation_search` does not.

A guess is a homography float32 (3, 3) from B to A, px at 500 ppi.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ifvit.enhancement.minutiae import Minutiae
from ifvit.registration.elastic import Ridges
from ifvit.registration.orientation_search import CELL, distinct, homographies
from ifvit.registration.sampling import EXACT, sampled

MOST = 64  # minutiae of a print that are looked at, those deepest inside it
PATCH_STEP, PATCH_REACH, PATCH_SIGMA = 4.0, 7, 18.0  # px, steps, px
RINGS, RING_POINTS = (16.0, 32.0, 48.0, 64.0, 80.0, 96.0), 16  # px, places on each
FULL_RINGS = 40.0  # places that both prints show; with fewer the rings count less
PAIRS = 96  # of the most alike minutiae that vote
UNLIKE = 0.2  # similarity (at most 2) that has no vote
NEAR_PX, NEAR_SHARE, NEAR_RAD = 12.0, 0.1, 0.5  # agreement: within 12 px and a tenth of the distance; 29 degrees
DIRECTION_PX = 20.0  # the lever at which a minutia's direction counts beside its place


class Neighbourhoods(NamedTuple):
    """Up to `MOST` minutiae of a print with what surrounds them, N = `MOST`.

    points: float32 (N, 2) px. directions: float32 (N,) rad. present: bool (N,), False in padding.
    patch: float32 (N, P), of unit length. rings: float32 (N, 2, R), orientation; shown: float32 (N, R), its weight.
    """

    points: jax.Array
    directions: jax.Array
    present: jax.Array
    patch: jax.Array
    rings: jax.Array
    shown: jax.Array


def padded_minutiae(minutiae: Minutiae) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points, directions and presence of the first `MOST` minutiae, as `neighbourhoods` takes them."""
    count = min(MOST, len(minutiae.points))
    points, directions = np.zeros((MOST, 2), np.float32), np.zeros(MOST, np.float32)
    points[:count], directions[:count] = minutiae.points[:count], minutiae.directions[:count]
    return points, directions, np.arange(MOST) < count


def neighbourhoods(
    ridges: Ridges, field: jax.Array, points: jax.Array, directions: jax.Array, present: jax.Array
) -> Neighbourhoods:
    """What surrounds each minutia. field: as of `orientation_search.orientation_field`."""
    x, y, angle = points[:, :1], points[:, 1:], directions[:, None]
    c, s = jnp.cos(angle), jnp.sin(angle)
    along, across = np.meshgrid(*[np.arange(-PATCH_REACH, PATCH_REACH + 1, dtype=np.float32) * PATCH_STEP] * 2)
    along, across = along.ravel(), across.ravel()
    weight = np.exp(-(along**2 + across**2) / (2 * PATCH_SIGMA**2))
    patch = sampled(ridges.for_spacing(3), x + c * along - s * across, y + s * along + c * across) * weight
    patch = patch / jnp.sqrt((patch**2).sum(-1, keepdims=True) + 1.0)
    turn = np.arange(RING_POINTS) * (2 * np.pi / RING_POINTS)
    along, across = (np.outer(RINGS, wave(turn)).ravel().astype(np.float32) for wave in (np.cos, np.sin))
    at_x, at_y = x + c * along - s * across, y + s * along + c * across
    offset = (CELL - 1) / 2
    real, imaginary, shown = (sampled(part, (at_x - offset) / CELL, (at_y - offset) / CELL) for part in field)
    c2, s2 = jnp.cos(2 * angle), jnp.sin(2 * angle)
    rings = jnp.stack([real * c2 + imaginary * s2, imaginary * c2 - real * s2], axis=1)
    return Neighbourhoods(points, directions, present, patch, rings, shown)


def search_minutiae(a: Neighbourhoods, b: Neighbourhoods, count: int) -> tuple[jax.Array, jax.Array]:
    """The best `count` guesses that differ from one another, (count, 3, 3), and the votes for each, (count,); 0 where
    there are no more.
    """
    value, index = jax.lax.top_k(_similarity(a, b).reshape(-1), PAIRS)
    i, j = index // MOST, index % MOST
    vote = jnp.maximum(value - UNLIKE, 0)
    at_a, at_b = a.points[i], b.points[j]  # (PAIRS, 2)
    turn = a.directions[i] - b.directions[j]
    support = _agreement(at_a, at_b, turn) * vote  # (guess, voter)
    votes = support.sum(-1)
    order = jnp.argsort(-votes, stable=True)
    guesses, votes = _fitted(at_a, at_b, turn, support)[order], votes[order]
    middle = (b.points * b.present[:, None]).sum(0) / jnp.maximum(b.present.sum(), 1)
    kept = distinct(guesses, votes > 0, middle)
    order = jnp.argsort(~kept, stable=True)[:count]
    return guesses[order], jnp.where(kept[order], votes[order], 0.0)


def _similarity(a: Neighbourhoods, b: Neighbourhoods) -> jax.Array:
    """How alike each two minutiae are, (N, N), at most 2: of patches and of rings."""
    patch = jnp.matmul(a.patch, b.patch.T, precision=EXACT)
    flat_a, flat_b = (side.rings.reshape(MOST, -1) for side in (a, b))
    both = jnp.matmul(a.shown, b.shown.T, precision=EXACT)
    rings = jnp.matmul(flat_a, flat_b.T, precision=EXACT) / jnp.maximum(both, 1)
    rings = rings * jnp.minimum(1.0, both / FULL_RINGS)
    return jnp.where(a.present[:, None] & b.present, patch + rings, -1.0)


def _agreement(at_a: jax.Array, at_b: jax.Array, turn: jax.Array) -> jax.Array:
    """How well each pair (second axis) goes with the rigid map of another (first axis), (PAIRS, PAIRS) in [0, 1]."""
    c, s = jnp.cos(turn)[:, None], jnp.sin(turn)[:, None]
    x, y = (at_b[None, :, k] - at_b[:, None, k] for k in (0, 1))
    error = jnp.hypot(
        c * x - s * y + at_a[:, None, 0] - at_a[None, :, 0], s * x + c * y + at_a[:, None, 1] - at_a[None, :, 1]
    )
    place = jnp.maximum(1 - error / (NEAR_PX + NEAR_SHARE * jnp.hypot(x, y)), 0)
    apart = jnp.abs((turn[None] - turn[:, None] + jnp.pi) % (2 * jnp.pi) - jnp.pi)
    return place * jnp.maximum(1 - apart / NEAR_RAD, 0)


def _fitted(at_a: jax.Array, at_b: jax.Array, turn: jax.Array, support: jax.Array) -> jax.Array:
    """The rigid map (PAIRS, 3, 3) from B to A that lies nearest to the pairs, each as far as it supports the guess."""
    total = jnp.maximum(support.sum(-1), 1e-6)
    middle_a, middle_b = (
        jnp.stack([(support * points[:, k]).sum(-1) / total for k in (0, 1)], -1) for points in (at_a, at_b)
    )
    (ax, ay), (bx, by) = (
        ((points[None] - middle[:, None])[..., 0], (points[None] - middle[:, None])[..., 1])
        for points, middle in ((at_a, middle_a), (at_b, middle_b))
    )
    lever = DIRECTION_PX**2
    sine = (support * (bx * ay - by * ax + lever * jnp.sin(turn))).sum(-1)
    cosine = (support * (bx * ax + by * ay + lever * jnp.cos(turn))).sum(-1)
    length = jnp.maximum(jnp.hypot(sine, cosine), 1e-6)
    c, s = cosine / length, sine / length
    shift_x = middle_a[:, 0] - c * middle_b[:, 0] + s * middle_b[:, 1]
    shift_y = middle_a[:, 1] - s * middle_b[:, 0] - c * middle_b[:, 1]
    return homographies(c, -s, shift_x, s, c, shift_y)
