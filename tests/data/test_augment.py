import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ifvit.config import PairsConfig
from ifvit.data import augment

pytestmark = pytest.mark.slow


@pytest.fixture
def ridges():
    """Dark vertical ridges 4 px wide, every 10 px, on a light ground."""
    x = jnp.arange(64)
    return jnp.where((x % 10) < 4, 0.0, 1.0) * jnp.ones((64, 1))


def dark(image):
    return int((image < 0.5).sum())


def test_dryness_thins_and_pressure_thickens(ridges):
    """Swapped, an earlier attempt called one by the other's name."""
    assert dark(augment.dryness(ridges)) < dark(ridges) < dark(augment.pressure(ridges))


def test_dryness_is_2x2_and_pressure_3x3(ridges):
    one_dark = jnp.ones((9, 9)).at[4, 4].set(0)
    assert dark(augment.pressure(one_dark)) == 9
    one_light = jnp.zeros((9, 9)).at[4, 4].set(1)
    assert augment.dryness(one_light).sum() == 4


@pytest.mark.parametrize("worn", [augment.dryness, augment.pressure])
def test_wear_does_not_move_the_ridges(worn):
    """Sub-pixel matches would learn the shift: turned by half a turn, the worn image is the worn turned image."""
    image = jax.random.uniform(jax.random.key(0), (16, 17))
    np.testing.assert_allclose(worn(image[::-1, ::-1])[1:-1, 1:-1], worn(image)[::-1, ::-1][1:-1, 1:-1], atol=1e-6)


def test_shares_are_kept(ridges):
    settings = PairsConfig(
        0, 0, 0, 0, 0, noise=0.0, dryness=0.3, pressure=0.2, registration_noise_deg=0, registration_noise_px=0
    )
    worn = jax.vmap(lambda k: augment.corrupt(k, ridges, settings).sum())(jax.random.split(jax.random.key(0), 2000))
    assert np.mean(worn > ridges.sum() + 1e-3) == pytest.approx(0.3, abs=0.05)
    assert np.mean(worn < ridges.sum() - 1e-3) == pytest.approx(0.2, abs=0.05)


def test_noise_keeps_the_range_and_is_no_larger_than_asked(ridges):
    grey = 0.5 * jnp.ones((64, 64))
    noisy = augment.sensor_noise(jax.random.key(0), grey, 0.1)
    assert 0.02 < float(jnp.std(noisy)) < 0.1
    rough = augment.sensor_noise(jax.random.key(0), ridges, 1.0)
    assert rough.min() >= 0 and rough.max() <= 1


def test_contact_cuts_as_often_as_asked():
    touched = jax.vmap(lambda k: augment.contact(k, 32, 32, 0.4))(jax.random.split(jax.random.key(0), 500))
    assert np.mean(~touched.all((1, 2))) == pytest.approx(0.4, abs=0.07)
    assert touched.mean((1, 2)).min() > 0.35
