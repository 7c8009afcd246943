"""Correlations and beliefs are what a slow loop says they are."""

from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ifvit.registration.block_matching import (
    TEMPERATURE,
    Matching,
    correlations,
    match_blocks,
    parabola,
    propagate,
)

LEVEL = Matching(spacing=1, cell=6, cells=2, reach=3, stiffness=0.02, rounds=8)
N = 2 * LEVEL.reach + 1
SHAPE = (26, 33)  # samples; what fills no cell is left over
matched = jax.jit(partial(match_blocks, level=LEVEL))
correlated = jax.jit(partial(correlations, level=LEVEL))


def waves(side, seed, x=0.0, y=0.0):
    """A signal of waves 9 samples long that looks alike nowhere, moved by (x, y); float32 (side, side) in [-1, 1]."""
    rng = np.random.default_rng(seed)
    row, col = np.mgrid[:side, :side]
    turns, phases = rng.uniform(0, 2 * np.pi, (2, 9))
    along = (col - x)[..., None] * np.cos(turns) + (row - y)[..., None] * np.sin(turns)
    return np.clip(np.cos(along * (2 * np.pi / 9) + phases).sum(-1) / 4, -1, 1).astype(np.float32)


def test_correlations_are_those_of_a_slow_loop():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, (2, *SHAPE)).astype(np.float32), rng.normal(0, 1, SHAPE).astype(np.float32)
    mask_a, mask_b = rng.random(a.shape) < 0.8, rng.random(SHAPE) < 0.7
    a, b = a * mask_a, b * mask_b
    found, cover = correlated(a, mask_a, b, mask_b)
    height, width = (length // LEVEL.cell * LEVEL.cell for length in SHAPE)
    room = np.pad(b[:height, :width], LEVEL.reach)
    side = LEVEL.cell * LEVEL.cells
    rows, cols = ((length - side) // LEVEL.cell + 1 for length in (height, width))
    assert found.shape == (2, rows, cols, N, N) and cover.shape == (2, rows, cols)
    for k, row, col in product(range(2), range(rows), range(cols)):
        block = np.s_[row * LEVEL.cell : row * LEVEL.cell + side, col * LEVEL.cell : col * LEVEL.cell + side]
        assert cover[k, row, col] == pytest.approx((mask_a[k] & mask_b)[block].mean(), abs=1e-6)
        of_a = a[k][block]
        for dy, dx in product(range(N), range(N)):
            of_b = room[block[0].start + dy :, block[1].start + dx :][:side, :side]
            expected = (of_a * of_b).sum() / np.sqrt((of_a**2).sum() * (of_b**2).sum())
            assert found[k, row, col, dy, dx] == pytest.approx(expected, abs=1e-4)


def test_where_there_is_no_signal_there_is_no_correlation():
    nothing, everywhere = np.zeros((2, *SHAPE), np.float32), np.ones((2, *SHAPE), bool)
    found, cover = correlated(nothing, everywhere, waves(33, 0)[:26], everywhere[0])
    assert (found == 0).all() and (cover == 1).all()


def best_by_trying(unary, stiffness):
    """The shifts of all blocks, (R, C) places among the n x n, that are best together, of all there are."""
    rows, cols, n, _ = unary.shape
    shifts = np.array(list(product(range(n), range(n))))
    fits = unary.reshape(rows * cols, n * n)
    pulls = stiffness * ((shifts[:, None] - shifts) ** 2).sum(-1)
    neighbours = [(r * cols + c, r * cols + c + 1) for r in range(rows) for c in range(cols - 1)]
    neighbours += [(r * cols + c, (r + 1) * cols + c) for r in range(rows - 1) for c in range(cols)]
    axes = [np.arange(n * n).reshape([-1 if k == at else 1 for k in range(rows * cols)]) for at in range(rows * cols)]
    value = sum(fits[k][axes[k]] for k in range(rows * cols)) - sum(pulls[axes[i], axes[j]] for i, j in neighbours)
    return np.array(np.unravel_index(value.argmax(), value.shape)).reshape(rows, cols)


@pytest.mark.parametrize("shape", [(1, 4), (4, 1), (2, 2)])
@pytest.mark.parametrize("stiffness", [0.02, 0.06])
def test_beliefs_are_highest_at_the_best_shifts(shape, stiffness):
    """On a chain and with a loop, where the fits are not near to one another."""
    believe = jax.jit(lambda unary: propagate(unary[None], stiffness, 30)[0])
    right = alone = 0
    for seed in range(12):
        unary = np.random.default_rng(seed).normal(0, 0.4, (*shape, 3, 3)).astype(np.float32)
        best = best_by_trying(unary, stiffness)
        right += np.array_equal(np.asarray(believe(unary)).reshape(*shape, 9).argmax(-1), best)
        alone += np.array_equal(unary.reshape(*shape, 9).argmax(-1), best)
    assert right >= 11  # near ties a sum decides otherwise than a maximum
    assert alone < 12  # each block alone is not right


def test_on_a_chain_a_belief_is_the_marginal():
    """Up to a constant of the block: T log of the sum of exp(. / T) over the other blocks' shifts."""
    unary = np.random.default_rng(5).normal(0, 0.1, (1, 3, 3, 3)).astype(np.float32)
    found = np.asarray(propagate(jnp.asarray(unary)[None], 0.02, 40))[0]
    shifts = np.array(list(product(range(3), range(3))))
    pulls = 0.02 * ((shifts[:, None] - shifts) ** 2).sum(-1)
    fits = unary.reshape(3, 9)
    together = fits[0][:, None, None] + fits[1][:, None] + fits[2] - pulls[:, :, None] - pulls[None]
    for block in range(3):
        others = tuple(k for k in range(3) if k != block)
        expected = TEMPERATURE * np.log(np.exp(together / TEMPERATURE).sum(others))
        belief = found[0, block].reshape(9)
        np.testing.assert_allclose(belief - belief.max(), expected - expected.max(), atol=1e-4)


@pytest.mark.parametrize(("x", "y"), [(2.0, -1.0), (-1.4, 0.3), (0.0, 1.5)])
def test_a_shifted_print_is_found_where_it_lies(x, y):
    """`a` at p lies in `b` at p + shift; between samples by the parabola."""
    a, b = waves(48, 1), waves(48, 1, x, y)
    everywhere = np.ones(a.shape, bool)
    found = matched(a[None], everywhere[None], b, everywhere)
    inner = np.asarray(found.shift)[0, 1:-1, 1:-1]
    np.testing.assert_allclose(inner, np.broadcast_to((x, y), inner.shape), atol=0.35)
    assert np.asarray(found.correlation)[0, 1:-1, 1:-1].min() > 0.8


def test_a_block_is_not_looked_for_where_one_print_shows_little():
    a = waves(48, 2)
    half = np.zeros((48, 48), bool)
    half[:, :20] = True
    everywhere = np.ones_like(half)
    for mask_a, mask_b in ((half, everywhere), (everywhere, half)):
        found = matched((a * mask_a)[None], mask_a[None], a * mask_b, mask_b)
        cover = np.asarray(found.cover)[0]
        np.testing.assert_allclose(cover[:, :3], [[1, 1, 8 / 12]] * 7, atol=1e-6)
        assert (cover[:, 3:] == 0).all()


def test_blocks_that_show_nothing_follow_their_neighbours():
    a = waves(48, 3)
    shown = np.ones((48, 48), bool)
    shown[:, 24:] = False
    found = matched((a * shown)[None], shown[None], waves(48, 3, x=2.0), np.ones_like(shown))
    shift = np.asarray(found.shift)[0]
    assert np.asarray(found.cover)[0, :, -1].max() == 0
    np.testing.assert_allclose(shift[1:-1, -1], np.broadcast_to((2, 0), shift[1:-1, -1].shape), atol=0.6)


def test_the_parabola_peaks_where_it_does():
    peak, curve = np.array([0.3, -0.5, 0.0, 0.5], np.float32), 0.7
    values = [1 - curve * (k - peak) ** 2 for k in (-1, 0, 1)]
    np.testing.assert_allclose(parabola(*map(jnp.asarray, values)), peak, atol=1e-5)
    flat = jnp.ones(2)
    np.testing.assert_array_equal(parabola(flat, flat, flat), 0)


def test_where_the_blocks_lie():
    level = Matching(spacing=3, cell=16, cells=2, reach=5, stiffness=0.01, rounds=1)
    assert level.step == 48 and level.first == 47.5  # 32 samples, each in the middle of 3 px
