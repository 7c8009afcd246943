"""Simulated wear of a print: sensor noise, dry skin, pressure, partial contact. Pure JAX, one image at a time.

Images are (H, W) float32 in [0, 1], dark ridges on a light background. So dry skin, which makes ridges thinner, is a
grey *dilation* (bright areas grow). Pressure, which makes ridges thicker, is a grey *erosion*.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from ifvit import geometry
from ifvit.config import PairsConfig
from ifvit.synthesis.noise import perlin

NOISE_CELLS = 8  # cells of the Perlin lattice across the frame: blotches of 1 to 2 mm
WHITE_NOISE_SHARE = 0.5  # share of white noise; the rest are blotches


def dryness(image: jax.Array) -> jax.Array:
    """The image with thinner ridges: a grey dilation 2x2.

    It is the mean of the windows that begin and that end at each pixel. A single window would shift every ridge by half
    a pixel against the labels of sub-pixel matches.
    """
    after = _extreme(image, 2, jax.lax.max, -jnp.inf)  # over the pixel and the next one
    before = jnp.pad(after, ((1, 0), (1, 0)), mode="edge")[:-1, :-1]
    return (after + before) / 2


def pressure(image: jax.Array) -> jax.Array:
    """The image with thicker ridges: a grey erosion 3x3."""
    return _extreme(image, 3, jax.lax.min, jnp.inf)


def _extreme(image: jax.Array, size: int, operation: Callable, start: float) -> jax.Array:
    """The maximum or minimum of each window of `size` x `size` px."""
    return jax.lax.reduce_window(image, start, operation, (size, size), (1, 1), "SAME")


def sensor_noise(key: jax.Array, image: jax.Array, amplitude: jax.Array) -> jax.Array:
    """The image plus Perlin blotches and white noise, clipped to [0, 1].

    amplitude: () grey, 0..1.
    """
    blotch_key, white_key = jax.random.split(key)
    height, width = image.shape
    blotches = perlin(blotch_key, height, width, NOISE_CELLS, NOISE_CELLS)
    white = jax.random.normal(white_key, image.shape)
    noise = (1 - WHITE_NOISE_SHARE) * blotches + WHITE_NOISE_SHARE * white
    return jnp.clip(image + amplitude * noise, 0, 1)


def contact(key: jax.Array, height: int, width: int, share: float) -> jax.Array:
    """Where the finger touches the sensor, (height, width) bool.

    With probability `share` a straight edge cuts off up to half of the frame, from any direction. Else all of it is
    touched.
    """
    cut_draw, angle_draw, depth_draw = jax.random.uniform(key, (3,))
    angle = 2 * jnp.pi * angle_draw
    offset = 0.4 * min(height, width) * depth_draw
    centred = geometry.pixel_grid(height, width) - jnp.array([width - 1, height - 1]) / 2
    depth = centred[..., 0] * jnp.cos(angle) + centred[..., 1] * jnp.sin(angle)
    return (depth <= offset) | (cut_draw >= share)


def corrupt(key: jax.Array, image: jax.Array, settings: PairsConfig) -> jax.Array:
    """The image with the wear of one impression: dry or pressed (never both), then sensor noise.

    `settings.dryness` and `.pressure` are the shares of such images; the strength is random.
    `settings.noise` is the largest amplitude of the noise, grey 0..1.
    """
    draw_key, noise_key = jax.random.split(key)
    kind_draw, amplitude, strength_draw = jax.random.uniform(draw_key, (3,))
    strength = 0.3 + 0.7 * strength_draw
    dry = strength * (kind_draw < settings.dryness)
    pressed = strength * (kind_draw >= 1 - settings.pressure)
    image = image + dry * (dryness(image) - image) + pressed * (pressure(image) - image)
    return sensor_noise(noise_key, image, settings.noise * amplitude)
