"""The ridge flow of a finger: its class, its singularities, and its orientation field.

All places are in the *finger frame*: a window of 512 x 736 px (W x H) at 500 ppi, x to the right, y down. It is 26 x 37
mm: a fingertip from nail to nail, its last joint, and the beginning of the second phalanx below. A finger is the same
at any resolution; `frame_coordinates` gives the places of an image's pixels in the frame. Orientation is the direction
of the ridge, rad, modulo pi, from the x axis towards the y axis.

The field is the zero-pole model of Sherlock and Monro (1993) with the piecewise-linear corrections of Vizcaya and
Gerhardt (1996), which bend the flow round a singularity without a shift of the singularity. The arch is the formula of
SFinGe (Cappelli, in Maltoni et al., Handbook of Fingerprint Recognition). Towards the last joint the ridges run more
and more across the finger, as on skin; below it they are nearly straight.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

FRAME_WIDTH, FRAME_HEIGHT, FRAME_PPI = 512, 736, 500
# The part of the frame that the classical models describe, px: its left and upper edge, its width and height.
PATTERN_LEFT, PATTERN_TOP, PATTERN_WIDTH, PATTERN_HEIGHT = 56, 96, 400, 480
CENTRE = (PATTERN_LEFT + PATTERN_WIDTH / 2, PATTERN_TOP + 0.45 * PATTERN_HEIGHT)  # of the pattern, before jitter
# (x, y), px: the middle of the pad, where the pressure is largest if the finger is put down straight.
PAD = (PATTERN_LEFT + PATTERN_WIDTH / 2, PATTERN_TOP + PATTERN_HEIGHT / 2)
# (lowest, highest) y, px, of the crease of the last joint: 28 to 33 mm below the tip.
JOINT = (560.0, 640.0)
TILT = 0.12  # rad, largest absolute angle between the x axis and the ridges and creases at the joint

KNOTS = 8  # corrections per turn
BEND = 0.35  # rad, largest correction at a knot before smoothing
BEND_SMOOTHING = 0.7  # knots, sigma of the circular smoothing
ARCH_STEEPNESS = (0.6, 1.4)  # (lowest, highest)


class Pattern(IntEnum):
    """The class of ridge flow. A double loop counts as a whorl in the usual five-class statistics."""

    ARCH = 0
    TENTED_ARCH = 1
    LEFT_LOOP = 2
    RIGHT_LOOP = 3
    WHORL = 4
    DOUBLE_LOOP = 5


# Natural frequency of each class, per cent (Wilson, Candela and Watson 1994); a third of the 27.9 % whorls are taken as
# double loops.
NATURAL_MIX = np.array([3.7, 2.9, 33.8, 31.7, 18.6, 9.3])

# Number of pairs of a loop and a delta of each class.
PAIRS = np.array([0, 1, 1, 1, 2, 2])

# Offsets (x, y) from the centre, px, of up to two loops and two deltas. A random spread along y is added to the second
# loop of each row and subtracted from the first. Unused entries are zero.
LOOP_OFFSET = np.array(
    [
        [[0, 0], [0, 0]],
        [[0, 0], [0, 0]],
        [[0, 0], [0, 0]],
        [[0, 0], [0, 0]],
        [[0, 0], [0, 0]],
        [[-18, 0], [18, 0]],
    ],
    np.float32,
)  # (classes, 2, xy)
LOOP_SPREAD = np.array([[0, 0], [0, 0], [0, 0], [0, 0], [18, 40], [28, 48]], np.float32)  # (classes, low/high)
DELTA_OFFSET = np.array(
    [
        [[0, 0], [0, 0]],
        [[0, 110], [0, 0]],
        [[95, 115], [0, 0]],
        [[-95, 115], [0, 0]],
        [[-105, 125], [105, 125]],
        [[-110, 125], [110, 125]],
    ],
    np.float32,
)  # (classes, 2, xy)

# Largest random shifts in x and y, px.
PATTERN_JITTER = 25.0  # of all singularities together
LOOP_JITTER = 5.0  # of each loop: two loops must not change places
# (x, y), of each delta. The delta of a tented arch has to stay under its loop; elsewhere it would be a loop's pattern.
DELTA_JITTER = np.array([[0, 0], [5, 20], [20, 20], [20, 20], [20, 20], [20, 20]], np.float32)


class Finger(NamedTuple):
    """The parameters of a finger's ridge flow. Shapes are fixed, so fingers of all classes share one program."""

    pattern: jax.Array  # () int32, a Pattern
    present: jax.Array  # (2,) float32, 1 where the n-th loop and delta exist, else 0
    loops: jax.Array  # (2, 2) float32, (x, y) in the finger frame, px at 500 ppi
    deltas: jax.Array  # (2, 2) float32, (x, y) in the finger frame, px at 500 ppi
    loop_bends: jax.Array  # (2, 8) float32, rad, corrections at the knots -pi, -3pi/4, ... 3pi/4
    delta_bends: jax.Array  # (2, 8) float32, rad, corrections at the same knots
    steepness: jax.Array  # () float32, the steepness of an arch; used by arches only
    joint: jax.Array  # () float32, y of the crease of the last joint in the middle of the finger, px
    tilt: jax.Array  # () float32, rad, direction of the ridges at the joint


def draw_pattern(key: jax.Array) -> jax.Array:
    """Draw a Pattern () int32 with its natural frequency."""
    edges = np.cumsum(NATURAL_MIX / NATURAL_MIX.sum())[:-1]
    return jnp.sum(jax.random.uniform(key) >= jnp.asarray(edges, jnp.float32), dtype=jnp.int32)


def draw_finger(key: jax.Array, pattern: jax.Array | int | None = None) -> Finger:
    """Draw a random finger of the given Pattern; None: of a Pattern drawn with its natural frequency."""
    keys = jax.random.split(key, 9)
    pattern = draw_pattern(keys[0]) if pattern is None else jnp.asarray(pattern, jnp.int32)

    centre = jnp.asarray(CENTRE) + PATTERN_JITTER * _symmetric(keys[1], (2,))
    low, high = jnp.asarray(LOOP_SPREAD)[pattern]
    spread = jax.random.uniform(keys[2], (), minval=low, maxval=high)
    # Double loops turn either way: mirror half of them. The offsets of the other classes are symmetric, or of one side.
    mirrored = (pattern == Pattern.DOUBLE_LOOP) & jax.random.bernoulli(keys[3])
    side = jnp.where(mirrored, -1.0, 1.0)
    loops = jnp.asarray(LOOP_OFFSET)[pattern] * jnp.stack([side, jnp.ones(())])  # (2, xy)
    loops = loops + spread * jnp.array([[0.0, -1.0], [0.0, 1.0]])
    loops = centre + loops + LOOP_JITTER * _symmetric(keys[4], (2, 2))
    deltas = centre + jnp.asarray(DELTA_OFFSET)[pattern]
    deltas = deltas + jnp.asarray(DELTA_JITTER)[pattern] * _symmetric(keys[5], (2, 2))

    bends = _smooth_knots(BEND * _symmetric(keys[6], (2, 2, KNOTS)))
    steepness = jax.random.uniform(keys[7], (), minval=ARCH_STEEPNESS[0], maxval=ARCH_STEEPNESS[1])
    present = (jnp.arange(2) < jnp.asarray(PAIRS)[pattern]).astype(jnp.float32)
    joint_key, tilt_key = jax.random.split(keys[8])
    joint = jax.random.uniform(joint_key, (), minval=JOINT[0], maxval=JOINT[1])
    tilt = TILT * _symmetric(tilt_key, ())
    return Finger(pattern, present, loops, deltas, bends[0], bends[1], steepness, joint, tilt)


def frame_coordinates(height: int, width: int, ppi: float) -> tuple[jax.Array, jax.Array]:
    """The places in the finger frame of the pixels of a (height, width) image at `ppi`: x, y, each (H, W), px.

    The centre of the image is the centre of the frame, and lengths keep their scale: an image that is smaller than the
    frame (1.02 x 1.47 inch) shows the middle of the finger.
    """
    scale = FRAME_PPI / ppi
    x = (jnp.arange(width) - (width - 1) / 2) * scale + (FRAME_WIDTH - 1) / 2
    y = (jnp.arange(height) - (height - 1) / 2) * scale + (FRAME_HEIGHT - 1) / 2
    return jnp.broadcast_to(x, (height, width)), jnp.broadcast_to(y[:, None], (height, width))


def orientation_field(finger: Finger, x: jax.Array, y: jax.Array) -> jax.Array:
    """The ridge direction (...) in [0, pi), rad, at places (x, y) of the finger frame, each (...) px."""
    flow = jnp.zeros_like(x)
    for n in range(2):
        loop = _bent_angle(x, y, finger.loops[n], finger.loop_bends[n])
        delta = _bent_angle(x, y, finger.deltas[n], finger.delta_bends[n])
        flow = flow + 0.5 * finger.present[n] * (loop - delta)
    flow = jnp.where(finger.pattern == Pattern.ARCH, _arch(finger.steepness, x, y), flow)
    lowest = jnp.max(jnp.where(finger.present > 0, finger.deltas[:, 1], PATTERN_TOP + 0.55 * PATTERN_HEIGHT))
    # Below the lowest delta no angle has a branch cut. There the flow, which is known modulo pi only, can be scaled
    # without a new singularity.
    near = jnp.clip((y - lowest) / (finger.joint - lowest), 0, 1)
    near = near * near * (3 - 2 * near)  # 0 at the delta, 1 at the joint
    return jnp.mod(flow + near * (finger.tilt - flow), jnp.pi)


def _arch(steepness: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    """The flow (...), rad, of ridges that rise and fall across the finger, most at 0.55 of the pattern's height."""
    rise = steepness * (1.25 - 2.2 * jnp.abs((y - PATTERN_TOP) / PATTERN_HEIGHT - 0.55))
    across = jnp.clip((x - PATTERN_LEFT) / PATTERN_WIDTH, 0, 1)  # beyond the pattern the slope is that at its edge
    return -jnp.arctan(jnp.maximum(0, rise) * jnp.cos(jnp.pi * across))


def _bent_angle(x: jax.Array, y: jax.Array, place: jax.Array, bends: jax.Array) -> jax.Array:
    """The angle (...), rad, round a singularity at `place` (2,), plus its correction: `bends` (8,) at the knots."""
    angle = jnp.arctan2(y - place[1], x - place[0])
    knot = (angle + jnp.pi) * (KNOTS / (2 * jnp.pi))  # 0..8
    # Hat functions instead of a gather: eight fused multiply-adds. The eighth knot is the zeroth.
    away = jnp.abs(knot[..., None] - jnp.arange(KNOTS))
    hats = jnp.maximum(0, 1 - jnp.minimum(away, KNOTS - away))  # (..., 8)
    return angle + hats @ bends


def _smooth_knots(values: jax.Array) -> jax.Array:
    """Circular Gaussian smoothing along the last axis (..., 8), so that neighbouring knots differ little."""
    away = np.arange(KNOTS)
    away = np.minimum(away, KNOTS - away)
    weights = np.exp(-0.5 * (away / BEND_SMOOTHING) ** 2)
    circulant = np.stack([np.roll(weights / weights.sum(), n) for n in range(KNOTS)])
    return values @ jnp.asarray(circulant, values.dtype)


def _symmetric(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Uniform in [-1, 1)."""
    return jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)
