from fractions import Fraction

import numpy as np
import pytest

from ifvit.rates import Thresholds, auc, det, equal_error, lowest_fnmr, zero_fnmr

inf = float("inf")


def rates_of(genuine, impostor):
    scores = np.array([*genuine, *impostor], float)
    return Thresholds(scores, np.arange(len(scores)) < len(genuine)).rates()


def random_lists(seed, ties):
    rng = np.random.default_rng(seed)
    genuine, impostor = rng.normal(1, 1, rng.integers(1, 40)), rng.normal(0, 1, rng.integers(1, 60))
    return (np.round(genuine), np.round(impostor)) if ties else (genuine, impostor)


def test_on_paper():
    # threshold   1    2    3    4    5   inf
    # FNMR of 4   0    0   1/4  1/4  3/4   1      genuine 2 4 4 5
    # FMR of 5    1   3/5  2/5  1/5   0    0      impostor 1 1 2 3 4
    rates = rates_of([2, 4, 4, 5], [1, 1, 2, 3, 4])
    assert rates.thresholds.tolist() == [1, 2, 3, 4, 5, inf]
    assert rates.rejected.tolist() == [0, 0, 1, 1, 3, 4]
    assert rates.accepted.tolist() == [5, 3, 2, 1, 0, 0]
    # t1 = 3, sum 13/20; t2 = 4, sum 9/20: the smaller is t2's, [FMR, FNMR] = [1/5, 1/4]
    assert [float(v) for v in equal_error(rates)] == pytest.approx([0.225, 0.2, 0.25, 4])
    assert [float(v) for v in lowest_fnmr(rates, 0.2)] == [0.25, 4]
    assert [float(v) for v in lowest_fnmr(rates, 0.19)] == [0.75, 5]
    assert float(zero_fnmr(rates)) == 0.6
    # of 20 comparisons 2 beats 2 (2 > 1, 1), ties 1; each 4 beats 4, ties 1; 5 beats 5: 15 + 3 / 2
    assert float(auc(rates)) == pytest.approx(16.5 / 20)
    assert det(rates).tolist() == [[1, 0], [0.6, 0], [0.4, 0.25], [0.2, 0.25], [0, 0.75], [0, 1]]


def test_the_interval_at_t1():
    # threshold   1    2    3   inf
    # FNMR of 2   0   1/2  1/2   1     genuine 1 3
    # FMR of 3    1   2/3   0    0     impostor 1 2 2: t1 = 2, sum 7/6; t2 = 3, sum 1/2
    assert [float(v) for v in equal_error(rates_of([1, 3], [1, 2, 2]))] == [0.25, 0, 0.5, 3]
    # threshold   1    2   inf
    # FNMR of 4   0   1/4   1     genuine 1 2 2 2
    # FMR of 2    1   1/2   0     impostor 1 2: t1 = 2, sum 3/4; t2 = inf, sum 1
    assert [float(v) for v in equal_error(rates_of([1, 2, 2, 2], [1, 2]))] == [0.375, 0.25, 0.5, 2]


def test_separable_inverted_and_constant():
    apart = rates_of([3, 4], [1, 2])
    assert [float(v) for v in equal_error(apart)] == [0, 0, 0, 3]
    assert (lowest_fnmr(apart, 0)[0], zero_fnmr(apart), auc(apart)) == (0, 0, 1)
    assert det(apart).tolist() == [[1, 0], [0, 0], [0, 1]]
    inverted = rates_of([1, 2], [3, 4])
    assert [float(v) for v in equal_error(inverted)][:3] == [1, 1, 1]
    assert (lowest_fnmr(inverted, 0)[0], zero_fnmr(inverted), auc(inverted)) == (1, 1, 0)
    constant = rates_of([7, 7, 7], [7, 7])
    assert [float(v) for v in equal_error(constant)] == [0.5, 0, 1, 7]
    assert (lowest_fnmr(constant, 0.5)[0], zero_fnmr(constant), auc(constant)) == (1, 1, 0.5)
    assert det(constant).tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(20))
def test_against_brute_force(seed, ties):
    genuine, impostor = random_lists(seed, ties)
    rates = rates_of(genuine, impostor)
    every = [*sorted({*genuine, *impostor}), inf]
    fnmr = {t: Fraction(sum(s < t for s in genuine), len(genuine)) for t in every}
    fmr = {t: Fraction(sum(s >= t for s in impostor), len(impostor)) for t in every}
    assert rates.thresholds.tolist() == every
    np.testing.assert_array_equal(rates.fnmr, [float(fnmr[t]) for t in every])
    np.testing.assert_array_equal(rates.fmr, [float(fmr[t]) for t in every])

    t1 = max(t for t in every if fnmr[t] <= fmr[t])
    t2 = min(t for t in every if fnmr[t] >= fmr[t])
    at_t1 = fnmr[t1] + fmr[t1] <= fnmr[t2] + fmr[t2]
    low, high = (fnmr[t1], fmr[t1]) if at_t1 else (fmr[t2], fnmr[t2])
    expected = [float((low + high) / 2), float(low), float(high), t1 if at_t1 else t2]
    assert [float(v) for v in equal_error(rates)] == pytest.approx(expected)

    for far in (0, 0.01, 0.1, 0.25):
        allowed = [t for t in every if fmr[t] <= Fraction(str(far))]
        assert lowest_fnmr(rates, far) == (float(min(fnmr[t] for t in allowed)), min(allowed))
    assert zero_fnmr(rates) == float(min(fmr[t] for t in every if fnmr[t] == 0))
    wins = sum((g > i) + (g == i) / 2 for g in genuine for i in impostor)
    assert auc(rates) == pytest.approx(wins / len(genuine) / len(impostor))


def test_a_share_that_floats_miss():
    rates = rates_of([0.5], np.arange(100))  # 0.29 x 100 < 29 in floats
    assert lowest_fnmr(rates, 0.29)[1] == 71


@pytest.mark.parametrize("ties", [False, True])
def test_corners_draw_the_whole_curve(ties):
    genuine, impostor = random_lists(3, ties)
    rates = rates_of(genuine, impostor)
    corners = det(rates)
    points = np.stack([rates.fmr, rates.fnmr], -1)
    for point in points:
        on_a_stretch = [
            np.isclose(np.linalg.norm(point - a) + np.linalg.norm(point - b), np.linalg.norm(a - b), atol=1e-12)
            for a, b in zip(corners[:-1], corners[1:], strict=True)
        ]
        assert any(on_a_stretch)
    assert {tuple(c) for c in corners} <= {tuple(p) for p in points}
    turns = np.diff(corners, axis=0) != 0
    straight_on = (turns[1:] == turns[:-1]).all(-1) & (turns[1:].sum(-1) == 1)
    assert not straight_on.any()
    assert ties or len(corners) < len(points)


def test_weights_are_copies():
    rng = np.random.default_rng(0)
    scores, genuine = np.round(rng.normal(size=60)), rng.random(60) < 0.4
    times = rng.integers(0, 4, (3, 60))
    ladder = Thresholds(scores, genuine)
    weighted = ladder.rates(times[:, ladder.order])
    eer, auc_ = equal_error(weighted).rate, auc(weighted)
    for k in range(3):
        copied = Thresholds(np.repeat(scores, times[k]), np.repeat(genuine, times[k])).rates()
        assert eer[k] == equal_error(copied).rate and auc_[k] == pytest.approx(auc(copied))
        for far in (0, 0.1):
            assert lowest_fnmr(weighted, far)[0][k] == lowest_fnmr(copied, far)[0]


@pytest.mark.parametrize("ties", [False, True])
def test_against_scikit_learn(ties):
    sklearn = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(1)
    scores, genuine = rng.normal(size=2000), rng.random(2000) < 0.3
    scores[genuine] += 1.5
    scores = np.round(scores, 1) if ties else scores
    rates = Thresholds(scores, genuine).rates()
    fpr, tpr, thresholds = sklearn.roc_curve(genuine, scores, drop_intermediate=False)
    np.testing.assert_array_equal(rates.thresholds[::-1], thresholds)
    np.testing.assert_allclose(rates.fmr[::-1], fpr, rtol=1e-12)
    np.testing.assert_allclose(1 - rates.fnmr[::-1], tpr, rtol=1e-12, atol=1e-15)
    assert auc(rates) == pytest.approx(sklearn.roc_auc_score(genuine, scores), rel=1e-12)
