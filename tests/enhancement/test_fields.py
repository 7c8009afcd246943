"""Direction and period of ridges are found at any resolution, and only where there are ridges."""

import cv2
import numpy as np
import pytest

from ifvit.enhancement import fields as fields_module
from ifvit.enhancement.fields import at_pixels, ridge_fields, ridge_period
from tests.helpers.drawn_prints import grating

pytestmark = pytest.mark.slow


def apart(a, b):
    """The angle between directions, rad."""
    return np.abs((a - b + np.pi / 2) % np.pi - np.pi / 2)


@pytest.mark.parametrize("period", [3.0, 4.4, 7.5, 9.0, 13.0, 18.5, 25.0])
@pytest.mark.parametrize("theta", [0.0, 0.4, np.pi / 2, 2.5])
def test_a_grating_is_measured(theta, period):
    grey = grating(260, 300, theta, period)
    assert ridge_period(grey) == pytest.approx(period, rel=0.02)
    fields = ridge_fields(grey)
    assert apart(fields.theta, theta).max() < 0.03
    np.testing.assert_allclose(fields.period, period, rtol=0.04)
    assert fields.reliability.min() > 0.75
    for values in fields[:3]:
        assert values.shape == (-(-260 // fields.block), -(-300 // fields.block)) and values.dtype == np.float32


def test_a_finger_is_measured(finger):
    inner = cv2.erode(finger.ridges.astype(np.uint8), np.ones((15, 15))).astype(bool)
    for grey in (finger.grey, finger.worn):
        assert ridge_period(grey, finger.ridges) == pytest.approx(np.median(finger.period[finger.ridges]), rel=0.05)
        theta, period, reliability = at_pixels(ridge_fields(grey), *grey.shape)
        wrong = apart(theta, finger.theta)[inner]
        assert np.median(wrong) < 0.05 and np.quantile(wrong, 0.9) < 0.2
        assert np.median(np.abs(period / finger.period - 1)[inner]) < 0.06
        assert np.median(reliability[inner]) > 4 * np.median(reliability[:15])  # above the finger is nothing


@pytest.mark.parametrize("scale", [0.5, 1.4, 2.0])
def test_the_period_grows_with_the_resolution(finger, scale):
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    scaled = cv2.resize(finger.worn, None, fx=scale, fy=scale, interpolation=method)
    assert ridge_period(scaled) == pytest.approx(scale * ridge_period(finger.worn), rel=0.04)


def test_directions_are_averaged_across_zero():
    """Ridges that bend from just below pi to just above 0 have no other directions between."""
    y, x = np.mgrid[:200, :200]
    grey = (128 - 80 * np.cos(2 * np.pi * (y + (x - 100) ** 2 / 1500) / 9)).astype(np.uint8)  # a shallow valley
    theta, _, _ = at_pixels(ridge_fields(grey), 200, 200)
    slope = np.arctan2(-(x - 100) / 750, 1)
    assert apart(theta, slope)[8:-8, 8:-8].max() < 0.06


@pytest.mark.parametrize("period", [4.8, 10.0, 19.0])
def test_bent_ridges_are_measured(period):
    """Small windows see them straighter, and must not take the longest period they can tell for the ridges'."""
    y, x = np.mgrid[:300, :300]
    wave = sum(np.cos(2 * np.pi / period * np.hypot(x - cx, y)) for cx in (40, 260))
    assert ridge_period((128 - 60 * np.sign(wave)).astype(np.uint8)) == pytest.approx(period, rel=0.1)


@pytest.mark.parametrize("side", [16, 40, 200])
def test_a_blank_has_no_ridges(side):
    grey = np.full((side, side), 200, np.uint8)
    assert ridge_period(grey) is None
    assert not ridge_fields(grey).reliability.any()


@pytest.mark.parametrize("side", [16, 100, 300])
def test_noise_has_no_period(side):
    grey = np.random.default_rng(side).integers(0, 256, (side, side)).astype(np.uint8)
    assert ridge_period(grey) is None
    if side > 16:
        assert np.median(ridge_fields(grey).reliability) < 0.06


def test_shading_and_an_edge_are_no_ridges():
    y, x = np.mgrid[:240, :240]
    assert ridge_period((x / 2 + y / 4).astype(np.uint8)) is None
    assert ridge_period(np.where(x > 120, 220, 40).astype(np.uint8)) is None


def test_only_the_ridges_asked_for_count():
    grey = np.hstack([grating(200, 150, 0.3, 6.0), grating(200, 150, 0.3, 11.0)])
    left = np.zeros(grey.shape, bool)
    left[:, :140] = True
    assert ridge_period(grey, left) == pytest.approx(6.0, rel=0.03)
    assert ridge_period(grey, ~left) == pytest.approx(11.0, rel=0.03)
    assert ridge_period(grey, np.zeros_like(left)) is None


def test_too_small_to_tell():
    assert ridge_period(np.random.default_rng(0).integers(0, 256, (9, 200)).astype(np.uint8)) is None
    fields = ridge_fields(grating(16, 16, 0.0, 5.0))
    assert all(np.isfinite(values).all() for values in fields[:3])


@pytest.mark.parametrize(("window", "most"), [(32, 13), (40, 20), (41, 9)])
def test_the_power_is_that_of_the_fourier_transform(window, most):
    windows = np.random.default_rng(0).normal(size=(5, window, window)).astype(np.float32)
    spectrum = fields_module._spectrum(window, most)
    transform = np.fft.fft2(windows)[:, np.arange(-most, most + 1)][..., : most + 1]
    np.testing.assert_allclose(spectrum.power(windows), np.abs(transform.reshape(5, -1)) ** 2, rtol=1e-3, atol=1e-2)
