import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ifvit import geometry
from ifvit.config import PairsConfig
from ifvit.data.warped_pairs import random_warp

pytestmark = pytest.mark.slow


FRAME = (96, 128)
SETTINGS = PairsConfig(60.0, 12.0, 2.8, 0, 0, 0, 0, 0, 0, 0)


def warp(seed=0):
    return random_warp(jax.random.key(seed), FRAME, SETTINGS)


@pytest.mark.parametrize("seed", range(4))
def test_a_warp_and_its_inverse_meet(seed):
    points = geometry.pixel_grid(*FRAME)
    there_and_back = warp(seed).inverse(warp(seed)(points))
    np.testing.assert_allclose(there_and_back, points, atol=1e-3)


def test_a_warp_never_folds():
    @jax.jit
    def determinant(key):
        warp = random_warp(key, FRAME, SETTINGS)
        return jax.vmap(lambda p: jnp.linalg.det(jax.jacfwd(warp)(p)))(geometry.pixel_grid(*FRAME).reshape(-1, 2)[::37])

    for seed in range(30):
        assert determinant(jax.random.key(seed)).min() > 0.5


def test_rotation_turns_x_towards_y():
    np.testing.assert_allclose(geometry.rotate(jnp.array([1.0, 0.0]), jnp.pi / 2), [0, 1], atol=1e-6)


def test_sample_is_bilinear_and_knows_the_outside():
    image = jnp.array([[0.0, 1.0], [2.0, 3.0]])
    points = jnp.array([[0.5, 0.0], [0.0, 0.5], [0.5, 0.5], [5.0, 5.0]])
    np.testing.assert_allclose(geometry.sample(image, points, 9.0), [0.5, 1.0, 1.5, 9.0])


def brute_force_labels(map_ab, valid, map_ba, stride):
    rows_a, cols_a = map_ab.shape[0] // stride, map_ab.shape[1] // stride
    rows_b, cols_b = map_ba.shape[0] // stride, map_ba.shape[1] // stride
    labels = []
    for r in range(rows_a):
        for c in range(cols_a):
            x, y = np.round(map_ab[r * stride, c * stride] / stride).astype(int)
            label = -1
            if valid[r * stride, c * stride] and 0 <= x < cols_b and 0 <= y < rows_b:
                back = np.round(map_ba[y * stride, x * stride] / stride).astype(int)
                if tuple(back) == (c, r):
                    label = y * cols_b + x
            labels.append(label)
    return labels


@pytest.mark.parametrize("stride", [8, 16])
def test_cell_labels_against_brute_force(stride):
    points, rng = geometry.pixel_grid(*FRAME), np.random.default_rng(0)
    maps = [(warp(s).inverse(points), rng.random(FRAME) < 0.8, warp(s)(points)) for s in range(5)]
    map_ab, valid, map_ba = (jnp.stack(part) for part in zip(*maps, strict=True))
    labels = geometry.cell_labels(map_ab, valid & geometry.inside(map_ab, *FRAME), map_ba, stride)
    for k in range(5):
        inside = np.asarray(geometry.inside(map_ab[k], *FRAME))
        expected = brute_force_labels(np.asarray(map_ab[k]), maps[k][1] & inside, np.asarray(map_ba[k]), stride)
        assert labels[k].tolist() == expected
        assert max(expected) >= 0


def test_labels_need_the_grids_own_stride():
    """Labels computed at stride 8 on a stride-16 grid were an earlier attempt's first fault."""
    points = geometry.pixel_grid(64, 64)[None]
    shifted = points + jnp.array([16.0, 0.0])
    labels = geometry.cell_labels(shifted, geometry.inside(shifted, 64, 64), points - jnp.array([16.0, 0.0]), 16)
    assert labels.reshape(4, 4)[1].tolist() == [5, 6, 7, -1]


def test_a_cell_stands_for_the_pixel_at_its_corner_index():
    np.testing.assert_array_equal(geometry.cell_points((2, 3), 16)[4], [16, 16])
    assert geometry.nearest_cell(jnp.array([23.0, 9.0]), (2, 3), 16) == 1 * 3 + 1
    assert geometry.nearest_cell(jnp.array([23.0, 25.0]), (2, 3), 16) == -1
