import json
from statistics import NormalDist

import numpy as np
import pytest

from ifvit.calibration import Calibration
from ifvit.evaluation import verification
from ifvit.evaluation.verification import figures
from tests.helpers.scores import simulated

HEADLINE = ("eer", "fmr100", "fmr1000", "zero_fmr")


def widths(got):
    return {name: high - low for name, (low, high) in got.intervals.items()}


# Mates score 5, 3 and 1, others 2, 2 and 4.
SCORES = np.array([5.0, 2.0, 3.0, 2.0, 4.0, 1.0])
GENUINE = np.array([True, False, True, False, False, True])
FIRST, SECOND = list("aababb"), list("abbccb")


def test_on_paper():
    got = figures(SCORES, GENUINE, FIRST, SECOND)
    assert got.pairs == (3, 3, 0, 0, 3)
    # threshold  1    2    3    4    5   inf
    # FNMR       0   1/3  1/3  2/3  2/3   1
    # FMR        1    1   1/3  1/3   0    0
    assert (got.eer, got.eer_low, got.eer_high, got.eer_threshold) == pytest.approx((1 / 3, 1 / 3, 1 / 3, 3))
    assert (got.fmr100, got.fmr1000, got.zero_fmr) == pytest.approx((2 / 3,) * 3)
    assert got.zero_fnmr == 1
    assert got.auc == pytest.approx((3 + 2 + 0) / 9)
    assert [(tar.far, tar.threshold, tar.enough) for tar in got.tar] == [(far, 5, False) for far in verification.FARS]
    assert [tar.tar for tar in got.tar] == pytest.approx([1 / 3] * 4)
    assert got.histogram.genuine.tolist() == [1, 0, 1, 0, 1] and got.histogram.impostor.tolist() == [0, 2, 0, 1, 0]
    assert got.histogram.edges.tolist() == [0.5, 1.5, 2.5, 3.5, 4.5, 5.5]
    assert got.calibration.fmr_at(4.5) == 1  # three pairs allow any rate


def test_failures_score_0_and_are_counted():
    failed = np.array([True, False, False, False, True, False])
    spoilt = np.where(failed, np.nan, SCORES)
    got = figures(spoilt, GENUINE, FIRST, SECOND, failed)
    assert got.pairs == (3, 3, 1, 1, 3)
    assert got.to_dict() == {
        **figures(np.where(failed, 0, SCORES), GENUINE, FIRST, SECOND).to_dict(),
        "pairs": got.to_dict()["pairs"],
    }
    assert got.zero_fmr == pytest.approx(2 / 3) and got.zero_fnmr == 1


def test_a_failure_is_never_accepted_before_a_comparison():
    failed = np.array([False, False, False, False, False, True])  # a mate, whose 0 would beat the others' -3
    got = figures(SCORES - 5, GENUINE, FIRST, SECOND, failed)
    assert got.zero_fnmr == 1 and got.eer == figures(SCORES, GENUINE, FIRST, SECOND, failed).eer


def test_impostor_pairs_too_few_for_a_far():
    got = figures(*simulated(100, 8, 4, seed=0))
    assert (got.pairs.genuine, got.pairs.impostor, got.pairs.fingers) == (2800, 4950, 100)
    assert [tar.enough for tar in got.tar] == [True, True, False, False]
    doubtful = [line for line in got.text() if "means little" in line]
    assert len(doubtful) == 2 and "it takes 30000 impostor pairs" in doubtful[0]
    assert [figures(*simulated(n, 2, 4, seed=0)).tar[0].enough for n in (24, 25)] == [False, True]  # of 276 and 300


def test_an_operating_point_that_the_pairs_do_not_resolve():
    """By the rule of three: 100 fingers of 8 impressions make 4950 impostor pairs, 10 make 45."""
    many, few = figures(*simulated(100, 8, 2, seed=0)), figures(*simulated(10, 8, 3, seed=0))
    assert many.enough == dict.fromkeys(HEADLINE, True)
    # What brackets mean is said where there are any.
    assert many.text()[-1] == "in brackets: 95% intervals over fingers"
    assert few.text()[-1].startswith("AUC") and "[" not in "".join(few.text())
    low, high = many.intervals["eer"]
    assert many.text()[1].startswith(
        f"EER       {100 * many.eer:.2f} % [{100 * low:.2f} %, {100 * high:.2f} %]; between"
    )
    assert many.least_fmr == pytest.approx(3 / 4950) and many.least_fnmr == pytest.approx(3 / 2800)
    assert few.enough == {"eer": few.eer >= 3 / 45, "fmr100": False, "fmr1000": False, "zero_fmr": False}
    lines = few.text()
    assert lines[2] == f"FMR100    {100 * few.fmr100:.2f} %; means little: it takes 300 impostor pairs"
    assert lines[3].endswith("%; means little: it takes 3000 impostor pairs")
    assert lines[4].endswith("; FMR: 0 of 45 impostor pairs, so up to 6.67 %")
    assert lines[5].endswith("; FNMR: 0 of 280 genuine pairs, so up to 1.07 %")
    at = figures(*simulated(25, 2, 4, seed=0))  # exactly 300
    assert at.enough["fmr100"] and at.enough["zero_fmr"] and not at.enough["fmr1000"]


@pytest.mark.parametrize("mates", [1, 4, 3000])
def test_an_equal_error_of_one_impostor_pair_is_not_nothing(mates):
    genuine = np.arange(mates + 1) < mates
    got = figures(genuine.astype(float), genuine, np.arange(mates + 1), np.where(genuine, np.arange(mates + 1), 0))
    assert got.eer == 0 and not any(got.enough.values())
    line = got.text()[1]
    assert line.startswith("EER       0.00 %; means little: ") and "[" not in line
    assert line.endswith("1 impostor pair cannot tell a rate below 100.00 %")
    assert [got.mark(name) for name in HEADLINE] == ["*"] * 4
    explained = [
        any(line.startswith("in brackets") for line in each.text())
        for each in (got, figures(*simulated(25, 2, 4, seed=0)))
    ]
    assert explained == [False, True]


def test_an_equal_error_of_few_genuine_pairs_names_them():
    genuine = np.arange(5004) < 4
    first = np.where(genuine, np.arange(5004), 0)
    got = figures(genuine.astype(float), genuine, first, np.where(genuine, first, 1 + np.arange(5004)))
    assert got.enough == {"eer": False, "fmr100": True, "fmr1000": True, "zero_fmr": True}
    assert got.doubt("eer") == "means little: 4 genuine pairs cannot tell a rate below 75.00 %"


def test_the_lowest_fnmr_at_each_fmr():
    scores, genuine, first, second = simulated(100, 4, 4, seed=0)
    got = figures(scores, genuine, first, second)
    impostor = np.sort(scores[~genuine])[::-1]
    for name, accepted in (("fmr100", 49), ("fmr1000", 4), ("zero_fmr", 0)):  # of 4950
        assert getattr(got, name) == (scores[genuine] <= impostor[accepted]).mean()
    assert got.fmr100 < got.fmr1000 < got.zero_fmr
    assert [tar.tar for tar in got.tar[:2]] == [1 - got.fmr100, 1 - got.fmr1000]


@pytest.mark.parametrize("kind", ["separable", "inverted", "constant"])
def test_extremes(kind):
    _, genuine, first, second = simulated(10, 4, 0, seed=0)
    scores = {"separable": genuine, "inverted": ~genuine, "constant": np.full(len(genuine), 0.3)}[kind]
    got = figures(scores.astype(float), genuine, first, second)
    rate = {"separable": 0, "inverted": 1, "constant": 1}[kind]
    assert [getattr(got, name) for name in HEADLINE[1:]] == [rate] * 3
    assert got.eer == {"separable": 0, "inverted": 1, "constant": 0.5}[kind] and got.zero_fnmr == rate
    assert all(interval == (getattr(got, name),) * 2 for name, interval in got.intervals.items())
    assert json.loads(json.dumps(got.to_dict(), allow_nan=False))["tar"][0]["threshold"] == (1 if rate == 0 else None)


def test_resampled_fingers_against_lists_written_out(monkeypatch):
    monkeypatch.setattr(verification, "RESAMPLES", 40)
    scores, genuine, first, second = simulated(8, 3, 1, seed=3)
    got = figures(scores, genuine, first, second, seed=5).intervals
    rng, drawn = np.random.default_rng(5), []
    for _ in range(40):
        times = rng.multinomial(8, [1 / 8] * 8)
        copies = [k for k in range(len(scores)) for _ in range(times[first[k]] * (genuine[k] or times[second[k]]))]
        headline = verification._headline(verification.Thresholds(scores[copies], genuine[copies]).rates())
        drawn.append([headline[name] for name in HEADLINE])
    for name, values in zip(HEADLINE, np.array(drawn).T, strict=True):
        assert got[name] == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])))


def test_intervals_hold_the_seed_and_not_how_many_are_made_at_once(monkeypatch):
    pairs = simulated(10, 4, 1.5, seed=0)
    intervals = figures(*pairs, seed=1).intervals
    monkeypatch.setattr(verification, "MAX_NUMBERS", 700)
    assert figures(*pairs, seed=1).intervals == intervals != figures(*pairs, seed=2).intervals


def test_intervals_cover_the_truth(monkeypatch):
    monkeypatch.setattr(verification, "RESAMPLES", 200)
    runs, gap = 300, 2.0
    truth = NormalDist().cdf(-gap / 2)  # two normal distributions of deviation 1 meet half way
    covered = 0
    for seed in range(runs):
        low, high = figures(*simulated(30, 4, gap, seed), seed=seed).intervals["eer"]
        covered += low <= truth <= high
    assert 0.91 <= covered / runs <= 0.99


def test_more_fingers_make_them_narrower():
    few, many = (np.mean([widths(figures(*simulated(n, 4, 2, s)))["eer"] for s in range(8)]) for n in (20, 80))
    assert 0.35 < many / few < 0.65  # as 1 / sqrt(fingers)


def test_pairs_of_one_finger_are_no_new_fingers():
    scores, genuine, first, second = simulated(60, 8, 2, seed=0)
    scores = np.where(genuine, scores, np.random.default_rng(0).normal(size=len(scores)))
    alone = 100 + np.arange(len(scores))  # as if every genuine pair had a finger of its own
    by_pair = figures(scores, genuine, np.where(genuine, alone, first), np.where(genuine, alone, second))
    assert widths(figures(scores, genuine, first, second))["eer"] > 1.2 * widths(by_pair)["eer"]


def test_two_fingers_have_intervals_too():
    got = figures(np.array([3.0, 1.0, 2.0]), np.array([True, True, False]), ["x", "y", "x"], ["x", "y", "y"])
    assert got.intervals["zero_fmr"] == (0.5, 0.5)


def test_tree_and_text():
    scores, genuine, first, second = simulated(10, 8, 3, seed=0)
    got = figures(scores, genuine, first, second)
    tree = json.loads(json.dumps(got.to_dict(), allow_nan=False))
    assert tree["pairs"] == {"genuine": 280, "impostor": 45, "failed_genuine": 0, "failed_impostor": 0, "fingers": 10}
    assert tree["eer"] == got.eer and tree["intervals"]["eer"] == list(got.intervals["eer"])
    assert tree["det"] == got.det.tolist() and sum(tree["histogram"]["genuine"]) == 280
    assert Calibration.from_dict(tree["calibration"]).fmr_at(99.0) == 3 / 45
    text = got.text()
    assert text[0].startswith("280 genuine pairs (0 failed), 45 impostor pairs (0 failed), 10 fingers")
    assert text[1].startswith(f"EER       {100 * got.eer:.2f} %; means little: 45 impostor pairs") and len(text) == 11
    assert figures(scores, genuine, [f"f{k}" for k in first], [f"f{k}" for k in second]).eer == got.eer


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": np.where(SCORES == 3, np.nan, SCORES)}, "1 scores are not finite.*pair 2: nan.*`failed`"),
        ({"scores": np.where(SCORES == 4, np.inf, SCORES)}, "pair 4: inf"),
        ({"scores": SCORES[:5]}, r"one length, not scores \(5,\), genuine \(6,\)"),
        ({"finger_second": SECOND[:4]}, r"finger_second \(4,\)"),
        ({"failed": np.zeros(7, bool)}, r"failed \(7,\)"),
        ({"scores": SCORES[:, None]}, "lists of one length"),
        ({"genuine": GENUINE.astype(int)}, "true or false for each pair, not int"),
        ({"genuine": ~GENUINE}, "6 pairs are not what their fingers say.*pair 0, is impostor and is of one finger"),
        ({"finger_first": list("bababb")}, "pair 0, is genuine and is of two fingers"),
        ({"genuine": np.zeros(6, bool)}, "no genuine pair"),
        ({"genuine": np.ones(6, bool)}, "no impostor pair"),
    ],
)
def test_what_does_not_go_together_is_refused(change, message):
    lists = {"scores": SCORES, "genuine": GENUINE, "finger_first": FIRST, "finger_second": SECOND}
    with pytest.raises(ValueError, match=message):
        figures(**lists | change)


def test_nothing_is_refused_plainly():
    with pytest.raises(ValueError, match="no genuine pair"):
        figures(np.zeros(0), np.zeros(0, bool), [], [])
