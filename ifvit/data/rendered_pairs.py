"""Pairs of impressions of synthetic fingers, rendered on the device with their exact maps. Pure JAX.

Each image is an impression of its own (`synthesis.impression`), in a frame about the middle of its contact. B is turned
against A by up to `data.pairs.rotation_deg`, and its frame is shifted by up to `data.pairs.shift_px`. All else is drawn
as `data.impression` says, except that the contacts are close enough to share skin (`MAX_DISTANCE`). The map A -> B is
A's map to the finger, followed by B's map from it. It is exact at every pixel.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Generic, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Sharding

from ifvit import geometry
from ifvit.config import DataConfig
from ifvit.data.warped_pairs import Side, TrainingPairs
from ifvit.pair import Arrays, Pair
from ifvit.synthesis.each import each
from ifvit.synthesis.impression import Impression, draw_impression, frame_points, render, touched
from ifvit.synthesis.master import Skin, unpack
from ifvit.synthesis.orientation import FRAME_PPI

# The largest distance of the contacts of a pair on the finger, as a multiple of the width and height that both images
# show. Two frames that are not turned then share at least 0.41 of their area. Also of impostor pairs.
MAX_DISTANCE = 0.5


class FingerIndices(NamedTuple, Generic[Arrays]):
    """The fingers of B pairs, which the host passes to the device."""

    fingers: Pair[Arrays]  # (B,) int32, the fingers of both sides in the pool
    genuine: Arrays  # (B,) bool, whether both are one finger


class SeenImpression(Protocol):
    """An impression in a frame of pixels: a `View`, or an `aligned_pairs.AlignedView`."""

    @property
    def impression(self) -> Impression: ...

    @property
    def points(self) -> jax.Array: ...

    def pixel(self, points: jax.Array, scale: float) -> jax.Array: ...


class View(NamedTuple):
    """An impression as the network sees it."""

    impression: Impression
    points: jax.Array  # (H, W, 2) px at 500 ppi, the points of the impression's frame at the network's pixels

    def pixel(self, points: jax.Array, scale: float) -> jax.Array:
        """The pixels (..., 2) of the view at points (..., 2), px at 500 ppi, of the impression's frame.

        scale: px at 500 ppi of a pixel.
        """
        x0, y0 = self.points[0, 0, 0], self.points[0, 0, 1]
        return jnp.stack([(points[..., 0] - x0) / scale, (points[..., 1] - y0) / scale], axis=-1)


class Draw(NamedTuple):
    """The random draws of one side of a pair."""

    impression: Impression
    middle: jax.Array  # (2,) px at 500 ppi, the middle of the view

    def view(self, data: DataConfig) -> View:
        """The impression in the network's frame."""
        return View(self.impression, frame_points(*data.frame, data.ppi, self.middle))


@partial(jax.jit, static_argnames=("count", "data"))
def draw_pairs(key: jax.Array, count: int, data: DataConfig) -> Pair[Draw]:
    """The draws of `count` pairs, with a leading axis. Pair i draws from `fold_in(key, i)`.

    Drawing and rendering are two programs: one program for both may round a drawn number differently in each batch.
    """
    return each(partial(_draw, data=data), jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(count)))


def _draw(key: jax.Array, data: DataConfig) -> Pair[Draw]:
    key_a, key_b, key = jax.random.split(key, 3)
    turn, shift_x, shift_y = jax.random.uniform(key, (3,), minval=-1.0, maxval=1.0)
    a, b = draw_impression(key_a, data.impression), draw_impression(key_b, data.impression)
    b = _moved_near(a, b, data).turned(a.angle + jnp.deg2rad(data.pairs.rotation_deg) * turn)
    shift = data.pairs.shift_px * (FRAME_PPI / data.ppi) * jnp.stack([shift_x, shift_y])
    return Pair(Draw(a, a.middle), Draw(b, b.middle + shift))


def _moved_near(a: Impression, b: Impression, data: DataConfig) -> Impression:
    """B, moved towards A until their distance is at most MAX_DISTANCE."""
    frame = np.array(data.frame[::-1], np.float32) * (FRAME_PPI / data.ppi)
    extent = jnp.minimum(frame, 2 * jnp.minimum(a.contact.half, b.contact.half))
    offset = b.contact.centre - a.contact.centre
    distance = jnp.linalg.norm(offset / extent)
    return b.pressed_at(a.contact.centre + offset * jnp.minimum(1, MAX_DISTANCE / jnp.maximum(distance, 1e-6)))


def render_pairs(
    draws: Pair[Draw], skins: Skin, picks: FingerIndices[np.ndarray], data: DataConfig, sharding: Sharding
) -> TrainingPairs:
    """Render the B drawn pairs, split over the devices by `sharding`. See `by_device`."""
    return by_device(render_share, draws, skins, picks, data, sharding)


def by_device(
    render_part: Callable[..., Any],
    draws: Any,
    skins: Skin,
    picks: FingerIndices[np.ndarray],
    data: DataConfig,
    sharding: Sharding,
) -> Any:
    """Render a batch, each device its part, and join the parts by `sharding`.

    A pair has the same bits for any batch size and any number of devices. Therefore each device runs the program that a
    single device would run: one program split over several devices is compiled, and so rounded, differently.

    Args:
        render_part: (draws, picks, skins, data) -> the pairs of a part.
        skins: of the pool, packed, with a leading axis F, on each of the devices.
    """
    if len(skins.wave) == 1:
        # With one finger the compiler would remove the indexing, and round differently. So the finger is doubled.
        skins = jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf]), skins)
    wave, creases = ({shard.device: shard.data for shard in leaf.addressable_shards} for leaf in skins)
    leaves, tree = jax.tree.flatten(jax.device_put((draws, picks), sharding))
    parts = []
    for shards in zip(*(leaf.addressable_shards for leaf in leaves), strict=True):
        device_part, device = jax.tree.unflatten(tree, [shard.data for shard in shards]), shards[0].device
        parts.append(render_part(*device_part, Skin(wave[device], creases[device]), data))

    def joined(*leaves: jax.Array) -> jax.Array:
        """One array of the parts on the devices."""
        shape = (len(picks.genuine), *leaves[0].shape[1:])
        return jax.make_array_from_single_device_arrays(shape, sharding, leaves)

    return jax.tree.map(joined, *parts)


@partial(jax.jit, static_argnames="data")
def render_share(draws: Pair[Draw], picks: FingerIndices[jax.Array], skins: Skin, data: DataConfig) -> TrainingPairs:
    """Render the part of a batch of one device."""

    def render_pair(item: tuple[Pair[Draw], FingerIndices[jax.Array]]) -> TrainingPairs:
        draw, pick = item
        return pair_of(draw.map(lambda side: side.view(data)), pick, skins, data)

    return stacked(each(render_pair, (draws, picks)))


def stacked(pairs: TrainingPairs) -> TrainingPairs:
    """Pairs of `pair_of` with their maps in the form of `TrainingPairs`."""
    sides = pairs.sides.map(lambda side: side._replace(to_other=jnp.stack(side.to_other, -1)))
    return pairs._replace(sides=sides)


def skin_of(skins: Skin, finger: jax.Array) -> Skin:
    """The skin of a finger of the pool, unpacked."""
    return unpack(jax.tree.map(lambda leaf: leaf[finger], skins))


def pair_of(
    views: Pair[SeenImpression], pick: FingerIndices[jax.Array], skins: Skin, data: DataConfig
) -> TrainingPairs:
    """One pair. Its maps are tuples (x, y) of (H, W) each: to stack them here is several times slower on a CPU."""

    def side(view: SeenImpression, other: SeenImpression, finger: jax.Array) -> Side:
        image = render(skin_of(skins, finger), view.impression, view.points, data.ppi)
        ridges = touched(view.impression, view.points)
        to_other, visible = _map_to(view, other, FRAME_PPI / data.ppi)
        x_and_y: Any = (to_other[..., 0], to_other[..., 1])
        return Side(image, ridges, x_and_y, pick.genuine & ridges & visible)

    a, b = views
    return TrainingPairs(Pair(side(a, b, pick.fingers.a), side(b, a, pick.fingers.b)), pick.genuine)


def _map_to(view: SeenImpression, other: SeenImpression, scale: float) -> tuple[jax.Array, jax.Array]:
    """The pixels (H, W, 2) of `other` that show the skin of each pixel of `view`, and whether they do, (H, W) bool."""
    points = other.impression.from_finger(view.impression.to_finger(view.points))
    pixels = other.pixel(points, scale)
    height, width = other.points.shape[:2]
    return pixels, touched(other.impression, points) & geometry.inside(pixels, height, width)
