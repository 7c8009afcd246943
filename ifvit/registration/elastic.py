"""Lays print A on print B along the skin's bend: from a rough guess of how they lie, coarse to fine. Pure JAX.

A homography leaves ridges half a period apart over much of a pair, for skin bends by more than that. So A, seen through
the map found so far, is looked for in B block by block (`block_matching`); the blocks that are sure carry the others
along (`displacement`), and the map that results is where the next, finer level begins. Each level's displacement keeps
its area positive, so their composition never folds.

A map takes points of B to points of A, (x, y) px at 500 ppi; both prints lie in one frame (H, W) px.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ifvit.registration.block_matching import BlockMatches, Matching, match_blocks
from ifvit.registration.displacement import BlockGrid, carried_on, displaced, inverse, undisplaced, without_folds
from ifvit.registration.sampling import (
    blurred,
    lattice_points,
    on_samples,
    projected,
    sample_points,
    sampled,
    shown,
)

SMOOTH = (0.8, 1.2)  # standard deviations, px, of the Gaussian before a signal is sampled 2 or 3 px apart
COARSE = Matching(spacing=3, cell=16, cells=2, reach=5, stiffness=0.0135, rounds=5)
MIDDLE = Matching(spacing=2, cell=12, cells=3, reach=4, stiffness=0.03, rounds=5)
FINE = Matching(spacing=1, cell=16, cells=3, reach=3, stiffness=0.02, rounds=4)
LEVELS = (COARSE, COARSE, MIDDLE, FINE)  # the second pass reaches what the first one's sure blocks pull into reach
FAINT = 1e-6  # say of a block that is not sure, where no other is
UNSURE, SURE = 0.45, 0.8  # correlation of a block that has no say, and of one that has all
SIDE_MULTIPLE = 48  # px; a frame's sides are multiples of it, so that every level's cells fill it
TURNS = np.deg2rad((-3.0, 0.0, 3.0))  # of each guess about the middle of the overlap: guesses are some degrees off
FEWEST_BLOCKS = 8  # with fewer a value counts less
LEAST_OVERLAP = 1200  # px at 500 ppi; a guess that leaves less is no guess
FULL_AREA = 40_000.0  # px at 500 ppi, a square cm; a smaller overlap counts less
AREA_POWER = 0.25
OVERLAP_SPACING = 8  # px between the samples that tell an overlap, and side of the cells of `Ridges.waves`
WIDEST_SCALE = 1.2  # of A's ridges beside B's, or of B's beside A's


class Ridges(NamedTuple):
    """A print in the frame (H, W) px, float32.

    signal: (3, H, W), -1 on a ridge, 1 in a valley, 0 off the print; smoothed for samples 1, 2 and 3 px apart.
    mask: (H, W), 1 where it shows ridges.
    waves: (2, H / 8, W / 8), sums over cells of the squared gradient and of the squared signal; their ratio is the
        square of the ridges' angular frequency.
    """

    signal: jax.Array
    mask: jax.Array
    waves: jax.Array

    def for_spacing(self, spacing: int) -> jax.Array:
        """The signal (H, W) that samples `spacing` px apart take nothing amiss from."""
        return self.signal[spacing - 1]


def ridges_of(signal: jax.Array, mask: jax.Array) -> Ridges:
    """The ridges of a print whose signal (H, W) is not smoothed yet; it counts where the mask is."""
    # Not the program's input itself: on a CPU JAX 0.7.2 multiplies a matrix by an input that lay at the same address
    # before (XNNPACK keeps inputs that it has packed, by their address).
    signal = jnp.where(mask > 0, signal, 0.0)
    return Ridges(jnp.stack([signal, *(blurred(signal, sigma) for sigma in SMOOTH)]), mask, _waves(signal, mask))


def _waves(signal: jax.Array, mask: jax.Array) -> jax.Array:
    """`Ridges.waves`, of the places whose four neighbours lie on the print."""
    around = [(axis, by) for axis in (0, 1) for by in (-1, 1)]
    inner = mask * jnp.prod(jnp.stack([jnp.roll(mask, by, axis) for axis, by in around]), axis=0)
    along_y, along_x = ((jnp.roll(signal, -1, axis) - jnp.roll(signal, 1, axis)) / 2 for axis in (0, 1))
    height, width = (length // OVERLAP_SPACING for length in mask.shape)
    squares = jnp.stack([along_x**2 + along_y**2, signal**2]) * inner
    return squares.reshape(2, height, OVERLAP_SPACING, width, OVERLAP_SPACING).sum((2, 4))


class ElasticMap(NamedTuple):
    """A map from B to A: the displacement of each level, the last level's first, then the homography.

    homography: float32 (3, 3). fields: of each of `LEVELS` float32 (R, C, 2) px.
    """

    homography: jax.Array
    fields: tuple[jax.Array, ...]

    def __call__(self, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Where points (x, y) of B, each (...) px, lie in A."""
        for field, how in reversed(list(zip(self.fields, LEVELS, strict=False))):
            x, y = displaced(field, BlockGrid(how.first, how.step), x, y)
        return projected(self.homography, x, y)

    def on_samples(self, frame: tuple[int, int], spacing: int) -> tuple[jax.Array, jax.Array]:
        """Where `sample_points` lie in A, each (h, w): the map is smooth, so it is computed on a lattice only."""
        x, y = on_samples(jnp.stack(self(*lattice_points(frame))), frame, spacing)
        return x, y

    def inverse(self, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Where points (x, y) of A lie in B."""
        x, y = projected(jnp.linalg.inv(self.homography), x, y)
        for field, how in zip(self.fields, LEVELS, strict=False):
            x, y = undisplaced(field, BlockGrid(how.first, how.step), x, y)
        return x, y


def stacked(maps: Sequence[ElasticMap]) -> ElasticMap:
    """Maps of frames of any sizes as one with a leading axis, NumPy arrays.

    Beyond its outermost blocks a displacement is constant, so that one of a smaller frame goes on by its border.
    """

    def stack(*fields: np.ndarray) -> np.ndarray:
        rows, columns = np.max([field.shape[:2] for field in fields], axis=0)
        room = [[(0, rows - field.shape[0]), (0, columns - field.shape[1]), (0, 0)] for field in fields]
        return np.stack([np.pad(field, each, mode="edge") for field, each in zip(fields, room, strict=True)])

    fields = zip(*(elastic.fields for elastic in maps), strict=True)
    return ElasticMap(np.stack([elastic.homography for elastic in maps]), tuple(stack(*level) for level in fields))


class Candidates(NamedTuple):
    """K candidates after the first level.

    maps: with leading axis K. value: float32 (K,), how well each fits. guess: int32 (K,), which guess each is of.
    """

    maps: ElasticMap
    value: jax.Array
    guess: jax.Array


def first_level(a: Ridges, b: Ridges, guesses: jax.Array, keep: int) -> Candidates:
    """The best `keep` of K guesses, homographies (K, 3, 3) from B to A, each also turned by `TURNS`, after the first
    level. All are scaled so that the ridges of both prints have one period.
    """
    turned, overlap = _turned(guesses, a, b)
    fields, correlation, blocks = _level(a, b, turned, (), LEVELS[0])
    value = worth(correlation, overlap) * jnp.minimum(1.0, blocks / FEWEST_BLOCKS)
    value = jnp.where(overlap > LEAST_OVERLAP, value, -1.0)
    value, best = jax.lax.top_k(value, keep)
    return Candidates(ElasticMap(turned[best], (fields[best],)), value, best // len(TURNS))


def refine(a: Ridges, b: Ridges, maps: ElasticMap, levels: Sequence[Matching]) -> ElasticMap:
    """Maps with a leading axis K, taken through further levels of `LEVELS`."""
    fields = maps.fields
    for how in levels:
        field, _, _ = _level(a, b, maps.homography, fields, how)
        fields = (*fields, field)
    return ElasticMap(maps.homography, fields)


def worth(mean: jax.Array, area: jax.Array) -> jax.Array:
    """The mean agreement, less where it rests on a small overlap: chance finds that sooner. area: px."""
    return mean * jnp.minimum(1.0, area / FULL_AREA) ** AREA_POWER


def _level(
    a: Ridges, b: Ridges, homographies: jax.Array, fields: tuple[jax.Array, ...], how: Matching
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """One level of K maps: the displacements (K, R, C, 2) px, the mean correlation of the blocks (K,), their number."""
    x, y = sample_points(b.mask.shape, how.spacing)
    signal_a, signal_b = (side.for_spacing(how.spacing) for side in (a, b))

    def seen(homography: jax.Array, *fields: jax.Array) -> tuple[jax.Array, jax.Array]:
        points = ElasticMap(homography, fields).on_samples(b.mask.shape, how.spacing)
        return sampled(signal_a, *points), shown(a.mask, *points)

    signal, mask = jax.vmap(seen)(homographies, *fields)
    found = match_blocks(signal, mask, sampled(signal_b, x, y), shown(b.mask, x, y), how)
    return jax.vmap(lambda *each: _followed(BlockMatches(*each), how))(*found), *_value(found)


def _followed(found: BlockMatches, how: Matching) -> jax.Array:
    """The displacement (R, C, 2) px from B to A, as seen so far, that the blocks of one candidate tell."""
    sureness = found.cover * jnp.clip((found.correlation - UNSURE) / (SURE - UNSURE), 0, 1)
    towards_b = without_folds(carried_on(found.shift, sureness + FAINT * found.cover) * how.spacing, how.step)
    return without_folds(inverse(towards_b, how.step), how.step)


def _value(found: BlockMatches) -> tuple[jax.Array, jax.Array]:
    """The mean correlation of the blocks of each candidate, weighted by their cover, and how many there are."""
    total = jnp.maximum(found.cover.sum((-1, -2)), 1e-6)
    return (found.correlation * found.cover).sum((-1, -2)) / total, (found.cover > 0).sum((-1, -2))


def _turned(guesses: jax.Array, a: Ridges, b: Ridges) -> tuple[jax.Array, jax.Array]:
    """Each guess scaled, and turned by each of `TURNS`, about the middle of the overlap in B, (K T, 3, 3), and that
    overlap, px.
    """
    x, y = sample_points(b.mask.shape, OVERLAP_SPACING)
    shown_b = shown(b.mask, x, y)

    def turned(guess: jax.Array) -> tuple[jax.Array, jax.Array]:
        in_a = projected(guess, x, y)
        both = shown_b & shown(a.mask, *in_a)
        count = both.sum()
        middle_x, middle_y = (jnp.sum(both * along) / jnp.maximum(count, 1) for along in (x, y))
        scale = _scale(a, b, in_a, both) / jnp.sqrt(jnp.maximum(jnp.linalg.det(guess[:2, :2]), FAINT))
        turns = jnp.stack([_turn(angle, scale, middle_x, middle_y) for angle in TURNS])
        return guess @ turns, jnp.full(len(TURNS), count * OVERLAP_SPACING**2)

    maps, overlap = jax.vmap(turned)(guesses)
    return maps.reshape(-1, 3, 3), overlap.reshape(-1)


def _scale(a: Ridges, b: Ridges, in_a: tuple[jax.Array, jax.Array], both: jax.Array) -> jax.Array:
    """A's ridge period over B's, where `both` show ridges: a finger pressed harder has wider ridges.

    in_a: where the middles of B's cells lie in A.
    """
    cells = [(along - (OVERLAP_SPACING - 1) / 2) / OVERLAP_SPACING for along in in_a]
    of_a, of_b = (
        (waves[0] * both).sum() / jnp.maximum((waves[1] * both).sum(), FAINT)
        for waves in ([sampled(part, *cells) for part in a.waves], b.waves)
    )
    scale = jnp.sqrt(of_b / jnp.maximum(of_a, FAINT))
    return jnp.where(both.any(), jnp.clip(scale, 1 / WIDEST_SCALE, WIDEST_SCALE), 1.0)


def _turn(angle: float, scale: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    """The homography that scales, and turns by `angle` rad, about the point (x, y)."""
    c, s = scale * float(np.cos(angle)), scale * float(np.sin(angle))
    nothing, unit = jnp.zeros_like(scale), jnp.ones_like(scale)
    rows = [[c, -s, x - c * x + s * y], [s, c, y - s * x - c * y], [nothing, nothing, unit]]
    return jnp.stack([jnp.stack(row) for row in rows])
