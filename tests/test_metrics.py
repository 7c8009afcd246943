import jax
import jax.numpy as jnp
import numpy as np

from ifvit import metrics

GRID_B, STRIDE = (4, 5), 16


def test_dense_against_a_loop():
    rng = np.random.default_rng(0)
    log_p = jax.nn.log_softmax(jnp.asarray(rng.normal(size=(3, 6, 20))), -1)
    labels = rng.integers(-1, 20, (3, 6))
    truth = rng.uniform(0, 70, (3, 6, 2)).astype(np.float32)
    got = metrics.dense(log_p, jnp.asarray(labels), jnp.asarray(truth), GRID_B, STRIDE)
    exact = within = count = 0
    error, pck = 0.0, 0
    for b in range(3):
        for i in range(6):
            if labels[b, i] < 0:
                continue
            j = int(np.argmax(log_p[b, i]))
            (r, c), (tr, tc) = divmod(j, 5), divmod(int(labels[b, i]), 5)
            distance = np.hypot(c * STRIDE - truth[b, i, 0], r * STRIDE - truth[b, i, 1])
            count += 1
            exact += j == labels[b, i]
            within += abs(r - tr) <= 1 and abs(c - tc) <= 1
            error += distance
            pck += distance <= 10
    means = metrics.mean(got)
    np.testing.assert_allclose(means["exact"], exact / count)
    np.testing.assert_allclose(means["within_one"], within / count)
    np.testing.assert_allclose(means["end_point_error"], error / count, rtol=1e-5)
    np.testing.assert_allclose(means["pck_10"], pck / count)


def test_within_one_does_not_wrap_around_a_row():
    log_p = jnp.zeros((1, 1, 20)).at[0, 0, 5].set(1)  # row 1, column 0; the label is row 0, column 4
    got = metrics.dense(log_p, jnp.array([[4]]), jnp.zeros((1, 1, 2)), GRID_B, STRIDE)
    assert got["within_one"][0] == 0


def test_precision_counts_matches_of_different_fingers_as_wrong():
    cells = jnp.array([[[0, 0], [1, 1], [-1, -1]], [[0, 0], [-1, -1], [-1, -1]]])
    truth = jnp.zeros((2, 2, 2)).at[0, 1].set(jnp.array([16.0, 2.0]))
    shown = jnp.array([[True, True], [False, False]])
    labels = jnp.array([[0, 1], [-1, -1]])
    right = metrics.right_matches(cells, truth, shown, GRID_B, STRIDE)
    assert right.tolist() == [[True, True, False], [False, False, False]]
    means = metrics.mean(metrics.matches(cells, labels, right))
    assert means == {"precision": 2 / 3, "recall": 1.0, "matches": 1.5}


def test_a_match_more_than_a_stride_off_is_wrong():
    cells = jnp.array([[[0, 1]]])
    near, far = (
        metrics.right_matches(cells, jnp.array([[[x, 0.0]]]), jnp.array([[True]]), GRID_B, STRIDE) for x in (1.0, -1.0)
    )
    assert near.all() and not far.any()


def test_a_mean_of_nothing_is_nan():
    assert np.isnan(metrics.mean({"exact": (jnp.zeros(2), jnp.zeros(2))})["exact"])


def test_pixel_errors_where_the_truth_is_known():
    cells = jnp.array([[[0, 3], [1, 1], [2, 0], [-1, -1]]])
    truth = jnp.array([[[3.0, 4.0], [0.0, 0.0], [1.0, 1.0]]])
    known, target = metrics.true_points(cells, truth, jnp.array([[True, False, True]]))
    assert known.tolist() == [[True, False, True, False]]
    errors = metrics.pixel_errors(jnp.zeros((1, 4, 2)), target, known)
    np.testing.assert_allclose(errors[0], [5, 0, 2**0.5, 0], rtol=1e-6)


def test_over_matches_is_median_mean_and_shares():
    errors = np.array([0.5, 2.0, 4.0, 20.0], np.float32)
    assert metrics.over_matches(errors) == {
        "median": 3.0, "mean": 6.625, "pck_1": 0.25, "pck_3": 0.5, "pck_5": 0.75, "pck_10": 0.75,
    }  # fmt: skip
    nothing = metrics.over_matches(np.empty(0, np.float32))
    assert nothing.keys() == {"median", "mean", "pck_1", "pck_3", "pck_5", "pck_10"}
    assert all(np.isnan(value) for value in nothing.values())
