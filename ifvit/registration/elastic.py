"""The elastic map between two prints, which follows the skin's distortion: from guesses, coarse to fine. Pure JAX.

Under the best homography, ridges are half a period off in much of a pair, because skin bends by more than that. So at
each level A is aligned by the current map, and its blocks are matched in B (`block_matching`). The displacement field
is smoothed, and uncertain blocks follow the certain ones (`displacement`). The next, finer level starts with the
resulting map. The displacement of each level has no folds, so the composed map has none.

A map goes from points of B to points of A, (x, y) px at 500 ppi; both prints are in one frame (H, W) px.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from ifvit.registration.block_matching import BlockMatches, Matching, match_blocks
from ifvit.registration.displacement import BlockGrid, displace, inverse, remove_folds, smooth, undo_displacement
from ifvit.registration.sampling import (
    blur,
    lattice_points,
    mask_at,
    on_samples,
    project,
    sample,
    sample_points,
)

SMOOTH = (0.8, 1.2)  # px, standard deviations of the Gaussians for samples 2 and 3 px apart
COARSE = Matching(spacing=3, cell=16, cells=2, reach=5, stiffness=0.0135, rounds=5)
MIDDLE = Matching(spacing=2, cell=12, cells=3, reach=4, stiffness=0.03, rounds=5)
FINE = Matching(spacing=1, cell=16, cells=3, reach=3, stiffness=0.02, rounds=4)
LEVELS = (COARSE, COARSE, MIDDLE, FINE)  # in the second pass, more blocks are within reach
FAINT = 1e-6  # the weight of an uncertain block; it counts only where all blocks are uncertain
UNSURE, SURE = 0.45, 0.8  # the correlation of a block with weight 0, and of one with weight 1
SIDE_MULTIPLE = 48  # px; a frame's sides are multiples of it, so that they are whole numbers of cells at each level
TURNS = np.deg2rad((-3.0, 0.0, 3.0))  # of each guess about the middle of the overlap: guesses are some degrees off
FEWEST_BLOCKS = 8  # with fewer blocks the value of a candidate is lower
LEAST_OVERLAP = 1200  # px at 500 ppi; a guess with a smaller overlap is refused
FULL_AREA = 40_000.0  # px at 500 ppi, a square cm; with a smaller overlap the value of a map is lower
AREA_POWER = 0.25
OVERLAP_SPACING = 8  # px between the samples by which an overlap is computed, and the side of a cell of `Ridges.waves`
WIDEST_SCALE = 1.2  # the largest ratio of the ridge periods of A and B


class Ridges(NamedTuple):
    """The ridges of a print in a frame (H, W) px."""

    signal: (
        jax.Array
    )  # (3, H, W) float32, -1 on a ridge, 1 in a valley, 0 outside; smoothed for samples 1, 2, 3 px apart
    mask: jax.Array  # (H, W) float32, 1 where there are ridges
    # (2, H / 8, W / 8) float32, sums over cells of the squared gradient and of the squared signal; their ratio is the
    # square of the ridges' angular frequency.
    waves: jax.Array

    @property
    def frame(self) -> tuple[int, int]:
        """(height, width) px."""
        height, width = self.mask.shape
        return height, width

    def for_spacing(self, spacing: int) -> jax.Array:
        """The signal (H, W), smoothed so that it can be sampled `spacing` px apart without aliasing."""
        return self.signal[spacing - 1]


def ridges_of(signal: jax.Array, mask: jax.Array) -> Ridges:
    """The ridges of a print; signal: (H, W), not smoothed; mask: (H, W), where it is valid."""
    # `where` makes a copy of the input. On a CPU JAX 0.7.2 may multiply a matrix by an earlier input that was at the
    # same address (XNNPACK stores packed inputs by their address).
    signal = jnp.where(mask > 0, signal, 0.0)
    return Ridges(jnp.stack([signal, *(blur(signal, sigma) for sigma in SMOOTH)]), mask, _waves(signal, mask))


def _waves(signal: jax.Array, mask: jax.Array) -> jax.Array:
    """`Ridges.waves`, over the pixels whose four neighbours are in the mask."""
    shifts = [(axis, offset) for axis in (0, 1) for offset in (-1, 1)]
    inner = mask * jnp.prod(jnp.stack([jnp.roll(mask, offset, axis) for axis, offset in shifts]), axis=0)
    along_y, along_x = ((jnp.roll(signal, -1, axis) - jnp.roll(signal, 1, axis)) / 2 for axis in (0, 1))
    height, width = (length // OVERLAP_SPACING for length in mask.shape)
    squares = jnp.stack([along_x**2 + along_y**2, signal**2]) * inner
    return squares.reshape(2, height, OVERLAP_SPACING, width, OVERLAP_SPACING).sum((2, 4))


class ElasticMap(NamedTuple):
    """A map from B to A: first the displacements, that of the last level first, then the homography."""

    homography: jax.Array  # (3, 3) float32
    fields: tuple[jax.Array, ...]  # of each of `LEVELS`, (R, C, 2) float32 px

    def __call__(self, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The points (x, y) of B, each (...) px, mapped to A."""
        for field, level in reversed(list(zip(self.fields, LEVELS, strict=False))):
            x, y = displace(field, BlockGrid(level.first, level.step), x, y)
        return project(self.homography, x, y)

    def on_samples(self, frame: tuple[int, int], spacing: int) -> tuple[jax.Array, jax.Array]:
        """`sample_points` mapped to A, each (h, w); the map is smooth, so it is interpolated from a lattice."""
        x, y = on_samples(jnp.stack(self(*lattice_points(frame))), frame, spacing)
        return x, y

    def inverse(self, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The points (x, y) of A, each (...) px, mapped to B."""
        x, y = project(jnp.linalg.inv(self.homography), x, y)
        for field, level in zip(self.fields, LEVELS, strict=False):
            x, y = undo_displacement(field, BlockGrid(level.first, level.step), x, y)
        return x, y


def stacked(maps: Sequence[ElasticMap]) -> ElasticMap:
    """Maps of frames of any sizes as one map with a leading axis, NumPy arrays.

    The fields of smaller frames are padded with the values of their border: outside a displacement is constant.
    """

    def stack(*fields: np.ndarray) -> np.ndarray:
        rows, columns = np.max([field.shape[:2] for field in fields], axis=0)
        paddings = [[(0, rows - field.shape[0]), (0, columns - field.shape[1]), (0, 0)] for field in fields]
        return np.stack([np.pad(field, pad, mode="edge") for field, pad in zip(fields, paddings, strict=True)])

    fields = zip(*(elastic.fields for elastic in maps), strict=True)
    homographies = np.stack([elastic.homography for elastic in maps])
    # Compiled programs take NumPy arrays in the place of JAX's.
    return ElasticMap(cast(jax.Array, homographies), tuple(cast(jax.Array, stack(*level)) for level in fields))


class Candidates(NamedTuple):
    """K candidate maps after the first level, the best one first."""

    maps: ElasticMap  # with a leading axis K
    value: jax.Array  # (K,) float32, how well each fits; -1 if the overlap is too small
    guess: jax.Array  # (K,) int32, the index of the guess that each starts from


def first_level(a: Ridges, b: Ridges, guesses: jax.Array, keep: int) -> Candidates:
    """The best `keep` candidates after the first level.

    guesses: homographies (K, 3, 3) from B to A. Each one is tried with each of `TURNS`, and is scaled so that the
        ridges of both prints have the same period.
    """
    turned, overlap = _turned_guesses(guesses, a, b)
    fields, correlation, blocks = _match_level(a, b, turned, (), LEVELS[0])
    value = worth(correlation, overlap) * jnp.minimum(1.0, blocks / FEWEST_BLOCKS)
    value = jnp.where(overlap > LEAST_OVERLAP, value, -1.0)
    value, best = jax.lax.top_k(value, keep)
    return Candidates(ElasticMap(turned[best], (fields[best],)), value, best // len(TURNS))


def refine(a: Ridges, b: Ridges, maps: ElasticMap, levels: Sequence[Matching]) -> ElasticMap:
    """Maps with a leading axis K, refined by further levels of `LEVELS`."""
    fields = maps.fields
    for level in levels:
        field, _, _ = _match_level(a, b, maps.homography, fields, level)
        fields = (*fields, field)
    return ElasticMap(maps.homography, fields)


def worth(mean: jax.Array, area: jax.Array) -> jax.Array:
    """The value of a map: its mean agreement, reduced for a small overlap, where chance agreement is likelier.

    area: of the overlap, px at 500 ppi.
    """
    return mean * jnp.minimum(1.0, area / FULL_AREA) ** AREA_POWER


def _match_level(
    a: Ridges, b: Ridges, homographies: jax.Array, fields: tuple[jax.Array, ...], level: Matching
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """One level for K maps: the displacements (K, R, C, 2) px, the blocks' mean correlation (K,), their number (K,)."""
    x, y = sample_points(b.frame, level.spacing)
    signal_a, signal_b = (side.for_spacing(level.spacing) for side in (a, b))

    def aligned(homography: jax.Array, *fields: jax.Array) -> tuple[jax.Array, jax.Array]:
        points = ElasticMap(homography, fields).on_samples(b.frame, level.spacing)
        return sample(signal_a, *points), mask_at(a.mask, *points)

    signal, mask = jax.vmap(aligned)(homographies, *fields)
    matches = match_blocks(signal, mask, sample(signal_b, x, y), mask_at(b.mask, x, y), level)
    return jax.vmap(lambda *leaves: _displacement_of(BlockMatches(*leaves), level))(*matches), *_value(matches)


def _displacement_of(matches: BlockMatches, level: Matching) -> jax.Array:
    """The displacement (R, C, 2) px from B to the aligned A, by the block matches of one candidate."""
    sureness = matches.cover * jnp.clip((matches.correlation - UNSURE) / (SURE - UNSURE), 0, 1)
    to_b = remove_folds(smooth(matches.shift, sureness + FAINT * matches.cover) * level.spacing, level.step)
    return remove_folds(inverse(to_b, level.step), level.step)


def _value(matches: BlockMatches) -> tuple[jax.Array, jax.Array]:
    """The mean correlation of the blocks of each candidate, weighted by their cover, and the number of blocks."""
    total = jnp.maximum(matches.cover.sum((-1, -2)), 1e-6)
    return (matches.correlation * matches.cover).sum((-1, -2)) / total, (matches.cover > 0).sum((-1, -2))


def _turned_guesses(guesses: jax.Array, a: Ridges, b: Ridges) -> tuple[jax.Array, jax.Array]:
    """Each guess, scaled and turned by each of `TURNS` about the middle of the overlap in B.

    Returns (K T, 3, 3), and the area of the overlap, (K T,) px.
    """
    x, y = sample_points(b.frame, OVERLAP_SPACING)
    mask_b = mask_at(b.mask, x, y)

    def turn(guess: jax.Array) -> tuple[jax.Array, jax.Array]:
        in_a = project(guess, x, y)
        overlap = mask_b & mask_at(a.mask, *in_a)
        count = overlap.sum()
        middle_x, middle_y = (jnp.sum(overlap * axis) / jnp.maximum(count, 1) for axis in (x, y))
        scale = _scale(a, b, in_a, overlap) / jnp.sqrt(jnp.maximum(jnp.linalg.det(guess[:2, :2]), FAINT))
        turns = jnp.stack([_turn(angle, scale, middle_x, middle_y) for angle in TURNS])
        return guess @ turns, jnp.full(len(TURNS), count * OVERLAP_SPACING**2)

    maps, area = jax.vmap(turn)(guesses)
    return maps.reshape(-1, 3, 3), area.reshape(-1)


def _scale(a: Ridges, b: Ridges, in_a: tuple[jax.Array, jax.Array], overlap: jax.Array) -> jax.Array:
    """The ratio of A's ridge period to B's in the overlap: a finger that is pressed harder has wider ridges.

    in_a: the centres of B's cells, mapped to A, px. overlap: bool, of B's cells.
    """
    cells = [(axis - (OVERLAP_SPACING - 1) / 2) / OVERLAP_SPACING for axis in in_a]
    of_a, of_b = (
        (waves[0] * overlap).sum() / jnp.maximum((waves[1] * overlap).sum(), FAINT)
        for waves in ([sample(part, *cells) for part in a.waves], b.waves)
    )
    scale = jnp.sqrt(of_b / jnp.maximum(of_a, FAINT))
    return jnp.where(overlap.any(), jnp.clip(scale, 1 / WIDEST_SCALE, WIDEST_SCALE), 1.0)


def _turn(angle: float, scale: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    """The homography that scales, and turns by `angle` rad, about the point (x, y)."""
    c, s = scale * float(np.cos(angle)), scale * float(np.sin(angle))
    zero, unit = jnp.zeros_like(scale), jnp.ones_like(scale)
    rows = [[c, -s, x - c * x + s * y], [s, c, y - s * x - c * y], [zero, zero, unit]]
    return jnp.stack([jnp.stack(row) for row in rows])
