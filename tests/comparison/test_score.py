"""More agreement, more of the print and more paired minutiae never speak against one finger."""

import numpy as np
import pytest

from ifvit.comparison.score import Evidence, ridge_score, terms

MATES = Evidence(0.9, 45_000.0, 18, 6)
OTHERS = Evidence(0.28, 45_000.0, 3, 24)


def test_mates_and_others():
    assert ridge_score(MATES) > 2 and ridge_score(OTHERS) < -2


@pytest.mark.parametrize(
    "worse", [{"mean": 0.6}, {"area": 8_000.0}, {"paired": 4}, {"alone": 25}], ids=lambda change: next(iter(change))
)
def test_less_evidence_is_worth_less(worse):
    assert ridge_score(MATES._replace(**worse)) < ridge_score(MATES)


def test_a_small_overlap_that_agrees_by_chance_is_not_one_finger():
    assert ridge_score(Evidence(0.55, 9_000.0, 2, 6)) < 2


def test_ridges_without_a_minutia_in_common_are_no_evidence_for_one_finger():
    """As parallel ones, which lie on any others."""
    assert ridge_score(Evidence(0.98, 60_000.0, 0, 0)) <= 0
    assert ridge_score(Evidence(0.98, 60_000.0, 3, 0)) <= 3 < ridge_score(MATES)


def test_arrays_and_numbers_give_the_same():
    both = Evidence(*(np.array(pair) for pair in zip(MATES, OTHERS, strict=True)))
    np.testing.assert_array_equal(ridge_score(both), [ridge_score(MATES), ridge_score(OTHERS)])
    assert terms(both).shape == (2, 3)
