"""A displacement is bilinear, can be undone, and never folds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from ifvit.registration.displacement import (
    LEAST_AREA,
    BlockGrid,
    displace,
    inverse,
    remove_folds,
    smallest_area,
    smooth,
    undo_displacement,
)

BLOCKS = BlockGrid(first=20.0, step=16.0)
STEP = BLOCKS.step
ROWS, COLS = 9, 11
smoothed = jax.jit(remove_folds, static_argnums=1)


def calm(seed, size=2.0):
    """A displacement that does not fold: waves of some px over a hundred."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:ROWS, :COLS] * (STEP / 100)
    waves = [
        rng.uniform(size / 2, size) * np.sin(3 * (x * np.cos(t) + y * np.sin(t)) + t) for t in rng.uniform(0, 6, 2)
    ]
    return np.stack(waves, axis=-1).astype(np.float32)


def wild(seed, size):
    return np.random.default_rng(seed).normal(0, size, (ROWS, COLS, 2)).astype(np.float32)


def places(margin=30):
    """Points inside and outside the grid, each (h, w) px."""
    x = np.arange(BLOCKS.first - margin, BLOCKS.first + STEP * (COLS - 1) + margin, 1.0, np.float32)
    y = np.arange(BLOCKS.first - margin, BLOCKS.first + STEP * (ROWS - 1) + margin, 1.0, np.float32)
    return np.meshgrid(x, y)


def areas(field):
    """The area of each px under a displacement, by differences."""
    x, y = displace(jnp.asarray(field), BLOCKS, *places())
    (xy, xx), (yy, yx) = (np.gradient(np.asarray(along)) for along in (x, y))
    return (xx * yy - xy * yx)[1:-1, 1:-1]


def test_it_is_bilinear_between_the_blocks_and_constant_beyond():
    field, (x, y) = wild(0, 5.0), places()
    at = (y - BLOCKS.first) / STEP, (x - BLOCKS.first) / STEP
    to_x, to_y = displace(jnp.asarray(field), BLOCKS, x, y)
    for place, found, values in ((x, to_x, field[..., 0]), (y, to_y, field[..., 1])):
        moved = map_coordinates(values, at, order=1, mode="nearest")
        np.testing.assert_allclose(found, place + moved, atol=1e-3)


@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (4, 1)])
def test_a_grid_may_be_narrow(shape):
    field = np.random.default_rng(0).normal(0, 1, (*shape, 2)).astype(np.float32)
    for row, col in np.ndindex(shape):
        x, y = (np.float32(BLOCKS.first + STEP * k) for k in (col, row))
        np.testing.assert_allclose(displace(jnp.asarray(field), BLOCKS, x, y), field[row, col] + (x, y), rtol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_the_smallest_area_is_that_of_every_place(seed):
    """None is smaller anywhere, and it is reached at a corner of a mesh."""
    field = wild(seed, 3.0)
    dense, corners = areas(field).min(), float(smallest_area(jnp.asarray(field), STEP).min())
    assert corners <= dense + 0.01
    assert dense < corners + 0.15  # the differences stand half a px off the corner


@pytest.mark.parametrize("size", [5.0, 10.0, 40.0])
@pytest.mark.parametrize("seed", range(3))
def test_what_folds_is_smoothed(seed, size):
    field = wild(seed, size)
    assert float(smallest_area(jnp.asarray(field), STEP).min()) < 0
    calmed = smoothed(field, STEP)
    assert float(smallest_area(calmed, STEP).min()) >= LEAST_AREA - 1e-5
    assert areas(calmed).min() >= LEAST_AREA - 0.02
    assert np.abs(calmed).max() > 0.1  # not merely nothing


@pytest.mark.parametrize("seed", range(3))
def test_what_does_not_fold_is_left_as_it_is(seed):
    field = calm(seed)
    assert float(smallest_area(jnp.asarray(field), STEP).min()) > LEAST_AREA
    np.testing.assert_array_equal(smoothed(field, STEP), field)


def test_a_fold_is_smoothed_where_it_is():
    field = calm(0)
    field[0, 0] += (14.0, 0.0)
    found = np.asarray(smoothed(field, STEP))
    assert float(smallest_area(found, STEP).min()) >= LEAST_AREA - 1e-5
    assert np.abs(found[:2, :2] - field[:2, :2]).max() > 1
    np.testing.assert_array_equal(found[-2:, -2:], field[-2:, -2:])


def test_fields_of_several_candidates_are_apart():
    """One that folds does not change another."""
    both = np.stack([calm(0), wild(0, 40.0)])
    found = np.asarray(smoothed(both, STEP))
    np.testing.assert_array_equal(found[0], both[0])
    np.testing.assert_allclose(found[1], smoothed(both[1], STEP), atol=1e-5)


@pytest.mark.parametrize("field", [calm(1), calm(2, 4.0), np.asarray(smoothed(wild(5, 6.0), STEP))])
def test_undisplaced_is_the_way_back(field):
    x, y = places()
    there = displace(jnp.asarray(field), BLOCKS, *undo_displacement(jnp.asarray(field), BLOCKS, x, y))
    back = undo_displacement(jnp.asarray(field), BLOCKS, *displace(jnp.asarray(field), BLOCKS, x, y))
    for to_x, to_y in (there, back):
        assert np.hypot(to_x - x, to_y - y).max() < 0.05


def test_the_inverse_takes_each_centre_back():
    field = jnp.asarray(calm(3, 4.0))
    y, x = np.mgrid[:ROWS, :COLS].astype(np.float32) * STEP + BLOCKS.first
    back = np.asarray(inverse(field, STEP))
    to_x, to_y = displace(field, BLOCKS, x + back[..., 0], y + back[..., 1])
    assert np.hypot(to_x - x, to_y - y).max() < 0.01
    assert np.abs(back + field).max() < 2.5 and np.abs(back - field).max() > 4  # it goes against the displacement


def test_a_shift_is_carried_on_as_it_is():
    weight = np.random.default_rng(0).uniform(0, 1, (ROWS, COLS)).astype(np.float32)
    field = np.broadcast_to(np.float32((3.0, -2.0)), (ROWS, COLS, 2))
    for share in (weight, weight * 1e-6, np.eye(ROWS, COLS, dtype=np.float32)):
        np.testing.assert_allclose(smooth(field, share), field, rtol=1e-4)


def test_a_block_of_no_weight_follows_the_nearest_that_has_some():
    field = wild(0, 50.0)
    weight = np.full((ROWS, COLS), 1e-6, np.float32)
    for (row, col), shift in (((4, 1), (3.0, 1.0)), ((4, 9), (-3.0, 1.0))):
        field[row, col], weight[row, col] = shift, 1.0
    found = np.asarray(smooth(field, weight))
    np.testing.assert_allclose(found[4, [0, 1, 2, 8, 9, 10], 0], [3, 3, 3, -3, -3, -3], atol=0.3)
    np.testing.assert_allclose(found[4, :, 1], 1, atol=0.3)
    assert (np.diff(found[4, :, 0]) <= 0.02).all()


def test_a_sure_block_keeps_its_own_shift():
    field = calm(0)
    found = np.asarray(smooth(field, np.ones((ROWS, COLS), np.float32)))
    assert np.abs(found - field)[1:-1, 1:-1].max() < 0.5


def test_what_smoothing_cannot_unfold_is_drawn_back():
    """Displacements of sixty blocks: after all rounds of smoothing some mesh still lies on its back."""
    field = wild(0, 60 * STEP)
    unfolded = np.asarray(smoothed(field, STEP))
    assert float(smallest_area(unfolded, STEP).min()) >= LEAST_AREA - 1e-4
    assert np.abs(unfolded).max() > 0
