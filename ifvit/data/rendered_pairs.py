"""Pairs of impressions of synthetic fingers, rendered on the device with their exact maps. Pure JAX.

Each image is an impression of its own (`synthesis.impression`), seen through a frame about the middle of its contact.
B is turned against A by `data.pairs.rotation_deg` and its frame moved by `data.pairs.shift_px`; everything else is
`data.impression`'s, except that both contacts lie near enough to each other to share skin (`NEAR`). The map A -> B is
A's way to the finger followed by B's way from it, exact at every pixel.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Sharding

from ifvit import geometry
from ifvit.config import DataConfig
from ifvit.data.warped_pairs import TrainingPairs
from ifvit.synthesis.each import each
from ifvit.synthesis.impression import Impression, draw_impression, frame_points, render, touched
from ifvit.synthesis.master import Skin, unpack
from ifvit.synthesis.orientation import FRAME_PPI

# How far apart the contacts of a pair may lie on the finger, as a share of what both images show, its width and height
# taken for 1: two frames that are not turned then share at least .41 of their area. Impostors are drawn likewise.
NEAR = 0.5


class FingerIndices(NamedTuple):
    """What the host hands over for B pairs: int32 (B,) the place in the pool of A's finger and of B's, and bool (B,)
    whether they are one finger.
    """

    finger_a: jax.Array
    finger_b: jax.Array
    genuine: jax.Array


class View(NamedTuple):
    """An impression and where the network's pixels lie in its frame: points (H, W, 2) px at 500 ppi."""

    impression: Impression
    points: jax.Array

    def pixel(self, points: jax.Array, scale: float) -> jax.Array:
        """The pixel of the view, (..., 2), at points (..., 2) of the impression's frame; `scale` of them a pixel."""
        x0, y0 = self.points[0, 0, 0], self.points[0, 0, 1]
        return jnp.stack([(points[..., 0] - x0) / scale, (points[..., 1] - y0) / scale], axis=-1)


class Draw(NamedTuple):
    """What is drawn at random for a pair: two impressions, and where the middles of their views lie, (2,) px."""

    a: Impression
    b: Impression
    middle_a: jax.Array
    middle_b: jax.Array


@partial(jax.jit, static_argnames=("count", "data"))
def draw_pairs(key: jax.Array, count: int, data: DataConfig) -> Draw:
    """The draws of `count` pairs, led by that axis; pair i draws from `fold_in(key, i)`.

    Apart from the rendering: what both draws and renders may round a drawn number otherwise for every batch.
    """
    return each(partial(_draw, data=data), jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(count)))


def _draw(key: jax.Array, data: DataConfig) -> Draw:
    key_a, key_b, key = jax.random.split(key, 3)
    turn, shift_x, shift_y = jax.random.uniform(key, (3,), minval=-1.0, maxval=1.0)
    a, b = draw_impression(key_a, data.impression), draw_impression(key_b, data.impression)
    b = _near(a, b, data).turned(a.angle + jnp.deg2rad(data.pairs.rotation_deg) * turn)
    shift = data.pairs.shift_px * (FRAME_PPI / data.ppi) * jnp.stack([shift_x, shift_y])
    return Draw(a, b, a.middle, b.middle + shift)


def _near(a: Impression, b: Impression, data: DataConfig) -> Impression:
    """B, where it is too far from A pressed on the way to A as far as NEAR allows."""
    frame = np.array(data.frame[::-1], np.float32) * (FRAME_PPI / data.ppi)
    shown = jnp.minimum(frame, 2 * jnp.minimum(a.contact.half, b.contact.half))
    away = b.contact.centre - a.contact.centre
    distance = jnp.linalg.norm(away / shown)
    return b.pressed_at(a.contact.centre + away * jnp.minimum(1, NEAR / jnp.maximum(distance, 1e-6)))


def render_pairs(draws: Draw, skins: Skin, picks: FingerIndices, data: DataConfig, sharding: Sharding) -> TrainingPairs:
    """The B pairs that were drawn, split as `sharding` says; every device renders its own. See `by_device`."""
    return by_device(render_share, draws, skins, picks, data, sharding)


def by_device(
    share_of: Callable[..., Any], draws: Any, skins: Skin, picks: FingerIndices, data: DataConfig, sharding: Sharding
) -> Any:
    """`share_of` (draws, picks, skins, data) of each device's part of a batch, joined as `sharding` says.

    skins: the pool's, packed, led by F, on each of the devices. A pair has the same bits whatever the batch and the
    number of devices: each device runs the program that one device alone would run, because one program that is split
    over several is compiled, and so rounded, otherwise.
    """
    if len(skins.wave) == 1:
        # A choice among one finger would be taken out by the compiler, and the numbers rounded otherwise: it gets two.
        skins = jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf]), skins)
    wave, creases = ({shard.device: shard.data for shard in leaf.addressable_shards} for leaf in skins)
    leaves, tree = jax.tree.flatten(jax.device_put((draws, picks), sharding))
    parts = []
    for shards in zip(*(leaf.addressable_shards for leaf in leaves), strict=True):
        share, device = tree.unflatten([shard.data for shard in shards]), shards[0].device
        parts.append(share_of(*share, Skin(wave[device], creases[device]), data))

    def joined(*leaves: jax.Array) -> jax.Array:
        shape = (len(picks.genuine), *leaves[0].shape[1:])
        return jax.make_array_from_single_device_arrays(shape, sharding, leaves)

    return jax.tree.map(joined, *parts)


@partial(jax.jit, static_argnames="data")
def render_share(draws: Draw, picks: FingerIndices, skins: Skin, data: DataConfig) -> TrainingPairs:
    """What one device renders of a batch."""
    return stacked(each(lambda item: _pair(*item, skins=skins, data=data), (draws, picks)))


def stacked(pairs: TrainingPairs) -> TrainingPairs:
    """Pairs of `pair_of` with their maps as every other pair's."""
    return pairs._replace(map_ab=jnp.stack(pairs.map_ab, -1), map_ba=jnp.stack(pairs.map_ba, -1))


def _pair(draw: Draw, pick: FingerIndices, skins: Skin, data: DataConfig) -> TrainingPairs:
    a = View(draw.a, frame_points(*data.frame, data.ppi, draw.middle_a))
    b = View(draw.b, frame_points(*data.frame, data.ppi, draw.middle_b))
    return pair_of(a, b, pick, skins, data)


def skin_of(skins: Skin, finger: jax.Array) -> Skin:
    """The skin of one of a pool's fingers, unpacked."""
    return unpack(jax.tree.map(lambda leaf: leaf[finger], skins))


def pair_of(a: View, b: View, pick: FingerIndices, skins: Skin, data: DataConfig) -> TrainingPairs:
    """One pair, its maps as (x, y), each (H, W): a CPU is several times slower at computing what it stacks."""
    shown = ((skin_of(skins, pick.finger_a), a), (skin_of(skins, pick.finger_b), b))
    images = (render(skin, view.impression, view.points, data.ppi) for skin, view in shown)
    ridges_a, ridges_b = (touched(view.impression, view.points) for view in (a, b))
    scale = FRAME_PPI / data.ppi
    map_ab, shown_ab = _across(a, b, scale)
    map_ba, shown_ba = _across(b, a, scale)
    return TrainingPairs(
        *images,
        map_ab=(map_ab[..., 0], map_ab[..., 1]),
        map_ba=(map_ba[..., 0], map_ba[..., 1]),
        ridges_a=ridges_a,
        ridges_b=ridges_b,
        valid_ab=pick.genuine & ridges_a & shown_ab,
        valid_ba=pick.genuine & ridges_b & shown_ba,
        genuine=pick.genuine,
    )


def _across(view: View, other: View, scale: float) -> tuple[jax.Array, jax.Array]:
    """The other view's pixels (H, W, 2) that show the skin of this view's, and whether they show it, (H, W) bool."""
    there = other.impression.from_finger(view.impression.to_finger(view.points))
    pixels = other.pixel(there, scale)
    height, width = other.points.shape[:2]
    return pixels, touched(other.impression, there) & geometry.inside(pixels, height, width)
