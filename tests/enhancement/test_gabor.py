"""The Gabor filters bring out a worn print's own ridges, and no others."""

import numpy as np
import pytest

from ifvit.enhancement import gabor
from ifvit.enhancement.fields import Fields
from ifvit.enhancement.gabor import enhance_gabor, print_fields, sure_ridges
from tests.helpers.drawn_prints import grating


def correlation(grey, wave, where):
    return np.corrcoef(-grey[where].astype(float), wave[where])[0, 1]


@pytest.fixture(scope="module")
def enhanced(finger):
    return enhance_gabor(finger.worn, finger.ridges, print_fields(finger.worn))


def test_a_worn_print_comes_nearer_to_its_ridges(finger, enhanced):
    before, after = (correlation(grey, finger.wave, finger.ridges) for grey in (finger.worn, enhanced))
    assert before < 0.75
    assert after > before + 0.1 and after > 0.88


def test_ridges_are_dark_on_white_and_stay_in_place(finger, enhanced):
    assert enhanced.dtype == np.uint8 and enhanced.shape == finger.worn.shape
    assert (enhanced[~finger.ridges] == 255).all()
    assert np.median(enhanced[finger.ridges & (finger.wave > 0.8)]) < 40
    assert np.median(enhanced[finger.ridges & (finger.wave < -0.8)]) > 215


def test_the_same_print_has_the_same_bits(finger, enhanced):
    enhance_gabor(grating(300, 260, 1.0, 8.0), finger.ridges, print_fields(finger.grey))
    np.testing.assert_array_equal(enhance_gabor(finger.worn, finger.ridges, print_fields(finger.worn)), enhanced)


@pytest.mark.parametrize("period", [5.5, 8.4, 12.5])
def test_ridges_of_any_period_and_direction_are_kept(period):
    for theta in np.pi / 16 * np.array([0.5, 7.5, 15.5]):
        grey = grating(160, 150, theta, period)
        everywhere = np.ones(grey.shape, bool)
        found = enhance_gabor(grey, everywhere, print_fields(grey))
        inner = np.zeros_like(everywhere)
        inner[12:-12, 12:-12] = True
        assert correlation(found, 128.0 - grey, inner) > 0.95


@pytest.mark.parametrize("period", [5.5, 12.5])
def test_only_the_ridges_own_period_passes(period):
    """Ridges under a wave as strong, of the same direction and another period (pores, or the sensor's own lines)."""
    other = 18.0 - period
    both = grating(192, 192, 0.7, period).astype(int) + grating(192, 192, 0.7, other)
    shape = (16, 16)
    fields = Fields(*(np.full(shape, v, np.float32) for v in (0.7, period, 1.0)), block=12)
    everywhere = np.ones(both.shape, bool)
    found = enhance_gabor((both // 2).astype(np.uint8), everywhere, fields)
    inner = np.s_[16:-16, 16:-16]
    waves = (128.0 - grating(192, 192, 0.7, p)[inner].astype(float) for p in (period, other))
    wanted, unwanted = (np.corrcoef(-found[inner].ravel(), wave.ravel())[0, 1] for wave in waves)
    assert wanted > 0.9 and abs(unwanted) < 0.3


@pytest.mark.parametrize(("theta", "period"), [(0.3, 6.0), (1.9, 9.0), (2.8, 12.0)])
def test_filters_of_patches_are_those_of_the_image(theta, period):
    """With one direction and period everywhere the patches give what one filter gives over the whole spectrum."""
    noise = np.random.default_rng(0).normal(size=(240, 180)).astype(np.float32)
    nodes = (240 // gabor.STEP + 1, 180 // gabor.STEP + 1)
    filtered = gabor._filtered(noise, np.full(nodes, theta, np.float32), np.full(nodes, period, np.float32))
    v, u = np.fft.fftfreq(240)[:, None], np.fft.rfftfreq(180)[None]
    response = np.fft.irfft2(np.fft.rfft2(noise) * gabor._gain(u, v, theta, period), s=noise.shape)
    expected = 127.5 * (1 + np.tanh(gabor.STEEPNESS * response))
    inner = np.s_[36:-36, 36:-36]  # a patch has zeros outside of the image, the spectrum has the opposite border there
    assert np.corrcoef(np.asarray(filtered)[inner].ravel(), expected[inner].ravel())[0, 1] > 0.998


def test_few_shapes_are_compiled(finger):
    before = gabor._filtered._cache_size()
    for height in (141, 152, 166):  # all padded to 180
        grey = finger.worn[:height, :150]
        enhance_gabor(grey, np.ones(grey.shape, bool), print_fields(grey))
    assert gabor._filtered._cache_size() - before <= 1


def test_a_smear_is_left_out_of_the_mask(finger):
    """A dark blot is contrast; it has no ridges."""
    blot = np.zeros((300, 380), bool)
    blot[70:230, 230:360] = True
    ridges = np.pad(finger.ridges, ((0, 0), (0, 120)))
    grey = np.pad(finger.grey, ((0, 0), (0, 120)), constant_values=225)
    sure = sure_ridges(print_fields(np.where(blot, 30, grey).astype(np.uint8)), ridges | blot)
    assert sure[85:215, 260:345].mean() < 0.1
    assert sure[ridges & ~blot].mean() > 0.95 and not sure[~(ridges | blot)].any()


def test_noise_has_no_mask():
    noise = np.random.default_rng(0).integers(0, 256, (200, 180)).astype(np.uint8)
    assert not sure_ridges(print_fields(noise), np.ones(noise.shape, bool)).any()
