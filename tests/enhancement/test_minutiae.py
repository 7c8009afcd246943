"""Minutiae are found where ridges end and divide, and nowhere else."""

import cv2
import numpy as np
import pytest

from ifvit.enhancement.minutiae import BORDER, Minutiae, MinutiaKind, find_minutiae, inside
from tests.helpers.ridge_prints import PERIOD, disc, drawn, errors, finger, turned_apart

SIDE = 192  # px
MIDDLE = (SIDE - 1) / 2
SPACING = 12.0  # px from line to line
EVERYWHERE = np.ones((SIDE, SIDE), bool)
LONG = 400.0  # px, beyond the border
ROWS = [SPACING * k for k in range(-20, 21)]


def picture(paths, turn_deg=0.0):
    """Lines 5 px wide along paths of points (x, y) px from the middle, all turned about it, uint8 (SIDE, SIDE)."""
    grey = np.full((SIDE, SIDE), 255, np.uint8)
    for path in paths:
        points = np.rint(16 * turned(path, turn_deg)).astype(np.int32)
        cv2.polylines(grey, [points], False, 0, thickness=5, shift=4)
    return grey


def turned(path, turn_deg):
    c, s = np.cos(np.deg2rad(turn_deg)), np.sin(np.deg2rad(turn_deg))
    return np.array(path, float) @ np.array([[c, s], [-s, c]]) + MIDDLE


def parallel(*without):
    """Paths along x, one in each row, but for some rows."""
    return [[(-LONG, y), (LONG, y)] for y in ROWS if y not in without]


TURNS = pytest.mark.parametrize("turn_deg", [0, 37, 90, 145, -160, -60])


@TURNS
def test_a_ridge_that_ends(turn_deg):
    """It points along the ridge, away from the gap."""
    found = find_minutiae(picture([*parallel(0), [(4, 0), (LONG, 0)]], turn_deg), EVERYWHERE)
    assert found.kinds.tolist() == [MinutiaKind.ending]
    assert errors(found.points[0], turned([(4, 0)], turn_deg)[0]) <= 3
    assert turned_apart(found.directions[0], np.deg2rad(turn_deg)) < np.deg2rad(10)


@TURNS
def test_a_ridge_that_divides(turn_deg):
    """It points to the side with two ridges, between them."""
    half = SPACING / 2
    fork = [[(-LONG, 0), (-4, 0)], *[[(-4, 0), (4, side), (LONG, side)] for side in (-half, half)]]
    found = find_minutiae(picture([*parallel(-SPACING, 0, SPACING), *fork], turn_deg), EVERYWHERE)
    assert found.kinds.tolist() == [MinutiaKind.bifurcation]
    assert errors(found.points[0], turned([(-2, 0)], turn_deg)[0]) <= 3
    assert turned_apart(found.directions[0], np.deg2rad(turn_deg)) < np.deg2rad(20)


@pytest.mark.parametrize("turn_deg", [0, 30, 90])
def test_straight_ridges_have_none(turn_deg):
    """Neither where they leave the image nor where the mask cuts them."""
    grey = picture(parallel(), turn_deg)
    y, x = np.mgrid[:SIDE, :SIDE]
    for ridges in (EVERYWHERE, np.hypot(x - 90, y - 100) < 60):
        assert len(find_minutiae(grey, ridges).points) == 0


def test_the_border_has_none():
    """A ridge that ends `BORDER` px from the edge of the print ends with it; further inside it does not."""
    for deep, count in ((BORDER - 4, 0), (BORDER + 6, 1)):
        ridges = np.zeros_like(EVERYWHERE)
        ridges[:, int(MIDDLE) :] = True
        grey = picture([*parallel(0), [(deep, 0), (LONG, 0)]])
        assert len(find_minutiae(grey, ridges).points) == count


def test_a_spur_is_no_ridge():
    spur = [(0, 0), (3, 6)]
    assert len(find_minutiae(picture([*parallel(SPACING), spur]), EVERYWHERE).points) == 0


def test_a_ridge_broken_by_a_few_px_does_not_end():
    for gap, count in ((6, 0), (30, 2)):
        broken = [[(-LONG, 0), (-gap / 2, 0)], [(gap / 2, 0), (LONG, 0)]]
        assert len(find_minutiae(picture([*parallel(0), *broken]), EVERYWHERE).points) == count


def test_dirt_and_pores_are_none():
    grey = picture(parallel(-SPACING))
    cv2.circle(grey, (100, int(MIDDLE - SPACING)), 2, 0, -1)  # dirt between two ridges
    grey[96, 60:62] = 255  # a pore in one
    assert len(find_minutiae(grey, EVERYWHERE).points) == 0


def test_a_blank_print_has_none():
    for grey, ridges in ((255, EVERYWHERE), (0, ~EVERYWHERE), (0, EVERYWHERE)):
        found = find_minutiae(np.full((SIDE, SIDE), grey, np.uint8), ridges)
        assert found.points.shape == (0, 2) and found.points.dtype == np.float32
        assert found.directions.shape == found.kinds.shape == (0,)


def test_every_minutia_of_a_finger_is_found():
    """Within half a ridge period or so of where the formula has it, and with its direction."""
    of, found = finger(3), drawn(finger(3)).minutiae
    apart = errors(of.places[:, None], found.points)
    inside = np.linalg.norm(of.places - 143.5, axis=-1) < 132 - BORDER - PERIOD
    assert (apart.min(axis=1)[inside] < PERIOD).mean() > 0.85
    assert (apart.min(axis=0) < PERIOD).mean() > 0.85
    assert np.median(apart.min(axis=0)) < 3
    nearest = apart.argmin(axis=0)
    assert np.median(turned_apart(found.directions, of.directions()[nearest])) < np.deg2rad(15)
    assert set(found.kinds.tolist()) == set(MinutiaKind)


def test_pressure_changes_the_kind_but_not_the_direction():
    """With ridges for valleys, each ending is a bifurcation at the same place, and the other way round."""
    ridges, valleys = drawn(finger(4)).minutiae, drawn(finger(4), sign=-1).minutiae
    apart = errors(ridges.points[:, None], valleys.points)
    first = np.flatnonzero(apart.min(axis=1) < PERIOD)
    second = apart.argmin(axis=1)[first]
    assert len(first) > 10
    assert (ridges.kinds[first] != valleys.kinds[second]).mean() > 0.8
    assert np.median(turned_apart(ridges.directions[first], valleys.directions[second])) < np.deg2rad(20)


def test_the_deepest_comes_first():
    shown = disc()
    depth = cv2.distanceTransform(np.pad(shown.astype(np.uint8), 1), cv2.DIST_L2, cv2.DIST_MASK_5)[1:-1, 1:-1]
    col, row = drawn(finger(3)).minutiae.points.astype(int).T
    assert (np.diff(depth[row, col]) <= 0).all() and depth[row, col].min() > BORDER


def test_of_given_minutiae_those_inside_the_ridges_stay_the_deepest_first():
    ridges = np.zeros((80, 100), bool)
    ridges[10:70, 20:90] = True
    points = np.array([[35, 40], [50, 39], [25, 40], [5, 5], [-8, 300]], np.float32)
    found = inside(Minutiae(points, np.arange(5, dtype=np.float32), np.full(5, MinutiaKind.ending, np.int32)), ridges)
    np.testing.assert_array_equal(found.points, points[[1, 0]])
    np.testing.assert_array_equal(found.directions, [1, 0])
    assert len(found.kinds) == 2 and len(inside(Minutiae(*(field[:0] for field in found)), ridges).points) == 0
