import json

import numpy as np
import pytest

from ifvit.calibration import STEP, Calibration, _upper_bound, calibration


def test_none_reached_is_the_rule_of_three():
    table = calibration(np.arange(1000.0))
    assert table.fmr_at(999.0) > table.fmr_at(999.5) == table.fmr_at(1e9) == 3 / 1000
    assert table.fmr_at(-1.0) == table.fmr_at(0.0) == 1
    assert calibration(np.array([0.5])).fmr_at(2.0) == 1  # one pair says nothing


@pytest.mark.parametrize("ties", [False, True])
def test_it_never_rises_and_is_never_below_the_share(ties):
    rng = np.random.default_rng(0)
    scores = rng.normal(size=20000)
    scores = np.round(scores, 1) if ties else scores
    table = calibration(scores)
    at = np.sort(np.concatenate([scores, np.nextafter(scores, np.inf), np.linspace(-6, 6, 1001)]))
    bound = table.fmr_at(at)
    ascending = np.sort(scores)
    exact = _upper_bound(len(scores) - np.searchsorted(ascending, at, side="left"), len(scores))
    assert (np.diff(bound) <= 0).all()
    assert (bound >= exact).all() and (bound <= exact / (1 - STEP) + 1e-12).all()
    assert (exact >= 1 - np.searchsorted(ascending, at, side="left") / len(scores)).all()
    assert len(table.fmr) < 600


def test_the_bound_against_the_exact_one():
    stats = pytest.importorskip("scipy.stats")
    count = np.arange(2000)
    exact = stats.beta.ppf(0.95, count + 1, 100_000 - count)  # Clopper and Pearson
    ours = _upper_bound(count, 100_000)
    assert (ours >= exact).all() and (ours <= 1.015 * exact).all()


def test_the_true_rate_is_seldom_above_it():
    rng = np.random.default_rng(0)
    draws = rng.random((2000, 200))  # the true FMR at score t is 1 - t
    for t in (0.5, 0.95, 0.99):
        above = np.mean([calibration(scores).fmr_at(t) < 1 - t for scores in draws])
        assert above <= 0.06


def test_through_json():
    table = calibration(np.random.default_rng(0).normal(size=500))
    back = Calibration.from_dict(json.loads(json.dumps(table.to_dict(), allow_nan=False)))
    at = np.linspace(-4, 4, 99).reshape(3, 33)
    np.testing.assert_array_equal(back.fmr_at(at), table.fmr_at(at))
    assert back.impostors == 500 and table.fmr_at(at).shape == (3, 33)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"more": 1}, "nothing else"),
        ({"impostors": "many"}, "how many impostor pairs"),
        ({"fmr": [1.0]}, "one bound more"),
        ({"above": [2.0, 1.0]}, "scores rise"),
        ({"fmr": [0.5, 0.6, 0.4]}, "never do"),
        ({"fmr": [1.0, 0.6, 0.0]}, "above 0"),
        ({"fmr": [1.0, float("nan"), 0.1]}, "never do"),
    ],
)
def test_a_spoilt_table_is_refused(change, message):
    tree = {"impostors": 30, "above": [1.0, 2.0], "fmr": [1.0, 0.5, 0.1]}
    assert Calibration.from_dict(tree).fmr_at(1.5) == 0.5
    with pytest.raises(ValueError, match=message):
        Calibration.from_dict(tree | change)


def test_a_score_that_is_none():
    with pytest.raises(ValueError, match="NaN"):
        calibration(np.arange(4.0)).fmr_at(np.array([0.0, np.nan]))


def test_three_pairs_say_nothing():
    table = Calibration.from_dict(calibration(np.array([0.1, 0.2, 0.3])).to_dict())
    assert table.fmr_at(9.0) == 1 and not len(table.above)
