"""The similarity follows from right matches, however many wrong ones there are."""

import numpy as np
import pytest

from ifvit.registration.similarity import PointMatches, agreement, consensus, errors, fitted, transform
from tests.helpers.turns import turned_about

FRAME = (128, 160)  # height, width
TOLERANCE = 12.0


def true_map(angle=0.0, shift=(0.0, 0.0), scale=1.0):
    """A similarity about the frame's middle."""
    middle = np.array([(FRAME[1] - 1) / 2, (FRAME[0] - 1) / 2])
    turn = scale * turned_about(angle, np.zeros(2))
    turn[:2, 2] = middle + shift - turn[:2, :2] @ middle
    turn[2] = 0, 0, 1
    return turn


def matches_of(homography, rng, count=40, wrong=0.0, noise=0.0, within=((8, 8), (152, 120))):
    """`count` right matches in a part of the frame, among them as many wrong ones as their share says."""
    right = rng.uniform(*within, (count, 2))
    lost = round(count * wrong / (1 - wrong))
    points_a = np.concatenate([right, rng.uniform((0, 0), (160, 128), (lost, 2))])
    points_b = transform(homography, points_a) + rng.normal(0, noise, points_a.shape)
    points_b[count:] = rng.uniform((0, 0), (160, 128), (lost, 2))
    order = rng.permutation(len(points_a))
    return PointMatches(points_a[order], points_b[order], rng.uniform(0.2, 1, len(order)))


def found_of(matches):
    return fitted(consensus(matches, TOLERANCE), matches, TOLERANCE)


def grid_error(found, true, within=((8, 8), (152, 120))):
    """The largest error over a part of the frame, px."""
    x, y = (np.linspace(low, high, 7) for low, high in zip(*within, strict=True))
    points = np.stack(np.meshgrid(x, y), -1)
    return np.linalg.norm(transform(found, points) - transform(true, points), axis=-1).max()


@pytest.mark.parametrize("wrong", [0.0, 0.3, 0.6])
@pytest.mark.parametrize("degrees", range(0, 360, 45))
def test_exact_matches_give_the_similarity(degrees, wrong):
    rng = np.random.default_rng(degrees)
    true = true_map(np.deg2rad(degrees), rng.uniform(-25, 25, 2), rng.uniform(0.9, 1.1))
    matches = matches_of(true, rng, wrong=wrong)
    found = found_of(matches)
    assert grid_error(found, true) < 0.1
    assert (errors(found, matches) < TOLERANCE).sum() >= 40


def test_many_inexact_matches_are_averaged():
    rng = np.random.default_rng(3)
    true = true_map(0.7, (10, -5))
    found = [found_of(matches_of(true, rng, wrong=0.4, noise=4.0)) for _ in range(20)]
    start = [consensus(matches_of(true, rng, wrong=0.4, noise=4.0), TOLERANCE) for _ in range(20)]
    off = [np.median([grid_error(homography, true) for homography in homographies]) for homographies in (found, start)]
    assert off[0] < 4 and off[0] < off[1]


def test_the_fit_hears_matches_that_drew_nothing():
    """Views see the same truth: their matches are fitted together."""
    rng = np.random.default_rng(4)
    true = true_map(0.2, (3, 4))
    few, more = (matches_of(true, rng, count=count, noise=3.0) for count in (6, 200))
    both = PointMatches(*map(np.concatenate, zip(few, more, strict=True)))
    start = consensus(few, TOLERANCE)
    assert grid_error(fitted(start, both, TOLERANCE), true) < min(1.5, grid_error(start, true))


def test_no_two_matches_apart_draw_nothing():
    points = np.full((5, 2), 40.0) + np.arange(5)[:, None]
    assert consensus(PointMatches(points, points, np.ones(5)), TOLERANCE) is None
    assert consensus(PointMatches(*[np.zeros((0, 2))] * 2, np.zeros(0)), TOLERANCE) is None
    assert consensus(PointMatches(*[np.zeros((1, 2))] * 2, np.ones(1)), TOLERANCE) is None


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_no_similarity_of_another_scale_is_drawn(scale):
    matches = matches_of(true_map(0.1, scale=scale), np.random.default_rng(0), count=12)
    found = consensus(matches, TOLERANCE)
    if found is not None:  # through wrong pairs of the matches
        assert 0.8 < np.sqrt(np.linalg.det(found[:2, :2])) < 1.25
        assert agreement(found, matches, TOLERANCE) < 0.7 * matches.confidence.sum()


def test_a_mirrored_print_is_no_similarity():
    matches = matches_of(true_map(), np.random.default_rng(0))
    mirrored = matches._replace(points_b=matches.points_b * (-1, 1) + (159, 0))
    found = consensus(mirrored, TOLERANCE)
    assert np.linalg.det(found[:2, :2]) > 0
    assert agreement(found, mirrored, TOLERANCE) < 0.5 * matches.confidence.sum()


def test_a_fit_without_matches_stays_where_it_began():
    start = true_map(0.3)
    far = PointMatches(np.zeros((3, 2)), np.full((3, 2), 500.0), np.ones(3))
    np.testing.assert_array_equal(fitted(start, far, TOLERANCE), start)


def test_a_turn_about_a_point_keeps_the_point():
    turn, middle = turned_about(np.deg2rad(30), np.array([20.0, 70.0])), np.array([20.0, 70.0])
    np.testing.assert_allclose(transform(turn, middle), middle)
    np.testing.assert_allclose(transform(turn, middle + (1, 0)) - middle, [np.cos(np.pi / 6), np.sin(np.pi / 6)])


def test_matches_swapped_are_those_of_the_way_back():
    true = true_map(0.5, (6, 1))
    matches = matches_of(true, np.random.default_rng(1))
    assert errors(np.linalg.inv(true), matches.swapped()).max() < 1e-9
