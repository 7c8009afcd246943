"""Images between pixels, smoothed and on coarser lattices, are what SciPy says they are."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from ifvit.registration.sampling import (
    blur,
    lattice_points,
    mask_at,
    on_samples,
    project,
    sample,
    sample_points,
)

IMAGE = np.random.default_rng(0).normal(0, 1, (24, 40)).astype(np.float32)


def test_samples_are_bilinear_and_nothing_lies_beyond():
    x, y = np.random.default_rng(1).uniform((-5, -5), (45, 29), (500, 2)).T.astype(np.float32)
    expected = ndimage.map_coordinates(np.pad(IMAGE, 8), (y + 8, x + 8), order=1)
    np.testing.assert_allclose(sample(jnp.asarray(IMAGE), x, y), expected, atol=1e-5)


def test_a_mask_is_that_of_the_nearest_pixel():
    mask = (IMAGE > 0).astype(np.float32)
    x, y = np.random.default_rng(1).uniform((-5, -5), (45, 29), (500, 2)).T.astype(np.float32)
    expected = np.pad(mask, 8)[np.rint(y).astype(int) + 8, np.rint(x).astype(int) + 8] > 0.5
    np.testing.assert_array_equal(mask_at(jnp.asarray(mask), x, y), expected)


@pytest.mark.parametrize("sigma", [0.8, 2.0])
def test_the_blur_is_gaussian(sigma):
    expected = ndimage.gaussian_filter(IMAGE, sigma, mode="constant", truncate=6)
    np.testing.assert_allclose(blur(jnp.asarray(IMAGE), sigma), expected, atol=2e-3)


def test_a_homography_divides():
    matrix = np.array([[2, 0.5, 1], [0.1, 1, -3], [0.001, 0.002, 1]], np.float32)
    x, y, scale = matrix @ (30, 20, 1)
    np.testing.assert_allclose(project(matrix, 30.0, 20.0), (x / scale, y / scale), rtol=1e-6)


@pytest.mark.parametrize("spacing", [1, 2, 3])
def test_a_smooth_map_on_a_lattice_is_that_of_each_sample(spacing):
    """What is linear is exact, up to the frame's last sample."""
    frame = (48, 96)
    x, y = sample_points(frame, spacing)
    assert x.shape == (48 // spacing, 96 // spacing)
    assert float(x[0, 1] - x[0, 0]) == spacing and float(y[0, 0]) == (spacing - 1) / 2

    def tilted(x, y):
        return jnp.stack([0.9 * x - 0.2 * y + 3, 0.2 * x + 1.1 * y - 5])

    found = on_samples(tilted(*lattice_points(frame)), frame, spacing)
    np.testing.assert_allclose(found, tilted(x, y), atol=1e-4)
