"""Guesses of the alignment of two prints, from minutiae whose neighbourhoods are similar. Pure JAX.

Two descriptors are computed around each minutia, relative to its direction: the ridges of a patch of about six periods,
and the orientation of the ridges on rings around it. They do not change when the print is turned. A minutia of A and
a minutia of B with similar descriptors define a rigid map. Such pairs vote for one another, and each guess is fitted to
the pairs that agree with it (similar to the consolidation of local similarities in Cappelli, Ferrara and Maltoni,
Minutia cylinder-code, IEEE PAMI 32, 2010). This works for small overlaps, and for prints whose ridge flow is uniform,
where `orientation_search` fails.

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
from ifvit.registration.sampling import EXACT, sample

MOST = 64  # minutiae of a print that are used, those deepest inside it
PATCH_STEP, PATCH_REACH, PATCH_SIGMA = 4.0, 7, 18.0  # px, steps, px
RINGS, RING_POINTS = (16.0, 32.0, 48.0, 64.0, 80.0, 96.0), 16  # radii in px, points on each ring
FULL_RINGS = 40.0  # ring points that both prints show; with fewer the rings have less weight
PAIRS = 96  # of the most similar minutiae that vote
UNLIKE = 0.2  # a pair with this similarity (at most 2) has no vote
NEAR_PX, NEAR_SHARE, NEAR_RAD = 12.0, 0.1, 0.5  # pairs agree within 12 px plus a tenth of the distance, and 29 degrees
DIRECTION_PX = 20.0  # the lever that gives a minutia's direction its weight relative to its point


class Neighbourhoods(NamedTuple):
    """Up to N = `MOST` minutiae of a print with the descriptors of their neighbourhoods."""

    points: jax.Array  # (N, 2) float32 px
    directions: jax.Array  # (N,) float32 rad
    present: jax.Array  # (N,) bool, False in padding
    patch: jax.Array  # (N, P) float32, the ridges around, of about unit length
    rings: jax.Array  # (N, 2, R) float32, the orientation at ring points, as cos and sin of the double angle
    ring_weight: jax.Array  # (N, R) float32, the share of ridges at ring points


def padded_minutiae(minutiae: Minutiae) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The points, directions and presence of the first `MOST` minutiae: arguments of `neighbourhoods`."""
    count = min(MOST, len(minutiae.points))
    points, directions = np.zeros((MOST, 2), np.float32), np.zeros(MOST, np.float32)
    points[:count], directions[:count] = minutiae.points[:count], minutiae.directions[:count]
    return points, directions, np.arange(MOST) < count


def neighbourhoods(
    ridges: Ridges, field: jax.Array, points: jax.Array, directions: jax.Array, present: jax.Array
) -> Neighbourhoods:
    """The neighbourhood of each minutia.

    field: as from `orientation_search.orientation_field`. points (N, 2) px, directions (N,) rad, present (N,) bool.
    """
    x, y, angle = points[:, :1], points[:, 1:], directions[:, None]
    c, s = jnp.cos(angle), jnp.sin(angle)
    along, across = np.meshgrid(*[np.arange(-PATCH_REACH, PATCH_REACH + 1, dtype=np.float32) * PATCH_STEP] * 2)
    along, across = along.ravel(), across.ravel()
    weight = np.exp(-(along**2 + across**2) / (2 * PATCH_SIGMA**2))
    patch = sample(ridges.for_spacing(3), x + c * along - s * across, y + s * along + c * across) * weight
    patch = patch / jnp.sqrt((patch**2).sum(-1, keepdims=True) + 1.0)
    turn = np.arange(RING_POINTS) * (2 * np.pi / RING_POINTS)
    along, across = (np.outer(RINGS, wave(turn)).ravel().astype(np.float32) for wave in (np.cos, np.sin))
    ring_x, ring_y = x + c * along - s * across, y + s * along + c * across
    offset = (CELL - 1) / 2
    real, imaginary, ring_weight = (sample(part, (ring_x - offset) / CELL, (ring_y - offset) / CELL) for part in field)
    c2, s2 = jnp.cos(2 * angle), jnp.sin(2 * angle)
    rings = jnp.stack([real * c2 + imaginary * s2, imaginary * c2 - real * s2], axis=1)
    return Neighbourhoods(points, directions, present, patch, rings, ring_weight)


def search_minutiae(a: Neighbourhoods, b: Neighbourhoods, count: int) -> tuple[jax.Array, jax.Array]:
    """The best `count` guesses that differ from one another, (count, 3, 3), and the votes for each, (count,).

    If there are fewer guesses, the votes of the rest are 0.
    """
    value, index = jax.lax.top_k(_similarity(a, b).reshape(-1), PAIRS)
    i, j = index // MOST, index % MOST
    vote = jnp.maximum(value - UNLIKE, 0)
    points_a, points_b = a.points[i], b.points[j]  # (PAIRS, 2)
    turn = a.directions[i] - b.directions[j]
    support = _agreement(points_a, points_b, turn) * vote  # (guess, voter)
    votes = support.sum(-1)
    order = jnp.argsort(-votes, stable=True)
    guesses, votes = _fit(points_a, points_b, turn, support)[order], votes[order]
    middle = (b.points * b.present[:, None]).sum(0) / jnp.maximum(b.present.sum(), 1)
    is_distinct = distinct(guesses, votes > 0, middle)
    order = jnp.argsort(~is_distinct, stable=True)[:count]
    return guesses[order], jnp.where(is_distinct[order], votes[order], 0.0)


def _similarity(a: Neighbourhoods, b: Neighbourhoods) -> jax.Array:
    """The similarity of each two minutiae, (N, N), at most 2: that of patches plus that of rings; -1 in padding."""
    patch = jnp.matmul(a.patch, b.patch.T, precision=EXACT)
    flat_a, flat_b = (side.rings.reshape(MOST, -1) for side in (a, b))
    weight = jnp.matmul(a.ring_weight, b.ring_weight.T, precision=EXACT)
    rings = jnp.matmul(flat_a, flat_b.T, precision=EXACT) / jnp.maximum(weight, 1)
    rings = rings * jnp.minimum(1.0, weight / FULL_RINGS)
    return jnp.where(a.present[:, None] & b.present, patch + rings, -1.0)


def _agreement(points_a: jax.Array, points_b: jax.Array, turn: jax.Array) -> jax.Array:
    """How well each pair (second axis) agrees with the rigid map of another (first axis), (PAIRS, PAIRS) in [0, 1].

    points_a, points_b: (PAIRS, 2) px. turn: (PAIRS,) rad, from B's direction to A's.
    """
    c, s = jnp.cos(turn)[:, None], jnp.sin(turn)[:, None]
    x, y = (points_b[None, :, k] - points_b[:, None, k] for k in (0, 1))
    error = jnp.hypot(
        c * x - s * y + points_a[:, None, 0] - points_a[None, :, 0],
        s * x + c * y + points_a[:, None, 1] - points_a[None, :, 1],
    )
    nearness = jnp.maximum(1 - error / (NEAR_PX + NEAR_SHARE * jnp.hypot(x, y)), 0)
    angle = jnp.abs((turn[None] - turn[:, None] + jnp.pi) % (2 * jnp.pi) - jnp.pi)
    return nearness * jnp.maximum(1 - angle / NEAR_RAD, 0)


def _fit(points_a: jax.Array, points_b: jax.Array, turn: jax.Array, support: jax.Array) -> jax.Array:
    """The rigid maps (PAIRS, 3, 3) from B to A by least squares; the weight of a pair is its support for the guess.

    points_a, points_b, turn: as of `_agreement`. support: (PAIRS, PAIRS), (guess, voter).
    """
    total = jnp.maximum(support.sum(-1), 1e-6)
    middle_a, middle_b = (
        jnp.stack([(support * points[:, k]).sum(-1) / total for k in (0, 1)], -1) for points in (points_a, points_b)
    )
    (ax, ay), (bx, by) = (
        ((points[None] - middle[:, None])[..., 0], (points[None] - middle[:, None])[..., 1])
        for points, middle in ((points_a, middle_a), (points_b, middle_b))
    )
    lever = DIRECTION_PX**2
    sine = (support * (bx * ay - by * ax + lever * jnp.sin(turn))).sum(-1)
    cosine = (support * (bx * ax + by * ay + lever * jnp.cos(turn))).sum(-1)
    length = jnp.maximum(jnp.hypot(sine, cosine), 1e-6)
    c, s = cosine / length, sine / length
    shift_x = middle_a[:, 0] - c * middle_b[:, 0] + s * middle_b[:, 1]
    shift_y = middle_a[:, 1] - s * middle_b[:, 0] - c * middle_b[:, 1]
    return homographies(c, -s, shift_x, s, c, shift_y)
