"""Ridges agree with themselves, not with their opposite, and areas are what counting says."""

import jax
import numpy as np
import pytest

from ifvit.registration.agreement import CELL, LEAST_AREA, agreement_of
from ifvit.registration.elastic import ElasticMap
from ifvit.registration.registrar import Registrar
from tests.helpers.ridge_prints import FRAME, both_show, disc, drawn, finger, homography, map_to_a

SAME = ElasticMap(np.eye(3, dtype=np.float32), ())
SHOWN_B = disc(130, 150, 110)
agreement = jax.jit(agreement_of)
matcher = Registrar()


def ridges(*args, **settings):
    return matcher.features(drawn(*args, **settings), FRAME).ridges


@pytest.fixture(scope="module")
def a():
    return ridges(finger(3))


def test_a_print_agrees_with_itself(a):
    found = agreement(a, a, SAME)
    assert found.mean > 0.999 and found.agrees > 0.999 and found.share == 1
    np.testing.assert_allclose(np.asarray(found.local)[np.asarray(found.cover) > 0], 1, atol=1e-3)


def test_it_does_not_agree_with_its_opposite(a):
    found = agreement(a, ridges(finger(3), sign=-1), SAME)
    assert found.mean < -0.9 and found.agrees == 0 and found.area > LEAST_AREA


def test_another_finger_agrees_by_chance(a):
    found = agreement(a, ridges(finger(5)), SAME)
    assert abs(float(found.mean)) < 0.3 and found.agrees < 0.2


@pytest.mark.parametrize(("px", "low", "high"), [(1.0, 0.6, 0.95), (2.25, -0.2, 0.3), (4.5, -1.0, -0.4)])
def test_it_falls_with_the_distance_from_the_ridge(px, low, high):
    """In step, a quarter and half a period of 9 px off; ridges across x."""
    straight = finger(3)._replace(places=np.zeros((0, 2)), signs=np.zeros(0), core=(-5000.0, 144.0), ripple=0.0)
    straight_a = ridges(straight)
    step = px / 0.85  # ridges lie 9 / .85 px apart along x
    assert low < float(agreement(straight_a, straight_a, ElasticMap(homography(0, (step, 0)), ())).mean) < high


def test_the_map_takes_points_of_b_to_a(a):
    to_a = map_to_a(25, (14, -6))
    b = ridges(finger(3), to_a, SHOWN_B)
    assert agreement(a, b, ElasticMap(homography(25, (14, -6)), ())).mean > 0.95
    assert agreement(a, b, ElasticMap(homography(-25, (-14, 6)), ())).mean < 0.3


def test_area_and_share_are_what_counting_says(a):
    to_a = map_to_a(25, (-60, 40))
    found = agreement(a, ridges(finger(3), to_a, SHOWN_B), ElasticMap(homography(25, (-60, 40)), ()))
    both = both_show(disc(), SHOWN_B, to_a)
    assert float(found.area) == pytest.approx(both.sum(), rel=0.005)
    assert float(found.share) == pytest.approx(both.sum() / SHOWN_B.sum(), rel=0.005)  # B is the smaller one
    cells = both.reshape(FRAME[0] // CELL, CELL, FRAME[1] // CELL, CELL).mean((1, 3))
    assert np.abs(np.asarray(found.cover) - cells).mean() < 0.01
    assert (np.asarray(found.local)[np.asarray(found.cover) == 0] == 0).all()


def test_the_mean_is_over_the_overlap_and_nothing_else(a):
    """Half of B is the opposite: what is there counts by its area."""
    b, opposite = ridges(finger(3)), ridges(finger(3), sign=-1)
    upper = (np.arange(FRAME[0]) < 100).astype(np.float32)[:, None]
    mixed = b._replace(signal=b.signal * (1 - upper) + opposite.signal * upper)
    found = agreement(a, mixed, SAME)
    local, cover = np.asarray(found.local), np.asarray(found.cover)
    assert float(found.mean) == pytest.approx((local * cover).sum() / cover.sum(), abs=1e-4)
    assert float(found.agrees) == pytest.approx(cover[local > 0.6].sum() / cover.sum(), abs=1e-4)
    same = disc()[100:].sum() / disc().sum()
    assert float(found.mean) == pytest.approx(2 * same - 1, abs=0.05)
    assert local[5:15, 36].max() < -0.9 and local[40:60, 36].min() > 0.9


def test_a_tiny_overlap_tells_nothing(a):
    side = int(LEAST_AREA**0.5)
    for more, positive in ((0, False), (1, True)):
        shown = np.zeros(FRAME, bool)
        shown[140 : 140 + side + more, 140 : 140 + side + more] = True
        found = agreement(a, ridges(finger(3), None, shown), SAME)
        assert float(found.area) == shown.sum()
        assert (float(found.mean) > 0.9) == positive and (float(found.agrees) > 0.9) == positive


def test_without_an_overlap_there_is_none(a):
    for found in (
        agreement(a, a, ElasticMap(homography(0, (500, 0)), ())),
        agreement(a, ridges(finger(3), None, np.zeros(FRAME, bool)), SAME),
    ):
        assert (found.mean, found.agrees, found.area, found.share) == (0, 0, 0, 0)
        assert (np.asarray(found.local) == 0).all()
