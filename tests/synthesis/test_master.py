"""Grown ridges follow the period and the orientation asked for, and a key always grows the same finger."""

import jax
import numpy as np
import pytest
from scipy import ndimage

from ifvit.synthesis.master import grow_finger, grow_fingers, pack, profile, ridge_period, unpack
from ifvit.synthesis.orientation import (
    FRAME_HEIGHT,
    FRAME_PPI,
    FRAME_WIDTH,
    PATTERN_HEIGHT,
    PATTERN_TOP,
    draw_finger,
)

pytestmark = pytest.mark.slow


FRAME = (FRAME_HEIGHT, FRAME_WIDTH)
BATCH = 4


@pytest.fixture(scope="module")
def keys():
    return jax.random.split(jax.random.key(11), BATCH)


@pytest.fixture(scope="module")
def batch(keys):
    return jax.tree.map(np.asarray, grow_fingers(keys))


def structure(wave, sigma=10.0):
    """Ridge direction, rad modulo pi, and coherence in [0, 1]: a structure tensor smoothed by `sigma` px."""
    gx, gy = ndimage.gaussian_filter(wave, 2, (0, 1)), ndimage.gaussian_filter(wave, 2, (1, 0))
    xx, yy, xy = (ndimage.gaussian_filter(product, sigma) for product in (gx * gx, gy * gy, gx * gy))
    normal = 0.5 * np.arctan2(2 * xy, xx - yy)
    return normal + np.pi / 2, np.hypot(xx - yy, 2 * xy) / (xx + yy)


def test_shapes_and_ranges(batch):
    assert batch.wave.shape == batch.theta.shape == batch.period.shape == (BATCH, *FRAME)
    assert batch.pattern.shape == (BATCH,) and batch.pattern.dtype == np.int32
    assert batch.wave.dtype == batch.theta.dtype == batch.period.dtype == np.float32
    assert np.isfinite(batch.wave).all()
    assert (batch.theta >= 0).all() and (batch.theta <= np.float32(np.pi)).all()


def test_the_wave_has_amplitude_one(batch):
    for wave in batch.wave:
        assert np.sqrt(2) * wave.std() == pytest.approx(1, abs=0.05)  # a sine's
        assert wave.mean() == pytest.approx(0, abs=0.02)
        assert np.abs(wave).max() < 2  # where neighbours are faint, a place may stand out
        # Amplitude place by place, over more than a period; nowhere on the finger is there bare skin.
        local = np.sqrt(2 * ndimage.uniform_filter(wave**2, 27))[16:-16, 16:-16]
        low, high = np.quantile(local, (0.01, 0.99))
        assert low > 0.8 and high < 1.15 and local.min() > 0.4


def test_the_profile_is_flat_on_ridges_and_in_valleys(batch):
    skin = np.asarray(profile(batch.wave))
    assert np.abs(skin).max() <= 1
    np.testing.assert_array_equal(skin > 0, batch.wave > 0)
    assert 0.45 < (skin > 0).mean() < 0.55  # as much ridge as valley
    assert skin.std() > batch.wave.std() and (np.abs(skin) > 0.8).mean() > 0.35


def test_period_has_the_statistics_of_natural_prints():
    def period(key):
        return ridge_period(jax.random.fold_in(key, 1), draw_finger(key), *FRAME, FRAME_PPI)

    periods = np.asarray(jax.jit(jax.vmap(period))(jax.random.split(jax.random.key(5), 60)))
    # The part that a print shows as a rule; towards the joint ridges are wider.
    inside = periods[:, PATTERN_TOP + 48 : PATTERN_TOP + PATTERN_HEIGHT - 48, 96:-96]
    assert np.mean(inside) == pytest.approx(9.0, abs=0.3)
    low, high = np.quantile(np.median(inside, axis=(1, 2)), (0.05, 0.95))  # of fingers: 7.6 to 10.5 in SFinGe's samples
    assert 7.3 < low < 8.3 and 9.7 < high < 10.8
    assert periods.min() > 6.499 and periods.max() < 13.001


def test_ridges_have_the_period_asked_for(batch):
    """The spectrum of 128-px windows: its mean radius, weighted by power, round the peak."""
    window = np.outer(np.hanning(128), np.hanning(128))
    radius = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.fftfreq(256))
    ratios = []
    for wave, period in zip(batch.wave, batch.period, strict=True):
        for top, left in ((48, 40), (48, 232), (176, 136), (300, 40), (300, 232)):
            part = np.s_[top : top + 128, left : left + 128]
            power = np.abs(np.fft.fft2(wave[part] * window, (256, 256))) ** 2
            near = (radius > 0.06) & (radius < 0.175)
            frequency = (power * radius)[near].sum() / power[near].sum()
            ratios.append(1 / frequency / (1 / np.average(1 / period[part], weights=window)))
    error = np.abs(np.array(ratios) - 1)
    assert np.mean(ratios) == pytest.approx(1, abs=0.04)
    # A minutia in a window takes a ridge away or adds one: in a few windows that is more than a tenth.
    assert np.quantile(error, 0.9) < 0.1 and error.max() < 0.15


def test_ridges_follow_the_orientation(batch):
    for wave, theta in zip(batch.wave, batch.theta, strict=True):
        measured, coherence = structure(wave)
        # The flow asked for, at the scale of the measurement; near singularities it has no one direction.
        flow = ndimage.gaussian_filter(np.cos(2 * theta), 10) + 1j * ndimage.gaussian_filter(np.sin(2 * theta), 10)
        steady = (np.abs(flow) > 0.9) & (coherence > 0.5)
        steady[:24], steady[-24:], steady[:, :24], steady[:, -24:] = False, False, False, False
        error = np.abs(np.angle(flow * np.exp(-2j * measured))) / 2
        assert steady.mean() > 0.5
        assert np.degrees(np.median(error[steady])) < 2.5 and np.degrees(np.quantile(error[steady], 0.95)) < 9


def test_the_lattice_of_growth_leaves_no_trace(batch):
    """Next to no energy along x or along y near its finest detail, half as fine as the frame's, or beyond."""
    fy, fx = np.abs(np.fft.fftfreq(FRAME_HEIGHT))[:, None], np.abs(np.fft.fftfreq(FRAME_WIDTH))
    window = np.outer(np.hanning(FRAME_HEIGHT), np.hanning(FRAME_WIDTH))  # opposite edges do not join
    for wave in batch.wave:
        power = np.abs(np.fft.fft2(wave * window)) ** 2
        assert power[(fy > 0.225) | (fx > 0.225)].sum() < 1e-3 * power.sum()
        assert power[(fy > 0.26) | (fx > 0.26)].sum() < 1e-4 * power.sum()


def test_a_finger_does_not_depend_on_who_is_grown_beside_it(batch, keys):
    alone = [grow_finger(keys[0]), jax.tree.map(lambda leaf: leaf[0], grow_fingers(keys[:1]))]
    for single in alone:
        for name, together in batch._asdict().items():
            np.testing.assert_array_equal(np.asarray(getattr(single, name)), together[0], err_msg=name)


def test_packing_keeps_the_wave(batch):
    packed = pack(batch.skin)
    assert packed.wave.dtype == np.int8
    within = np.abs(batch.wave) < 1.9
    assert within.mean() > 0.999 and np.abs(unpack(packed).wave - batch.wave)[within].max() <= 1 / 128 + 1e-6


def test_a_key_grows_one_finger_and_another_key_another(batch, keys):
    again = grow_fingers(keys)
    np.testing.assert_array_equal(again.wave, batch.wave)
    for a in range(BATCH):
        for b in range(a):
            assert abs(np.corrcoef(batch.wave[a].ravel(), batch.wave[b].ravel())[0, 1]) < 0.2


def test_a_pattern_may_be_asked_for(batch, keys):
    """Asking for the class it has changes nothing; asking for another gives that."""
    pattern = int(batch.pattern[0])
    np.testing.assert_array_equal(grow_finger(keys[0], pattern).wave, batch.wave[0])
    other = grow_finger(keys[0], (pattern + 1) % 6)
    assert int(other.pattern) == (pattern + 1) % 6 and np.abs(other.theta - batch.theta[0]).max() > 0.1
