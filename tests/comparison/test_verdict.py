"""Whose impostors decide on a score, and that what is decided follows from them."""

import numpy as np
import pytest

from ifvit.calibration import calibration
from ifvit.comparison.verdict import Basis, verdict

SYNTHETIC = calibration(np.linspace(-4, 0, 1000))


@pytest.mark.parametrize("score, accepted", [(0.1, True), (-0.1, False), (-3.0, False)])
def test_synthetic_fingers_decide_where_there_is_nothing_else(score, accepted):
    found = verdict(score, 0.01, None, SYNTHETIC)
    assert found.accepted is accepted and found.calibration is SYNTHETIC and found.why == "1000 impostor pairs"
    assert found.basis is Basis.synthetic


def test_an_fmr_that_they_cannot_tell_is_left_to_the_ratio():
    found = [verdict(score, 0.001, None, SYNTHETIC) for score in (2.9, 3.0)]
    assert [(answer.accepted, answer.basis) for answer in found] == [(False, Basis.fit), (True, Basis.fit)]
    assert found[0].why == (
        "the fit of the score on synthetic fingers, extrapolated: 1000 impostor pairs tell no FMR below 0.3 %"
    )


def test_synthetic_fingers_say_no_at_any_fmr_where_they_reach_the_score():
    """Nothing is extrapolated for that."""
    found = verdict(-3.0, 1e-6, None, SYNTHETIC)
    assert found.accepted is False and found.basis is Basis.synthetic


def test_a_ratio_for_two_fingers_is_never_one_for_one_however_few_reach_it():
    assert verdict(-0.1, 0.5, None, SYNTHETIC).accepted is False
    assert verdict(-0.1, 0.5, SYNTHETIC, SYNTHETIC).accepted is False
    assert verdict(-0.1, 0.5, None, SYNTHETIC).basis is Basis.score
    assert verdict(-0.1, 0.01, None, SYNTHETIC).basis is Basis.synthetic
    assert verdict(-0.1, 0.5, SYNTHETIC, None).accepted is True  # of cosines zero means nothing


def test_the_runs_own_impostors_come_first_where_they_tell():
    own = calibration(np.linspace(0, 1, 500))
    assert not verdict(0.5, 0.01, own, SYNTHETIC).accepted and verdict(0.5, 0.01, own, SYNTHETIC).calibration is own
    assert verdict(1.5, 0.01, own, SYNTHETIC).accepted
    assert verdict(1.5, 0.002, own, SYNTHETIC).calibration is SYNTHETIC  # 500 cannot tell it


def test_few_impostors_of_the_run_still_say_no():
    few = calibration(np.arange(45.0))
    assert verdict(44.0, 0.01, few, None).accepted is False  # one of 45 reaches it, which is more than 1 %
    assert verdict(44.5, 0.01, few, None).accepted is None
    assert verdict(44.5, 0.01, few, None).basis is None
    assert verdict(44.0, 0.01, few, None).why == "the run's own 45 impostor pairs"
    assert verdict(44.0, 0.05, few, None).accepted is None  # one of 45 is no more than 5 %
    assert verdict(40.0, 0.05, few, None).accepted is False
    assert verdict(44.5, 0.07, few, None).accepted is True


def test_a_score_without_a_calibration_stays_open():
    found = verdict(0.9, 0.01, None, None)
    assert found.accepted is None and found.calibration is None and "not calibrated" in found.why
