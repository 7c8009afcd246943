"""The bend follows synthetic skin, is calm where matches are not exact, and never folds."""

import jax
import numpy as np
import pytest

from ifvit.recognition.thin_plate import AREA, bend_of
from ifvit.synthesis.distortion import draw_distortion

FRAME, PPI = (240, 200), 250.0  # the synthetic finger's, at half of its 500 ppi


@jax.jit
def bent(seed, points):
    return draw_distortion(jax.random.key(seed), 1.0)(2 * points) / 2


def skin(seed):
    """One bent finger as a map of px at 250 ppi."""
    return lambda points: np.asarray(bent(seed, points.astype(np.float32)), np.float64)


def places(spacing, margin=20):
    y, x = np.mgrid[margin : FRAME[0] - margin : spacing, margin : FRAME[1] - margin : spacing]
    return np.stack([x, y], -1).reshape(-1, 2).astype(float)


def off(found, true):
    return np.linalg.norm(found - true, axis=-1).mean()


@pytest.mark.parametrize(("noise", "left"), [(0.1, 0.2), (1.0, 0.6), (3.0, 1.0)])
def test_it_comes_nearer_to_bent_skin(noise, left):
    """`left`: the largest share of the error it may leave; all, of matches three times as inexact as skin is bent."""
    before, after = [], []
    for seed in range(8):
        finger, points, between = skin(seed), places(16), places(7)
        # What no bend can be blamed for is taken off, as the homography would.
        affine = np.linalg.lstsq(np.c_[points, np.ones(len(points))], finger(points), rcond=None)[0]
        base = points + finger(points) - np.c_[points, np.ones(len(points))] @ affine
        true = between + finger(between) - np.c_[between, np.ones(len(between))] @ affine
        there = base + np.random.default_rng(seed).normal(0, noise, points.shape)
        bend = bend_of(points, there, np.ones(len(points)), noise, FRAME, PPI)
        before.append(off(between, true))
        after.append(off(bend(between), true))
    assert np.mean(after) < left * np.mean(before)


def test_noise_alone_hardly_bends():
    points = places(16)
    there = points + np.random.default_rng(0).normal(0, 3, points.shape)
    bend = bend_of(points, there, np.ones(len(points)), 3.0, FRAME, PPI)
    assert off(bend(places(7)), places(7)) < 1.0


def test_a_shift_and_a_stretch_are_followed_everywhere():
    points = places(40)
    there = points * (1.02, 0.99) + (1.0, -2.0)
    bend = bend_of(points, there, np.ones(len(points)), 0.5, FRAME, PPI)
    beyond = np.array([[0.0, 0.0], [199.0, 239.0]])
    np.testing.assert_allclose(bend(beyond), beyond * (1.02, 0.99) + (1.0, -2.0), atol=1e-6)


@pytest.mark.parametrize("size", [1.0, 10.0, 100.0])
def test_it_never_folds(size):
    """Whatever it is told; where that is too much, it follows by a part."""
    y, x = np.mgrid[0 : FRAME[0], 0 : FRAME[1]].astype(float)
    for seed in range(5):
        rng = np.random.default_rng(seed)
        points = rng.uniform(0, 200, (20, 2))
        bend = bend_of(points, points + rng.normal(0, size, points.shape), np.ones(20), 0.1, FRAME, PPI)
        area = np.linalg.det(bend.jacobians(np.stack([x, y], -1)))
        assert AREA[0] - 0.05 < area.min() and area.max() < AREA[1] + 0.05


def test_jacobians_are_the_derivatives_and_the_inverse_is_one():
    finger, points = skin(1), places(16)
    bend = bend_of(points, finger(points), np.ones(len(points)), 0.3, FRAME, PPI)
    probe = np.random.default_rng(0).uniform(20, 180, (3, 4, 2))
    step = 1e-5
    for axis in (0, 1):
        moved = np.eye(2)[axis] * step
        slope = (bend(probe + moved) - bend(probe - moved)) / (2 * step)
        np.testing.assert_allclose(bend.jacobians(probe)[..., axis], slope, atol=1e-7)
    np.testing.assert_allclose(bend(bend.inverse(probe)), probe, atol=1e-6)


def test_points_of_one_place_count_as_one():
    points, there = places(40), places(40) + (1.0, 0.0)
    twice = np.concatenate([points, points[:1]]), np.concatenate([there, there[:1] + (4.0, 0.0)])
    bend = bend_of(*twice, np.r_[np.ones(len(points)), 1e-9], 0.5, FRAME, PPI)
    np.testing.assert_allclose(bend(points), there, atol=1e-6)


@pytest.mark.parametrize("points", [np.zeros((0, 2)), places(60)[:3], np.linspace((10, 10), (100, 60), 12)])
def test_too_few_points_or_a_line_decide_none(points):
    assert bend_of(points, points + 1.0, np.ones(len(points)), 1.0, FRAME, PPI) is None
