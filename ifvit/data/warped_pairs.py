"""Pairs of impressions with the exact map between them, made on the device from two canvases. Pure JAX.

A canvas is an impression at the network's ppi in a frame twice as large as the network's (`ifvit.image.Canvas`). So a
rotated frame does not show empty corners where the image has content. Image A is the middle of its canvas. Image B is
its canvas seen through a `geometry.Warp` (rotation, shift, smooth skin distortion): pixel u of B shows the point
warp(u) of A's frame. So the map B -> A is the warp, and A -> B its inverse, both exact at every pixel.
"""

from __future__ import annotations

from functools import partial
from typing import Generic, NamedTuple

import jax
import jax.numpy as jnp

from ifvit import geometry
from ifvit.config import PairsConfig
from ifvit.data import augment
from ifvit.pair import Arrays, Pair

CANVAS = 2  # side of the canvas, as a multiple of the side of the network's frame
WAVES = 3  # number of plane waves of the skin distortion
WAVELENGTHS = (0.75, 1.5)  # range of their lengths, as multiples of the frame's shorter side


class CanvasSide(NamedTuple, Generic[Arrays]):
    """The canvases of one side of B pairs."""

    grey: Arrays  # (B, Hc, Wc) uint8
    ridges: Arrays  # (B, Hc, Wc) bool, where it shows ridges
    background: Arrays  # (B,) uint8, grey level of the background


class Canvases(NamedTuple, Generic[Arrays]):
    """The inputs of B pairs, which the host passes to the device."""

    sides: Pair[CanvasSide[Arrays]]
    genuine: Arrays  # (B,) bool; True: both sides are one impression; False: of two different fingers


class Side(NamedTuple):
    """One side of B pairs: an image, and the exact map to the other side's image."""

    image: jax.Array  # (B, H, W) float32 in [0, 1]
    ridges: jax.Array  # (B, H, W) bool, where the image shows ridges
    to_other: jax.Array  # (B, H, W, 2) float32, px: the point (x, y) of the other image at each pixel
    # Where this point is inside the other image and both images show ridges; False for different fingers.
    valid: jax.Array  # (B, H, W) bool


class TrainingPairs(NamedTuple):
    """B pairs of images with the exact maps between them."""

    sides: Pair[Side]
    genuine: jax.Array  # (B,) bool

    @property
    def images(self) -> Pair[jax.Array]:
        """Both images."""
        return self.sides.map(lambda side: side.image)


class Truth(NamedTuple):
    """The ground truth of B pairs on the cell grid, for the loss and the metrics. Cells are in row-major order."""

    labels: jax.Array  # (B, Na) int32, the true cell of B, or -1
    points: jax.Array  # (B, Na, 2) float32, px of B, the true point of the cell's pixel
    shown: jax.Array  # (B, Na) bool, whether image B shows this point
    lone: Pair[jax.Array]  # (B, Na) and (B, Nb) bool, cells of ridges whose point the other image does not show


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

    def seen(canvas: CanvasSide[jax.Array], points: jax.Array, contact_key: jax.Array) -> tuple[jax.Array, jax.Array]:
        return _seen_canvas(canvas, points, augment.contact(contact_key, *frame, settings.partial_share))

    grey_a, ridges_a = seen(canvases.sides.a, pixels, contact_a)
    grey_b, ridges_b = seen(canvases.sides.b, map_ba, contact_b)
    images = Pair(augment.corrupt(wear_a, grey_a, settings), augment.corrupt(wear_b, grey_b, settings))
    return mapped_pairs(images, Pair(ridges_a, ridges_b), Pair(map_ab, map_ba), canvases.genuine)


def mapped_pairs(
    images: Pair[jax.Array], ridges: Pair[jax.Array], maps: Pair[jax.Array], genuine: jax.Array
) -> TrainingPairs:
    """A pair of images (H, W) with their ridges (H, W) and each side's map to the other, (H, W, 2) px."""

    def side(image: jax.Array, own: jax.Array, others: jax.Array, to_other: jax.Array) -> Side:
        return Side(image, own, to_other, genuine & own & geometry.mask_at(others, to_other))

    a = side(images.a, ridges.a, ridges.b, maps.a)
    return TrainingPairs(Pair(a, side(images.b, ridges.b, ridges.a, maps.b)), genuine)


def _seen_canvas(canvas: CanvasSide[jax.Array], points: jax.Array, touched: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The canvas at points (H, W, 2), px of A's frame: grey in [0, 1], and where it shows ridges, bool.

    touched: (H, W) bool, where the finger touches the sensor; elsewhere the background is shown.
    """
    grey, ridges, background = canvas
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
    a, b = pairs.sides
    shown = geometry.at_cells(a.valid, stride)
    # A ridge cell that the other image does not show is lone. If the other image shows it, but the nearest cell maps
    # back to a neighbour, its partner lies between cells: it is neither positive nor negative.
    return Truth(
        labels=geometry.cell_labels(a.to_other, a.valid, b.to_other, stride),
        points=geometry.at_cells(a.to_other, stride),
        shown=shown,
        lone=Pair(geometry.at_cells(a.ridges, stride) & ~shown, geometry.at_cells(b.ridges & ~b.valid, stride)),
    )
