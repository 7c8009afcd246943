"""A finger's master pattern: ridge period, and ridges grown along the orientation.

Ridges grow as in SFinGe (Cappelli, in Maltoni et al., Handbook of Fingerprint Recognition): from faint noise,
the image is filtered again and again by the Gabor filter that fits each place, and squashed. Ridges appear
everywhere at once; where growing patches meet out of step, a minutia is left.
"""

from typing import NamedTuple

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
# Wider than SFinGe's 8.2 to 9.6, which leave fingers more alike than the thirty of FVC2002 DB1_B to DB3_B are: 7.3 to
# 10.1 px, medians of the spectrum's peaks (benchmarks/difficulty.py).
PERIOD_MEAN = (7.5, 10.0)  # of a finger
PERIOD_LIMITS = (6.5, 13.0)
PERIOD_NOISE, PERIOD_NOISE_SIGMA = 0.05, 30.0  # part of the period; px
PERIOD_BOX = 15  # px
ARCH_LANDMARKS = (CENTRE[1], CENTRE[1] + 115.0)  # y, px: where a loop and a delta would be

# Ridges grow on a lattice of this resolution, 4.5 px a period, and are sampled from it at any other: growing
# at 500 ppi would take sixteen times the work for the same pattern.
GROWTH_PPI = 250
GROWN = (FRAME_HEIGHT * GROWTH_PPI // FRAME_PPI, FRAME_WIDTH * GROWTH_PPI // FRAME_PPI)  # (height, width), px
ITERATIONS = 20
START = 0.1  # standard deviation of the first noise
GAIN = 2.0  # on a filter whose response to its own ridges is 1
SIGMA = 0.4036  # periods, across the ridge: SFinGe's, where the envelope is 1e-3 of its peak at 1.5 periods
# The filter's length along the ridge over its width. SFinGe's is round, and of unit L2, which saturates at
# once; longer filters that saturate later let patches agree over a larger area, so fewer minutiae are left.
# A skeleton count on twelve fingers, of periods from 8.2 to 9.6 px, gives 0.23 per mm2 (loops 0.20, whorls
# 0.28), and 0.31 with round ones of unit L2; another count, which finds 0.40 in the latter, finds 0.26 in
# SFinGe's samples.
STRETCH = 1.75
REACH = 9  # px, of the filters: 1.4 of the widest period, 2 of the usual
FAINTEST = 0.1  # response that is still evened out to full amplitude
SIDE_BY_SIDE = 32  # fingers that an accelerator grows at a time; the filters of each take 47 MB
PACKED = 64  # steps of int8 that a wave's amplitude has
SHAPE = 1.5  # of the profile tanh(SHAPE cos): rounder than a square wave, as 9 px a period can carry it


class Skin(NamedTuple):
    """What an impression shows of a finger: H x W = 736 x 512 px at 500 ppi. `pack` makes integers of the wave."""

    wave: jax.Array  # (H, W) float32, about -1 in valleys to 1 on ridges; a smooth wave, so it may be resampled
    creases: jax.Array  # (H / 2, W / 2) uint8, at 250 ppi: 0 where there is none to creases.DEEPEST


class Master(NamedTuple):
    """A finger as its skin carries it, before anything presses or images it: H x W = 736 x 512 px at 500 ppi."""

    wave: jax.Array  # (H, W) float32, as in Skin
    creases: jax.Array  # (H / 2, W / 2) uint8, as in Skin
    theta: jax.Array  # (H, W) float32, ridge direction in [0, pi), rad
    period: jax.Array  # (H, W) float32, ridge period, px
    pattern: jax.Array  # () int32, a Pattern

    @property
    def skin(self) -> Skin:
        """What is shown of it."""
        return Skin(self.wave, self.creases)


def ridge_period(key: jax.Array, finger: Finger, height: int, width: int, ppi: float) -> jax.Array:
    """Ridge period (H, W), px of an image at `ppi`: wider above the loops and below the deltas, and noisy."""
    mean_key, noise_key = jax.random.split(key)
    _, y = frame_coordinates(height, width, ppi)
    there = finger.present > 0
    any_there = jnp.any(there)
    top = jnp.where(any_there, jnp.min(jnp.where(there, finger.loops[:, 1], jnp.inf)), ARCH_LANDMARKS[0])
    bottom = jnp.where(any_there, jnp.max(jnp.where(there, finger.deltas[:, 1], -jnp.inf)), ARCH_LANDMARKS[1])

    period = jax.random.uniform(mean_key, (), minval=PERIOD_MEAN[0], maxval=PERIOD_MEAN[1])
    above = jnp.clip((top - y) / (0.35 * PATTERN_HEIGHT), 0, 1)
    below = jnp.clip((y - bottom) / (0.25 * PATTERN_HEIGHT), 0, 1)
    period = period * (1 + 0.12 * above + 0.15 * below)
    noise = _smooth_noise(noise_key, height, width, PERIOD_NOISE_SIGMA * ppi / FRAME_PPI)
    period = period * (1 + PERIOD_NOISE * noise)
    period = jnp.clip(period, *PERIOD_LIMITS)
    return _box(period, 2 * round((PERIOD_BOX * ppi / FRAME_PPI - 1) / 2) + 1) * (ppi / FRAME_PPI)


def grow_ridges(key: jax.Array, theta: jax.Array, period: jax.Array) -> jax.Array:
    """Ridges that follow theta (H, W), rad, at `period` (H, W), px of this lattice, which has GROWTH_PPI.

    Returns (H, W) float32, a smooth wave of amplitude about 1: the filters' last response, still
    band-limited, so that it may be resampled before `tanh` shapes it.

    Each pixel has its own filter, stored tap by tap: no bank of sampled orientations and periods, and no
    seams between its members. The filter is even, so opposite taps share a weight.
    """
    height, width = theta.shape
    taps = _half_disc(REACH)
    # The barrier keeps the compiler from computing the weights anew in every iteration.
    centre, weights = jax.lax.optimization_barrier(_gabor(theta, period, taps))

    def respond(ridges):
        padded = jnp.pad(ridges, REACH)

        def shifted(dx, dy):
            return padded[REACH + dy : REACH + dy + height, REACH + dx : REACH + dx + width]

        response = centre * ridges
        for weight, (dx, dy) in zip(weights, taps, strict=True):
            response = response + weight * (shifted(dx, dy) + shifted(-dx, -dy))
        return response

    # The loop carries the response before tanh, so that it ends on one; at the start tanh changes nothing.
    start = START / GAIN * jax.random.normal(key, (height, width), jnp.float32)
    response = jax.lax.fori_loop(0, ITERATIONS, lambda _, before: respond(jnp.tanh(GAIN * before)), start)
    # Where ridges turn sharply no straight filter fits and the response is faint; skin is not: even it out.
    amplitude = jnp.sqrt(2 * _box(response**2, REACH))
    return response / jnp.maximum(amplitude, FAINTEST)


def _half_disc(reach: int) -> list[tuple[int, int]]:
    """One (dx, dy) of each opposite pair within `reach` px of the centre, the centre itself left out."""
    span = range(-reach, reach + 1)
    return [(dx, dy) for dy in span for dx in span if (dy, dx) > (0, 0) and dx * dx + dy * dy <= reach * reach]


def _gabor(theta: jax.Array, period: jax.Array, taps: list[tuple[int, int]]) -> tuple[jax.Array, jax.Array]:
    """The filter of each pixel: its centre (H, W) and one weight per pair of taps (N, H, W).

    Zero mean, and response 1 to ridges of its own direction and period: at unit L2 the gain grows with ppi.
    """
    cos, sin = jnp.cos(theta) / period, jnp.sin(theta) / period
    along, across = (cos, sin), (-sin, cos)  # (x, y) parts, in periods per px
    # exp(-(a dx^2 + b dx dy + c dy^2)): the envelope's quadratic form.
    narrow, long = 0.5 / SIGMA**2, 0.5 / (STRETCH * SIGMA) ** 2
    a, c = (narrow * v**2 + long * u**2 for u, v in zip(along, across, strict=True))
    b = 2 * (narrow * across[0] * across[1] + long * along[0] * along[1])
    # cos(p + q) = cos p cos q - sin p sin q: cosines are slow, and one row and one column of them are enough.
    steps = 2 * jnp.pi * jnp.arange(-REACH, REACH + 1, dtype=jnp.float32)[:, None, None]
    cos_x, sin_x = jnp.cos(steps * across[0]), jnp.sin(steps * across[0])  # (2 REACH + 1, H, W)
    cos_y, sin_y = jnp.cos(steps * across[1]), jnp.sin(steps * across[1])

    def tap(sums, place):
        dx, dy = place
        fx, fy = dx.astype(jnp.float32), dy.astype(jnp.float32)
        envelope = jnp.exp(-(a * (fx * fx) + b * (fx * fy) + c * (fy * fy)))
        carrier = cos_x[dx + REACH] * cos_y[dy + REACH] - sin_x[dx + REACH] * sin_y[dy + REACH]
        wave = envelope * carrier
        return (sums[0] + 2 * envelope, sums[1] + 2 * wave, sums[2] + 2 * wave * carrier), (envelope, wave)

    one = jnp.ones_like(theta)
    (total, mean, power), (envelope, wave) = jax.lax.scan(tap, (one, one, one), tuple(np.array(taps, np.int32).T))
    # The mean is taken off in proportion to the envelope, which leaves the filter's edges at zero.
    mean = mean / total
    scale = 1 / (power - mean * mean * total)
    return (1 - mean) * scale, (wave - mean * envelope) * scale


@jax.jit
def grow_finger(key: jax.Array, pattern: jax.Array | int | None = None) -> Master:
    """The finger of `key`, of a given Pattern or of one drawn with its natural frequency."""
    finger_key, period_key, ridge_key, crease_key = jax.random.split(key, 4)
    finger = draw_finger(finger_key, pattern)
    wave = grow_ridges(
        ridge_key,
        orientation_field(finger, *frame_coordinates(*GROWN, GROWTH_PPI)),
        ridge_period(period_key, finger, *GROWN, GROWTH_PPI),
    )
    frame = (FRAME_HEIGHT, FRAME_WIDTH)
    return Master(
        # Lanczos keeps fine ridges; the pixels of both lattices tile one and the same frame.
        wave=jax.image.resize(wave, frame, "lanczos5"),
        creases=draw_creases(crease_key, finger),
        theta=orientation_field(finger, *frame_coordinates(*frame, FRAME_PPI)),
        period=ridge_period(period_key, finger, *frame, FRAME_PPI),
        pattern=finger.pattern,
    )


def pattern_of(key: jax.Array) -> jax.Array:
    """The Pattern () int32 of the finger of `key`, without growing it."""
    return draw_finger(jax.random.split(key, 4)[0]).pattern


@jax.jit
def grow_fingers(keys: jax.Array) -> Master:
    """`grow_finger` for each of `keys` (N,): a Master whose arrays lead with N."""
    return each(grow_finger, keys, SIDE_BY_SIDE)


def pack(skin: Skin) -> Skin:
    """Skin with a wave of int8, to be kept by the thousand: a quarter of the room, and off by at most 1/128."""
    return skin._replace(wave=jnp.clip(jnp.round(skin.wave * PACKED), -127, 127).astype(jnp.int8))


def unpack(packed: Skin) -> Skin:
    """The skin of what `pack` made of it."""
    return packed._replace(wave=packed.wave.astype(jnp.float32) / PACKED)


def profile(wave: jax.Array) -> jax.Array:
    """The cross-section of skin, (-1, 1), of a master's wave: flat-topped ridges, flat valleys."""
    return jnp.tanh(SHAPE * wave)


def _smooth_noise(key: jax.Array, height: int, width: int, sigma: float) -> jax.Array:
    """Gaussian noise (H, W) of mean 0 and variance 1 with Gaussian correlation; `sigma` in px.

    White noise on nodes half a sigma apart, spread by separable Gaussians and rescaled to unit variance at
    each pixel. The nodes follow the field of view, so one key gives one field at any resolution.
    """
    down, across = _spreading(height, sigma), _spreading(width, sigma)
    white = jax.random.normal(key, (down.shape[1], across.shape[1]))
    # Written out as sums: a matrix product adds in another order when fingers are grown side by side.
    rows = sum(down[:, n, None] * white[n] for n in range(down.shape[1]))
    return sum(rows[:, n, None] * across[:, n] for n in range(across.shape[1]))


def _spreading(size: int, sigma: float) -> np.ndarray:
    """Weights (size, nodes) float32, rows of unit L2, of nodes that reach three sigma beyond both ends."""
    centred = (np.arange(size) - (size - 1) / 2) / sigma
    side = int(np.ceil(2 * (size / 2 / sigma + 3)))
    nodes = np.arange(-side, side + 1) / 2
    weights = np.exp(-0.5 * (centred[:, None] - nodes) ** 2)
    return (weights / np.linalg.norm(weights, axis=1, keepdims=True)).astype(np.float32)


def _box(image: jax.Array, size: int) -> jax.Array:
    """Mean of (H, W) over a square of odd `size`, edges repeated."""
    height, width = image.shape
    padded = jnp.pad(image, size // 2, mode="edge")
    rows = sum(padded[n : n + height] for n in range(size)) / size
    return sum(rows[:, n : n + width] for n in range(size)) / size
