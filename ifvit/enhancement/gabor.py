"""Enhancement by a bank of Gabor filters: each pixel gets the response of the filters that fit its ridges.

This is contextual filtering as in Hong, Wan and Jain (Fingerprint image enhancement, IEEE PAMI 20, 1998). The local
contrast of the print is normalised, and the direction and period of its ridges are measured by blocks. A Gabor filter
of this direction and period keeps the ridges and removes the rest. The filters are closed formulas in the frequency
domain. Each pixel gets a weighted mean of the filters whose direction and period are next to its own.

Grey means uint8 (H, W) at 500 ppi, dark ridges on a light ground.
"""

from __future__ import annotations

import cv2
import jax
import jax.numpy as jnp
import numpy as np

from ifvit.enhancement.fields import USUAL_PERIOD, Fields, at_pixels, ridge_fields, ridge_period

ORIENTATIONS = 16  # with steps of pi / 16, half the width of the filters
PERIODS = (5.0, 6.2, 7.6, 9.4, 11.6, 14.3)  # px at 500 ppi, steps of a factor 1.235, from a child's to the widest
ACROSS, ALONG = 0.42, 0.55  # standard deviations of the filters' envelope, periods; longer ones bridge minutiae
MARGIN = 24  # px of zeros around the print, the reach of the filters: the Fourier transform joins opposite borders
MULTIPLE = 64  # px; sides are padded to multiples of it, so that few shapes are compiled
NORMALISATION_PERIODS = 1.5  # standard deviation of the Gaussian for the local mean and contrast
LEAST_DEVIATION = 4.0  # grey levels; a lower local deviation is not brought to full contrast
STEEPNESS = 1.6  # of the tanh that makes ridges black and valleys white
# The smoothed reliability of ridges is above the first value and above the second times the print's best reliability;
# the noise of a resampled image reaches .1.
LEAST_RELIABILITY, LEAST_RELIABILITY_SHARE = 0.08, 0.2


def print_fields(grey: np.ndarray) -> Fields:
    """The fields of a print, by blocks. A period that is impossible at 500 ppi is replaced by `USUAL_PERIOD`."""
    period = ridge_period(grey)
    return ridge_fields(grey, period if period and PERIODS[0] <= period <= PERIODS[-1] else USUAL_PERIOD)


def sure_ridges(fields: Fields, ridges: np.ndarray) -> np.ndarray:
    """The largest region of a mask (H, W) bool that shows ridges, without dark smears and text, which have none."""
    _, _, reliability = at_pixels(fields, *ridges.shape)
    best = np.quantile(reliability[ridges], 0.9) if ridges.any() else 0.0
    sure = (ridges & (reliability > max(LEAST_RELIABILITY, LEAST_RELIABILITY_SHARE * best))).astype(np.uint8)
    size = 2 * fields.block + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    padded = cv2.copyMakeBorder(sure, size, size, size, size, cv2.BORDER_REPLICATE)
    padded = cv2.morphologyEx(cv2.morphologyEx(padded, cv2.MORPH_CLOSE, kernel), cv2.MORPH_OPEN, kernel)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(padded[size:-size, size:-size])
    if count < 2:
        return np.zeros_like(ridges)
    region = labels == 1 + np.argmax(stats[1:, cv2.CC_STAT_AREA])
    outlines, _ = cv2.findContours(region.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(np.zeros(ridges.shape, np.uint8), outlines, -1, 1, cv2.FILLED).astype(bool) & ridges


def enhance_gabor(grey: np.ndarray, ridges: np.ndarray, fields: Fields) -> np.ndarray:
    """The ridges of a print, black on white, uint8 (H, W); white outside `ridges`, bool (H, W)."""
    height, width = grey.shape
    theta, period, _ = at_pixels(fields, height, width)
    padded = [-(-(side + MARGIN) // MULTIPLE) * MULTIPLE for side in (height, width)]
    padding = [(0, full - side) for full, side in zip(padded, (height, width), strict=True)]
    normalised = np.pad(_normalised(grey, ridges, float(np.median(period))), padding)
    theta, period = (np.pad(values, padding, mode="edge") for values in (theta, period))
    filtered = np.asarray(_filtered(normalised, theta, period))[:height, :width]
    return np.where(ridges, filtered, 255).astype(np.uint8)


def _normalised(grey: np.ndarray, ridges: np.ndarray, period: float) -> np.ndarray:
    """The print with local mean 0 and deviation 1, both over its ridges only, float32 (H, W); 0 outside the ridges."""

    def blur(values: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(values, (0, 0), NORMALISATION_PERIODS * period, borderType=cv2.BORDER_CONSTANT)

    weight = ridges.astype(np.float32)
    share = blur(weight) + 1e-6
    centred = (grey - blur(grey * weight) / share) * weight
    deviation = np.sqrt(np.maximum(blur(centred**2) / share, 0))
    return np.clip(centred / np.maximum(deviation, LEAST_DEVIATION), -3, 3).astype(np.float32)


@jax.jit
def _filtered(normalised: jax.Array, theta: jax.Array, period: jax.Array) -> jax.Array:
    """The response of the bank at each pixel (H, W), from 0 (ridge) to 255 (valley): whole numbers as float32."""
    height, width = normalised.shape
    spectrum = jnp.fft.rfft2(normalised)
    v, u = jnp.fft.fftfreq(height)[:, None], jnp.fft.rfftfreq(width)[None]
    spacing = np.log(PERIODS[1] / PERIODS[0])
    period_index = jnp.clip(jnp.log(period / PERIODS[0]) / spacing, 0, len(PERIODS) - 1)

    def add(response: jax.Array, member: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        k, p = member
        # The difference of directions modulo pi, in steps of the bank. The weight of a filter is a triangle around it.
        apart = jnp.abs((theta * (ORIENTATIONS / jnp.pi) - k + ORIENTATIONS / 2) % ORIENTATIONS - ORIENTATIONS / 2)
        weight = jnp.maximum(1 - apart, 0) * jnp.maximum(1 - jnp.abs(period_index - p), 0)

        def with_filter() -> jax.Array:
            gain = _gain(u, v, k * (jnp.pi / ORIENTATIONS), PERIODS[0] * jnp.exp(p * spacing))
            return response + weight * jnp.fft.irfft2(spectrum * gain, s=(height, width))

        return jax.lax.cond(jnp.any(weight > 0), with_filter, lambda: response), None  # many filters fit nowhere

    members: np.ndarray = np.mgrid[:ORIENTATIONS, : len(PERIODS)].reshape(2, -1).astype(np.float32)
    response, _ = jax.lax.scan(add, jnp.zeros_like(normalised), tuple(members))
    return jnp.round(127.5 * (1 + jnp.tanh(STEEPNESS * response)))


def _gain(u: jax.Array, v: jax.Array, theta: jax.Array, period: jax.Array) -> jax.Array:
    """The gain of a Gabor filter at each frequency (u, v), 1/px: 1 for its own ridges, 0 for a constant."""
    along = (u * jnp.cos(theta) + v * jnp.sin(theta)) * period  # waves per period
    across = (-u * jnp.sin(theta) + v * jnp.cos(theta)) * period

    def bump(a: jax.Array | float) -> jax.Array:
        return jnp.exp(-2 * jnp.pi**2 * ((ALONG * along) ** 2 + (ACROSS * a) ** 2))

    # The mean is subtracted in proportion to the envelope, so that the filter has no edge.
    mean = 2 * np.exp(-2 * np.pi**2 * ACROSS**2)
    return bump(across - 1) + bump(across + 1) - mean * bump(across)
