"""Whose impostors decide on a score, and that what is decided follows from them."""

import numpy as np
import pytest

from ifvit.calibration import calibration
from ifvit.recognition.verdict import BY_FIT, BY_RATIO, verdict

SYNTHETIC = calibration(np.linspace(-4, 0, 1000))


@pytest.mark.parametrize("score, accepted", [(0.1, True), (-0.1, False), (-3.0, False)])
def test_synthetic_fingers_decide_where_there_is_nothing_else(score, accepted):
    found = verdict(score, 0.01, None, SYNTHETIC)
    assert found.accepted is accepted and found.calibration is SYNTHETIC and found.by == "1000 impostor pairs"


def test_an_fmr_that_they_cannot_tell_is_left_to_the_ratio():
    assert [verdict(score, 0.001, None, SYNTHETIC)[::2] for score in (2.9, 3.0)] == [(False, BY_FIT), (True, BY_FIT)]


def test_a_ratio_for_two_fingers_is_never_one_for_one_however_few_reach_it():
    assert verdict(-0.1, 0.5, None, SYNTHETIC).accepted is False
    assert verdict(-0.1, 0.5, SYNTHETIC, SYNTHETIC).accepted is False
    assert verdict(-0.1, 0.5, None, SYNTHETIC).by == BY_RATIO and verdict(-0.1, 0.01, None, SYNTHETIC).by != BY_RATIO
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
    assert "no impostor scores as high of 45 impostor pairs" in verdict(44.5, 0.01, few, None).by
    assert verdict(44.0, 0.05, few, None).accepted is None  # one of 45 is no more than 5 %
    assert verdict(40.0, 0.05, few, None).accepted is False
    assert verdict(44.5, 0.07, few, None).accepted is True


def test_a_score_without_a_calibration_stays_open():
    found = verdict(0.9, 0.01, None, None)
    assert found.accepted is None and found.calibration is None and "not calibrated" in found.by
