"""Pairs of impressions with the exact map between them, made on the device from two canvases. Pure JAX.

A canvas is an impression at the network's ppi in a frame twice as large as the network's (`ifvit.image.Canvas`). So a
rotated frame does not show empty corners where the image has content. Image A is the middle of its canvas. Image B is
its canvas seen through a `geometry.Warp` (rotation, shift, smooth skin distortion): pixel u of B shows the point
warp(u) of A's frame. So the map B -> A is the warp, and A -> B its inverse, both exact at every pixel.
"""

from __future__ import annotations

from functools import partial
from typing import Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from ifvit import geometry
from ifvit.config import PairsConfig
from ifvit.data import augment

CANVAS = 2  # side of the canvas, as a multiple of the side of the network's frame
WAVES = 3  # number of plane waves of the skin distortion
WAVELENGTHS = (0.75, 1.5)  # range of their lengths, as multiples of the frame's shorter side


# Of a value that is made on one side and passed to the other: its arrays on the device, or on the host.
Arrays = TypeVar("Arrays", jax.Array, np.ndarray)


class Canvases(NamedTuple, Generic[Arrays]):
    """The inputs of B pairs, which the host passes to the device: the canvases of both sides."""

    grey_a: Arrays  # (B, Hc, Wc) uint8
    ridges_a: Arrays  # (B, Hc, Wc) bool, where it shows ridges
    background_a: Arrays  # (B,) uint8, grey level of the background
    grey_b: Arrays  # of side B, as of side A
    ridges_b: Arrays
    background_b: Arrays
    genuine: Arrays  # (B,) bool; True: both sides are one impression; False: of two different fingers


class TrainingPairs(NamedTuple):
    """B pairs of images with the exact maps between them."""

    image_a: jax.Array  # (B, H, W) float32 in [0, 1]
    image_b: jax.Array  # (B, H, W) float32 in [0, 1]
    map_ab: jax.Array  # (B, H, W, 2) float32, px: the point (x, y) of image B at each pixel of A
    map_ba: jax.Array  # (B, H, W, 2) float32, px: the point (x, y) of image A at each pixel of B
    ridges_a: jax.Array  # (B, H, W) bool, where image A shows ridges
    ridges_b: jax.Array  # (B, H, W) bool, where image B shows ridges
    # Where the map's point is inside the other image and both images show ridges; False for different fingers.
    valid_ab: jax.Array  # (B, H, W) bool
    valid_ba: jax.Array  # (B, H, W) bool
    genuine: jax.Array  # (B,) bool


class Truth(NamedTuple):
    """The ground truth of B pairs on the cell grid, for the loss and the metrics. Cells are in row-major order."""

    labels: jax.Array  # (B, Na) int32, the true cell of B, or -1
    points: jax.Array  # (B, Na, 2) float32, px of B, the true point of the cell's pixel
    shown: jax.Array  # (B, Na) bool, whether image B shows this point
    lone_a: jax.Array  # (B, Na) bool, cells of ridges whose point the other image does not show
    lone_b: jax.Array  # (B, Nb) bool, the same of B's cells


@partial(jax.jit, static_argnames=("frame", "settings"))
def make_pairs(
    key: jax.Array, canvases: Canvases[jax.Array], frame: tuple[int, int], settings: PairsConfig
) -> TrainingPairs:
    """B new pairs. Pair i draws from `fold_in(key, i)`, so it does not depend on how the batch is split.

    frame: (height, width) of the network's images in px.
    """
    keys = jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(canvases.genuine.shape[0]))
    return jax.vmap(partial(_pair, frame=frame, settings=settings))(keys, canvases)


def _pair(
    key: jax.Array, canvases: Canvases[jax.Array], frame: tuple[int, int], settings: PairsConfig
) -> TrainingPairs:
    warp_key, contact_a, contact_b, wear_a, wear_b = jax.random.split(key, 5)
    warp = random_warp(warp_key, frame, settings)
    pixels = geometry.pixel_grid(*frame)
    map_ba, map_ab = warp(pixels), warp.inverse(pixels)
    touched_a = augment.contact(contact_a, *frame, settings.partial_share)
    touched_b = augment.contact(contact_b, *frame, settings.partial_share)
    grey_a, ridges_a = _seen_canvas(canvases.grey_a, canvases.ridges_a, canvases.background_a, pixels, touched_a)
    grey_b, ridges_b = _seen_canvas(canvases.grey_b, canvases.ridges_b, canvases.background_b, map_ba, touched_b)
    return TrainingPairs(
        image_a=augment.corrupt(wear_a, grey_a, settings),
        image_b=augment.corrupt(wear_b, grey_b, settings),
        map_ab=map_ab,
        map_ba=map_ba,
        ridges_a=ridges_a,
        ridges_b=ridges_b,
        valid_ab=canvases.genuine & ridges_a & geometry.mask_at(ridges_b, map_ab),
        valid_ba=canvases.genuine & ridges_b & geometry.mask_at(ridges_a, map_ba),
        genuine=canvases.genuine,
    )


def _seen_canvas(
    grey: jax.Array, ridges: jax.Array, background: jax.Array, points: jax.Array, touched: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The canvas at points (H, W, 2), px of A's frame: grey in [0, 1], and where it shows ridges, bool.

    touched: (H, W) bool, where the finger touches the sensor; elsewhere the background is shown.
    """
    height, width = points.shape[:2]
    offset = jnp.array([(grey.shape[1] - width) // 2, (grey.shape[0] - height) // 2])
    level = background.astype(jnp.float32)
    values = geometry.sample(grey.astype(jnp.float32), points + offset, level)
    return jnp.where(touched, values, level) / 255, geometry.mask_at(ridges, points + offset) & touched


def random_warp(key: jax.Array, frame: tuple[int, int], settings: PairsConfig) -> geometry.Warp:
    """A random warp: rotation up to +-rotation_deg about the middle, shift up to +-shift_px, waves up to elastic_px."""
    height, width = frame
    # One draw for all values, because each draw costs 0.2 s of compilation on a CPU.
    turn, shift_x, shift_y, size, *per_wave = jax.random.uniform(key, (4 + 5 * WAVES,))
    share, push, along, length, phase = jnp.stack(per_wave).reshape(5, WAVES)
    side = min(frame)
    shortest, longest = (factor * side for factor in WAVELENGTHS)
    frequency = 2 * jnp.pi / (shortest + (longest - shortest) * length)
    amplitude = settings.elastic_px * size * share / share.sum()
    centre = jnp.array([width - 1, height - 1]) / 2
    return geometry.Warp(
        angle=jnp.deg2rad(settings.rotation_deg) * (2 * turn - 1),
        centre_from=centre,
        centre_to=centre + settings.shift_px * (2 * jnp.stack([shift_x, shift_y]) - 1),
        waves=geometry.Waves(
            amplitude=amplitude[:, None] * _direction(push),
            frequency=frequency[:, None] * _direction(along),
            phase=2 * jnp.pi * phase,
        ),
    )


def _direction(turns: jax.Array) -> jax.Array:
    """The unit vectors (K, 2) at the angles `turns` (K,), in full turns."""
    angle = 2 * jnp.pi * turns
    return jnp.stack([jnp.cos(angle), jnp.sin(angle)], -1)


def truth_of(pairs: TrainingPairs, stride: int) -> Truth:
    """The ground truth of pairs on a grid of cells of `stride` px."""
    shown = geometry.at_cells(pairs.valid_ab, stride)
    # A ridge cell that the other image does not show is lone. If the other image shows it, but the nearest cell maps
    # back to a neighbour, its partner lies between cells: it is neither positive nor negative.
    return Truth(
        labels=geometry.cell_labels(pairs.map_ab, pairs.valid_ab, pairs.map_ba, stride),
        points=geometry.at_cells(pairs.map_ab, stride),
        shown=shown,
        lone_a=geometry.at_cells(pairs.ridges_a, stride) & ~shown,
        lone_b=geometry.at_cells(pairs.ridges_b & ~pairs.valid_ba, stride),
    )
