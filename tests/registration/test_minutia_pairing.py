"""Minutiae are paired at most once, the nearest first, and only where both prints show ridges."""

import numpy as np
import pytest

from ifvit.enhancement.minutiae import BORDER, Minutiae
from ifvit.registration.minutia_pairing import ANGLE, DISTANCE, pair_minutiae
from tests.helpers.ridge_prints import map_to_a

SIDE = 200  # px
EVERYWHERE = np.ones((SIDE, SIDE), bool)


def minutiae(*rows):
    """Of (x, y, direction deg, kind)."""
    table = np.array(rows, float).reshape(-1, 4)
    return Minutiae(
        table[:, :2].astype(np.float32), np.deg2rad(table[:, 2]).astype(np.float32), table[:, 3].astype(int)
    )


def same(points):
    return points


def paired(a, b, ridges_a=EVERYWHERE, ridges_b=EVERYWHERE, to_a=same, to_b=same):
    found = pair_minutiae(minutiae(*a), minutiae(*b), ridges_a, ridges_b, to_a, to_b)
    return found, list(zip(found.first.tolist(), found.second.tolist(), strict=True))


def test_each_is_paired_with_its_own():
    a = [(50, 50, 0, 1), (100, 60, 90, 3), (150, 150, 170, 1)]
    b = [(152, 149, -175, 1), (51, 52, 5, 3), (99, 61, 80, 3)]  # 170 and -175 degrees are near
    found, pairs = paired(a, b)
    assert sorted(pairs) == [(0, 1), (1, 2), (2, 0)]
    assert dict(zip(pairs, found.same_kind.tolist(), strict=True)) == {(0, 1): False, (1, 2): True, (2, 0): True}
    assert found.counts == (3, 2, 0)


@pytest.mark.parametrize(
    ("row", "count"),
    [
        ((100 + DISTANCE - 0.1, 100, 0, 1), 1), ((100 + DISTANCE + 0.1, 100, 0, 1), 0),
        ((100, 100, np.rad2deg(ANGLE) - 1, 1), 1), ((100, 100, -np.rad2deg(ANGLE) - 1, 1), 0),
        ((100, 100, 180, 1), 0),
    ],
)  # fmt: skip
def test_they_must_be_near_and_point_alike(row, count):
    found, pairs = paired([(100, 100, 0, 1)], [row])
    assert len(pairs) == count
    assert found.counts == (count, count, 2 * (1 - count))


def test_the_nearest_are_paired_first_and_each_once():
    a = [(100, 100, 0, 1), (106, 100, 0, 1)]
    b = [(107, 100, 0, 1)]
    found, pairs = paired(a, b)
    assert pairs == [(1, 0)]
    assert found.only_a.tolist() == [0] and found.only_b.tolist() == []
    found, pairs = paired([(100, 100, 0, 1)] * 3, [(100, 100, 0, 1)] * 2)
    assert pairs == [(0, 0), (1, 1)] and found.only_a.tolist() == [2]
    _, pairs = paired([(100, 100, 0, 1), (50, 50, 0, 1)], [(103, 100, 0, 1), (51, 50, 0, 1)])
    assert pairs == [(1, 1), (0, 0)]


def test_only_what_both_prints_show_lacks_a_partner():
    """Deep inside: `BORDER` px from the edge of the other print's ridges nothing is looked for."""
    left = EVERYWHERE.copy()
    left[:, 120:] = False
    rows = [(60, 100, 0, 1), (120 - BORDER - 4, 60, 0, 1), (120 - BORDER + 3, 140, 0, 1), (160, 100, 0, 1)]
    found, _ = paired([], rows, ridges_a=left)
    assert found.only_b.tolist() == [0, 1] and found.counts == (0, 0, 2)
    found, _ = paired(rows, [], ridges_b=left)
    assert found.only_a.tolist() == [0, 1] and found.counts == (0, 0, 2)


def test_what_the_map_takes_out_of_the_other_print_does_not_count():
    far = [(100, 100, 0, 1)]
    found, _ = paired([], far, to_a=lambda points: points + 500, to_b=lambda points: points - 500)
    assert found.counts == (0, 0, 0)
    found, _ = paired(far, [], to_a=lambda points: points + 500, to_b=lambda points: points - 500)
    assert found.counts == (0, 0, 0)


def test_the_map_turns_directions_too():
    to_a, to_b = map_to_a(90.0), map_to_a(-90.0)
    b = np.array([(120.0, 100.0), (80.0, 130.0)])
    on_a = to_a(b)
    rows_b = [(*b[0], 10, 1), (*b[1], -60, 3)]
    rows_a = [(*on_a[0], 100, 1), (*on_a[1], 30, 3)]
    big = np.ones((300, 300), bool)
    found, pairs = paired(rows_a, rows_b, big, big, to_a, to_b)
    assert sorted(pairs) == [(0, 0), (1, 1)] and found.counts == (2, 2, 0)
    wrong = [(*on_a[0], 10, 1), (*on_a[1], -60, 3)]
    assert paired(wrong, rows_b, big, big, to_a, to_b)[1] == []


def test_swapped_is_the_same_of_b_and_a():
    a = [(100, 100, 0, 1), (50, 50, 0, 3), (50, 150, 0, 1)]
    b = [(51, 50, 0, 1), (101, 100, 0, 1), (150, 50, 0, 1), (150, 150, 0, 1)]
    straight, pairs = paired(a, b)
    other, _ = paired(b, a)
    swapped = straight.swapped()
    assert swapped.first.tolist() == straight.second.tolist() and swapped.second.tolist() == straight.first.tolist()
    assert swapped.only_a.tolist() == straight.only_b.tolist() == [2, 3] and swapped.only_b.tolist() == [2]
    assert swapped.counts == straight.counts == other.counts == (2, 1, 3)
    for there, again in zip(straight, swapped.swapped(), strict=True):
        np.testing.assert_array_equal(there, again)


def test_without_minutiae_there_are_no_pairs():
    found, pairs = paired([], [])
    assert pairs == [] and found.counts == (0, 0, 0)
    assert found.first.dtype == found.second.dtype == int
