import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ifvit import losses

pytestmark = pytest.mark.slow


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
    loss = losses.positive(log_p, LABELS)
    assert loss.total.shape == loss.count.shape == (3,)
    alone = losses.positive(log_p[:1], LABELS[:1])
    np.testing.assert_allclose(loss.total[0], alone.total[0])
    np.testing.assert_allclose(loss.mean(), (loss.total[0] + loss.total[2]) / 4)


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
HAS_TARGET = jnp.array([[True, True, True, True], [True, True, False, False]])


def test_fine_against_a_loop():
    """Matches outside the window (|target| >= 1) and those without a target count nothing, nor does a target of nan."""
    got = losses.fine(OFFSET, SPREAD, TARGET, HAS_TARGET)
    np.testing.assert_array_equal(got.count, [2, 2])
    for k in range(2):
        rows = [m for m in range(4) if HAS_TARGET[k, m] and np.abs(TARGET[k, m]).max() < 1]
        sure = [1 / float(SPREAD[k, m]) for m in rows]
        errors = [float(((OFFSET[k, m] - TARGET[k, m]) ** 2).sum()) for m in rows]
        total = sum(s / np.mean(sure) * e for s, e in zip(sure, errors, strict=True))
        np.testing.assert_allclose(got.total[k], total, rtol=1e-5)


def test_fine_gradient_moves_the_offset_and_not_the_spread():
    def loss(offset, spread):
        return losses.fine(offset, spread, TARGET, HAS_TARGET).mean()

    by_offset, by_spread = jax.grad(loss, argnums=(0, 1))(OFFSET, SPREAD)
    assert np.isfinite(by_offset).all() and (np.abs(by_offset).sum(-1) > 0).tolist() == [
        [True, True, False, False],
        [True, True, False, False],
    ]
    assert not by_spread.any()


def test_fine_without_targets_is_zero():
    empty = losses.fine(OFFSET, SPREAD, TARGET, jnp.zeros((2, 4), bool))
    assert empty.mean() == 0
    slope = jax.grad(lambda o: losses.fine(o, SPREAD, TARGET, jnp.zeros((2, 4), bool)).mean())(OFFSET)
    assert not slope.any()


def test_the_embedding_loss_by_hand():
    cosine, genuine = jnp.array([0.9, -0.2, 0.9, 0.3]), jnp.array([True, True, False, False])
    loss = losses.embedding(cosine, genuine, 0.4)
    np.testing.assert_allclose(loss.total, [0.1, 1.2, 0.5, 0.0], atol=1e-6)
    np.testing.assert_array_equal(loss.count, 1)


def test_the_embedding_loss_draws_mates_together_and_others_apart_down_to_the_margin():
    cosine, genuine = jnp.array([0.9, -0.2, 0.9, 0.3]), jnp.array([True, True, False, False])
    slope = jax.grad(lambda cosine: losses.embedding(cosine, genuine, 0.4).total.sum())(cosine)
    np.testing.assert_array_equal(slope, [-1, -1, 1, 0])


def arcface_by_hand(vectors, classes, labels, scale, margin):
    """In float64, by angles; within theta + margin <= pi."""
    directions = classes / np.linalg.norm(classes, axis=1, keepdims=True)
    angle = np.arccos(np.clip(vectors @ directions.T, -1, 1))
    rows = np.arange(len(labels))
    widened = angle.copy()
    widened[rows, labels] += margin
    assert widened[rows, labels].max() <= np.pi
    logits = scale * np.cos(widened)
    return np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1)) + logits.max(1) - logits[rows, labels]


def test_arcface_by_hand():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(5, 6))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    classes, labels = rng.normal(size=(4, 6)), np.array([0, 3, 1, 2, 2])
    expected = arcface_by_hand(vectors, classes, labels, 16.0, 0.4)
    loss = losses.arcface(jnp.array(vectors), jnp.array(classes), jnp.array(labels), scale=16.0, margin=0.4)
    np.testing.assert_allclose(loss.total, expected, rtol=1e-4)


def test_arcface_by_hand_where_the_margin_would_pass_half_a_turn():
    """The cosine lowered by margin * sin(margin), and so below any that a margin can give."""
    vectors, classes = jnp.array([[1.0, 0.0]]), jnp.array([[-1.0, 0.05], [0.3, 1.0]])
    true, other = (
        float(c[0] / np.hypot(*c)) - lowered
        for c, lowered in ((np.array([-1.0, 0.05]), 0.4 * np.sin(0.4)), (np.array([0.3, 1.0]), 0.0))
    )
    assert np.arccos(true + 0.4 * np.sin(0.4)) + 0.4 > np.pi and true < -1
    expected = np.log(np.exp(4 * true) + np.exp(4 * other)) - 4 * true
    loss = losses.arcface(vectors, classes, jnp.array([0]), scale=4.0, margin=0.4)
    np.testing.assert_allclose(loss.total, expected, rtol=1e-5)


def test_arcface_never_rewards_a_worse_angle():
    """Not even beyond pi - margin, where cos(theta + margin) would rise again."""
    angle = np.linspace(0.05, np.pi - 0.01, 60)
    vectors = jnp.array(np.stack([np.cos(angle), np.sin(angle), 0 * angle], 1))
    classes = jnp.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])  # every vector is as far from the second
    loss = losses.arcface(vectors, classes, jnp.zeros(60, int), scale=8.0, margin=0.4)
    assert (np.diff(loss.total) > 0).all()


def test_arcface_teaches_vectors_and_classes():
    rng = np.random.default_rng(1)
    vectors = jnp.array(rng.normal(size=(3, 4)))
    vectors /= jnp.linalg.norm(vectors, axis=1, keepdims=True)
    classes = jnp.array(rng.normal(size=(5, 4)))

    def total(vectors, classes):
        return losses.arcface(vectors, classes, jnp.array([0, 1, 4]), scale=64.0, margin=0.4).total.sum()

    for gradient in jax.grad(total, argnums=(0, 1))(vectors, classes):
        assert np.isfinite(gradient).all() and (np.abs(gradient).max(axis=1) > 0).all()


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_beyond_the_classes_stops_a_run(label):
    loss = losses.arcface(jnp.ones((1, 2)) / 2**0.5, jnp.eye(3, 2) + 1, jnp.array([label]), scale=64.0, margin=0.4)
    assert np.isnan(loss.total).all()
