"""Guesses of the alignment of two prints, from the orientation of their ridges, at any angle. Pure JAX.

The orientation of ridges as a complex number, z = exp(2i theta) times its certainty, changes slowly, so it is sampled
by cells of `CELL` px. For each turn of A, one Fourier transform gives the correlation of both fields at all shifts. The
peaks of the correlation, interpolated by parabolas between shifts and between turns, are the guesses. Their errors are
a few degrees and one or two ridge periods, which is good enough for `elastic`.

A guess is a similarity as a homography float32 (3, 3) from B to A, px at 500 ppi. `registrar` follows the guesses;
`minutia_search` chooses among its own by the same functions.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ifvit.registration.block_matching import parabola
from ifvit.registration.elastic import Ridges
from ifvit.registration.sampling import blur, project, sample

CELL = 16  # px
STEP_DEG = 6  # degrees from turn to turn
SMOOTH = 5.0  # standard deviation of the Gaussian over the structure tensor, in samples of 2 px
FAINTEST = 1e-4  # energy of the gradient below which there is no ridge
LEAST_OVERLAP = 16_000  # px; in a smaller overlap the orientation alone is no evidence
FULL_OVERLAP = 48_000  # px; up to this area the value of a guess grows with the overlap
OVERLAP_POWER = 0.25
PEAKS = 32  # the best peaks of all correlations; of those that are alike the best one is kept
APART = 20.0  # px; two guesses are alike if they move none of five points of B further apart
AROUND = 80.0  # px, from the middle of B to the other four of these points
WIDEST = 0.67  # of a frame's diagonal: beyond this shift no two convex prints overlap enough


def orientation_field(ridges: Ridges) -> jax.Array:
    """The orientation by cells of `CELL` px, (3, h, w) float32: real and imaginary part of z, the share of ridges."""
    image = ridges.for_spacing(2)
    padded = jnp.pad(image, 1)
    height, width = image.shape

    def at(down: int, right: int) -> jax.Array:
        return padded[1 + down : 1 + down + height, 1 + right : 1 + right + width]

    along_x = at(-1, 1) + 2 * at(0, 1) + at(1, 1) - at(-1, -1) - 2 * at(0, -1) - at(1, -1)
    along_y = at(1, -1) + 2 * at(1, 0) + at(1, 1) - at(-1, -1) - 2 * at(-1, 0) - at(-1, 1)
    tensor = along_x**2 - along_y**2, 2 * along_x * along_y, along_x**2 + along_y**2
    real, imaginary, energy = (blur(_means(part, 2), SMOOTH) for part in tensor)
    mask = (_means(ridges.mask, 2) > 0.5).astype(image.dtype)
    energy = energy + FAINTEST
    return jnp.stack([_means(part, CELL // 2) for part in (real / energy * mask, imaginary / energy * mask, mask)])


def _means(image: jax.Array, side: int) -> jax.Array:
    """The means over cells of `side` x `side` pixels."""
    height, width = (length // side for length in image.shape)
    return image[: height * side, : width * side].reshape(height, side, width, side).mean((1, 3))


class Spectra(NamedTuple):
    """The orientation field of a print in a frame of h x w cells, prepared for `search_orientation`."""

    middle: jax.Array  # (2,) float32, the cell (x, y) nearest to the middle of the print
    radius: jax.Array  # () float32, cells, half the side of a square that contains the print at each turn
    upright: jax.Array  # (3, n, n // 2 + 1) complex64, the Fourier transforms of the field's three parts
    turned: jax.Array  # (3, T, n, n // 2 + 1) complex64, the same for each turn about the middle


def spectra_of(field: jax.Array) -> Spectra:
    """The spectra of a field as from `orientation_field`."""
    height, width = field.shape[1:]
    middle = _middle(field[2])
    radius = int(np.ceil(WIDEST * np.hypot(height, width))) + 1
    side = 2 * radius + 1
    n = _fast_length(side + max(height, width))  # large enough for all shifts of the turned print
    angles = np.deg2rad(np.arange(0, 360, STEP_DEG))[:, None, None].astype(np.float32)
    y, x = np.mgrid[:side, :side].astype(np.float32) - radius
    c, s = np.cos(angles), np.sin(angles)
    points = c * x + s * y + middle[0], -s * x + c * y + middle[1]
    real, imaginary, mask = (sample(part, *points) for part in field)
    c2, s2 = np.cos(2 * angles), np.sin(2 * angles)
    turned = jnp.stack([real * c2 - imaginary * s2, real * s2 + imaginary * c2, mask])
    return Spectra(middle, jnp.float32(radius), jnp.fft.rfft2(field, (n, n)), jnp.fft.rfft2(turned, (n, n)))


def search_orientation(a: Spectra, b: Spectra, count: int) -> tuple[jax.Array, jax.Array]:
    """The best `count` guesses that differ from one another, (count, 3, 3), and how well each fits, (count,).

    If there are fewer guesses, the values of the rest are -1.
    """
    middle_a, middle_b = a.middle, b.middle
    angle, shift_x, shift_y, value = _peaks(_scores(a, b))
    c, s = jnp.cos(angle), jnp.sin(angle)
    # The turned A is at B + shift; so a point of B is mapped by the inverse shift, then by the inverse turn.
    offset_x, offset_y = a.radius + shift_x, a.radius + shift_y
    guesses = homographies(
        c, s, middle_a[0] - c * offset_x - s * offset_y, -s, c, middle_a[1] + s * offset_x - c * offset_y
    )
    offset = (CELL - 1) / 2
    scale = jnp.array([[CELL, 0, offset], [0, CELL, offset], [0, 0, 1]], jnp.float32)
    guesses = scale @ guesses @ jnp.linalg.inv(scale)
    is_distinct = distinct(guesses, value > 0, middle_b * CELL)
    order = jnp.argsort(~is_distinct, stable=True)[:count]
    return guesses[order], jnp.where(is_distinct[order], value[order], -1.0)


def _middle(mask: jax.Array) -> jax.Array:
    """The cell (x, y) nearest to the middle of a print, (2,) float32; it does not depend on the frame."""
    total = jnp.maximum(mask.sum(), 1.0)
    return jnp.stack([jnp.round((mask.sum(1 - axis) * jnp.arange(mask.shape[axis])).sum() / total) for axis in (1, 0)])


def _scores(a: Spectra, b: Spectra) -> jax.Array:
    """How well A fits B at each turn and shift (in cells), (T, n, n); -1 if the overlap is too small."""
    n = b.upright.shape[-2]
    real, imaginary, mask = jnp.conj(a.turned) * b.upright[:, None]
    correlation, overlap = jnp.fft.irfft2(jnp.stack([real + imaginary, mask]), (n, n)) * CELL**2
    weight = jnp.minimum(1.0, jnp.maximum(overlap, 0) / FULL_OVERLAP) ** OVERLAP_POWER
    return jnp.where(overlap > LEAST_OVERLAP, correlation / jnp.maximum(overlap, 1.0) * weight, -1.0)


def _peaks(score: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """The highest `PEAKS` local maxima of scores (T, n, n): turn (rad), shift x and y (cells), score; each (PEAKS,)."""
    turns, n, _ = score.shape
    highest = score
    for axis in (0, 1, 2):
        highest = jnp.maximum(highest, jnp.maximum(jnp.roll(highest, 1, axis), jnp.roll(highest, -1, axis)))
    value, index = jax.lax.top_k(jnp.where(score >= highest, score, -1.0).reshape(-1), PEAKS)
    turn, row, col = index // (n * n), index // n % n, index % n

    def refinement(turn_step: int, row_step: int, col_step: int) -> jax.Array:
        before, after = (
            score[(turn + sign * turn_step) % turns, (row + sign * row_step) % n, (col + sign * col_step) % n]
            for sign in (-1, 1)
        )
        known = (before > -1) & (after > -1)
        return jnp.where(known, parabola(before, value, after), 0.0)

    shift_y, shift_x = (jnp.where(position < n // 2, position, position - n) for position in (row, col))
    angle = (turn + refinement(1, 0, 0)) * np.float32(np.deg2rad(STEP_DEG))
    return angle, shift_x + refinement(0, 0, 1), shift_y + refinement(0, 1, 0), value


def homographies(*entries: jax.Array) -> jax.Array:
    """Homographies (K, 3, 3) with a last row of (0, 0, 1), from their first six entries, each (K,)."""
    zero, unit = jnp.zeros_like(entries[0]), jnp.ones_like(entries[0])
    return jnp.stack([*entries, zero, zero, unit], axis=-1).reshape(-1, 3, 3)


def distinct(guesses: jax.Array, good: jax.Array, middle: jax.Array) -> jax.Array:
    """Which guesses (K, 3, 3), best first, are good and differ from all better ones that are selected, bool (K,).

    good: (K,) bool. middle: (x, y) px of B; guesses are compared there and at `AROUND` px from it.
    """
    x = middle[0] + jnp.array([0, -AROUND, AROUND, 0, 0], jnp.float32)
    y = middle[1] + jnp.array([0, 0, 0, -AROUND, AROUND], jnp.float32)
    points = jnp.stack(jax.vmap(lambda guess: project(guess, x, y))(guesses), axis=-1)  # (K, 5, 2)
    differ = jnp.abs(points[:, None] - points).max((-1, -2)) > APART
    before = np.tri(len(guesses), k=-1, dtype=bool)

    def select(k: int, selected: jax.Array) -> jax.Array:
        return selected.at[k].set(good[k] & jnp.all(differ[k] | ~selected | ~jnp.asarray(before)[k]))

    return jax.lax.fori_loop(0, len(guesses), select, jnp.zeros(len(guesses), bool))


def _fast_length(length: int) -> int:
    """The smallest length, not below `length`, whose only prime factors are 2, 3 and 5."""
    rest = length
    for prime in (2, 3, 5):
        while rest % prime == 0:
            rest //= prime
    return length if rest == 1 else _fast_length(length + 1)
