"""The homography follows from right matches, however many wrong ones there are, and wrong ones alone give none."""

import numpy as np
import pytest

from ifvit.recognition.alignment import Cause, Matches, align, chance, consensus, errors, jacobians, transform

FRAME = (128, 160)  # height, width
TOLERANCE = 12.0


def laid(angle=0.0, shift=(0.0, 0.0), matrix=((1, 0), (0, 1)), tilt=(0.0, 0.0)):
    """A homography: about the frame's middle a tilt, then `matrix`, a turn and a shift."""
    middle = (FRAME[1] - 1) / 2, (FRAME[0] - 1) / 2
    there, here, tilted = np.eye(3), np.eye(3), np.eye(3)
    here[:2, 2] = -np.array(middle)
    there[:2, 2] = np.array(middle) + shift
    tilted[2, :2] = tilt
    linear = np.eye(3)
    c, s = np.cos(angle), np.sin(angle)
    linear[:2, :2] = np.array([[c, -s], [s, c]]) @ np.array(matrix)
    homography = there @ linear @ tilted @ here
    return homography / homography[2, 2]


def matches_of(homography, rng, count=40, wrong=0.0, noise=0.0, within=((8, 8), (152, 120))):
    """`count` right matches in a part of the frame, among them as many wrong ones as their share says."""
    right = rng.uniform(*within, (count, 2))
    lost = round(count * wrong / (1 - wrong))
    points_a = np.concatenate([right, rng.uniform((0, 0), (160, 128), (lost, 2))])
    points_b = transform(homography, points_a) + rng.normal(0, noise, points_a.shape)
    points_b[count:] = rng.uniform((0, 0), (160, 128), (lost, 2))
    order = rng.permutation(len(points_a))
    return Matches(points_a[order], points_b[order], rng.uniform(0.2, 1, len(order)))


def grid_error(found, true, within=((8, 8), (152, 120))):
    """The largest error over a part of the frame, px."""
    x, y = (np.linspace(low, high, 7) for low, high in zip(*within, strict=True))
    points = np.stack(np.meshgrid(x, y), -1)
    return np.linalg.norm(transform(found, points) - transform(true, points), axis=-1).max()


@pytest.mark.parametrize("wrong", [0.0, 0.3, 0.6])
@pytest.mark.parametrize("degrees", range(0, 360, 45))
def test_exact_matches_give_the_homography(degrees, wrong):
    rng = np.random.default_rng(degrees)
    true = laid(np.deg2rad(degrees), rng.uniform(-25, 25, 2), [[1.04, 0.02], [0.01, 0.97]], (2e-4, -1e-4))
    matches = matches_of(true, rng, wrong=wrong)
    found = align(matches, FRAME, TOLERANCE)
    assert found.refusal is None and grid_error(found.homography, true) < 1
    np.testing.assert_array_equal(found.inliers, errors(found.homography, matches) < TOLERANCE)
    assert found.inliers.sum() >= 40


@pytest.mark.parametrize("within", [((8, 8), (60, 120)), ((90, 60), (150, 120))])
def test_a_part_of_the_print_is_enough_for_that_part(within):
    rng = np.random.default_rng(1)
    true = laid(0.4, (30, -10))
    found = align(matches_of(true, rng, count=12, wrong=0.3, within=within), FRAME, TOLERANCE)
    assert grid_error(found.homography, true, within) < 1


def known_to_the_cell(angle, shift):
    """The largest error within the middle of the frame, px, where matches are known to the nearest cell of 16 px."""
    true = laid(angle, shift)
    y, x = np.mgrid[16:128:16, 16:160:16]
    points_a = np.stack([x, y], -1).reshape(-1, 2).astype(float)
    points_b = 16 * np.round(transform(true, points_a) / 16)
    there = ((points_b >= 0) & (points_b < (160, 128))).all(-1)
    matches = Matches(points_a[there], points_b[there], np.ones(there.sum()))
    return grid_error(align(matches, FRAME, TOLERANCE).homography, true, ((40, 32), (120, 96)))


def test_cells_tell_a_turned_print_to_a_seventh_of_their_size():
    shifts = np.random.default_rng(0).uniform(-10, 10, (40, 2))
    found = [known_to_the_cell(angle, shift) for angle, shift in zip(np.linspace(0.3, 1.2, 40), shifts, strict=True)]
    assert np.median(found) < 16 / 7 and max(found) < 8


def test_cells_tell_a_shifted_print_to_half_their_size():
    """All are rounded the same way, and nothing can make up for that."""
    assert known_to_the_cell(0.0, (8.4, 0.0)) == pytest.approx(7.6, abs=0.1)
    assert known_to_the_cell(0.0, (16.0, -16.0)) < 0.1


def test_inexact_matches_are_held_to_a_similarity():
    """A homography through them all would follow the noise."""
    worse = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        true = laid(0.3, (5, 5))
        matches = matches_of(true, rng, count=10, noise=3.0, within=((40, 30), (110, 100)))
        found = align(matches, FRAME, TOLERANCE).homography
        rows = []
        for (x, y), (u, v) in zip(matches.points_a, matches.points_b, strict=True):
            rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y, -u], [0, 0, 0, x, y, 1, -v * x, -v * y, -v]]
        free = np.linalg.svd(np.array(rows))[2][-1].reshape(3, 3)
        worse += grid_error(free, true) < grid_error(found, true)
    assert worse <= 3


@pytest.mark.parametrize("count", [5, 20, 80])
def test_unrelated_matches_are_refused(count):
    causes = []
    for seed in range(50):
        points = np.random.default_rng(seed).uniform((0, 0), (160, 128), (2, count, 2))
        found = align(Matches(*points, np.full(count, 0.5)), FRAME, TOLERANCE)
        assert found.homography is None or count < 10
        causes.append(found.refusal.cause if found.refusal else None)
    assert causes.count(Cause.few_inliers) >= 45 and causes.count(None) <= 1


def test_more_trials_need_more_agreement():
    matches = matches_of(np.eye(3), np.random.default_rng(0), count=9)
    assert chance(6, matches, TOLERANCE, 11) == pytest.approx(chance(6, matches, TOLERANCE, 1) + np.log10(11))
    assert chance(9, matches, TOLERANCE, 1) < chance(6, matches, TOLERANCE, 1) < chance(3, matches, TOLERANCE, 1)
    assert chance(2, matches, TOLERANCE, 1) == np.inf


@pytest.mark.parametrize("count", [0, 1, 3])
def test_too_few_matches(count):
    found = align(matches_of(np.eye(3), np.random.default_rng(0), count), FRAME, TOLERANCE)
    assert found.homography is None and found.refusal.cause is Cause.few_matches
    assert str(count) in str(found.refusal) and len(found.inliers) == count


@pytest.mark.parametrize("true", [np.eye(3), laid(1.0, (4, 4)), laid(matrix=[[-1, 0], [0, 1]])])
def test_matches_in_a_line(true):
    line = np.linspace((20, 30), (140, 90), 20)
    found = align(Matches(line, transform(true, line), np.ones(20)), FRAME, TOLERANCE)
    assert found.homography is None and found.refusal.cause is Cause.collinear


def test_matches_in_one_place():
    points = 40 + np.random.default_rng(0).uniform(-5, 5, (20, 2))
    found = align(Matches(points, points, np.ones(20)), FRAME, TOLERANCE)
    assert found.homography is None and found.refusal.cause is Cause.collinear


@pytest.mark.parametrize(
    ("true", "cause", "word"),
    [
        (laid(0.5, matrix=[[-1, 0], [0, 1]]), Cause.mirrored, "flipped"),
        (laid(0.5, matrix=[[1.5, 0], [0, 1.5]]), Cause.scale, "1.50"),
        (laid(0.5, matrix=[[0.5, 0], [0, 0.5]]), Cause.scale, "0.50"),
        (laid(0.5, matrix=[[1.14, 0], [0, 1.14 / 1.4]]), Cause.scale, "1.40"),
        (laid(0.5, tilt=(3e-3, 0)), Cause.perspective, "tilt"),
    ],
)
def test_what_skin_does_not_do(true, cause, word):
    found = align(matches_of(true, np.random.default_rng(3), wrong=0.2), FRAME, TOLERANCE)
    assert found.homography is None and found.refusal.cause is cause and word in str(found.refusal)


def test_what_skin_does_passes():
    true = laid(0.5, matrix=[[1.1, 0], [0, 0.98]], tilt=(5e-4, 0))
    assert align(matches_of(true, np.random.default_rng(3)), FRAME, TOLERANCE).refusal is None


def test_the_same_matches_have_the_same_bits():
    matches = matches_of(laid(0.2), np.random.default_rng(0), wrong=0.5, noise=3)
    first = align(matches, FRAME, TOLERANCE)
    np.random.seed(1)
    second = align(Matches(*(values.copy() for values in matches)), FRAME, TOLERANCE)
    assert first.homography.tobytes() == second.homography.tobytes()
    np.testing.assert_array_equal(first.inliers, second.inliers)


def test_further_matches_help_and_do_not_mislead():
    """Wrong ones among them are passed over."""
    alone, helped = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        true = laid(0.3, (5, 5))
        few, more = matches_of(true, rng, 10, noise=3), matches_of(true, rng, 60, wrong=0.5, noise=3)
        alone.append(grid_error(align(few, FRAME, TOLERANCE).homography, true))
        found = align(few, FRAME, TOLERANCE, more=more)
        helped.append(grid_error(found.homography, true))
        assert len(found.inliers) == 10
    assert np.median(helped) < 0.7 * np.median(alone)


def test_consensus_counts_confidence():
    """Two groups of matches contradict each other: the surer one wins, though it is smaller."""
    rng = np.random.default_rng(0)
    one, other = laid(0.0, (30, 0)), laid(0.0, (-30, 0))
    few, many = matches_of(one, rng, 10), matches_of(other, rng, 16)
    both = Matches(
        np.concatenate([few.points_a, many.points_a]),
        np.concatenate([few.points_b, many.points_b]),
        np.repeat([0.9, 0.3], [10, 16]),
    )
    assert grid_error(consensus(both, TOLERANCE), one) < 1


def test_jacobians_are_the_derivatives():
    homography = laid(0.7, (3, 4), [[1.1, 0.1], [0, 0.9]], (1e-3, -2e-3))
    points = np.random.default_rng(0).uniform(0, 120, (2, 5, 2))
    step = 1e-5
    for axis in (0, 1):
        moved = np.eye(2)[axis] * step
        slope = (transform(homography, points + moved) - transform(homography, points - moved)) / (2 * step)
        np.testing.assert_allclose(jacobians(homography, points)[..., axis], slope, atol=1e-7)
