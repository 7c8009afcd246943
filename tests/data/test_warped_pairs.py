from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ifvit import geometry
from ifvit.config import PairsConfig
from ifvit.data.warped_pairs import Canvases, CanvasSide, make_pairs, truth_of
from ifvit.pair import Pair

pytestmark = pytest.mark.slow


FRAME = (64, 96)
CLEAN = PairsConfig(60.0, 8.0, 1.9, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
WORN = PairsConfig(60.0, 8.0, 1.9, 0.5, 0.25, 0.2, 0.4, 0.4, 3.0, 2.0)
COUNT = 4


@pytest.fixture(scope="module")
def canvases():
    """Smooth patterns, so that sampling them twice costs little; ridges in an ellipse; the last pair is two fingers."""
    y, x = np.mgrid[: 2 * FRAME[0], : 2 * FRAME[1]]
    waves = [128 + 60 * np.sin(x / (9 + k)) + 60 * np.cos(y / (7 + k)) for k in range(COUNT)]
    ellipse = ((x - FRAME[1]) / 60) ** 2 + ((y - FRAME[0]) / 45) ** 2 < 1
    grey = np.stack([np.where(ellipse, w, 200) for w in waves]).astype(np.uint8)
    side = CanvasSide(grey, np.repeat(ellipse[None], COUNT, 0), np.full(COUNT, 200, np.uint8))
    genuine = np.array([True] * (COUNT - 1) + [False])
    return Canvases(Pair(side, side), genuine)


def test_the_map_is_exact(canvases):
    a, b = make_pairs(jax.random.key(0), canvases, FRAME, CLEAN).sides
    for k in range(COUNT - 1):
        looked_up = geometry.sample(b.image[k], a.to_other[k], 0.0)
        error = np.abs(looked_up - a.image[k])[np.asarray(a.valid[k])]
        assert error.size > 500 and error.mean() < 0.01
        back = geometry.sample(b.to_other[k, ..., 0], a.to_other[k], 0.0)
        x = geometry.pixel_grid(*FRAME)[..., 0]
        valid = np.asarray(a.valid[k])
        np.testing.assert_allclose(back[valid], x[valid], atol=0.05)


def test_valid_means_ridges_in_both_and_inside(canvases):
    a, b = make_pairs(jax.random.key(1), canvases, FRAME, WORN).sides
    valid = np.asarray(a.valid)
    assert valid[:-1].any((1, 2)).all()
    assert not (valid & ~np.asarray(a.ridges)).any()
    points = np.asarray(a.to_other)[valid]
    assert (points >= 0).all() and (points <= np.array(FRAME[::-1]) - 1).all()
    rows, cols = np.round(points[:, 1]).astype(int), np.round(points[:, 0]).astype(int)
    assert np.asarray(b.ridges)[np.nonzero(valid)[0], rows, cols].all()


def test_different_fingers_have_no_labels_and_all_their_ridges_are_lone(canvases):
    pairs = make_pairs(jax.random.key(2), canvases, FRAME, CLEAN)
    truth = truth_of(pairs, 16)
    assert (truth.labels[-1] == -1).all() and not truth.shown[-1].any()
    np.testing.assert_array_equal(truth.lone.a[-1], geometry.at_cells(pairs.sides.a.ridges, 16)[-1])
    assert truth.lone.a[-1].any() and truth.lone.b[-1].any()


def test_background_is_neither_labelled_nor_lone(canvases):
    pairs = make_pairs(jax.random.key(3), canvases, FRAME, WORN)
    truth, ridges = truth_of(pairs, 16), geometry.at_cells(pairs.sides.a.ridges, 16)
    assert (ridges[truth.labels >= 0]).all() and (ridges[truth.lone.a]).all()
    assert not (truth.lone.a & (truth.labels >= 0)).any()
    assert (truth.labels[:-1] >= 0).any(-1).all()


def test_augmentation_is_fresh_and_reproducible(canvases):
    """Frozen over epochs, an earlier attempt learnt its warps by heart."""
    pairs, same, other = (make_pairs(jax.random.key(k), canvases, FRAME, WORN) for k in (0, 0, 1))
    np.testing.assert_array_equal(pairs.images.b, same.images.b)
    assert (np.asarray(pairs.sides.a.to_other) != np.asarray(other.sides.a.to_other)).mean() > 0.9


def test_a_pair_does_not_depend_on_the_batch(canvases):
    batch = make_pairs(jax.random.key(5), canvases, FRAME, WORN)
    alone = make_pairs(jax.random.key(5), jax.tree.map(lambda x: x[:1], canvases), FRAME, WORN)
    np.testing.assert_allclose(batch.sides.a.to_other[0], alone.sides.a.to_other[0], atol=1e-4)
    np.testing.assert_allclose(batch.images.b[0], alone.images.b[0], atol=1e-4)


def test_rotation_stays_within_its_bounds(canvases):
    still = PairsConfig(30.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    make = partial(make_pairs, frame=FRAME, settings=still)
    repeated = jax.tree.map(lambda x: jnp.repeat(jnp.asarray(x)[:1], 64, 0), canvases)
    across = np.diff(np.asarray(make(jax.random.key(0), repeated).sides.a.to_other)[:, 32, 40:42], axis=1)[:, 0]
    angles = np.degrees(np.arctan2(across[:, 1], across[:, 0]))
    assert np.abs(angles).max() <= 30.01 and angles.max() > 20 and angles.min() < -20
