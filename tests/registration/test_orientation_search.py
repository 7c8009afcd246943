"""The flow of the ridges tells how a print lies, whatever way it is turned."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ifvit.registration.elastic import ridges_of
from ifvit.registration.orientation_search import APART, CELL, distinct, orientation_field, search_orientation
from ifvit.registration.registrar import Registrar
from tests.helpers.ridge_prints import (
    FRAME,
    PERIOD,
    both_show,
    disc,
    drawn,
    errors,
    finger,
    homography,
    map_to_a,
    pixels,
)

COUNT = 3
SHIFT = (12.0, -9.0)  # px
searched = jax.jit(partial(search_orientation, count=COUNT))
field_of = jax.jit(lambda signal, mask: orientation_field(ridges_of(signal, mask)))
matcher = Registrar()


def spectra(shown):
    return matcher.features(shown, FRAME).spectra


def carried(guess, points):
    return points @ guess[:2, :2].T + guess[:2, 2]


@pytest.fixture(scope="module")
def of_a():
    return spectra(drawn(finger(3)))


@pytest.mark.parametrize("turn_deg", range(0, 360, 30))
def test_any_turn_is_found(of_a, turn_deg):
    to_a = map_to_a(turn_deg + 2, SHIFT)  # between the turns that are tried, too
    guesses, values = map(np.asarray, searched(of_a, spectra(drawn(finger(3), to_a))))
    both = both_show(disc(), disc(), to_a)
    turned = np.rad2deg(np.arctan2(guesses[:, 1, 0], guesses[:, 0, 0]))
    apart = np.abs((turned - turn_deg - 2 + 180) % 360 - 180)
    off = [errors(carried(guess, pixels()[both]), to_a(pixels()[both])).mean() for guess in guesses]
    right = (apart < 6) & (np.array(off) < 16) & (values > 0.3)
    assert right.any()
    np.testing.assert_allclose(np.linalg.det(guesses[:, :2, :2]), 1, rtol=1e-5)


@pytest.mark.parametrize("shift", [(0.0, 0.0), (8.0, 4.0), (-40.0, 28.0)])
def test_the_best_guess_is_the_true_one(of_a, shift):
    """By the parabola through the scores to a part of a cell."""
    guesses, values = map(np.asarray, searched(of_a, spectra(drawn(finger(3), map_to_a(0, shift)))))
    assert errors(carried(guesses[0], pixels()), pixels() + shift)[disc()].mean() < 10
    assert (np.diff(values) <= 0).all() and 0.6 < values[0] <= 1.0


def test_a_small_overlap_tells_nothing(of_a):
    """Neither with a print that is small, nor with none."""
    for shown in (disc(radius=60), np.zeros(FRAME, bool)):
        guesses, values = searched(of_a, spectra(drawn(finger(3), None, shown)))
        np.testing.assert_array_equal(values, -1)
        assert np.isfinite(guesses).all()
    large = searched(of_a, spectra(drawn(finger(3), None, disc(radius=80))))[1]
    assert float(large[0]) > 0


@pytest.mark.parametrize("normal_deg", [0, 30, 90, 135])
def test_the_field_is_twice_the_angle_of_the_gradient(normal_deg):
    normal = np.deg2rad(normal_deg)
    shown = disc(radius=130)
    signal = np.cos(pixels() @ (np.cos(normal), np.sin(normal)) * (2 * np.pi / PERIOD)) * shown
    real, imaginary, mask = np.asarray(field_of(signal.astype(np.float32), shown.astype(np.float32)))
    inner = np.s_[4:-4, 4:-4]
    np.testing.assert_allclose(real[inner], np.cos(2 * normal), atol=0.03)
    np.testing.assert_allclose(imaginary[inner], np.sin(2 * normal), atol=0.03)
    assert real.shape == (FRAME[0] // CELL, FRAME[1] // CELL)
    np.testing.assert_allclose(mask.sum() * CELL**2, shown.sum(), rtol=0.01)
    assert (mask[0, 0], real[0, 0], imaginary[0, 0]) == (0, 0, 0)


def test_guesses_that_are_nearly_alike_are_one():
    """The better one; what is not good is none and hides none."""
    near, far = APART / 2, APART * 2
    guesses = np.stack([homography(0, (x, 0)) for x in (0, near, far, far + near, 900, 900 + near)])
    good = jnp.array([True, True, True, True, False, True])
    kept = distinct(jnp.asarray(guesses), good, jnp.array([144.0, 144.0]))
    assert kept.tolist() == [True, False, True, False, False, True]


def test_guesses_differ_where_the_print_is():
    """By a turn about the middle as well, which moves its sides."""
    guesses = np.stack([homography(turn, (0, 0)) for turn in (0, 5, 20)])
    assert distinct(jnp.asarray(guesses), jnp.ones(3, bool), jnp.array([144.0, 144.0])).tolist() == [True, False, True]


def test_the_guesses_of_a_search_differ(of_a):
    guesses, values = map(np.asarray, searched(of_a, spectra(drawn(finger(3), map_to_a(60.0)))))
    at = np.array([(144.0, 144.0), (72, 144), (216, 144), (144, 58), (144, 230)])
    places = [carried(guess, at) for guess, value in zip(guesses, values, strict=True) if value > 0]
    for k, place in enumerate(places):
        assert all(np.abs(place - other).max() > APART for other in places[:k])
