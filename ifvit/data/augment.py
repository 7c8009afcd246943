"""What a sensor and a finger do to a print: noise, dry skin, pressure, partial contact. Pure JAX, one image at a time.

Images are float32 (H, W) in [0, 1], dark ridges on a light ground: so dry skin, which thins ridges, is a grey
*dilation* (the light grows), and pressure, which thickens them, a grey *erosion*.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ifvit import geometry
from ifvit.config import PairsConfig
from ifvit.synthesis.noise import perlin

NOISE_CELLS = 8  # Perlin lattice cells across the frame: blotches of a millimetre or two
FINE_NOISE_SHARE = 0.5  # of the noise is white, pixel by pixel; the rest are the blotches


def dryness(image: jax.Array) -> jax.Array:
    """Ridges thinned: grey dilation 2x2.

    The mean over the window's two places about each pixel: one alone would move every ridge by half a pixel, and so
    would be off what sub-pixel matches are taught and judged by.
    """
    behind = _extreme(image, 2, jax.lax.max, -jnp.inf)  # over the pixel and the next ones
    before = jnp.pad(behind, ((1, 0), (1, 0)), mode="edge")[:-1, :-1]
    return (behind + before) / 2


def pressure(image: jax.Array) -> jax.Array:
    """Ridges thickened: grey erosion 3x3."""
    return _extreme(image, 3, jax.lax.min, jnp.inf)


def _extreme(image: jax.Array, size: int, operation, start: float) -> jax.Array:
    return jax.lax.reduce_window(image, start, operation, (size, size), (1, 1), "SAME")


def sensor_noise(key: jax.Array, image: jax.Array, amplitude: jax.Array) -> jax.Array:
    """The image with Perlin blotches and white noise of `amplitude` (grey, 0..1) added, clipped to [0, 1]."""
    blotch_key, fine_key = jax.random.split(key)
    blotches = perlin(blotch_key, *image.shape, NOISE_CELLS, NOISE_CELLS)
    fine = jax.random.normal(fine_key, image.shape)
    noise = (1 - FINE_NOISE_SHARE) * blotches + FINE_NOISE_SHARE * fine
    return jnp.clip(image + amplitude * noise, 0, 1)


def contact(key: jax.Array, height: int, width: int, share: float) -> jax.Array:
    """Where the finger touches the sensor, bool (height, width).

    With probability `share` a straight edge cuts off up to half of the frame, from any side; else all of it touches.
    """
    cut, turn, depth_share = jax.random.uniform(key, (3,))
    angle = 2 * jnp.pi * turn
    offset = 0.4 * min(height, width) * depth_share
    centred = geometry.pixel_grid(height, width) - jnp.array([width - 1, height - 1]) / 2
    depth = centred[..., 0] * jnp.cos(angle) + centred[..., 1] * jnp.sin(angle)
    return (depth <= offset) | (cut >= share)


def corrupt(key: jax.Array, image: jax.Array, settings: PairsConfig) -> jax.Array:
    """One impression's wear: dry or pressed (never both), then the sensor's noise.

    `settings.dryness` and `.pressure` are the shares of images so treated, at a random strength;
    `settings.noise` is the largest amplitude of noise, grey 0..1.
    """
    draw_key, noise_key = jax.random.split(key)
    which, amplitude, effort = jax.random.uniform(draw_key, (3,))
    strength = 0.3 + 0.7 * effort
    dry = strength * (which < settings.dryness)
    pressed = strength * (which >= 1 - settings.pressure)
    image = image + dry * (dryness(image) - image) + pressed * (pressure(image) - image)
    return sensor_noise(noise_key, image, settings.noise * amplitude)
