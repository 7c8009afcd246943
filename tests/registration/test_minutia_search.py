"""Minutiae that look alike tell how a print lies, in whatever order they come and though others are missing."""

from functools import partial

import jax
import numpy as np
import pytest

from ifvit.enhancement.minutiae import Minutiae
from ifvit.registration.minutia_search import MOST, neighbourhoods, padded_minutiae, search_minutiae
from ifvit.registration.orientation_search import orientation_field
from ifvit.registration.registrar import Registrar
from tests.helpers.ridge_prints import FRAME, both_show, disc, drawn, errors, finger, map_to_a, pixels, turned_apart

COUNT = 4
SHIFT = (12.0, -9.0)  # px
searched = jax.jit(partial(search_minutiae, count=COUNT))
around = jax.jit(neighbourhoods)
field_of = jax.jit(orientation_field)
matcher = Registrar()


def seen(shown, minutiae=None):
    """The neighbourhoods of a print, or of some of its minutiae."""
    features = matcher.features(shown, FRAME)
    minutiae = shown.minutiae if minutiae is None else minutiae
    return around(features.ridges, field_of(features.ridges), *padded_minutiae(minutiae))


def part_of(minutiae, places):
    return Minutiae(*(values[places] for values in minutiae))


def carried(guess, points):
    return points @ guess[:2, :2].T + guess[:2, 2]


def off(guess, to_a, shown_b):
    """The mean error of a guess over the overlap, px, and that of its turn, rad."""
    both = both_show(disc(), shown_b, to_a)
    right, middle = to_a(np.array([(200.0, 144.0), (144.0, 144.0)]))
    turn = np.arctan2(*(right - middle)[::-1])
    found = np.arctan2(guess[1, 0], guess[0, 0])
    return errors(carried(guess, pixels()[both]), to_a(pixels()[both])).mean(), turned_apart(found, turn)


@pytest.fixture(scope="module")
def of_a():
    return seen(drawn(finger(3)))


@pytest.mark.parametrize("turn_deg", range(0, 360, 30))
def test_any_turn_is_found_at_once(of_a, turn_deg):
    to_a = map_to_a(turn_deg + 2, SHIFT)
    guesses, votes = map(np.asarray, searched(of_a, seen(drawn(finger(3), to_a))))
    px, turn = off(guesses[0], to_a, disc())
    assert px < 8 and turn < np.deg2rad(4)
    assert (np.diff(votes) <= 0).all() and votes[0] > 2 * votes[1]
    np.testing.assert_allclose(np.linalg.det(guesses[:, :2, :2]), 1, rtol=1e-4)


def test_a_bent_print_is_found(of_a):
    to_a = map_to_a(40, SHIFT, bend=3.0)
    px, turn = off(np.asarray(searched(of_a, seen(drawn(finger(3), to_a)))[0][0]), to_a, disc())
    assert px < 10 and turn < np.deg2rad(6)


def test_a_small_overlap_is_found(of_a):
    """Of 11 mm of a finger 5 are enough here."""
    to_a, shown = map_to_a(40, SHIFT), disc(120, 150, 55)
    px, turn = off(np.asarray(searched(of_a, seen(drawn(finger(3), to_a, shown)))[0][0]), to_a, shown)
    assert px < 10 and turn < np.deg2rad(6)


@pytest.mark.parametrize("seed", range(3))
def test_the_order_does_not_matter_and_others_may_be_missing(of_a, seed):
    """Two fifths of them."""
    to_a = map_to_a(75, SHIFT)
    b = drawn(finger(3), to_a)
    left = np.random.default_rng(seed).permutation(len(b.minutiae.points))[: len(b.minutiae.points) * 3 // 5]
    px, turn = off(np.asarray(searched(of_a, seen(b, part_of(b.minutiae, left)))[0][0]), to_a, disc())
    assert px < 10 and turn < np.deg2rad(6)


def test_shuffled_minutiae_give_the_same_guess(of_a):
    b = drawn(finger(3), map_to_a(75, SHIFT))
    shuffled = part_of(b.minutiae, np.random.default_rng(0).permutation(len(b.minutiae.points)))
    first, second = (np.asarray(searched(of_a, seen(b, minutiae))[0][0]) for minutiae in (b.minutiae, shuffled))
    np.testing.assert_allclose(first, second, rtol=1e-4, atol=0.02)


def test_another_finger_has_few_votes(of_a):
    _, own = searched(of_a, seen(drawn(finger(3), map_to_a(30, SHIFT))))
    for seed in (5, 6):
        _, votes = searched(of_a, seen(drawn(finger(seed))))
        assert float(votes[0]) < 0.3 * float(own[0])


def test_without_minutiae_there_is_no_guess(of_a):
    print_b = drawn(finger(3))
    guesses, votes = searched(of_a, seen(print_b, part_of(print_b.minutiae, [])))
    np.testing.assert_array_equal(votes, 0)
    assert np.isfinite(guesses).all()


def test_padding_says_what_is_there():
    """The first `MOST` are taken: those deepest inside."""
    points = np.arange(2 * (MOST + 5), dtype=np.float32).reshape(-1, 2)
    many = Minutiae(points, points[:, 0] / 100, np.ones(len(points), np.int32))
    places, directions, present = padded_minutiae(many)
    assert present.all() and places.shape == (MOST, 2)
    np.testing.assert_array_equal(places, points[:MOST])
    places, directions, present = padded_minutiae(part_of(many, [4, 9]))
    assert present.sum() == 2 and present[:2].all()
    np.testing.assert_array_equal(directions[:2], many.directions[[4, 9]])
    assert places.dtype == directions.dtype == np.float32


def test_a_neighbourhood_turns_with_its_print(of_a):
    """The same ridges are seen around a minutia whichever way the print lies."""
    to_a = map_to_a(50)
    b = seen(drawn(finger(3), to_a))
    apart = errors(np.asarray(of_a.points)[:, None], to_a(np.asarray(b.points)))
    first, second = np.nonzero((apart < 2.5) & np.outer(of_a.present, b.present))
    turned = turned_apart(np.asarray(of_a.directions)[first], np.asarray(b.directions)[second] + np.deg2rad(50))
    first, second = first[turned < 0.15], second[turned < 0.15]
    assert len(first) > 5
    alike = np.einsum("np,np->n", np.asarray(of_a.patch)[first], np.asarray(b.patch)[second])
    assert np.median(alike) > 0.7
    rings = np.asarray(of_a.rings)[first] - np.asarray(b.rings)[second]
    both = (np.asarray(of_a.ring_weight)[first] > 0.9) & (np.asarray(b.ring_weight)[second] > 0.9)
    assert np.median(np.hypot(rings[:, 0], rings[:, 1])[both]) < 0.3
