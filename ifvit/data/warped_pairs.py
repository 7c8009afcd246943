"""A pair of impressions with the exact map between them, made on the device from two canvases. Pure JAX.

A canvas is an impression at the network's ppi in a frame twice the network's (`ifvit.image.Canvas`), so that rotation
brings no corner that the image could have filled. Image A is the canvas's middle. Image B looks at its canvas through a
`geometry.Warp` (rotation, shift, smooth skin distortion): the pixel u of B shows the point warp(u) of A's frame. So
the map B -> A is the warp itself, and A -> B its inverse, both exact at every pixel.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ifvit import geometry
from ifvit.config import PairsConfig
from ifvit.data import augment

CANVAS = 2  # sides of the canvas, in sides of the network's frame
WAVES = 3  # plane waves of the skin distortion
WAVELENGTHS = (0.75, 1.5)  # their lengths, in shorter sides of the frame


class Canvases(NamedTuple):
    """What the host hands over for B pairs: per side the canvas, where its ridges are, and its background.

    grey_a, grey_b: uint8 (B, Hc, Wc); ridges_a, ridges_b: bool; background_a, background_b: uint8 (B,);
    genuine: bool (B,): both sides are one impression; otherwise two different fingers.
    """

    grey_a: jax.Array
    ridges_a: jax.Array
    background_a: jax.Array
    grey_b: jax.Array
    ridges_b: jax.Array
    background_b: jax.Array
    genuine: jax.Array


class TrainingPairs(NamedTuple):
    """B pairs with their truth.

    image_a, image_b: float32 (B, H, W) in [0, 1]; map_ab, map_ba: float32 (B, H, W, 2) px; ridges_a, ridges_b:
    bool (B, H, W), where each image shows ridges; valid_ab, valid_ba: bool (B, H, W), where the point of the other
    image that the map names is inside it and both show ridges (nowhere for different fingers); genuine: bool (B,).
    """

    image_a: jax.Array
    image_b: jax.Array
    map_ab: jax.Array
    map_ba: jax.Array
    ridges_a: jax.Array
    ridges_b: jax.Array
    valid_ab: jax.Array
    valid_ba: jax.Array
    genuine: jax.Array


class Truth(NamedTuple):
    """Pairs on the cell grid: what the loss and the metrics read. N cells a side, row-major.

    labels: int32 (B, Na), the true cell of B or -1; points: float32 (B, Na, 2) px of B; shown: bool (B, Na), the
    cell's pixel is visible in B; lone_a: bool (B, Na), lone_b: bool (B, Nb): visible ridges without a partner.
    """

    labels: jax.Array
    points: jax.Array
    shown: jax.Array
    lone_a: jax.Array
    lone_b: jax.Array


@partial(jax.jit, static_argnames=("frame", "settings"))
def make_pairs(key: jax.Array, canvases: Canvases, frame: tuple[int, int], settings: PairsConfig) -> TrainingPairs:
    """B fresh pairs; sample i draws from `fold_in(key, i)`, so it is the same however the batch is split.

    frame: (height, width) of the network's images in px.
    """
    keys = jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(canvases.genuine.shape[0]))
    return jax.vmap(partial(_pair, frame=frame, settings=settings))(keys, canvases)


def _pair(key: jax.Array, canvases: Canvases, frame: tuple[int, int], settings: PairsConfig) -> TrainingPairs:
    warp_key, contact_a, contact_b, wear_a, wear_b = jax.random.split(key, 5)
    warp = random_warp(warp_key, frame, settings)
    pixels = geometry.pixel_grid(*frame)
    map_ba, map_ab = warp(pixels), warp.inverse(pixels)
    touched_a = augment.contact(contact_a, *frame, settings.partial_share)
    touched_b = augment.contact(contact_b, *frame, settings.partial_share)
    grey_a, ridges_a = _look(canvases.grey_a, canvases.ridges_a, canvases.background_a, pixels, touched_a)
    grey_b, ridges_b = _look(canvases.grey_b, canvases.ridges_b, canvases.background_b, map_ba, touched_b)
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


def _look(grey, ridges, background, points, touched) -> tuple[jax.Array, jax.Array]:
    """The canvas seen at points (H, W, 2) of A's frame: grey in [0, 1] and where the ridges are."""
    height, width = points.shape[:2]
    offset = jnp.array([(grey.shape[1] - width) // 2, (grey.shape[0] - height) // 2])
    level = background.astype(jnp.float32)
    seen = geometry.sample(grey.astype(jnp.float32), points + offset, level)
    return jnp.where(touched, seen, level) / 255, geometry.mask_at(ridges, points + offset) & touched


def random_warp(key: jax.Array, frame: tuple[int, int], settings: PairsConfig) -> geometry.Warp:
    """Rotation within +-rotation_deg about the middle, shift within +-shift_px, waves of at most elastic_px in all."""
    height, width = frame
    # One draw for all, because every draw takes a CPU's compiler a fifth of a second.
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
    """The unit vectors (K, 2) at `turns` (K,) full turns."""
    angle = 2 * jnp.pi * turns
    return jnp.stack([jnp.cos(angle), jnp.sin(angle)], -1)


def truth_of(pairs: TrainingPairs, stride: int) -> Truth:
    """The cell labels, points and lone cells of pairs, at `stride` px per cell."""
    shown = geometry.at_cells(pairs.valid_ab, stride)
    # A ridge cell that the other image does not show is lone. One that it shows, but whose nearest cell maps back to
    # a neighbour, has a partner between the cells: it is neither positive nor negative.
    return Truth(
        labels=geometry.cell_labels(pairs.map_ab, pairs.valid_ab, pairs.map_ba, stride),
        points=geometry.at_cells(pairs.map_ab, stride),
        shown=shown,
        lone_a=geometry.at_cells(pairs.ridges_a, stride) & ~shown,
        lone_b=geometry.at_cells(pairs.ridges_b & ~pairs.valid_ba, stride),
    )
