"""Pairs for Module 2: A is aligned to B as after registration, with the exact map of the error that remains. Pure JAX.

The alignment gets an error as large as registration may leave it, the registration noise
(`data.pairs.registration_noise_*`): a turn and a shift. This error is the map between A and B.

Synthetic fingers: A is rendered through the exact map, with the skin's distortion, plus the noise. Of two different
fingers the frames are aligned, so that cores of one class come together, as registration does it. Real prints
(`data.prepared`): A is seen through the map that was computed beforehand, plus the noise. The errors of that map itself
are not known and count as zero.
"""

from __future__ import annotations

from functools import partial
from typing import Generic, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Sharding

from ifvit import geometry
from ifvit.comparison.module2_inputs import BranchImages, PrintImages, sample_print
from ifvit.config import DataConfig, PairsConfig
from ifvit.data import augment
from ifvit.data.prepared import MAP_STEP
from ifvit.data.rendered_pairs import Draw, FingerIndices, SeenImpression, View, by_device, pair_of, skin_of, stacked
from ifvit.data.warped_pairs import TrainingPairs, mapped_pairs
from ifvit.pair import Arrays, Pair
from ifvit.synthesis.each import each
from ifvit.synthesis.impression import Impression, clean
from ifvit.synthesis.master import Skin
from ifvit.synthesis.orientation import FRAME_PPI

REGISTRATION_NOISE_STREAM = 7  # stream of random numbers under a batch's key
NO_CLASS = -1  # of fingers that are not trained on


class AlignedBatch(NamedTuple):
    """B pairs of prints, A and B, in the frame of B."""

    pairs: TrainingPairs  # image A is aligned to B; the maps are those between this image and B
    enhanced: Pair[jax.Array]  # (B, H, W) float32 in [0, 1], dark ridges
    labels: Pair[jax.Array]  # (B,) int32, the class of the print's finger, or NO_CLASS

    @property
    def images(self) -> BranchImages:
        """The images from which Module 2's inputs are made."""
        a, b = self.pairs.sides
        return BranchImages(self.enhanced, self.pairs.images, a.ridges & b.ridges)


class RegistrationNoise(NamedTuple):
    """The error of a pair's alignment: a turn about the middle of the network's frame, then a shift."""

    turn: jax.Array  # () rad
    shift: jax.Array  # (2,) px of the network's frame


@partial(jax.jit, static_argnames=("count", "settings"))
def draw_registration_noise(key: jax.Array, count: int, settings: PairsConfig) -> RegistrationNoise:
    """The noise of `count` pairs, normally distributed, with a leading axis. Pair i draws from `fold_in(key, i)`."""

    def draw_one(key: jax.Array) -> RegistrationNoise:
        turn, *shift = jax.random.normal(jax.random.fold_in(key, REGISTRATION_NOISE_STREAM), (3,))
        return RegistrationNoise(
            jnp.deg2rad(settings.registration_noise_deg) * turn, settings.registration_noise_px * jnp.stack(shift)
        )

    return jax.vmap(lambda i: draw_one(jax.random.fold_in(key, i)))(jnp.arange(count))


class AlignedView(NamedTuple):
    """An impression seen in the frame of another print, through the exact map and the registration noise."""

    impression: Impression
    points: jax.Array  # (H, W, 2) float32, px at 500 ppi: the points of the impression's frame at the view's pixels
    b: View  # the other print
    registration_noise: RegistrationNoise

    def pixel(self, points: jax.Array, scale: float) -> jax.Array:
        """The pixels (..., 2) of the view that show points (..., 2), px at 500 ppi, of the impression's frame.

        scale: px at 500 ppi of a pixel.
        """
        in_b = self.b.impression.from_finger(self.impression.to_finger(points))
        middle = _middle(self.b.points.shape[:2])
        turn, shift = self.registration_noise
        return geometry.rotate(self.b.pixel(in_b, scale) - middle - shift, -turn) + middle


def _middle(frame: tuple[int, ...]) -> np.ndarray:
    """The point (2,) px in the middle of a frame (height, width)."""
    height, width = frame
    return np.array([width - 1, height - 1], np.float32) / 2


def aligned_view(a: Impression, b: View, registration_noise: RegistrationNoise, scale: float) -> AlignedView:
    """A in the frame of B, through the exact map plus the noise. scale: px at 500 ppi of a pixel."""
    middle = _middle(b.points.shape[:2])
    turn, shift = registration_noise
    pixels = geometry.rotate(geometry.pixel_grid(*b.points.shape[:2]) - middle, turn) + middle + shift
    in_b = b.points[0, 0] + scale * pixels
    return AlignedView(a, a.from_finger(b.impression.to_finger(in_b)), b, registration_noise)


def render_aligned(
    draws: tuple[Pair[Draw], RegistrationNoise],
    skins: Skin,
    picks: FingerIndices[np.ndarray],
    data: DataConfig,
    sharding: Sharding,
) -> tuple[TrainingPairs, Pair[jax.Array]]:
    """The drawn pairs, and both prints enhanced, (B, H, W) each. See `rendered_pairs.by_device`."""
    return by_device(_render_share, draws, skins, picks, data, sharding)


@partial(jax.jit, static_argnames="data")
def _render_share(
    draws: tuple[Pair[Draw], RegistrationNoise], picks: FingerIndices[jax.Array], skins: Skin, data: DataConfig
) -> tuple[TrainingPairs, Pair[jax.Array]]:
    pairs, enhanced = each(lambda item: _aligned_pair(item[0], item[1], skins, data), (draws, picks))
    return stacked(pairs), enhanced


def _aligned_pair(
    draws: tuple[Pair[Draw], RegistrationNoise], pick: FingerIndices[jax.Array], skins: Skin, data: DataConfig
) -> tuple[TrainingPairs, Pair[jax.Array]]:
    draw, registration_noise = draws
    b = draw.b.view(data)
    a = aligned_view(draw.a.impression, b, registration_noise, FRAME_PPI / data.ppi)
    pairs = pair_of(Pair(a, b), pick, skins, data)

    def enhanced(view: SeenImpression, finger: jax.Array, ridges: jax.Array) -> jax.Array:
        """The result of a perfect enhancement: the ridges of the skin itself, black on white."""
        wave = clean(skin_of(skins, finger).wave, view.impression, view.points)
        return jnp.where(ridges, (1 - wave) / 2, 1.0)

    enhanced_a = enhanced(a, pick.fingers.a, pairs.sides.a.ridges)
    return pairs, Pair(enhanced_a, enhanced(b, pick.fingers.b, pairs.sides.b.ridges))


class PreparedBatch(NamedTuple, Generic[Arrays]):
    """The inputs of B prepared pairs, which the host passes to the device."""

    prints: Pair[PrintImages[Arrays]]
    map_ba: Arrays  # (B, R, C, 2) float32, px: the point of A's frame at each MAP_STEP-th pixel of B's
    genuine: Arrays  # (B,) bool
    labels: Pair[Arrays]  # (B,) int32, the class of the print's finger, or NO_CLASS


@partial(jax.jit, static_argnames="settings")
def make_aligned_pairs(key: jax.Array, prepared: PreparedBatch[jax.Array], settings: PairsConfig) -> AlignedBatch:
    """New pairs of prepared prints: both turned and shifted together, A with registration noise, both with wear.

    The ranges are those of `data.pairs`. Pair i draws from `fold_in(key, i)`.
    """
    keys = jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(prepared.genuine.shape[0]))
    return jax.vmap(partial(_make_aligned_pair, settings=settings))(keys, prepared)


def _make_aligned_pair(key: jax.Array, prepared: PreparedBatch[jax.Array], settings: PairsConfig) -> AlignedBatch:
    view_key, noise_key, wear_a, wear_b = jax.random.split(key, 4)
    frame = prepared.prints.b.grey.shape
    pixels = geometry.pixel_grid(*frame)
    middle = _middle(frame)
    turn, shift_x, shift_y = jax.random.uniform(view_key, (3,), minval=-1.0, maxval=1.0)
    turn = jnp.deg2rad(settings.rotation_deg) * turn
    shift = settings.shift_px * jnp.stack([shift_x, shift_y])
    registration_noise_turn, noise_x, noise_y = jax.random.normal(noise_key, (3,))
    registration_noise_turn = jnp.deg2rad(settings.registration_noise_deg) * registration_noise_turn
    registration_noise_shift = settings.registration_noise_px * jnp.stack([noise_x, noise_y])

    def view_to_b(points: jax.Array) -> jax.Array:
        """The points of B's frame at points (..., 2) of the view, px."""
        return geometry.rotate(points - middle, turn) + middle + shift

    def b_to_view(points: jax.Array) -> jax.Array:
        """The points of the view at points (..., 2) of B's frame, px."""
        return geometry.rotate(points - middle - shift, -turn) + middle

    def add_noise(points: jax.Array) -> jax.Array:
        """Points (..., 2) of B's frame, moved by the registration noise."""
        return geometry.rotate(points - middle, registration_noise_turn) + middle + registration_noise_shift

    def remove_noise(points: jax.Array) -> jax.Array:
        """The inverse of `add_noise`."""
        return geometry.rotate(points - middle - registration_noise_shift, -registration_noise_turn) + middle

    points_b = view_to_b(pixels)
    points_a = interpolated(prepared.map_ba, add_noise(points_b))
    a, b = sample_print(prepared.prints.a, points_a), sample_print(prepared.prints.b, points_b)
    images = Pair(augment.corrupt(wear_a, a.grey, settings), augment.corrupt(wear_b, b.grey, settings))
    maps = Pair(b_to_view(add_noise(points_b)), b_to_view(remove_noise(points_b)))
    pairs = mapped_pairs(images, Pair(a.ridges, b.ridges), maps, prepared.genuine)
    return AlignedBatch(pairs, Pair(a.enhanced, b.enhanced), prepared.labels)


def interpolated(values: jax.Array, points: jax.Array) -> jax.Array:
    """The values at points (..., 2) px of a map `values` (R, C, 2), with a value at each MAP_STEP-th pixel.

    Bilinear; beyond the map's end extrapolated linearly.
    """
    rows, cols, _ = values.shape
    cells = points / MAP_STEP
    col, row = (
        jnp.clip(jnp.floor(cells[..., k]), 0, count - 2).astype(jnp.int32) for k, count in ((0, cols), (1, rows))
    )
    right, down = (cells[..., 0] - col)[..., None], (cells[..., 1] - row)[..., None]
    above = values[row, col] * (1 - right) + values[row, col + 1] * right
    below = values[row + 1, col] * (1 - right) + values[row + 1, col + 1] * right
    return above * (1 - down) + below * down
