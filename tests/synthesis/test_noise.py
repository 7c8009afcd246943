import jax
import numpy as np
import pytest

from ifvit.synthesis.noise import grains, perlin


def test_perlin_is_gradient_noise():
    """Zero at the nodes, where it has the nodes' slopes; smooth; of about unit amplitude."""
    draws = np.asarray(
        jax.jit(jax.vmap(lambda key: perlin(key, 64, 96, 4, 6)))(jax.random.split(jax.random.key(0), 50))
    )
    assert np.abs(draws[:, ::16, ::16]).max() < 1e-6
    assert 0.2 < draws.std() < 0.5 and 0.7 < np.abs(draws).max() < 1.5
    assert np.abs(np.diff(draws, axis=1)).max() < 0.2 and np.abs(np.diff(draws, axis=2)).max() < 0.2


def test_perlin_is_the_sum_over_the_four_nodes_of_each_cell():
    key, (height, width, rows, columns) = jax.random.key(3), (10, 15, 2, 3)
    angle = np.asarray(jax.random.uniform(key, (rows + 1, columns + 1), maxval=2 * np.pi))

    def value(y, x):
        total = 0.0
        for row in {int(y), int(y) + 1}:
            for column in {int(x), int(x) + 1}:
                weights = [6 * t**5 - 15 * t**4 + 10 * t**3 for t in (1 - abs(y - row), 1 - abs(x - column))]
                way = np.cos(angle[row, column]) * (x - column) + np.sin(angle[row, column]) * (y - row)
                total += weights[0] * weights[1] * way
        return total * 2**0.5

    expected = [[value(r * rows / height, c * columns / width) for c in range(width)] for r in range(height)]
    np.testing.assert_allclose(perlin(key, height, width, rows, columns), expected, atol=1e-6)


@pytest.mark.parametrize("sigma", [0.6, 1.2, 3.0])
def test_grains_have_unit_variance_and_the_size_asked_for(sigma):
    noise = jax.random.normal(jax.random.key(1), (40, 48, 64))
    draws = np.asarray(jax.vmap(lambda image: grains(image, sigma))(noise))
    assert draws.std() == pytest.approx(1, abs=0.02) and draws.mean() == pytest.approx(0, abs=0.02)
    # White noise blurred by sigma correlates with itself as exp(-d^2 / 4 sigma^2).
    for axis in (1, 2):
        beside = np.mean(draws * np.roll(draws, 1, axis))
        assert beside == pytest.approx(np.exp(-1 / (4 * sigma**2)), abs=0.07)
