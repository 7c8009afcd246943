"""The minutiae of a master's wave: the places where its ridges end and where they fork.

On the outline of a ridge the wave r is 0. The outline runs along the flow except at a tip, where it turns round and
crosses the flow at a right angle. There the derivative across the flow, d, is 0 as well. So the tips are the zeros of
the complex field r + i d, and the winding number of that field round each square of four neighbouring pixels counts
them: exactly, at sub-pixel places, without a threshold or a skeleton. The tip of a ridge is an ending; the tip of a
valley lies in the fork of a bifurcation.

With t along and n across the flow, r is about a t + c n^2 / 2 near a zero, and d about c n. The winding number is the
sign of a c, and the tip belongs to a ridge where c < 0. The body of a ridge lies where r rises, the body of a valley
where r falls. Both are the side of -a c, so the winding number alone gives the direction from the tip into the body.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

MAX_MINUTIAE = 384  # size of the arrays of a finger; of 200 grown fingers 80 % have 96 to 147 minutiae
BORDER = 10  # px of the frame's edge without minutiae: the filters that grow ridges see zeros beyond the edge
# Largest turn of the flow, rad per period. At a distance of r px from a loop or a delta the flow turns 0.5 / r rad per
# px, so this leaves out all places nearer to one than a period, where a ridge has no clear direction.
SHARPEST = 0.5
NEAREST = 0.5  # periods: largest distance of two tips that cancel out (`_wiggles`)


class TipKind(IntEnum):
    """The kind of a minutia, by the tip that lies there."""

    ENDING = 0  # the tip of a ridge
    BIFURCATION = 1  # the tip of the valley between two ridges that join


class MasterMinutiae(NamedTuple):
    """The minutiae of a finger in the finger frame: real ones first, ordered by distance from the frame's centre.

    All fields are 0 in padding.
    """

    points: jax.Array  # (M, 2) float32, (x, y) px of the finger frame, sub-pixel
    angle: jax.Array  # (M,) float32, [0, 2 pi) rad, from the tip into its ridge or valley, from x towards y
    kind: jax.Array  # (M,) int32, a TipKind
    real: jax.Array  # (M,) bool, false in padding


def find_minutiae(wave: jax.Array, theta: jax.Array, period: jax.Array, limit: int = MAX_MINUTIAE) -> MasterMinutiae:
    """Find the minutiae of a wave.

    Args:
        wave: (H, W), about -1 in valleys to 1 on ridges.
        theta: (H, W), ridge direction, rad modulo pi.
        period: (H, W), ridge period, px.
        limit: the size M of the result, static. Of more minutiae, those nearest to the frame's centre stay.
    """
    cos, sin = jnp.cos(theta), jnp.sin(theta)
    across = _slope(wave, 0) * cos - _slope(wave, 1) * sin
    # d at the four corners of each square. Its sign is that of n, which is arbitrary because the direction is known
    # modulo pi only: all corners take the side of the first.
    r = _corners(wave)
    d = tuple(
        jnp.where(c * cos[:-1, :-1] + s * sin[:-1, :-1] < 0, -side, side)
        for c, s, side in zip(_corners(cos), _corners(sin), _corners(across), strict=True)
    )
    winding = _winding(r, d)
    tips = (winding != 0) & (_turn(cos, sin) * period[:-1, :-1] < SHARPEST) & _inside(winding.shape)

    # Ranks are integers below 2^24, which are exact in float32, the type that sorts fastest.
    score = jnp.where(tips, -_rank(winding.shape), -jnp.inf).ravel()
    best, index = jax.lax.top_k(score, limit)
    real = best > -jnp.inf

    def pick(image: jax.Array) -> jax.Array:
        return image.ravel()[index]

    corners_r, corners_d = (jnp.stack([pick(corner) for corner in corners]) for corners in (r, d))  # (4, M)
    cos, sin, period, winding = pick(cos[:-1, :-1]), pick(sin[:-1, :-1]), pick(period[:-1, :-1]), pick(winding)
    plane_r, plane_d = _plane(corners_r), _plane(corners_d)
    row, column = jnp.divmod(index, wave.shape[1] - 1)
    points = jnp.stack([column, row], -1) + _zero(plane_r, plane_d)
    falls = plane_d[2] * cos - plane_d[1] * sin < 0  # c < 0
    angle = full_turn(jnp.arctan2(-winding * sin, -winding * cos))
    real = real & ~_wiggles(points, winding, period, real)
    return _real_first(
        MasterMinutiae(
            points, angle, jnp.where(falls, int(TipKind.ENDING), int(TipKind.BIFURCATION)).astype(jnp.int32), real
        )
    )


def full_turn(angle: jax.Array) -> jax.Array:
    """The angle in [0, 2 pi) rad."""
    angle = jnp.mod(angle, 2 * jnp.pi)
    return jnp.where(angle < jnp.float32(2 * jnp.pi), angle, 0)  # mod may round up to 2 pi


def _slope(image: jax.Array, axis: int) -> jax.Array:
    """Derivative per px (H, W) of an image (H, W), of fourth order; wrong within two px of the edge."""
    near, far = (jnp.roll(image, -n, axis) - jnp.roll(image, n, axis) for n in (1, 2))
    return (8 * near - far) / 12


def _corners(image: jax.Array) -> tuple[jax.Array, ...]:
    """The four corners, each (H - 1, W - 1), of all squares of four pixels, in the order from x towards y."""
    return image[:-1, :-1], image[:-1, 1:], image[1:, 1:], image[1:, :-1]


def _winding(r: tuple[jax.Array, ...], d: tuple[jax.Array, ...]) -> jax.Array:
    """The winding number of r + i d round each square: -1, 0 or 1, float32.

    It counts the sides on which r changes sign where d > 0.
    """
    turns = jnp.zeros_like(r[0])
    for n in range(4):
        r0, d0, r1, d1 = r[n], d[n], r[(n + 1) % 4], d[(n + 1) % 4]
        rises, falls = (r0 < 0) & (r1 >= 0), (r0 >= 0) & (r1 < 0)
        cross = d0 * r1 - d1 * r0  # d where r = 0, times r1 - r0
        turns = turns + jnp.where(falls & (cross < 0), 1.0, 0.0) - jnp.where(rises & (cross > 0), 1.0, 0.0)
    return turns


def _turn(cos: jax.Array, sin: jax.Array) -> jax.Array:
    """The turn of the flow per px, (H - 1, W - 1) rad, by a central difference of its doubled angle."""
    double = cos * cos - sin * sin, 2 * cos * sin
    return jnp.sqrt(sum(_slope(part, axis) ** 2 for part in double for axis in (0, 1)))[:-1, :-1] / 2


def _inside(shape: tuple[int, ...]) -> np.ndarray:
    """Which pixels lie farther than BORDER from the edge, bool of that shape."""
    inside = np.zeros(shape, bool)
    inside[BORDER : shape[0] - BORDER, BORDER : shape[1] - BORDER] = True
    return inside


def _rank(shape: tuple[int, ...]) -> np.ndarray:
    """The rank of each square by its distance from the centre, float32 of that shape; no two are equal."""
    y, x = (np.abs(np.arange(size) - (size - 1) / 2) for size in shape)
    order = np.argsort((y[:, None] ** 2 + x**2).ravel(), kind="stable")
    rank = np.empty(order.size, np.float32)
    rank[order] = np.arange(order.size)
    return rank.reshape(shape)


def _plane(corners: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Least-squares plane through corners (4, M): value at the first corner, slopes along x and y, each (M,)."""
    a, b, c, d = corners
    right, down = (b + c - a - d) / 2, (c + d - a - b) / 2
    return (a + b + c + d) / 4 - (right + down) / 2, right, down


def _zero(r: tuple[jax.Array, ...], d: tuple[jax.Array, ...]) -> jax.Array:
    """The point of the square where both planes are 0, (M, 2) px, (x, y) from the first corner."""
    determinant = r[1] * d[2] - r[2] * d[1]
    determinant = jnp.where(determinant == 0, 1, determinant)  # in padding
    place = jnp.stack([r[2] * d[0] - r[0] * d[2], r[0] * d[1] - r[1] * d[0]], -1) / determinant[:, None]
    return jnp.clip(place, 0, 1)


def _wiggles(points: jax.Array, winding: jax.Array, period: jax.Array, real: jax.Array) -> jax.Array:
    """Which tips (M,) cancel out: pairs of opposite winding, each other's nearest, less than NEAREST periods apart.

    Such a pair does not change the number of ridges: the outline only runs back over a short way.
    """
    apart = jnp.sum((points[:, None] - points) ** 2, -1)
    pairs = real[:, None] & real & ~jnp.eye(len(real), dtype=bool)
    apart = jnp.where(pairs, apart, jnp.inf)
    nearest = jnp.argmin(apart, -1)
    mutual = nearest[nearest] == jnp.arange(len(real))
    near = jnp.min(apart, -1) < (NEAREST * period) ** 2
    return mutual & near & (winding[nearest] != winding)


def _real_first(minutiae: MasterMinutiae) -> MasterMinutiae:
    """The real minutiae first, in their order, then zeros."""
    order = jnp.argsort(~minutiae.real, stable=True)

    def arrange(values: jax.Array) -> jax.Array:
        values, real = values[order], minutiae.real[order]
        return jnp.where(real.reshape(real.shape + (1,) * (values.ndim - 1)), values, 0).astype(values.dtype)

    return MasterMinutiae(*(arrange(values) for values in minutiae))
