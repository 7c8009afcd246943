"""Pairs for Module 2: A already laid on B, as registration lays it, with what is known of where they still differ.

Of synthetic fingers A is rendered through the exact map, along the skin's bend, and slips by as much as an alignment
may err (`data.pairs.registration_noise_*`): the slip is
the map that is left. Two fingers are laid frame on frame, so that cores of
one class come together, as registration brings them. Of real prints (`data.prepared`) A is seen through the
map along the skin's bend that was found beforehand, slips likewise, and what is left is taken for nothing else. Pure
JAX.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Sharding

from ifvit import geometry
from ifvit.comparison.module2_inputs import BranchImages, sample_print
from ifvit.config import DataConfig, PairsConfig
from ifvit.data import augment
from ifvit.data.prepared import MAP_STEP
from ifvit.data.rendered_pairs import Draw, FingerIndices, View, by_device, pair_of, skin_of, stacked
from ifvit.data.warped_pairs import TrainingPairs
from ifvit.geometry import mask_at
from ifvit.synthesis.each import each
from ifvit.synthesis.impression import Impression, clean, frame_points
from ifvit.synthesis.master import Skin
from ifvit.synthesis.orientation import FRAME_PPI

SLIP_STREAM = 7  # of random numbers under a batch's key
NO_CLASS = -1


class AlignedBatch(NamedTuple):
    """B pairs in B's frame.

    pairs: image_a is A laid on B, and the maps are those between it and B; enhanced_a, enhanced_b: float32 (B, H, W)
    in [0, 1], dark ridges; label_a, label_b: int32 (B,), the class of each print's finger, NO_CLASS for those that are
    not trained on.
    """

    pairs: TrainingPairs
    enhanced_a: jax.Array
    enhanced_b: jax.Array
    label_a: jax.Array
    label_b: jax.Array

    @property
    def laid(self) -> BranchImages:
        """What Module 2's inputs are made of."""
        pairs = self.pairs
        return BranchImages(
            self.enhanced_a, self.enhanced_b, pairs.image_a, pairs.image_b, pairs.ridges_a & pairs.ridges_b
        )


class RegistrationNoise(NamedTuple):
    """How far off a pair is laid: turn () rad and shift (2,) px of the network's frame, about its middle."""

    turn: jax.Array
    shift: jax.Array


@partial(jax.jit, static_argnames=("count", "settings"))
def draw_slips(key: jax.Array, count: int, settings: PairsConfig) -> RegistrationNoise:
    """`count` slips, normally distributed; pair i draws from `fold_in(key, i)`."""

    def one(key: jax.Array) -> RegistrationNoise:
        turn, *shift = jax.random.normal(jax.random.fold_in(key, SLIP_STREAM), (3,))
        return RegistrationNoise(
            jnp.deg2rad(settings.registration_noise_deg) * turn, settings.registration_noise_px * jnp.stack(shift)
        )

    return jax.vmap(lambda i: one(jax.random.fold_in(key, i)))(jnp.arange(count))


class AlignedView(NamedTuple):
    """An impression seen through another print's frame, by the exact map and a slip.

    points: float32 (H, W, 2), the places of the impression's frame that the view's pixels show, px at 500 ppi.
    b, slip: the other print, and how far off A is laid on it.
    """

    impression: Impression
    points: jax.Array
    b: View
    slip: RegistrationNoise

    def pixel(self, points: jax.Array, scale: float) -> jax.Array:
        """The pixel of the view, (..., 2), at points (..., 2) of the impression's frame."""
        in_b = self.b.impression.from_finger(self.impression.to_finger(points))
        middle = _middle(self.b.points.shape[:2])
        return geometry.rotate(self.b.pixel(in_b, scale) - middle - self.slip.shift, -self.slip.turn) + middle


def _middle(frame: tuple[int, int]) -> np.ndarray:
    """The point (2,) px in the middle of a frame (height, width)."""
    height, width = frame
    return np.array([width - 1, height - 1], np.float32) / 2


def laid_on(a: Impression, b: View, slip: RegistrationNoise, scale: float) -> AlignedView:
    """A seen through the frame of B by the exact map, but for the slip. scale: px at 500 ppi of a pixel."""
    middle = _middle(b.points.shape[:2])
    pixels = geometry.rotate(geometry.pixel_grid(*b.points.shape[:2]) - middle, slip.turn) + middle + slip.shift
    in_b = b.points[0, 0] + scale * pixels
    return AlignedView(a, a.from_finger(b.impression.to_finger(in_b)), b, slip)


def render_laid(
    draws: tuple[Draw, RegistrationNoise], skins: Skin, picks: FingerIndices, data: DataConfig, sharding: Sharding
) -> tuple[TrainingPairs, jax.Array, jax.Array]:
    """The pairs that were drawn and both prints enhanced; see `rendered.by_device`."""
    return by_device(_render_share, draws, skins, picks, data, sharding)


@partial(jax.jit, static_argnames="data")
def _render_share(
    draws: tuple[Draw, RegistrationNoise], picks: FingerIndices, skins: Skin, data: DataConfig
) -> tuple[TrainingPairs, jax.Array, jax.Array]:
    pairs, *enhanced = each(lambda item: _laid_pair(*item, skins=skins, data=data), (draws, picks))
    return stacked(pairs), *enhanced


def _laid_pair(
    drawn: tuple[Draw, RegistrationNoise], pick: FingerIndices, skins: Skin, data: DataConfig
) -> tuple[TrainingPairs, jax.Array, jax.Array]:
    draw, slip = drawn
    b = View(draw.b, frame_points(*data.frame, data.ppi, draw.middle_b))
    a = laid_on(draw.a, b, slip, FRAME_PPI / data.ppi)
    pairs = pair_of(a, b, pick, skins, data)

    def enhanced(view: View | AlignedView, finger: jax.Array, ridges: jax.Array) -> jax.Array:
        """What an enhancement would make of it at best: the skin's own ridges, black on white."""
        wave = clean(skin_of(skins, finger).wave, view.impression, view.points)
        return jnp.where(ridges, (1 - wave) / 2, 1.0)

    return pairs, enhanced(a, pick.finger_a, pairs.ridges_a), enhanced(b, pick.finger_b, pairs.ridges_b)


class PreparedBatch(NamedTuple):
    """What the host hands over for B prepared pairs: of each side grey and enhanced uint8 (B, H, W), ridges bool
    (B, H, W), background uint8 (B,); map_ba: float32 (B, R, C, 2), where each `MAP_STEP`-th pixel of B's frame lies in
    A's, px; genuine: bool (B,); label_a, label_b: int32 (B,).
    """

    grey_a: jax.Array
    enhanced_a: jax.Array
    ridges_a: jax.Array
    background_a: jax.Array
    grey_b: jax.Array
    enhanced_b: jax.Array
    ridges_b: jax.Array
    background_b: jax.Array
    map_ba: jax.Array
    genuine: jax.Array
    label_a: jax.Array
    label_b: jax.Array


@partial(jax.jit, static_argnames="settings")
def lay_sheets(key: jax.Array, sheets: PreparedBatch, settings: PairsConfig) -> AlignedBatch:
    """B fresh pairs of prepared prints: both turned and moved together, A slipped, both worn (`data.pairs`).

    Sample i draws from `fold_in(key, i)`.
    """
    keys = jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(sheets.genuine.shape[0]))
    return jax.vmap(partial(_lay, settings=settings))(keys, sheets)


def _lay(key: jax.Array, sheets: PreparedBatch, settings: PairsConfig) -> AlignedBatch:
    view_key, slip_key, wear_a, wear_b = jax.random.split(key, 4)
    frame = sheets.grey_b.shape
    pixels = geometry.pixel_grid(*frame)
    middle = _middle(frame)
    turn, *shift = jax.random.uniform(view_key, (3,), minval=-1.0, maxval=1.0)
    turn = jnp.deg2rad(settings.rotation_deg) * turn
    shift = settings.shift_px * jnp.stack(shift)
    slipped, *slip = jax.random.normal(slip_key, (3,))
    slipped, slip = (
        jnp.deg2rad(settings.registration_noise_deg) * slipped,
        settings.registration_noise_px * jnp.stack(slip),
    )

    def seen(points: jax.Array) -> jax.Array:
        """The point of B, unturned, at points of the view."""
        return geometry.rotate(points - middle, turn) + middle + shift

    def unseen(points: jax.Array) -> jax.Array:
        return geometry.rotate(points - middle - shift, -turn) + middle

    def slips(points: jax.Array) -> jax.Array:
        return geometry.rotate(points - middle, slipped) + middle + slip

    def unslips(points: jax.Array) -> jax.Array:
        return geometry.rotate(points - middle - slip, -slipped) + middle

    of_b = seen(pixels)
    of_a = interpolated(sheets.map_ba, slips(of_b))
    grey_a, enhanced_a, ridges_a = sample_print(
        sheets.grey_a, sheets.enhanced_a, sheets.ridges_a, sheets.background_a, of_a
    )
    grey_b, enhanced_b, ridges_b = sample_print(
        sheets.grey_b, sheets.enhanced_b, sheets.ridges_b, sheets.background_b, of_b
    )
    map_ba, map_ab = unseen(unslips(of_b)), unseen(slips(of_b))
    pairs = TrainingPairs(
        image_a=augment.corrupt(wear_a, grey_a, settings),
        image_b=augment.corrupt(wear_b, grey_b, settings),
        map_ab=map_ab,
        map_ba=map_ba,
        ridges_a=ridges_a,
        ridges_b=ridges_b,
        valid_ab=sheets.genuine & ridges_a & mask_at(ridges_b, map_ab),
        valid_ba=sheets.genuine & ridges_b & mask_at(ridges_a, map_ba),
        genuine=sheets.genuine,
    )
    return AlignedBatch(pairs, enhanced_a, enhanced_b, sheets.label_a, sheets.label_b)


def interpolated(places: jax.Array, points: jax.Array) -> jax.Array:
    """A map known at every `MAP_STEP`-th pixel, (R, C, 2), at points (..., 2) px: bilinear, and beyond its end straight
    on.
    """
    rows, cols, _ = places.shape
    at = points / MAP_STEP
    col, row = (jnp.clip(jnp.floor(at[..., k]), 0, count - 2).astype(jnp.int32) for k, count in ((0, cols), (1, rows)))
    right, down = (at[..., 0] - col)[..., None], (at[..., 1] - row)[..., None]
    above = places[row, col] * (1 - right) + places[row, col + 1] * right
    below = places[row + 1, col] * (1 - right) + places[row + 1, col + 1] * right
    return above * (1 - down) + below * down
