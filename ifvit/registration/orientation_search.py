"""How two prints may lie on one another, by the flow of their ridges, at any angle. Pure JAX.

The orientation of ridges as a complex number, z = exp(2i theta) times how sure it is, changes slowly, so cells of
`CELL` px show all of it. For each turn of A the correlation of both fields at every shift is one Fourier transform
away. Its peaks, between the shifts and the turns by parabolas, are guesses: they are right to some degrees and a ridge
or two, which is what `elastic` needs.

A guess is a homography float32 (3, 3) from B to A, px at 500 ppi.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ifvit.registration.block_matching import parabola
from ifvit.registration.elastic import Ridges
from ifvit.registration.sampling import blurred, projected, sampled

CELL = 16  # px
STEP_DEG = 6
SMOOTH = 5.0  # standard deviation of the Gaussian over the structure tensor, squares of 2 px
FAINTEST = 1e-4  # energy of the gradient below which there is no ridge
LEAST_OVERLAP = 16_000  # px; with less, flow alone tells nothing
FULL_OVERLAP = 48_000  # px, up to which a larger overlap counts for more
OVERLAP_POWER = 0.25
PEAKS = 32  # looked at, of which those that differ are kept
APART, AROUND = 20.0, 80.0  # px by which guesses differ at one of five points of B, and how far apart those lie
WIDEST = 0.67  # of a frame's diagonal; no convex print reaches further from its middle


def orientation_field(ridges: Ridges) -> jax.Array:
    """float32 (3, h, w) by cells of `CELL` px: z's real and imaginary part, and the share of ridges."""
    image = ridges.for_spacing(2)
    room = jnp.pad(image, 1)
    height, width = image.shape

    def at(down: int, right: int) -> jax.Array:
        return room[1 + down : 1 + down + height, 1 + right : 1 + right + width]

    along_x = at(-1, 1) + 2 * at(0, 1) + at(1, 1) - at(-1, -1) - 2 * at(0, -1) - at(1, -1)
    along_y = at(1, -1) + 2 * at(1, 0) + at(1, 1) - at(-1, -1) - 2 * at(-1, 0) - at(-1, 1)
    tensor = along_x**2 - along_y**2, 2 * along_x * along_y, along_x**2 + along_y**2
    real, imaginary, energy = (blurred(_means(part, 2), SMOOTH) for part in tensor)
    mask = (_means(ridges.mask, 2) > 0.5).astype(image.dtype)
    energy = energy + FAINTEST
    return jnp.stack([_means(part, CELL // 2) for part in (real / energy * mask, imaginary / energy * mask, mask)])


def _means(image: jax.Array, side: int) -> jax.Array:
    height, width = (length // side for length in image.shape)
    return image[: height * side, : width * side].reshape(height, side, width, side).mean((1, 3))


class Spectra(NamedTuple):
    """A print's flow as `search_orientation` takes it, computed once of a print in a frame of h x w cells.

    middle: float32 (2,), the cell (x, y) nearest to the middle of the print.
    radius: float32 (), cells, half of the square that holds every turn of the print.
    upright: complex64 (3, n, n // 2 + 1), the Fourier transforms of the field's parts.
    turned: complex64 (3, T, n, n // 2 + 1), the same at each turn about the middle.
    """

    middle: jax.Array
    radius: jax.Array
    upright: jax.Array
    turned: jax.Array


def spectra_of(field: jax.Array) -> Spectra:
    """The spectra of a field as of `orientation_field`."""
    height, width = field.shape[1:]
    middle = _middle(field[2])
    radius = int(np.ceil(WIDEST * np.hypot(height, width))) + 1
    side = 2 * radius + 1
    n = _fast_length(side + max(height, width))  # every shift of the turned print has room
    angles = np.deg2rad(np.arange(0, 360, STEP_DEG))[:, None, None].astype(np.float32)
    y, x = np.mgrid[:side, :side].astype(np.float32) - radius
    c, s = np.cos(angles), np.sin(angles)
    points = c * x + s * y + middle[0], -s * x + c * y + middle[1]
    real, imaginary, mask = (sampled(part, *points) for part in field)
    c2, s2 = np.cos(2 * angles), np.sin(2 * angles)
    turned = jnp.stack([real * c2 - imaginary * s2, real * s2 + imaginary * c2, mask])
    return Spectra(middle, jnp.float32(radius), jnp.fft.rfft2(field, (n, n)), jnp.fft.rfft2(turned, (n, n)))


def search_orientation(a: Spectra, b: Spectra, count: int) -> tuple[jax.Array, jax.Array]:
    """The best `count` guesses that differ from one another, (count, 3, 3), and how well each fits, (count,); -1 where
    there are no more.
    """
    middle_a, middle_b = a.middle, b.middle
    angle, shift_x, shift_y, value = _peaks(_scores(a, b))
    c, s = jnp.cos(angle), jnp.sin(angle)
    # A turned lies on B + shift; so a point of B goes back by the shift, then by the turn.
    at_x, at_y = a.radius + shift_x, a.radius + shift_y
    guesses = homographies(c, s, middle_a[0] - c * at_x - s * at_y, -s, c, middle_a[1] + s * at_x - c * at_y)
    offset = (CELL - 1) / 2
    scale = jnp.array([[CELL, 0, offset], [0, CELL, offset], [0, 0, 1]], jnp.float32)
    guesses = scale @ guesses @ jnp.linalg.inv(scale)
    kept = distinct(guesses, value > 0, middle_b * CELL)
    order = jnp.argsort(~kept, stable=True)[:count]
    return guesses[order], jnp.where(kept[order], value[order], -1.0)


def _middle(mask: jax.Array) -> jax.Array:
    """The cell (x, y) nearest to the middle of a print, float32 (2,): the frame around it makes no difference."""
    total = jnp.maximum(mask.sum(), 1.0)
    return jnp.stack([jnp.round((mask.sum(1 - axis) * jnp.arange(mask.shape[axis])).sum() / total) for axis in (1, 0)])


def _scores(a: Spectra, b: Spectra) -> jax.Array:
    """How well A fits B at each turn and shift (T, n, n), cells; -1 where too little overlaps."""
    n = b.upright.shape[-2]
    real, imaginary, mask = jnp.conj(a.turned) * b.upright[:, None]
    alike, overlap = jnp.fft.irfft2(jnp.stack([real + imaginary, mask]), (n, n)) * CELL**2
    large = jnp.minimum(1.0, jnp.maximum(overlap, 0) / FULL_OVERLAP) ** OVERLAP_POWER
    return jnp.where(overlap > LEAST_OVERLAP, alike / jnp.maximum(overlap, 1.0) * large, -1.0)


def _peaks(score: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """The highest `PEAKS` local maxima of scores (T, n, n): turn rad, shift x, y in cells, score; each (PEAKS,)."""
    turns, n, _ = score.shape
    around = score
    for axis in (0, 1, 2):
        around = jnp.maximum(around, jnp.maximum(jnp.roll(around, 1, axis), jnp.roll(around, -1, axis)))
    value, index = jax.lax.top_k(jnp.where(score >= around, score, -1.0).reshape(-1), PEAKS)
    turn, row, col = index // (n * n), index // n % n, index % n

    def refined(turn_step: int, row_step: int, col_step: int) -> jax.Array:
        before, after = (
            score[(turn + sign * turn_step) % turns, (row + sign * row_step) % n, (col + sign * col_step) % n]
            for sign in (-1, 1)
        )
        known = (before > -1) & (after > -1)
        return jnp.where(known, parabola(before, value, after), 0.0)

    shift_y, shift_x = (jnp.where(place < n // 2, place, place - n) for place in (row, col))
    angle = (turn + refined(1, 0, 0)) * np.float32(np.deg2rad(STEP_DEG))
    return angle, shift_x + refined(0, 0, 1), shift_y + refined(0, 1, 0), value


def homographies(*rows: jax.Array) -> jax.Array:
    """Of the first six entries, each (K,), the maps (K, 3, 3)."""
    nothing, unit = jnp.zeros_like(rows[0]), jnp.ones_like(rows[0])
    return jnp.stack([*rows, nothing, nothing, unit], axis=-1).reshape(-1, 3, 3)


def distinct(guesses: jax.Array, good: jax.Array, middle: jax.Array) -> jax.Array:
    """Which of guesses (K, 3, 3), best first, are good and differ from every better one that is kept, bool (K,).

    middle: (x, y) px, of B; guesses are compared there and `AROUND` px beside it.
    """
    x = middle[0] + jnp.array([0, -AROUND, AROUND, 0, 0], jnp.float32)
    y = middle[1] + jnp.array([0, 0, 0, -AROUND, AROUND], jnp.float32)
    places = jnp.stack(jax.vmap(lambda guess: projected(guess, x, y))(guesses), axis=-1)  # (K, 5, 2)
    differ = jnp.abs(places[:, None] - places).max((-1, -2)) > APART
    before = np.tri(len(guesses), k=-1, dtype=bool)

    def look(k: int, kept: jax.Array) -> jax.Array:
        return kept.at[k].set(good[k] & jnp.all(differ[k] | ~kept | ~jnp.asarray(before)[k]))

    return jax.lax.fori_loop(0, len(guesses), look, jnp.zeros(len(guesses), bool))


def _fast_length(length: int) -> int:
    """The next length whose only prime factors are 2, 3 and 5."""
    rest = length
    for prime in (2, 3, 5):
        while rest % prime == 0:
            rest //= prime
    return length if rest == 1 else _fast_length(length + 1)
