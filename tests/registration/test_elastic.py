"""A pair whose map is known is aligned exactly, from a rough guess; no map ever folds."""

from functools import partial

import jax
import numpy as np
import pytest

from ifvit.registration import displacement, elastic
from ifvit.registration.block_matching import BlockMatches
from ifvit.registration.elastic import LEVELS, ElasticMap, first_level, refine, ridges_of, stacked
from ifvit.registration.registrar import Registrar
from tests.helpers.ridge_prints import (
    FRAME,
    SIDE,
    both_show,
    carried,
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


TURN, SHIFT, BEND = 20.0, (10.0, -14.0), 3.0  # degrees, px, px an axis
SHOWN_A, SHOWN_B = disc(), disc(140, 148, 128)
TO_A = map_to_a(TURN, SHIFT, BEND)
KEPT = 3
first_levels = jax.jit(partial(first_level, keep=KEPT))
settled = jax.jit(elastic._displacement_of, static_argnums=1)
refined = jax.jit(partial(refine, levels=LEVELS[1:]))


@pytest.fixture(scope="module")
def ridges():
    """Of a print, B, that is A's finger bent, and of another finger's."""
    matcher = Registrar()
    prints = drawn(finger(3), None, SHOWN_A), drawn(finger(3), TO_A, SHOWN_B), drawn(finger(5))
    return tuple(matcher.features(shown, FRAME).ridges for shown in prints)


def off_by(turn_deg, x, y):
    """A guess that is so far from the pair's turn and shift, (1, 3, 3)."""
    return homography(TURN + turn_deg, (SHIFT[0] + x, SHIFT[1] + y))[None]


def followed(a, b, guess):
    """The map after every level, of the best turn of a guess, and its value after the first level."""
    first = first_levels(a, b, np.repeat(guess, KEPT, axis=0))  # one program serves any number of guesses
    maps = refined(a, b, jax.tree.map(lambda leaf: leaf[:1], first.maps))
    return jax.tree.map(lambda leaf: np.asarray(leaf[0]), maps), float(first.value[0])


def up_to(found, count):
    """A map of the first `count` levels."""
    return ElasticMap(found.homography, found.fields[:count])


def smallest_area(found):
    """Of a px of B in A anywhere in the frame and around it, by differences of 1 px."""
    there = carried(found, pixels() * 1.2 - 0.1 * SIDE) / 1.2
    right, down = np.diff(there, axis=1)[:-1], np.diff(there, axis=0)[:, :-1]
    return (right[..., 0] * down[..., 1] - right[..., 1] * down[..., 0]).min()


# Degrees, px; then the median and the 95th percentile that may be left, px. The last one is out of the first level's
# reach: the second pass finds what it misses.
GUESSES = pytest.mark.parametrize(
    ("guess", "median", "high"),
    [
        ((0, 0, 0), 1.4, 3.2),
        ((3, 4, -3), 1.6, 3.3),
        ((-5, 4, 4), 1.6, 4.5),
        ((5, -8, 6), 1.3, 4.7),
        ((0, 0, 18), 1.4, 4.5),
    ],
)


@GUESSES
def test_a_known_map_is_found(ridges, guess, median, high):
    a, b, _ = ridges
    found, value = followed(a, b, off_by(*guess))
    both = both_show(SHOWN_A, SHOWN_B, TO_A)
    true = TO_A(pixels())[both]
    there = carried(found, pixels())[both]
    off = errors(there, true)
    assert value > 0.35
    assert np.median(off) < median and np.percentile(off, 95) < high
    beside = ridge_errors(finger(3), there, true)
    assert np.median(beside) < 0.15 and np.percentile(beside, 95) < 0.6
    assert smallest_area(found) > 0.3


@pytest.mark.parametrize("guess", [(3, 4, -3), (5, -8, 6)])
def test_each_level_brings_it_nearer(ridges, guess):
    a, b, _ = ridges
    found, _ = followed(a, b, off_by(*guess))
    assert [field.shape[-1] for field in found.fields] == [2] * len(LEVELS)
    both = both_show(SHOWN_A, SHOWN_B, TO_A)
    true = TO_A(pixels())[both]
    left = [carried(up_to(found, count), pixels())[both] for count in range(len(LEVELS) + 1)]
    assert (np.diff([np.percentile(errors(there, true), 95) for there in left]) < 0).all()
    assert (np.diff([np.mean(ridge_errors(finger(3), there, true)) for there in left]) < 0).all()


def test_a_map_has_a_displacement_of_each_level(ridges):
    a, b, _ = ridges
    found, _ = followed(a, b, off_by(0, 0, 0))
    for field, level in zip(found.fields, LEVELS, strict=True):
        count = SIDE // level.spacing // level.cell - level.cells + 1
        assert field.shape == (count, count, 2)


def test_one_print_on_itself_stays_where_it_is(ridges):
    a, _, _ = ridges
    found, value = followed(a, a, np.eye(3, dtype=np.float32)[None])
    assert value > 0.99
    assert errors(carried(found, pixels()), pixels())[SHOWN_A].max() < 0.1


@GUESSES
def test_the_inverse_undoes_the_map(ridges, guess, median, high):
    a, b, _ = ridges
    found, _ = followed(a, b, off_by(*guess))
    for back in (True, False):
        there = carried(found, carried(found, pixels(), back), not back)
        assert errors(there, pixels()).max() < 0.1


def test_maps_of_frames_of_any_size_stay_what_they_are_when_stacked():
    rng = np.random.default_rng(0)
    maps = [
        ElasticMap(np.eye(3, dtype=np.float32), tuple(rng.normal(0, 3, (*side, 2)).astype(np.float32) for _ in LEVELS))
        for side in ((5, 4), (3, 7))
    ]
    both = stacked(maps)
    assert [field.shape for field in both.fields] == [(2, 5, 7, 2)] * len(LEVELS)
    x, y = np.meshgrid(np.linspace(-50, 500, 40), np.linspace(-50, 500, 40))
    for k, alone in enumerate(maps):
        np.testing.assert_allclose(jax.tree.map(lambda leaf, k=k: leaf[k], both)(x, y), alone(x, y), atol=1e-3)


def test_levels_are_taken_in_the_order_of_their_fields():
    """The homography last, before it the first level."""
    shift = np.float32((7.0, -3.0))
    fields = []
    for level in LEVELS:
        count = SIDE // level.spacing // level.cell - level.cells + 1
        fields.append(np.zeros((count, count, 2), np.float32))
    fields[0] += shift
    turn = homography(90.0, (0.0, 0.0))
    found = carried(ElasticMap(turn, tuple(fields)), pixels())
    np.testing.assert_allclose(found, map_to_a(90.0)(pixels() + shift), atol=1e-2)


@pytest.mark.parametrize("seed", range(3))
def test_levels_on_one_another_do_not_fold(seed):
    """Sure blocks that contradict their neighbours at every level, even by more than it reaches."""
    rng = np.random.default_rng(seed)
    fields = []
    for level in LEVELS:
        count = SIDE // level.spacing // level.cell - level.cells + 1
        shift = 4 * level.reach * rng.choice([-1.0, 1.0], (count, count, 2)).astype(np.float32)
        sure = np.ones((count, count), np.float32)
        fields.append(settled(BlockMatches(shift, sure, sure), level))
        assert float(displacement.smallest_area(fields[-1], level.step).min()) >= displacement.LEAST_AREA - 1e-5
    found = ElasticMap(homography(30, (4, 9)), tuple(fields))
    assert np.abs(fields[0]).max() > 1
    assert smallest_area(found) > 0.02


@pytest.mark.parametrize("seed", range(3))
def test_whatever_is_seen_it_does_not_fold(ridges, seed):
    """Noise bends a map as far as it goes."""
    rng = np.random.default_rng(seed)
    shown = disc(radius=130).astype(np.float32)
    noise = [ridges_of(np.clip(rng.normal(0, 2, FRAME), -1, 1).astype(np.float32) * shown, shown) for _ in range(2)]
    found, _ = followed(*noise, homography(10.0 * seed, (5.0, 0.0))[None])
    assert max(np.abs(field).max() for field in found.fields) > 1
    assert smallest_area(found) > 0.02


def test_another_finger_does_not_fold_the_map_either(ridges):
    _, b, other = ridges
    found, value = followed(other, b, off_by(0, 0, 0))
    assert smallest_area(found) > 0.02
    assert value < 0.6


def test_the_right_guess_is_the_best(ridges):
    """`guess` says which it was, whichever of its turns is taken."""
    a, b, _ = ridges
    guesses = np.concatenate([off_by(40, 0, 0), off_by(3, 2, 2), off_by(180, 30, 0)])
    found = first_levels(a, b, guesses)
    assert int(found.guess[0]) == 1
    assert (np.diff(found.value) <= 0).all()
    assert found.maps.homography.shape == (KEPT, 3, 3) and found.maps.fields[0].shape[0] == KEPT


def test_a_guess_with_hardly_any_overlap_is_none(ridges):
    a, b, _ = ridges
    assert followed(a, b, homography(0.0, (255.0, 0.0))[None])[1] == -1
    assert followed(a, b, homography(0.0, (200.0, 0.0))[None])[1] > -1


def test_what_one_print_does_not_show_does_not_count(ridges):
    """Half of A missing: its blocks are as alike as before, and the rest of the map goes on from them."""
    a, b, _ = ridges
    left = (pixels()[..., 0] < 160).astype(np.float32)
    half = a._replace(signal=a.signal * left, mask=a.mask * left)
    _, full_value = followed(a, b, off_by(0, 0, 0))
    found, value = followed(half, b, off_by(0, 0, 0))
    assert value > 0.85 * full_value
    both = both_show(SHOWN_A & (left > 0), SHOWN_B, TO_A)
    off = errors(carried(found, pixels()), TO_A(pixels()))
    assert np.median(off[both]) < 2
    assert np.percentile(off, 95) < 12  # everywhere


@pytest.mark.parametrize("wider", [1.13, 1 / 1.13])
def test_a_finger_pressed_harder_or_less_is_found(ridges, wider):
    """Its ridges are wider, or narrower; the guess does not know that."""
    middle = (SIDE - 1) / 2

    def to_a(points):
        return TO_A(middle + (points - middle) / wider)

    b = Registrar().features(drawn(finger(3), to_a, SHOWN_B), FRAME).ridges
    found, _ = followed(ridges[0], b, off_by(0, 0, 0))
    points = pixels()[::4, ::4][both_show(SHOWN_A, SHOWN_B, to_a)[::4, ::4]]
    off = errors(carried(found, points), to_a(points))
    assert np.median(off) < 2.0 and np.percentile(off, 95) < 5.0
