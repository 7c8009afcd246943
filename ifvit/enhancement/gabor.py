"""Enhancement by a bank of Gabor filters: each pixel takes the answer of those that fit its ridges.

Contextual filtering as in Hong, Wan and Jain (Fingerprint image enhancement, IEEE PAMI 20, 1998): the print is brought
to one local contrast, the direction and period of its ridges are found by blocks, and a Gabor filter of that direction
and period keeps the ridges and drops what is no ridge. The filters are closed formulas in the frequency domain; between
those of the bank a pixel takes the weighted mean of its neighbours in direction and in period.

Grey means uint8 (H, W) at 500 ppi, dark ridges on a light ground.
"""

from __future__ import annotations

import cv2
import jax
import jax.numpy as jnp
import numpy as np

from ifvit.enhancement.fields import USUAL_PERIOD, Fields, at_pixels, ridge_fields, ridge_period

ORIENTATIONS = 16  # pi / 16 apart: half of what the filters let pass
PERIODS = (5.0, 6.2, 7.6, 9.4, 11.6, 14.3)  # px at 500 ppi, a factor 1.235 apart, from a child's to the widest
ACROSS, ALONG = 0.42, 0.55  # standard deviations of the filters' envelope, periods; longer ones bridge minutiae
MARGIN = 24  # px of nothing around the print: the filters' reach, for the Fourier transform joins opposite borders
MULTIPLE = 64  # px; sides are padded to these, so that few shapes are compiled
EVEN = 1.5  # periods, of the Gaussian that brings the local contrast to one level
FAINTEST = 4.0  # grey levels of local deviation that are still brought to full contrast
STEEP = 1.6  # of the tanh that makes ridges black and valleys white
# Smoothed reliability below which there are no ridges: at least the first, and the second of the print's best, for the
# noise of an image that was resampled has up to .1.
DOUBTFUL, DOUBTFUL_SHARE = 0.08, 0.2


def print_fields(grey: np.ndarray) -> Fields:
    """The ridges by blocks; a print whose period is not that of 500 ppi is taken for a usual one."""
    period = ridge_period(grey)
    return ridge_fields(grey, period if period and PERIODS[0] <= period <= PERIODS[-1] else USUAL_PERIOD)


def sure_ridges(fields: Fields, ridges: np.ndarray) -> np.ndarray:
    """Of a mask (H, W) bool the one region that shows ridges: a smear or text, dark but not ridged, is left out."""
    _, _, reliability = at_pixels(fields, *ridges.shape)
    best = np.quantile(reliability[ridges], 0.9) if ridges.any() else 0.0
    sure = (ridges & (reliability > max(DOUBTFUL, DOUBTFUL_SHARE * best))).astype(np.uint8)
    size = 2 * fields.block + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    room = cv2.copyMakeBorder(sure, size, size, size, size, cv2.BORDER_REPLICATE)
    room = cv2.morphologyEx(cv2.morphologyEx(room, cv2.MORPH_CLOSE, kernel), cv2.MORPH_OPEN, kernel)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(room[size:-size, size:-size])
    if count < 2:
        return np.zeros_like(ridges)
    region = labels == 1 + np.argmax(stats[1:, cv2.CC_STAT_AREA])
    outlines, _ = cv2.findContours(region.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(np.zeros(ridges.shape, np.uint8), outlines, -1, 1, cv2.FILLED).astype(bool) & ridges


def enhance_gabor(grey: np.ndarray, ridges: np.ndarray, fields: Fields) -> np.ndarray:
    """The ridges of a print, black on white, uint8 (H, W); white where `ridges`, bool (H, W), has none."""
    height, width = grey.shape
    theta, period, _ = at_pixels(fields, height, width)
    padded = [-(-(side + MARGIN) // MULTIPLE) * MULTIPLE for side in (height, width)]
    room = [(0, full - side) for full, side in zip(padded, (height, width), strict=True)]
    even = np.pad(_evened(grey, ridges, float(np.median(period))), room)
    theta, period = (np.pad(values, room, mode="edge") for values in (theta, period))
    filtered = np.asarray(_filtered(even, theta, period))[:height, :width]
    return np.where(ridges, filtered, 255).astype(np.uint8)


def _evened(grey: np.ndarray, ridges: np.ndarray, period: float) -> np.ndarray:
    """The print with local mean 0 and deviation 1, both taken over its ridges only, float32 (H, W); 0 off them."""

    def blur(values: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(values, (0, 0), EVEN * period, borderType=cv2.BORDER_CONSTANT)

    weight = ridges.astype(np.float32)
    share = blur(weight) + 1e-6
    centred = (grey - blur(grey * weight) / share) * weight
    deviation = np.sqrt(np.maximum(blur(centred**2) / share, 0))
    return np.clip(centred / np.maximum(deviation, FAINTEST), -3, 3).astype(np.float32)


@jax.jit
def _filtered(even: jax.Array, theta: jax.Array, period: jax.Array) -> jax.Array:
    """The bank's answer at each pixel (H, W), 0 for a ridge to 255 for a valley: whole numbers as float32."""
    height, width = even.shape
    spectrum = jnp.fft.rfft2(even)
    v, u = jnp.fft.fftfreq(height)[:, None], jnp.fft.rfftfreq(width)[None]
    spacing = np.log(PERIODS[1] / PERIODS[0])
    place = jnp.clip(jnp.log(period / PERIODS[0]) / spacing, 0, len(PERIODS) - 1)

    def add(answer: jax.Array, member: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        k, p = member
        # Distance on the circle of directions, in steps of the bank; a triangle around each member.
        apart = jnp.abs((theta * (ORIENTATIONS / jnp.pi) - k + ORIENTATIONS / 2) % ORIENTATIONS - ORIENTATIONS / 2)
        weight = jnp.maximum(1 - apart, 0) * jnp.maximum(1 - jnp.abs(place - p), 0)

        def more() -> jax.Array:
            gain = _gain(u, v, k * (jnp.pi / ORIENTATIONS), PERIODS[0] * jnp.exp(p * spacing))
            return answer + weight * jnp.fft.irfft2(spectrum * gain, s=(height, width))

        return jax.lax.cond(jnp.any(weight > 0), more, lambda: answer), None  # many of the bank fit nowhere

    members = np.mgrid[:ORIENTATIONS, : len(PERIODS)].reshape(2, -1).astype(np.float32)
    answer, _ = jax.lax.scan(add, jnp.zeros_like(even), tuple(members))
    return jnp.round(127.5 * (1 + jnp.tanh(STEEP * answer)))


def _gain(u: jax.Array, v: jax.Array, theta: jax.Array, period: jax.Array) -> jax.Array:
    """What a Gabor filter makes of each frequency (u, v), 1/px: 1 of its own ridges, nothing of a constant."""
    along = (u * jnp.cos(theta) + v * jnp.sin(theta)) * period  # in waves a period
    across = (-u * jnp.sin(theta) + v * jnp.cos(theta)) * period

    def bump(a: jax.Array | float) -> jax.Array:
        return jnp.exp(-2 * jnp.pi**2 * ((ALONG * along) ** 2 + (ACROSS * a) ** 2))

    # The mean is taken off in proportion to the envelope, which leaves no edge.
    mean = 2 * np.exp(-2 * np.pi**2 * ACROSS**2)
    return bump(across - 1) + bump(across + 1) - mean * bump(across)
