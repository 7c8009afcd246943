"""A finger's master pattern: its ridge period, and ridges grown along its orientation field.

Ridges grow as in SFinGe (Cappelli, in Maltoni et al., Handbook of Fingerprint Recognition). They start as faint noise.
In every iteration each pixel is filtered by the Gabor filter of its orientation and period, and tanh limits the result.
Ridges appear everywhere at once; where patches of ridges meet with different phases, a minutia forms.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from ifvit.synthesis.creases import draw_creases
from ifvit.synthesis.each import each
from ifvit.synthesis.orientation import (
    CENTRE,
    FRAME_HEIGHT,
    FRAME_PPI,
    FRAME_WIDTH,
    PATTERN_HEIGHT,
    Finger,
    draw_finger,
    frame_coordinates,
    orientation_field,
)

# Ridge period, px at 500 ppi.
# The mean is wider than SFinGe's 8.2 to 9.6 px, whose fingers are more alike than the thirty of FVC2002 DB1_B to
# DB3_B: those have 7.3 to 10.1 px, medians of the spectrum's peaks (benchmarks/difficulty.py).
PERIOD_MEAN = (7.5, 10.0)  # (lowest, highest) of a finger
PERIOD_LIMITS = (6.5, 13.0)  # (lowest, highest) at any pixel
PERIOD_NOISE, PERIOD_NOISE_SIGMA = 0.05, 30.0  # standard deviation, as a share of the period; correlation length, px
PERIOD_BOX = 15  # px, side of the square over which the period is averaged
ARCH_LANDMARKS = (CENTRE[1], CENTRE[1] + 115.0)  # y, px: for arches, in place of the loop's and the delta's

# Ridges grow at this resolution, 4.5 px a period, and are resampled to others: growing them at 500 ppi would take
# sixteen times the work for the same pattern.
GROWTH_PPI = 250
GROWTH_SHAPE = (FRAME_HEIGHT * GROWTH_PPI // FRAME_PPI, FRAME_WIDTH * GROWTH_PPI // FRAME_PPI)  # (height, width), px
ITERATIONS = 20
START = 0.1  # standard deviation of the first noise
GAIN = 2.0  # on a filter whose response to its own ridges is 1
SIGMA = 0.4036  # periods, across the ridge: SFinGe's, where the envelope is 1e-3 of its peak at 1.5 periods
# The filter's length along the ridge over its width. SFinGe's filter is round and of unit L2, and it saturates at
# once. With longer filters that saturate later, patches agree over a larger area, so fewer minutiae remain. A skeleton
# count on twelve fingers, of periods from 8.2 to 9.6 px, gives 0.23 minutiae per mm2 (loops 0.20, whorls 0.28), and
# 0.31 with round filters of unit L2. Another count gives 0.40 for the latter, and 0.26 for SFinGe's samples.
STRETCH = 1.75
REACH = 9  # px, radius of the filters: 1.4 times the widest period, 2 times the usual one
FAINTEST = 0.1  # the smallest amplitude of the response that is normalised to 1
SIDE_BY_SIDE = 32  # fingers that an accelerator grows in parallel; the filters of each take 47 MB
PACKED = 64  # int8 steps per unit of a packed wave
SHAPE = 1.5  # of the profile tanh(SHAPE cos): rounder than a square wave, because a period has only about 9 px

_Sums = tuple[jax.Array, jax.Array, jax.Array]


class Skin(NamedTuple):
    """The part of a finger that an impression shows: H x W = 736 x 512 px at 500 ppi. See `pack` for an int8 wave."""

    wave: jax.Array  # (H, W) float32, about -1 in valleys to 1 on ridges; smooth, so it may be resampled
    creases: jax.Array  # (H / 2, W / 2) uint8, at 250 ppi: depth from 0 (no crease) to creases.DEEPEST


class Master(NamedTuple):
    """The ridge pattern of a finger, before it is pressed and imaged: H x W = 736 x 512 px at 500 ppi."""

    wave: jax.Array  # (H, W) float32, as in Skin
    creases: jax.Array  # (H / 2, W / 2) uint8, as in Skin
    theta: jax.Array  # (H, W) float32, ridge direction in [0, pi), rad
    period: jax.Array  # (H, W) float32, ridge period, px
    pattern: jax.Array  # () int32, a Pattern

    @property
    def skin(self) -> Skin:
        """The part that an impression shows."""
        return Skin(self.wave, self.creases)


def ridge_period(key: jax.Array, finger: Finger, height: int, width: int, ppi: float) -> jax.Array:
    """The ridge period (H, W), px of an image at `ppi`: wider above the loops and below the deltas, plus noise."""
    mean_key, noise_key = jax.random.split(key)
    _, y = frame_coordinates(height, width, ppi)
    present = finger.present > 0
    any_present = jnp.any(present)
    top = jnp.where(any_present, jnp.min(jnp.where(present, finger.loops[:, 1], jnp.inf)), ARCH_LANDMARKS[0])
    bottom = jnp.where(any_present, jnp.max(jnp.where(present, finger.deltas[:, 1], -jnp.inf)), ARCH_LANDMARKS[1])

    period = jax.random.uniform(mean_key, (), minval=PERIOD_MEAN[0], maxval=PERIOD_MEAN[1])
    above = jnp.clip((top - y) / (0.35 * PATTERN_HEIGHT), 0, 1)
    below = jnp.clip((y - bottom) / (0.25 * PATTERN_HEIGHT), 0, 1)
    period = period * (1 + 0.12 * above + 0.15 * below)
    noise = _smooth_noise(noise_key, height, width, PERIOD_NOISE_SIGMA * ppi / FRAME_PPI)
    period = period * (1 + PERIOD_NOISE * noise)
    period = jnp.clip(period, *PERIOD_LIMITS)
    return _box(period, 2 * round((PERIOD_BOX * ppi / FRAME_PPI - 1) / 2) + 1) * (ppi / FRAME_PPI)


def grow_ridges(key: jax.Array, theta: jax.Array, period: jax.Array) -> jax.Array:
    """Grow ridges that follow an orientation and a period, on a lattice of GROWTH_PPI.

    Each pixel has its own filter, stored tap by tap. There is no filter bank of sampled orientations and periods, and
    so there are no seams. The filter is even, so opposite taps share a weight.

    Args:
        theta: (H, W), ridge direction, rad modulo pi.
        period: (H, W), ridge period, px of the lattice.

    Returns:
        (H, W) float32, a smooth wave of amplitude about 1: the filters' last response. It is band-limited, so that it
        may be resampled before `tanh` shapes it.
    """
    height, width = theta.shape
    taps = _half_disc(REACH)
    # Without the barrier the compiler computes the weights anew in every iteration.
    centre, weights = jax.lax.optimization_barrier(_gabor(theta, period, taps))

    def respond(ridges: jax.Array) -> jax.Array:
        padded = jnp.pad(ridges, REACH)

        def shifted(dx: int, dy: int) -> jax.Array:
            return padded[REACH + dy : REACH + dy + height, REACH + dx : REACH + dx + width]

        response = centre * ridges
        for weight, (dx, dy) in zip(weights, taps, strict=True):
            response = response + weight * (shifted(dx, dy) + shifted(-dx, -dy))
        return response

    # The loop carries the response before tanh, so that its result is one; at the start tanh changes almost nothing.
    start = START / GAIN * jax.random.normal(key, (height, width), jnp.float32)
    response = jax.lax.fori_loop(0, ITERATIONS, lambda _, before: respond(jnp.tanh(GAIN * before)), start)
    # Where ridges turn sharply no straight filter fits and the response is weak: normalise its amplitude.
    amplitude = jnp.sqrt(2 * _box(response**2, REACH))
    return response / jnp.maximum(amplitude, FAINTEST)


def _half_disc(reach: int) -> list[tuple[int, int]]:
    """One (dx, dy) of each pair of opposite taps within `reach` px of the centre, without the centre."""
    span = range(-reach, reach + 1)
    return [(dx, dy) for dy in span for dx in span if (dy, dx) > (0, 0) and dx * dx + dy * dy <= reach * reach]


def _gabor(theta: jax.Array, period: jax.Array, taps: list[tuple[int, int]]) -> tuple[jax.Array, jax.Array]:
    """The filter of each pixel: its centre (H, W) and one weight per pair of opposite taps (N, H, W).

    Its mean is zero, and its response to ridges of its own direction and period is 1; with unit L2 the gain would grow
    with ppi. theta: (H, W) rad. period: (H, W) px.
    """
    cos, sin = jnp.cos(theta) / period, jnp.sin(theta) / period
    along, across = (cos, sin), (-sin, cos)  # (x, y) parts, in periods per px
    # exp(-(a dx^2 + b dx dy + c dy^2)): the envelope's quadratic form.
    narrow, long = 0.5 / SIGMA**2, 0.5 / (STRETCH * SIGMA) ** 2
    a, c = (narrow * v**2 + long * u**2 for u, v in zip(along, across, strict=True))
    b = 2 * (narrow * across[0] * across[1] + long * along[0] * along[1])
    # cos(p + q) = cos p cos q - sin p sin q: cosines are slow, and so only one row and one column of them is computed.
    steps = 2 * jnp.pi * jnp.arange(-REACH, REACH + 1, dtype=jnp.float32)[:, None, None]
    cos_x, sin_x = jnp.cos(steps * across[0]), jnp.sin(steps * across[0])  # (2 REACH + 1, H, W)
    cos_y, sin_y = jnp.cos(steps * across[1]), jnp.sin(steps * across[1])

    def tap(sums: _Sums, offset: tuple[jax.Array, jax.Array]) -> tuple[_Sums, tuple[jax.Array, jax.Array]]:
        dx, dy = offset
        fx, fy = dx.astype(jnp.float32), dy.astype(jnp.float32)
        envelope = jnp.exp(-(a * (fx * fx) + b * (fx * fy) + c * (fy * fy)))
        carrier = cos_x[dx + REACH] * cos_y[dy + REACH] - sin_x[dx + REACH] * sin_y[dy + REACH]
        wave = envelope * carrier
        return (sums[0] + 2 * envelope, sums[1] + 2 * wave, sums[2] + 2 * wave * carrier), (envelope, wave)

    ones = jnp.ones_like(theta)
    (total, mean, power), (envelope, wave) = jax.lax.scan(tap, (ones, ones, ones), tuple(np.array(taps, np.int32).T))
    # The mean is subtracted in proportion to the envelope, so that the filter stays zero at its edges.
    mean = mean / total
    scale = 1 / (power - mean * mean * total)
    return (1 - mean) * scale, (wave - mean * envelope) * scale


@jax.jit
def grow_finger(key: jax.Array, pattern: jax.Array | int | None = None) -> Master:
    """Grow the finger of `key`, of the given Pattern; None: of a Pattern drawn with its natural frequency."""
    finger_key, period_key, ridge_key, crease_key = jax.random.split(key, 4)
    finger = draw_finger(finger_key, pattern)
    wave = grow_ridges(
        ridge_key,
        orientation_field(finger, *frame_coordinates(*GROWTH_SHAPE, GROWTH_PPI)),
        ridge_period(period_key, finger, *GROWTH_SHAPE, GROWTH_PPI),
    )
    frame = (FRAME_HEIGHT, FRAME_WIDTH)
    return Master(
        # Lanczos keeps fine ridges. The pixels of both lattices tile the same frame.
        wave=jax.image.resize(wave, frame, "lanczos5"),
        creases=draw_creases(crease_key, finger),
        theta=orientation_field(finger, *frame_coordinates(*frame, FRAME_PPI)),
        period=ridge_period(period_key, finger, *frame, FRAME_PPI),
        pattern=finger.pattern,
    )


@jax.jit
def pattern_of(key: jax.Array) -> jax.Array:
    """The Pattern () int32 of the finger of `key`, without growing it."""
    return draw_finger(jax.random.split(key, 4)[0]).pattern


@jax.jit
def grow_fingers(keys: jax.Array) -> Master:
    """`grow_finger` for each of `keys` (N,): a Master whose arrays have N as their first axis."""
    return each(grow_finger, keys, SIDE_BY_SIDE)


def pack(skin: Skin) -> Skin:
    """Skin with a wave of int8, for storing thousands: a quarter of the memory, with an error of at most 1/128."""
    return skin._replace(wave=jnp.clip(jnp.round(skin.wave * PACKED), -127, 127).astype(jnp.int8))


def unpack(packed: Skin) -> Skin:
    """The skin that `pack` packed, with a wave of float32."""
    return packed._replace(wave=packed.wave.astype(jnp.float32) / PACKED)


def profile(wave: jax.Array) -> jax.Array:
    """The height of the skin, (...) in (-1, 1), of a master's wave (...): flat-topped ridges, flat valleys."""
    return jnp.tanh(SHAPE * wave)


def _smooth_noise(key: jax.Array, height: int, width: int, sigma: float) -> jax.Array:
    """Gaussian noise (H, W) of mean 0 and variance 1 with Gaussian correlation; `sigma` in px.

    White noise on nodes half a sigma apart is smoothed by separable Gaussians and scaled to unit variance at each
    pixel. The nodes scale with the image, so one key gives one field at any resolution.
    """
    down, across = _node_weights(height, sigma), _node_weights(width, sigma)
    white = jax.random.normal(key, (down.shape[1], across.shape[1]))
    # Written as sums: a matrix product adds in another order when fingers grow in parallel.
    rows = _added(down[:, n, None] * white[n] for n in range(down.shape[1]))
    return _added(rows[:, n, None] * across[:, n] for n in range(across.shape[1]))


def _node_weights(size: int, sigma: float) -> np.ndarray:
    """The weights (size, nodes) float32 of the nodes, which reach three sigma beyond both ends; rows of unit L2."""
    centred = (np.arange(size) - (size - 1) / 2) / sigma
    side = int(np.ceil(2 * (size / 2 / sigma + 3)))
    nodes = np.arange(-side, side + 1) / 2
    weights = np.exp(-0.5 * (centred[:, None] - nodes) ** 2)
    return (weights / np.linalg.norm(weights, axis=1, keepdims=True)).astype(np.float32)


def _box(image: jax.Array, size: int) -> jax.Array:
    """The mean of an image (H, W) over a square of odd `size` px; the edges are repeated."""
    height, width = image.shape
    padded = jnp.pad(image, size // 2, mode="edge")
    rows = _added(padded[n : n + height] for n in range(size)) / size
    return _added(rows[:, n : n + width] for n in range(size)) / size


def _added(terms: Iterable[jax.Array | np.ndarray]) -> jax.Array:
    return cast(jax.Array, sum(terms))  # of no terms it would be a 0
