"""Skin distortion: the displacement field of a finger that is pressed and turned (Cappelli, Maio and Maltoni 2001).

Within an ellipse, where the finger is pressed hardest, the skin sticks to the sensor. Far outside, the finger turns and
slips without a change of form. In between the skin stretches. All lengths are px at 500 ppi.
"""

from __future__ import annotations

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ifvit import geometry

# The ranges of SFinGe (SPEC: Cappelli 2001).
AXES = (35.0, 60.0)  # px, half axes of the ellipse that sticks
SOFTNESS = (1.0, 2.5)  # width of the zone that stretches, in half axes of the ellipse
TURN, SLIP = np.deg2rad(6.0), 9.0  # rad and px: largest turn and slip of the skin outside, to either side
WANDER = 40.0  # px: largest distance in x and y between the ellipse's centre and the contact's
# Smallest and largest ratio of areas under the map. The maps of two impressions compose, and 0.75 / 1.35 is above 1/2.
AREA = (0.75, 1.35)
# px: spacing and reach of the lattice on which AREA is checked. Beyond 210 px nothing stretches: that is the largest
# ellipse with its softest zone.
STEP, LATTICE = 12, 216
SHARES = 16  # number of shares of the drawn turn and slip that are tried
NEWTON_STEPS = 3  # from an error of 20 px to below 0.01 px, tested


class Distortion(NamedTuple):
    """The map v -> v + [R(v - centre) + centre + slip - v] brake(q(v)) from the distorted finger to the finger at rest.

    R is a rotation. q = max(0, |v - centre| - 1), with lengths measured in half axes of the ellipse. The brake rises
    from 0 at q = 0 as (1 - cos(pi q / softness)) / 2 to 1.
    """

    centre: jax.Array  # (2,) px
    axes: jax.Array  # (2,) px, half axes of the ellipse
    softness: jax.Array  # ()
    turn: jax.Array  # (2,), cosine and sine of R's angle: computed once here and not for every pixel
    slip: jax.Array  # (2,) px

    def __call__(self, points: jax.Array) -> jax.Array:
        """Map points (..., 2) px of the distorted finger to the finger at rest, (..., 2) px."""
        return geometry.displace(partial(displacement, self), points)

    def inverse(self, points: jax.Array) -> jax.Array:
        """Map points (..., 2) px of the finger at rest to the distorted finger, (..., 2) px."""
        return geometry.undo_displacement(partial(displacement, self), points, NEWTON_STEPS)


def displacement(distortion: Distortion, x: jax.Array, y: jax.Array) -> geometry.Displacement:
    """The distortion's displacement at the points (x, y), each (...) px."""
    x, y = x - distortion.centre[0], y - distortion.centre[1]
    u, v = x / distortion.axes[0], y / distortion.axes[1]
    # The centre of the ellipse has no direction; the skin within the ellipse does not move anyway.
    radius = jnp.sqrt(jnp.maximum(u * u + v * v, 1e-6))
    q = jnp.clip((radius - 1) / distortion.softness, 0, 1)
    sine, cosine = _quarter_sine(q), _quarter_sine(1 - q)
    brake = sine * sine  # (1 - cos(pi q)) / 2
    slope = jnp.pi * sine * cosine / distortion.softness / radius
    slope_x, slope_y = slope * u / distortion.axes[0], slope * v / distortion.axes[1]
    c, s = distortion.turn[0] - 1, distortion.turn[1]
    pull_x, pull_y = c * x - s * y + distortion.slip[0], s * x + c * y + distortion.slip[1]
    return geometry.Displacement(
        x=pull_x * brake,
        y=pull_y * brake,
        xx=brake * c + pull_x * slope_x,
        xy=-brake * s + pull_x * slope_y,
        yx=brake * s + pull_y * slope_x,
        yy=brake * c + pull_y * slope_y,
    )


def _quarter_sine(x: jax.Array) -> jax.Array:
    """sin(pi x / 2) for x in [0, 1], by its Taylor series; the error is 6e-8.

    The last bits of the compiler's own sine depend on the program, and those of an impression must not.
    """
    terms = [(-1) ** n * (math.pi / 2) ** (2 * n + 1) / math.factorial(2 * n + 1) for n in range(6)]
    square, total = x * x, jnp.full_like(x, terms[-1])
    for term in terms[-2::-1]:
        total = total * square + term
    return total * x


def draw_distortion(key: jax.Array, strength: jax.Array | float, pressed: jax.Array) -> Distortion:
    """A random distortion, whose turn and slip are reduced until the ratio of areas lies within AREA everywhere.

    Args:
        strength: (), 1 draws turn and slip from SFinGe's ranges, 0 gives no distortion.
        pressed: (2,) px, the middle of the contact.
    """
    draw = jax.random.uniform(key, (8,))
    centre = pressed + WANDER * (2 * draw[:2] - 1)
    axes = AXES[0] + (AXES[1] - AXES[0]) * draw[2:4]
    softness = SOFTNESS[0] + (SOFTNESS[1] - SOFTNESS[0]) * draw[4]
    turn, slip = strength * TURN * (2 * draw[5] - 1), strength * SLIP * (2 * draw[6:] - 1)

    def candidate(share: jax.Array, centre: jax.Array) -> Distortion:
        angle = share * turn
        return Distortion(centre, axes, softness, jnp.stack([jnp.cos(angle), jnp.sin(angle)]), share * slip)

    # The area does not depend on the place of the ellipse.
    y, x = np.mgrid[-LATTICE : LATTICE + 1 : STEP, -LATTICE : LATTICE + 1 : STEP].astype(np.float32)
    shares = jnp.arange(SHARES, 0, -1) / SHARES

    def keeps_area(share: jax.Array) -> jax.Array:
        field = displacement(candidate(share, jnp.zeros(2)), jnp.asarray(x), jnp.asarray(y))
        area = (1 + field.xx) * (1 + field.yy) - field.xy * field.yx
        return (area.min() > AREA[0]) & (area.max() < AREA[1])

    fits = jax.vmap(keeps_area)(shares)
    return candidate(jnp.where(fits.any(), shares[jnp.argmax(fits)], 0.0), centre)
