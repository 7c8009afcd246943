import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ifvit import losses


@pytest.fixture
def log_p():
    similarity = jax.random.normal(jax.random.key(0), (3, 5, 6)) * 3
    return jax.nn.log_softmax(similarity, 1) + jax.nn.log_softmax(similarity, 2)


LABELS = jnp.array([[0, 3, -1, 5, -1], [-1, -1, -1, -1, -1], [2, -1, -1, -1, -1]])
LONE_A = jnp.array([[0, 0, 1, 0, 0], [1, 1, 1, 0, 0], [0, 0, 0, 0, 0]], bool)
LONE_B = jnp.array([[0, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]], bool)


@pytest.mark.parametrize("alpha, gamma", [(1.0, 0.0), (0.25, 2.0)])
def test_positive_against_a_loop(log_p, alpha, gamma):
    p = np.exp(np.asarray(log_p, np.float64))
    for k, (total, count) in enumerate(zip(*losses.positive(log_p, LABELS, alpha=alpha, gamma=gamma), strict=True)):
        terms = [-alpha * (1 - p[k, i, j]) ** gamma * np.log(p[k, i, j]) for i, j in enumerate(LABELS[k]) if j >= 0]
        assert count == len(terms)
        np.testing.assert_allclose(total, sum(terms), rtol=1e-5)


@pytest.mark.parametrize("alpha, gamma", [(1.0, 0.0), (0.25, 2.0)])
def test_negative_against_a_loop(log_p, alpha, gamma):
    p = np.exp(np.asarray(log_p, np.float64))
    got = losses.negative(log_p, LONE_A, LONE_B, alpha=alpha, gamma=gamma)
    for k in range(3):
        terms = [
            -alpha * p[k, i, j] ** gamma * np.log(1 - p[k, i, j])
            for i in range(5)
            for j in range(6)
            if LONE_A[k, i] or LONE_B[k, j]
        ]
        assert got.count[k] == len(terms)
        np.testing.assert_allclose(got.total[k], sum(terms), rtol=1e-4, atol=1e-7)


def test_sums_are_per_sample(log_p):
    """A (B,) against (B, 1) broadcast once gave every sample the others' losses."""
    whole = losses.positive(log_p, LABELS)
    assert whole.total.shape == whole.count.shape == (3,)
    alone = losses.positive(log_p[:1], LABELS[:1])
    np.testing.assert_allclose(whole.total[0], alone.total[0])
    np.testing.assert_allclose(whole.mean(), (whole.total[0] + whole.total[2]) / 4)


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_different_fingers_give_gradient(gamma):
    def loss(similarity):
        log_p = jax.nn.log_softmax(similarity, 1) + jax.nn.log_softmax(similarity, 2)
        return losses.negative(log_p, jnp.ones((1, 8), bool), jnp.ones((1, 8), bool), gamma=gamma).mean()

    gradient = jax.grad(loss)(jax.random.normal(jax.random.key(1), (1, 8, 8)))
    assert jnp.isfinite(gradient).all() and jnp.abs(gradient).max() > 1e-5


def test_a_sure_and_wrong_match_has_a_finite_loss_and_a_gradient():
    def loss(x):
        return losses.negative(jnp.full((1, 1, 1), x), jnp.ones((1, 1), bool), jnp.ones((1, 1), bool)).mean()

    value, slope = jax.value_and_grad(loss)(0.0)
    assert 10 < value < 20 and slope > 1


def test_log_space_survives_a_hopeless_cell():
    log_p = jnp.full((1, 1, 1), -400.0)  # exp of it is 0 in float32
    assert losses.positive(log_p, jnp.zeros((1, 1), int)).mean() == 400


def test_nothing_to_sum_is_zero(log_p):
    empty = losses.positive(log_p, jnp.full((3, 5), -1))
    assert empty.mean() == 0


OFFSET = jnp.array([[[0.5, 0.0], [0.0, 0.0], [0.2, 0.2], [0.0, 0.0]], [[0.1, 0.0], [0.0, 0.3], [0.0, 0.0], [0.0, 0.0]]])
TARGET = jnp.array([[[0.0, 0.0], [0.5, 0.5], [0.2, 1.5], [9.0, 0.0]], [[0.0, 0.0], [0.0, 0.0], [jnp.nan, 0.0], [0, 0]]])
SPREAD = jnp.array([[0.5, 1.0, 0.1, 0.1], [0.4, 0.2, 1.0, 1.0]])
HELD = jnp.array([[True, True, True, True], [True, True, False, False]])


def test_fine_against_a_loop():
    """Matches outside the window (|target| >= 1) and places not held count nothing, nor does a target of nan."""
    got = losses.fine(OFFSET, SPREAD, TARGET, HELD)
    np.testing.assert_array_equal(got.count, [2, 2])
    for k in range(2):
        rows = [m for m in range(4) if HELD[k, m] and np.abs(TARGET[k, m]).max() < 1]
        sure = [1 / float(SPREAD[k, m]) for m in rows]
        errors = [float(((OFFSET[k, m] - TARGET[k, m]) ** 2).sum()) for m in rows]
        total = sum(s / np.mean(sure) * e for s, e in zip(sure, errors, strict=True))
        np.testing.assert_allclose(got.total[k], total, rtol=1e-5)


def test_fine_gradient_moves_the_offset_and_not_the_spread():
    def loss(offset, spread):
        return losses.fine(offset, spread, TARGET, HELD).mean()

    by_offset, by_spread = jax.grad(loss, argnums=(0, 1))(OFFSET, SPREAD)
    assert np.isfinite(by_offset).all() and (np.abs(by_offset).sum(-1) > 0).tolist() == [
        [True, True, False, False],
        [True, True, False, False],
    ]
    assert not by_spread.any()


def test_fine_with_nothing_held_is_zero():
    empty = losses.fine(OFFSET, SPREAD, TARGET, jnp.zeros((2, 4), bool))
    assert empty.mean() == 0
    slope = jax.grad(lambda o: losses.fine(o, SPREAD, TARGET, jnp.zeros((2, 4), bool)).mean())(OFFSET)
    assert not slope.any()
