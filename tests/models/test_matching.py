import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ifvit.models.matching import extract_matches, log_dual_softmax

pytestmark = pytest.mark.slow


GRID_A, GRID_B = (5, 6), (6, 4)


def random_log_p(rng, batch=3):
    """A P with plenty of mutual matches on all levels of confidence."""
    b, a = (rng.normal(size=(batch, h * w, 12)).astype(np.float32) for h, w in (GRID_B, GRID_A))
    a[:, : b.shape[1]] += 1.5 * b  # cell i of A likely goes with cell i of B
    return np.asarray(log_dual_softmax(jnp.asarray(a), jnp.asarray(b), 0.1))


def brute_force(p, grid_a, grid_b, threshold, border, mask_a=None, mask_b=None):
    """[(i, j, confidence)] of one pair, best first, by looking at every cell pair."""

    def allowed(cell, grid, mask):
        row, column = divmod(cell, grid[1])
        if mask is None:
            top, left, bottom, right = 0, 0, *grid
        elif not mask[row, column]:
            return False
        else:
            rows, columns = np.nonzero(mask)
            top, left, bottom, right = rows.min(), columns.min(), rows.max() + 1, columns.max() + 1
        return top + border <= row < bottom - border and left + border <= column < right - border

    matches = [
        (i, j, p[i, j])
        for i, j in np.ndindex(p.shape)
        if p[i, j] > threshold and p[i, j] == p[i].max() == p[:, j].max()
        if allowed(i, grid_a, mask_a) and allowed(j, grid_b, mask_b)
    ]
    return sorted(matches, key=lambda match: -match[2])


def check(matches, expected, max_matches):
    for b, rows in enumerate(expected):
        rows = rows[:max_matches]
        padding = max_matches - len(rows)
        cells = [row[:2] for row in rows] + [(-1, -1)] * padding
        np.testing.assert_array_equal(matches.cells[b], cells)
        np.testing.assert_allclose(matches.confidence[b], [r[2] for r in rows] + [0] * padding, rtol=1e-6)


def test_log_p_is_the_product_of_two_softmaxes(rng):
    a, b = rng.normal(size=(2, 5, 8)), rng.normal(size=(2, 7, 8))
    similarity = np.einsum("bnc,bmc->bnm", a, b) / (8 * 0.1)
    exponential = np.exp(similarity)
    expected = exponential / exponential.sum(2, keepdims=True) * exponential / exponential.sum(1, keepdims=True)
    log_p = log_dual_softmax(jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32), 0.1)
    np.testing.assert_allclose(np.exp(log_p), expected, atol=1e-5)


def test_log_p_is_finite_where_p_underflows(rng):
    a = 40 * jnp.asarray(rng.normal(size=(1, 5, 8)), jnp.bfloat16)
    log_p = log_dual_softmax(a, a, 0.1)
    assert log_p.dtype == jnp.float32
    assert log_p.min() < -110  # exp of it is 0 in float32
    gradient = jax.grad(lambda x: log_dual_softmax(x, a, 0.1).sum())(a)
    assert bool(jnp.isfinite(log_p).all() & jnp.isfinite(gradient).all())


@pytest.mark.parametrize("size", [1e2, 1e10])  # scaled after the product, JAX 0.7.2 gives up to .016, and NaN
def test_rounding_never_lifts_log_p_above_0(size, rng):
    a = jnp.asarray(size * rng.normal(size=(2, 64, 8)), jnp.float32)
    log_p = jax.jit(lambda a, b: log_dual_softmax(a, b, 0.1))(a, a)
    assert log_p.max() == 0


def test_masked_cells_take_no_probability(rng):
    a, b = (jnp.asarray(rng.normal(size=(1, n, 8)), jnp.float32) for n in (6, 4))
    mask_a, mask_b = jnp.array([[[1.0, 1, 0], [1, 1, 0]]]), jnp.array([[1.0, 1, 1, 0]])
    p = np.exp(log_dual_softmax(a, b, 0.1, mask_a, mask_b))[0]
    real = np.array([0, 1, 3, 4])
    np.testing.assert_allclose(p[real, :3], np.exp(log_dual_softmax(a[:, real], b[:, :3], 0.1))[0], atol=1e-6)
    assert p[[2, 5], :3].max() == p[real, 3].max() == 0
    only_a = np.exp(log_dual_softmax(a, b, 0.1, mask_a))[0]
    np.testing.assert_allclose(only_a[real], np.exp(log_dual_softmax(a[:, real], b, 0.1))[0], atol=1e-6)


@pytest.mark.parametrize("border", [0, 1])
@pytest.mark.parametrize("threshold", [0.0, 0.2])
@pytest.mark.parametrize("max_matches", [4, 100])
def test_matches_agree_with_brute_force(border, threshold, max_matches, rng):
    log_p = random_log_p(rng)
    matches = extract_matches(log_p, GRID_A, GRID_B, threshold=threshold, border=border, max_matches=max_matches)
    assert matches.cells.shape == (3, max_matches, 2) and matches.cells.dtype == jnp.int32
    assert matches.confidence.shape == (3, max_matches) and matches.confidence.dtype == jnp.float32
    expected = [brute_force(p, GRID_A, GRID_B, threshold, border) for p in np.exp(log_p)]
    assert min(map(len, expected)) >= 2
    check(matches, expected, max_matches)


@pytest.mark.parametrize("border", [0, 1])
def test_masked_matches_keep_off_the_edge_of_the_real_area(border, rng):
    log_p = random_log_p(rng)
    mask_a, mask_b = np.zeros((3, *GRID_A)), np.zeros((3, *GRID_B))
    mask_a[0, :4, :5] = mask_a[1, 1:, 1:] = mask_a[2] = 1
    mask_b[0, :5, :3] = mask_b[1, 1:5] = mask_b[2] = 1
    masks = jnp.asarray(mask_a), jnp.asarray(mask_b)
    fixed = dict(threshold=0.0, border=border, max_matches=30)
    matches = extract_matches(log_p, GRID_A, GRID_B, **fixed, mask_a=masks[0], mask_b=masks[1])
    pairs = zip(np.exp(log_p), mask_a, mask_b, strict=True)
    expected = [brute_force(p, GRID_A, GRID_B, 0.0, border, a, b) for p, a, b in pairs]
    assert min(map(len, expected)) >= 1
    check(matches, expected, 30)
    flat = [mask.reshape(3, -1) for mask in masks]
    again = extract_matches(log_p, GRID_A, GRID_B, **fixed, mask_a=flat[0], mask_b=flat[1])
    np.testing.assert_array_equal(again.cells, matches.cells)


def test_threshold_is_exclusive_and_ties_give_one_match():
    p = jnp.full((1, 4, 4), 0.25)
    options = dict(border=0, max_matches=4)
    log_p = jnp.log(p)
    matches = extract_matches(log_p, (2, 2), (2, 2), threshold=0.2, **options)
    np.testing.assert_array_equal(matches.cells[0], [[0, 0], [-1, -1], [-1, -1], [-1, -1]])
    none = extract_matches(log_p, (2, 2), (2, 2), threshold=float(jnp.exp(log_p[0, 0, 0])), **options)
    assert (none.cells == -1).all() and (none.confidence == 0).all()


def test_nothing_is_found_in_nan_or_in_a_border_that_is_everything(rng):
    log_p = random_log_p(rng)
    fixed = dict(threshold=0.0, max_matches=5)
    assert (extract_matches(log_p, GRID_A, GRID_B, border=3, **fixed).cells == -1).all()
    broken = extract_matches(log_p * np.nan, GRID_A, GRID_B, border=0, **fixed)
    assert (broken.cells == -1).all() and (broken.confidence == 0).all()


def test_works_under_jit_and_checks_the_grid(rng):
    log_p = random_log_p(rng)
    fixed = dict(threshold=0.1, border=0, max_matches=50)
    jitted = jax.jit(lambda x: extract_matches(x, GRID_A, GRID_B, **fixed))(log_p)
    plain = extract_matches(log_p, GRID_A, GRID_B, **fixed)
    np.testing.assert_array_equal(jitted.cells, plain.cells)
    with pytest.raises(ValueError, match=r"30 x 24 cells, the grids are \(6, 6\) and \(6, 4\)"):
        extract_matches(log_p, (6, 6), GRID_B, **fixed)
