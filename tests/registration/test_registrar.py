"""Two prints of known maps are found to lie as they do, from nothing; alone or among others."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ifvit.registration import registrar
from ifvit.registration.registrar import SIDES, GuessSource, Registrar, frame_of
from tests.helpers.ridge_prints import (
    FRAME,
    PERIOD,
    SIDE,
    both_show,
    disc,
    drawn,
    errors,
    finger,
    homography,
    map_to_a,
    pixels,
    ridge_errors,
)

pytestmark = pytest.mark.slow


TO_A = map_to_a(155.0, (10.0, -14.0), bend=3.0)
SHOWN_A, SHOWN_B = disc(), disc(140, 148, 128)
EVERY = np.s_[::4, ::4]  # of the pixels


@pytest.fixture(scope="module")
def prints():
    """Two prints of a finger, A and B, and one of another finger."""
    return drawn(finger(3), None, SHOWN_A), drawn(finger(3), TO_A, SHOWN_B), drawn(finger(5))


@pytest.fixture(scope="module")
def matcher():
    return Registrar(FRAME)


def aligned(registrar, a, b):
    """The alignment of one pair."""
    (alignment,) = registrar.align_many([(a, b)])
    return alignment


@pytest.fixture(scope="module")
def alone(matcher, prints):
    """Pairs of places in `prints`, each aligned alone."""
    return {(i, j): aligned(matcher, prints[i], prints[j]) for i, j in ((0, 1), (1, 0), (0, 2), (2, 1))}


@pytest.fixture(scope="module")
def overlap():
    """The points (N, 2) of B that A shows, too, and where they lie in A."""
    points = pixels()[EVERY][both_show(SHOWN_A, SHOWN_B, TO_A)[EVERY]]
    return points, TO_A(points)


def leaves(found):
    return jax.tree.leaves((found.elastic, found.agreement))


def identical(first, second):
    return all(np.array_equal(*pair) for pair in zip(leaves(first), leaves(second), strict=True))


def test_a_known_map_is_found_from_nothing(alone, overlap):
    points, true = overlap
    found = alone[0, 1]
    off = errors(found.to_a(points), true)
    assert np.median(off) < 2.0 and np.percentile(off, 95) < 5.0
    beside = ridge_errors(finger(3), found.to_a(points), true)
    assert np.median(beside) < 0.15 and np.percentile(beside, 95) < 0.8
    assert np.median(errors(found.to_b(true), points)) < 2.0


def test_mates_agree_and_others_do_not(alone):
    mates, others = alone[0, 1], alone[0, 2]
    both = both_show(SHOWN_A, SHOWN_B, TO_A).sum()
    assert mates.agreement.mean > 0.9 and mates.agreement.agrees > 0.9
    assert float(mates.agreement.area) == pytest.approx(both, rel=0.05)
    assert float(mates.agreement.share) == pytest.approx(both / SHOWN_B.sum(), rel=0.05)
    assert others.agreement.mean < 0.6
    assert mates.source in set(GuessSource)
    paired, same_kind, unpaired = mates.paired.counts
    assert paired > 10 > unpaired and same_kind <= paired
    assert others.paired.counts[0] < paired / 2 < others.paired.counts[2]


def test_paired_minutiae_are_the_same_ones(alone, prints):
    paired = alone[0, 1].paired
    first, second = prints[0].minutiae.points[paired.first], prints[1].minutiae.points[paired.second]
    assert np.median(errors(TO_A(second.astype(float)), first)) < PERIOD / 2


def test_swapped_it_is_the_same_of_the_other_order(alone):
    first = alone[0, 1]
    other = first.swapped()
    assert first.inverted != other.inverted and identical(first, other) and first.source is other.source
    for values, swapped in zip(first.paired, other.paired.swapped(), strict=True):
        np.testing.assert_array_equal(values, swapped)
    points = pixels()[EVERY]
    np.testing.assert_array_equal(first.to_a(points), other.to_b(points))
    np.testing.assert_array_equal(first.to_b(points), other.to_a(points))
    inside = pixels()[140:150:3, 140:150:3]
    np.testing.assert_allclose(other.agreement_at(first.to_a(inside)), first.agreement_at(inside), atol=0.2)


@pytest.fixture
def no_guesses_of_ridges(monkeypatch):
    """Neither the flow nor the minutiae find anything."""

    def nothing(first, second, count):
        nowhere = jnp.array([[1, 0, 1e6], [0, 1, 1e6], [0, 0, 1]], jnp.float32)
        return jnp.stack([nowhere] * count), jnp.zeros(count)

    for name in ("search_orientation", "search_minutiae"):
        monkeypatch.setattr(registrar, name, nothing)
    # Compiled anew, for what was compiled before knows the others.
    monkeypatch.setattr(registrar, "_align", jax.jit(registrar._align.__wrapped__))


def test_a_further_guess_is_followed_as_the_own_ones_are(no_guesses_of_ridges, prints, overlap):
    a, b, _ = prints
    rough = homography(149.0, (18.0, -20.0))  # of TO_A: six degrees and some px off, as Module 1 may be
    nowhere = np.array([[1, 0, 1e6], [0, 1, 1e6], [0, 0, 1]])
    lost, found = Registrar(FRAME).align_many([(a, b), (a, b)], [np.stack([nowhere] * 2), np.stack([nowhere, rough])])
    assert found.source is GuessSource.module1 and found.agreement.mean > 0.9 > 0.1 > lost.agreement.mean
    points, true = overlap
    assert np.median(errors(found.to_a(points), true)) < 2.0


@pytest.mark.parametrize("pair", [(0, 1), (1, 0), (0, 2)])
def test_to_a_and_to_b_undo_each_other(alone, pair):
    found, points = alone[pair], pixels()[EVERY]
    assert errors(found.to_a(found.to_b(points)), points).max() < 0.5
    assert errors(found.to_b(found.to_a(points)), points).max() < 0.5


def test_any_number_of_points_is_carried(alone):
    found, points = alone[0, 1], pixels()[EVERY]
    full = found.to_a(points)
    assert full.shape == points.shape
    np.testing.assert_array_equal(found.to_a(points[3, 5]), full[3, 5])
    np.testing.assert_allclose(found.to_a(points[:3, :50]), full[:3, :50], atol=1e-3)
    assert found.to_b(np.zeros((0, 2))).shape == (0, 2)


def test_the_same_twice(matcher, prints, alone):
    """Also where nothing is kept from the first time."""
    assert identical(alone[0, 1], aligned(matcher, prints[0], prints[1]))
    assert identical(alone[0, 1], aligned(Registrar(FRAME), prints[0], prints[1]))


def test_among_others_as_alone(prints, alone):
    """To the last bit, in order, and more pairs than run side by side."""
    order = [(0, 1), (0, 2), (2, 1), (1, 0)] * (1 + registrar.CORES // 2)
    together = list(Registrar(FRAME).align_many((prints[i], prints[j]) for i, j in order))
    assert len(together) == len(order)
    assert all(identical(found, alone[pair]) for pair, found in zip(order, together, strict=True))


@pytest.mark.parametrize("pair", [(0, 1), (1, 0)])
def test_agreement_at_points_of_b(alone, prints, pair):
    """The same places, whichever print is B; nothing outside."""
    found = alone[pair]
    middle = pixels()[140:150:3, 140:150:3]
    assert found.agreement_at(middle).shape == middle.shape[:-1]
    assert (found.agreement_at(middle) > 0.8).all()
    corner = np.array([(2.0, 2.0), (SIDE - 3.0, SIDE - 3.0), (-50.0, 1000.0)])
    np.testing.assert_array_equal(found.agreement_at(corner), 0)
    shown = found.agreement_at(pixels()[EVERY])
    assert shown.sum() * 16 == pytest.approx(
        float((found.agreement.local * found.agreement.cover).sum()) * 16, rel=0.05
    )


def test_features_are_kept_of_the_last_prints(monkeypatch, prints):
    a, b, other = prints
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(Registrar().features(a, FRAME)))
    monkeypatch.setattr(registrar, "CACHE_BYTES", 2 * size)
    matcher = Registrar(FRAME)
    of_a, of_b = matcher.features(a, FRAME), matcher.features(b, FRAME)
    assert matcher.features(a, FRAME) is of_a
    matcher.features(other, FRAME)  # b goes, for a was asked for since
    assert matcher.features(a, FRAME) is of_a
    assert matcher.features(b, FRAME) is not of_b


def test_a_frame_holds_the_prints(prints):
    tall = prints[0]._replace(ridges=np.ones((SIDE + 1, 100), bool))
    narrow = prints[0]._replace(ridges=np.ones((20, SIDES[0]), bool))
    assert frame_of([prints[0]]) == FRAME
    assert frame_of([tall]) == (SIDES[2], SIDES[0])
    assert frame_of([narrow]) == (SIDES[0], SIDES[0])
    assert frame_of([tall, prints[0], narrow]) == (SIDES[2], SIDE)
    assert list(SIDES) == sorted(SIDES)


def test_a_small_overlap_is_worth_less():
    worths = [float(registrar.worth(0.8, area)) for area in (2_500.0, 20_000.0, 40_000.0, 90_000.0)]
    assert worths[0] < worths[1] < worths[2] == worths[3] == pytest.approx(0.8)
    assert worths[0] == pytest.approx(0.4)  # the fourth root of a sixteenth is a half
