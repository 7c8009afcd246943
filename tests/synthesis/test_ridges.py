"""Grown ridges follow the period and the orientation asked for, and a key always grows the same finger."""

import jax
import numpy as np
import pytest
from scipy import ndimage

from ifvit.synthesis.orientation import draw_finger
from ifvit.synthesis.ridges import contact_mask, grow_finger, grow_fingers, render_master, ridge_period

SIZE = dict(height=240, width=200, ppi=250)
BATCH = 4


@pytest.fixture(scope="module")
def keys():
    return jax.random.split(jax.random.key(11), BATCH)


@pytest.fixture(scope="module")
def batch(keys):
    return jax.tree.map(np.asarray, grow_fingers(keys, **SIZE))


def structure(ridges, sigma=5.0):
    """Ridge direction, rad modulo pi, and coherence in [0, 1]: a structure tensor smoothed by `sigma` px."""
    gx, gy = ndimage.gaussian_filter(ridges, 1, (0, 1)), ndimage.gaussian_filter(ridges, 1, (1, 0))
    xx, yy, xy = (ndimage.gaussian_filter(product, sigma) for product in (gx * gx, gy * gy, gx * gy))
    normal = 0.5 * np.arctan2(2 * xy, xx - yy)
    return normal + np.pi / 2, np.hypot(xx - yy, 2 * xy) / (xx + yy)


def test_shapes_and_ranges(batch):
    assert batch.ridges.shape == batch.mask.shape == batch.theta.shape == batch.period.shape == (BATCH, 240, 200)
    assert batch.ridges.dtype == np.float32 and batch.mask.dtype == bool and batch.pattern.dtype == np.int32
    assert np.isfinite(batch.ridges).all() and np.abs(batch.ridges).max() <= 1
    assert (batch.theta >= 0).all() and (batch.theta <= np.float32(np.pi)).all()
    for ridges, mask in zip(batch.ridges, batch.mask, strict=True):
        assert 0.4 < (ridges[mask] > 0).mean() < 0.6  # as much ridge as valley
        assert ridges[mask].std() > 0.6  # and neither is faint


def test_period_has_the_statistics_of_natural_prints():
    def period(key):
        return ridge_period(jax.random.fold_in(key, 1), draw_finger(key), 240, 200, 250)

    periods = np.asarray(jax.jit(jax.vmap(period))(jax.random.split(jax.random.key(5), 100)))
    inside = periods[:, 24:-24, 20:-20]
    assert np.mean(inside) == pytest.approx(4.6, abs=0.15)
    low, high = np.quantile(inside, (0.01, 0.99))
    assert 3.6 < low < 4.2 and 5.0 < high < 6.2
    assert periods.min() >= 3.25 and periods.max() <= 6.5


def test_ridges_have_the_period_asked_for(batch):
    """The spectrum of 64-px windows: its mean radius, weighted by power, round the peak."""
    window = np.outer(np.hanning(64), np.hanning(64))
    radius = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.fftfreq(256))
    ratios = []
    for ridges, period in zip(batch.ridges, batch.period, strict=True):
        for top, left in ((24, 20), (24, 116), (88, 68), (150, 20), (150, 116)):
            part = np.s_[top : top + 64, left : left + 64]
            power = np.abs(np.fft.fft2(ridges[part] * window, (256, 256))) ** 2
            near = (radius > 0.12) & (radius < 0.35)
            frequency = (power * radius)[near].sum() / power[near].sum()
            ratios.append(1 / frequency / (1 / np.average(1 / period[part], weights=window)))
    error = np.abs(np.array(ratios) - 1)
    assert np.mean(ratios) == pytest.approx(1, abs=0.04)
    # A minutia in a window takes a ridge away or adds one: in a few windows that is more than a tenth.
    assert np.quantile(error, 0.9) < 0.1 and error.max() < 0.15


def test_ridges_follow_the_orientation(batch):
    for ridges, theta in zip(batch.ridges, batch.theta, strict=True):
        measured, coherence = structure(ridges)
        # The flow asked for, at the scale of the measurement; near singularities it has no one direction.
        flow = ndimage.gaussian_filter(np.cos(2 * theta), 5) + 1j * ndimage.gaussian_filter(np.sin(2 * theta), 5)
        steady = (np.abs(flow) > 0.9) & (coherence > 0.5)
        steady[:12], steady[-12:], steady[:, :12], steady[:, -12:] = False, False, False, False
        error = np.abs(np.angle(flow * np.exp(-2j * measured))) / 2
        assert steady.mean() > 0.5
        assert np.degrees(np.median(error[steady])) < 2.5 and np.degrees(np.quantile(error[steady], 0.95)) < 9


def test_there_is_no_checkerboard(batch):
    """Next to no energy at the finest detail along x or along y, where a lattice would show itself."""
    for ridges in batch.ridges:
        power = np.abs(np.fft.fft2(ridges - ridges.mean())) ** 2
        fy, fx = np.abs(np.fft.fftfreq(240))[:, None], np.abs(np.fft.fftfreq(200))
        assert power[(fy > 0.45) | (fx > 0.45)].sum() < 0.01 * power.sum()
        assert power[(fy > 0.45) & (fx > 0.45)].sum() < 1e-3 * power.sum()


def test_a_finger_does_not_depend_on_its_batch(batch, keys):
    for n in (0, 3):
        alone = grow_fingers(keys[n : n + 1], **SIZE)
        for name, together in batch._asdict().items():
            np.testing.assert_array_equal(np.asarray(getattr(alone, name))[0], together[n], err_msg=name)


def test_a_key_grows_one_finger_and_another_key_another(batch, keys):
    again = grow_fingers(keys, **SIZE)
    np.testing.assert_array_equal(again.ridges, batch.ridges)
    for a in range(BATCH):
        for b in range(a):
            assert abs(np.corrcoef(batch.ridges[a].ravel(), batch.ridges[b].ravel())[0, 1]) < 0.2


def test_one_finger_at_two_resolutions(batch, keys):
    """The same ridges at 250 and, twice as fine, at 500 ppi; asking for the class it has changes nothing."""
    coarse = jax.tree.map(lambda a: a[0], batch)
    fine = grow_finger(keys[0], height=480, width=400, ppi=500, pattern=int(coarse.pattern))
    assert int(fine.pattern) == coarse.pattern
    halved = np.asarray(fine.ridges).reshape(240, 2, 200, 2).mean((1, 3))
    assert np.corrcoef(halved.ravel(), coarse.ridges.ravel())[0, 1] > 0.98
    np.testing.assert_allclose(fine.period[::2, ::2], 2 * coarse.period, rtol=0.05)


def test_contact_is_one_piece_of_natural_size():
    draw = jax.jit(lambda key: contact_mask(key, **SIZE))
    masks = np.stack([draw(key) for key in jax.random.split(jax.random.key(4), 30)])
    area = masks.mean((1, 2))
    assert area.min() > 0.45 and area.max() < 0.9 and area.std() > 0.01
    for mask in masks:
        assert ndimage.label(mask)[1] == 1 and ndimage.label(~mask)[1] <= 4 and mask[120, 100]


def test_rendering_is_dark_ridges_on_light_ground(batch):
    image = np.asarray(render_master(batch.ridges, batch.mask))
    assert image.dtype == np.uint8 and (image[~batch.mask] == 255).all()
    assert image[batch.mask & (batch.ridges > 0.8)].max() < 20
    assert image[batch.mask & (batch.ridges < -0.8)].min() > 235
