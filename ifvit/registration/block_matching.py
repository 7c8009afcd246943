"""The shift of each block of one print in another: correlations for all shifts, then a smooth choice. Pure JAX.

A block of ridges looks nearly the same when it is shifted by one ridge, so the best shift of a single block is often
wrong by a period. Skin is smooth, so neighbouring blocks have similar shifts. Belief propagation over the grid of
blocks finds shifts that correlate well and differ little from block to block (Felzenszwalb and Huttenlocher, Efficient
belief propagation for early vision, IJCV 70, 2006). Its messages are sums over shifts, not maxima: sums are matrix
products, which take a sixth of the time on a CPU, and at a low temperature the result is the same.

Signals are float32 (..., h, w), samples of ridges in [-1, 1], 0 outside the ridges. A cell has c x c samples, and a
block has `cells` x `cells` cells; a block begins at each cell. There are R x C blocks, and n = 2 reach + 1 shifts along
each axis.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from ifvit.registration.sampling import EXACT

TEMPERATURE = 0.03  # of the beliefs, in units of correlation: a shift that fits worse by it is e times less likely
FAINTEST = 1e-9  # the least likelihood of a shift, relative to the likeliest one
LEAST_ENERGY = 1e-3
FEW = 4  # candidates; more are multiplied by one matrix of all shifts, which is faster
LEAST_COVER = 0.4  # the least share of a block that both prints show


class Matching(NamedTuple):
    """The settings of the block matching at one level."""

    spacing: int  # px from one sample to the next
    cell: int  # samples, the side of a cell and the step between blocks
    cells: int  # cells, the side of a block
    reach: int  # samples, the largest shift along each axis
    stiffness: float  # the cost of a squared sample by which neighbours' shifts differ, in units of correlation
    rounds: int  # of belief propagation

    @property
    def step(self) -> float:
        """The distance between the centres of blocks, px."""
        return float(self.cell * self.spacing)

    @property
    def first(self) -> float:
        """The centre of the first block, px; a sample is at the centre of its `spacing` x `spacing` pixels."""
        return (self.cell * self.cells * self.spacing - 1) / 2


class BlockMatches(NamedTuple):
    """The matches of R x C blocks for K candidates."""

    shift: jax.Array  # (K, R, C, 2) float32, (x, y) samples, interpolated by a parabola
    correlation: jax.Array  # (K, R, C) float32, at the shift
    cover: jax.Array  # (K, R, C) float32, the share of the block that both prints show; 0 below `LEAST_COVER`


def match_blocks(a: jax.Array, mask_a: jax.Array, b: jax.Array, mask_b: jax.Array, level: Matching) -> BlockMatches:
    """The shifts by which the blocks of `a` are found in `b`.

    a: (K, h, w), the signal of print A, aligned by each of K candidate maps. b: (h, w), the signal of print B.
    mask_a, mask_b: bool, of the same shapes, where the signals are valid.
    """
    correlation, cover = correlations(a, mask_a, b, mask_b, level)
    cover = jnp.where(cover >= LEAST_COVER, cover, 0.0)
    weighted = correlation * cover[..., None, None]
    beliefs = propagate(weighted, level.stiffness, level.rounds)
    shift, at_shift = _best(correlation, beliefs, level.reach)
    return BlockMatches(shift, at_shift, cover)


def correlations(
    a: jax.Array, mask_a: jax.Array, b: jax.Array, mask_b: jax.Array, level: Matching
) -> tuple[jax.Array, jax.Array]:
    """The correlation of each block of `a` with `b` at each shift (y, x), and the share of each block in both masks.

    Returns (K, R, C, n, n), normalised but with no mean removed, and (K, R, C). Arguments as of `match_blocks`.
    """
    cell, n = level.cell, 2 * level.reach + 1
    rows, cols = (length // cell for length in b.shape)
    a, mask_a, b, mask_b = (signal[..., : rows * cell, : cols * cell] for signal in (a, mask_a, b, mask_b))
    products = (_products_of_many if len(a) > FEW else _products_of_few)(a, jnp.pad(b, level.reach), cell, n)
    product = _over_cells(_over_cells(products, level.cells, 1), level.cells, 2)  # (K, R, C, n, n)
    energy = _blocks(a * a, level)[..., None, None] * _shifted_energy(b, level)
    cover = _blocks((mask_a & mask_b).astype(a.dtype), level) / (cell * level.cells) ** 2
    return product / jnp.sqrt(jnp.maximum(energy, LEAST_ENERGY)), cover


def _products_of_many(a: jax.Array, b: jax.Array, cell: int, n: int) -> jax.Array:
    """The sums over cells of `a` times `b` at each shift, (K, h / cell, w / cell, n, n).

    a: (K, h, w). b: (h + n - 1, w + n - 1), padded for the shifts. For each cell, its samples of `b` at all shifts are
    one matrix, and the samples of all candidates are multiplied by it.
    """
    count, height, width = a.shape
    rows, cols = height // cell, width // cell
    lower = jnp.stack([b[dy : dy + height] for dy in range(n)])
    shifted = jnp.stack([lower[:, :, dx : dx + width] for dx in range(n)], axis=1)
    of_b = shifted.reshape(n * n, rows, cell, cols, cell).transpose(1, 3, 2, 4, 0).reshape(rows * cols, -1, n * n)
    of_a = a.reshape(count, rows, cell, cols, cell).transpose(1, 3, 0, 2, 4).reshape(rows * cols, count, -1)
    products = jax.lax.batch_matmul(of_a, of_b, precision=EXACT)
    return products.reshape(rows, cols, count, n, n).transpose(2, 0, 1, 3, 4)


def _products_of_few(a: jax.Array, b: jax.Array, cell: int, n: int) -> jax.Array:
    """The same as `_products_of_many`, shift by shift: for few candidates this is faster than large matrices."""
    count, height, width = a.shape
    rows, cols = height // cell, width // cell
    of_cells = np.kron(np.eye(cols), np.ones((cell, 1))).astype(np.float32)

    def at_shift(shift: jax.Array) -> jax.Array:
        product = a * jax.lax.dynamic_slice(b, (shift // n, shift % n), (height, width))
        return jnp.matmul(product.reshape(count, rows, cell, width).sum(2), of_cells, precision=EXACT)

    products = jax.lax.map(at_shift, jnp.arange(n * n))
    return jnp.moveaxis(products, 0, -1).reshape(count, rows, cols, n, n)


def _over_cells(values: jax.Array, cells: int, axis: int) -> jax.Array:
    """The sums over `cells` neighbours along an axis."""
    count = values.shape[axis] - cells + 1
    return cast(jax.Array, sum(jax.lax.slice_in_dim(values, k, k + count, axis=axis) for k in range(cells)))


def _blocks(values: jax.Array, level: Matching) -> jax.Array:
    """The sums over blocks, (..., h, w) to (..., R, C)."""
    *leading, height, width = values.shape
    sums = values.reshape(*leading, height // level.cell, level.cell, width // level.cell, level.cell).sum((-3, -1))
    return _over_cells(_over_cells(sums, level.cells, -1), level.cells, -2)


def _shifted_energy(b: jax.Array, level: Matching) -> jax.Array:
    """The sum of squares of `b` (h, w) over each block at each shift, (R, C, n, n)."""
    n, side = 2 * level.reach + 1, level.cell * level.cells
    padded = jnp.pad(b * b, level.reach)
    total = jnp.pad(jnp.cumsum(jnp.cumsum(padded, axis=0), axis=1), ((1, 0), (1, 0)))
    blocks = [length // level.cell - level.cells + 1 for length in b.shape]
    top, left = ((np.arange(count)[:, None] * level.cell + np.arange(n)).ravel() for count in blocks)

    def corner(y: np.ndarray, x: np.ndarray) -> jax.Array:
        return total[y][:, x]

    sums = (
        corner(top + side, left + side) - corner(top, left + side) - corner(top + side, left) + corner(top, left)
    )  # fmt: skip
    return sums.reshape(blocks[0], n, blocks[1], n).transpose(0, 2, 1, 3)


def propagate(unary: jax.Array, stiffness: float, rounds: int) -> jax.Array:
    """The belief in each shift of each block, (K, R, C, n, n), by sum-product belief propagation.

    unary: (K, R, C, n, n), how well each shift fits by itself, in units of correlation.
    stiffness: the cost of each squared sample by which neighbours' shifts differ, in units of correlation.
    """
    n = unary.shape[-1]
    flat = unary.reshape(*unary.shape[:-2], n * n)
    likely = jnp.exp((flat - flat.max(-1, keepdims=True)) / TEMPERATURE)
    smoother = _smoother(n, stiffness)

    def one_round(_: int, messages: jax.Array) -> jax.Array:
        # Messages from above, below, left and right. The message to a neighbour excludes the one from that neighbour.
        above, below, left, right = messages
        vertical, horizontal = likely * (left * right), likely * (above * below)
        product = jnp.stack([vertical * above, vertical * below, horizontal * left, horizontal * right])
        sums = jnp.matmul(product, smoother, precision=EXACT) + FAINTEST
        sums = sums / sums.max(-1, keepdims=True)
        new = [_shift(sums[0], 1, 1), _shift(sums[1], 1, -1), _shift(sums[2], 2, 1), _shift(sums[3], 2, -1)]
        return jnp.sqrt(messages * jnp.stack(new))  # damped: the geometric mean of old and new messages

    above, below, left, right = jax.lax.fori_loop(0, rounds, one_round, jnp.ones((4, *flat.shape), flat.dtype))
    beliefs = jnp.log(likely + FAINTEST) + jnp.log(above * below) + jnp.log(left * right)
    return (TEMPERATURE * beliefs).reshape(unary.shape)


@lru_cache
def _smoother(n: int, stiffness: float) -> np.ndarray:
    """The likelihood of a neighbour's shift, by the shift of a block, (n n, n n), not normalised."""
    position = np.arange(n)
    kernel = np.exp(-stiffness * (position[:, None] - position) ** 2 / TEMPERATURE)
    return np.kron(kernel, kernel).astype(np.float32)


def _shift(messages: jax.Array, axis: int, offset: int) -> jax.Array:
    """Messages moved by one block (`offset` 1 or -1) along an axis; at the border a constant message enters."""
    length = messages.shape[axis]
    inner = jax.lax.slice_in_dim(messages, max(-offset, 0), length - max(offset, 0), axis=axis)
    border = jnp.ones_like(jax.lax.slice_in_dim(messages, 0, 1, axis=axis))
    return jnp.concatenate([border, inner] if offset > 0 else [inner, border], axis=axis)


def _best(correlation: jax.Array, beliefs: jax.Array, reach: int) -> tuple[jax.Array, jax.Array]:
    """The shift (..., 2) of the highest belief, refined along each axis by a parabola, and the correlation at it."""
    n = 2 * reach + 1
    flat = beliefs.reshape(*beliefs.shape[:-2], n * n)
    index = flat.argmax(-1)
    at_shift = _pick(correlation.reshape(flat.shape), index)
    row, col = index // n, index % n
    best = _pick(flat, index)

    def refine(position: jax.Array, stride: int) -> jax.Array:
        inner = (position > 0) & (position < n - 1)
        before = _pick(flat, jnp.where(inner, index - stride, index))
        after = _pick(flat, jnp.where(inner, index + stride, index))
        return position - reach + jnp.where(inner, parabola(before, best, after), 0.0)

    return jnp.stack([refine(col, 1), refine(row, n)], axis=-1), at_shift


def parabola(before: jax.Array, best: jax.Array, after: jax.Array) -> jax.Array:
    """The peak of the parabola through three samples, relative to the middle one, in [-.5, .5]."""
    curve = before - 2 * best + after
    peaked = curve < -1e-6
    return jnp.where(peaked, jnp.clip(0.5 * (before - after) / jnp.where(peaked, curve, -1.0), -0.5, 0.5), 0.0)


def _pick(values: jax.Array, index: jax.Array) -> jax.Array:
    """The values (..., N) at an index (...) along the last axis."""
    return jnp.take_along_axis(values, index[..., None], axis=-1)[..., 0]
