"""Skin distortion: how a pressed and turned finger is bent (Cappelli, Maio and Maltoni 2001).

Where the finger is pressed hardest, within an ellipse, the skin sticks to the sensor; far outside the rest of the
finger turns and slips as a whole; in between the skin stretches. Everything in px at 500 ppi.
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
AXES = (35.0, 60.0)  # px, of the ellipse that sticks
SOFTNESS = (1.0, 2.5)  # width of the zone that stretches, in ellipses
TURN, SLIP = np.deg2rad(6.0), 9.0  # rad and px, within +-, of what lies outside
WANDER = 40.0  # px, of the ellipse's middle about the contact's
# Area on one side over area on the other. Two impressions' maps compose, and 0.75 / 1.35 is still above 1/2.
AREA = (0.75, 1.35)
STEP, LATTICE = 12, 216  # px, of the lattice on which AREA is looked after: its spacing, and how far it reaches; beyond
# 210 px, of the largest ellipse and its softest zone, nothing stretches
SHARES = 16  # of the drawn turn and slip that are tried
NEWTON_STEPS = 3  # from 20 px below 0.01 px, tested


class Distortion(NamedTuple):
    """One bent finger: the map v -> v + [R(v - centre) + centre + slip - v] brake(q(v)), q = max(0, |v - centre| - 1)
    measured in axes; brake rises from 0 at q = 0 as (1 - cos(pi q / softness)) / 2 to 1.
    """

    centre: jax.Array  # (2,) px
    axes: jax.Array  # (2,) px
    softness: jax.Array  # ()
    turn: jax.Array  # (2,), cosine and sine of R's angle: computed once here, not once a pixel
    slip: jax.Array  # (2,) px

    def __call__(self, points: jax.Array) -> jax.Array:
        """Where points (..., 2) of the bent finger lie on the finger at rest."""
        return geometry.displace(partial(displacement, self), points)

    def inverse(self, points: jax.Array) -> jax.Array:
        """Where points (..., 2) of the finger at rest lie on the bent one."""
        return geometry.undo_displacement(partial(displacement, self), points, NEWTON_STEPS)


def displacement(bent: Distortion, x: jax.Array, y: jax.Array) -> geometry.Displacement:
    """The displacement at the points (x, y), each (...) px."""
    x, y = x - bent.centre[0], y - bent.centre[1]
    u, v = x / bent.axes[0], y / bent.axes[1]
    # The ellipse's own middle has no direction; anything within sticks anyway.
    radius = jnp.sqrt(jnp.maximum(u * u + v * v, 1e-6))
    q = jnp.clip((radius - 1) / bent.softness, 0, 1)
    sine, cosine = _quarter_sine(q), _quarter_sine(1 - q)
    brake = sine * sine  # (1 - cos(pi q)) / 2
    rise = jnp.pi * sine * cosine / bent.softness / radius
    rise_x, rise_y = rise * u / bent.axes[0], rise * v / bent.axes[1]
    c, s = bent.turn[0] - 1, bent.turn[1]
    pulled_x, pulled_y = c * x - s * y + bent.slip[0], s * x + c * y + bent.slip[1]
    return geometry.Displacement(
        x=pulled_x * brake,
        y=pulled_y * brake,
        xx=brake * c + pulled_x * rise_x,
        xy=-brake * s + pulled_x * rise_y,
        yx=brake * s + pulled_y * rise_x,
        yy=brake * c + pulled_y * rise_y,
    )


def _quarter_sine(x: jax.Array) -> jax.Array:
    """sin(pi x / 2) for x in [0, 1], by its Taylor series, off by 6e-8.

    The compiler's own sine has other last bits in one program than in another, and an impression must not.
    """
    terms = [(-1) ** n * (math.pi / 2) ** (2 * n + 1) / math.factorial(2 * n + 1) for n in range(6)]
    square, total = x * x, jnp.full_like(x, terms[-1])
    for term in terms[-2::-1]:
        total = total * square + term
    return total * x


def draw_distortion(key: jax.Array, strength: jax.Array | float, pressed: jax.Array) -> Distortion:
    """A random bend; `strength` 1 draws from SFinGe's ranges, 0 bends nothing; `pressed` (2,) px, where it is pressed.

    Turn and slip are drawn back until the skin is nowhere stretched or squeezed beyond AREA.
    """
    draw = jax.random.uniform(key, (8,))
    centre = pressed + WANDER * (2 * draw[:2] - 1)
    axes = AXES[0] + (AXES[1] - AXES[0]) * draw[2:4]
    softness = SOFTNESS[0] + (SOFTNESS[1] - SOFTNESS[0]) * draw[4]
    turn, slip = strength * TURN * (2 * draw[5] - 1), strength * SLIP * (2 * draw[6:] - 1)

    def tried(share: jax.Array, centre: jax.Array) -> Distortion:
        angle = share * turn
        return Distortion(centre, axes, softness, jnp.stack([jnp.cos(angle), jnp.sin(angle)]), share * slip)

    # The area does not depend on where the ellipse is.
    y, x = np.mgrid[-LATTICE : LATTICE + 1 : STEP, -LATTICE : LATTICE + 1 : STEP].astype(np.float32)
    shares = jnp.arange(SHARES, 0, -1) / SHARES

    def harmless(share: jax.Array) -> jax.Array:
        bend = displacement(tried(share, jnp.zeros(2)), jnp.asarray(x), jnp.asarray(y))
        area = (1 + bend.xx) * (1 + bend.yy) - bend.xy * bend.yx
        return (area.min() > AREA[0]) & (area.max() < AREA[1])

    fits = jax.vmap(harmless)(shares)
    return tried(jnp.where(fits.any(), shares[jnp.argmax(fits)], 0.0), centre)
