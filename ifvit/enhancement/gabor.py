"""Enhancement by Gabor filters: each place of a print is filtered along its own ridges.

This is contextual filtering as in Hong, Wan and Jain (Fingerprint image enhancement, IEEE PAMI 20, 1998). The local
contrast of the print is normalised, and the direction and period of its ridges are measured by blocks. A Gabor filter
of this direction and period keeps the ridges and removes the rest. At the nodes of a grid the filter is a closed
formula in the frequency domain of the patch around the node. A pixel gets the weighted mean of its four nodes.

Grey means uint8 (H, W) at 500 ppi, dark ridges on a light ground.
"""

from __future__ import annotations

from functools import partial

import cv2
import jax
import jax.numpy as jnp
import numpy as np

from ifvit.enhancement.fields import USUAL_PERIOD, Fields, at_pixels, ridge_fields, ridge_period

LEAST_PERIOD, MOST_PERIOD = 5.0, 14.3  # px at 500 ppi, from a child's to the widest
STEP = 12  # px between the nodes, little more than a period
PATCH = 4 * STEP  # px, the side of a node's patch: the filters reach less than a step beyond the pixels of the node
MOST_WAVES = 14  # in a patch; the filters of the least period pass few above
ACROSS, ALONG = 0.42, 0.55  # standard deviations of the filters' envelope, periods; longer ones bridge minutiae
MULTIPLE = 5 * STEP  # px; sides are padded to multiples of it, so that few shapes are compiled
NORMALISATION_PERIODS = 1.5  # standard deviation of the Gaussian for the local mean and contrast
SHRINKING = 4  # the local mean and contrast are found in an image of a quarter of the size
LEAST_DEVIATION = 4.0  # grey levels; a lower local deviation is not brought to full contrast
STEEPNESS = 1.6  # of the tanh that makes ridges black and valleys white
# The smoothed reliability of ridges is above the first value and above the second times the print's best reliability;
# the noise of a resampled image reaches .1.
LEAST_RELIABILITY, LEAST_RELIABILITY_SHARE = 0.08, 0.2


def print_fields(grey: np.ndarray) -> Fields:
    """The fields of a print, by blocks. A period that is impossible at 500 ppi is replaced by `USUAL_PERIOD`."""
    period = ridge_period(grey)
    return ridge_fields(grey, period if period and LEAST_PERIOD <= period <= MOST_PERIOD else USUAL_PERIOD)


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
    padded = [-(-side // MULTIPLE) * MULTIPLE for side in (height, width)]
    padding = [(0, full - side) for full, side in zip(padded, (height, width), strict=True)]
    normalised = np.pad(_normalised(grey, ridges, float(np.median(period))), padding)
    rows, cols = (
        np.minimum(np.arange(0, full + 1, STEP), side - 1) for full, side in zip(padded, (height, width), strict=True)
    )
    nodes = np.ix_(rows, cols)
    filtered = np.asarray(_filtered(normalised, theta[nodes], period[nodes].clip(LEAST_PERIOD, MOST_PERIOD)))
    return np.where(ridges, filtered[:height, :width], 255).astype(np.uint8)


def _normalised(grey: np.ndarray, ridges: np.ndarray, period: float) -> np.ndarray:
    """The print with local mean 0 and deviation 1, both over its ridges only, float32 (H, W); 0 outside the ridges."""
    height, width = grey.shape
    small = max(1, width // SHRINKING), max(1, height // SHRINKING)

    def mean(values: np.ndarray) -> np.ndarray:
        """The local mean, found in a smaller image, which is as smooth."""
        shrunk = cv2.resize(values, small, interpolation=cv2.INTER_AREA)
        sigma = NORMALISATION_PERIODS * period / SHRINKING
        return cv2.resize(cv2.GaussianBlur(shrunk, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT), (width, height))

    weight = ridges.astype(np.float32)
    share = mean(weight) + 1e-6
    centred = (grey - mean(grey * weight) / share) * weight
    deviation = np.sqrt(np.maximum(mean(centred**2) / share, 0))
    return np.clip(centred / np.maximum(deviation, LEAST_DEVIATION), -3, 3).astype(np.float32)


@jax.jit
def _filtered(normalised: jax.Array, theta: jax.Array, period: jax.Array) -> jax.Array:
    """The filtered print (H, W), from 0 (ridge) to 255 (valley): whole numbers as float32.

    normalised: (H, W), sides are multiples of STEP. theta, period: of the nodes, (H / STEP + 1, W / STEP + 1); node
    (i, j) is the pixel (row, col) = STEP (i, j).
    """
    rows, cols = theta.shape
    waves = MOST_WAVES + 1
    # Real and imaginary parts lie side by side, so that each step is one real matrix product.
    along_rows = _product(_patches(normalised, rows, cols), _TO_WAVES_ALONG_ROWS)
    along_rows = along_rows.reshape(-1, PATCH, 2, waves).transpose(0, 3, 2, 1).reshape(-1, 2 * PATCH)
    spectra = _product(along_rows, _TO_WAVES_ALONG_COLUMNS).reshape(rows * cols, waves, 2, -1)
    u, v = jnp.arange(waves) / PATCH, jnp.arange(-MOST_WAVES, waves) / PATCH
    gain = _gain(u[:, None], v, theta.reshape(-1, 1, 1), period.reshape(-1, 1, 1))  # (N, u, v)
    spectra = (spectra * gain[:, :, None]).reshape(rows * cols * waves, -1)
    along_rows = _product(spectra, _FROM_WAVES_ALONG_COLUMNS).reshape(-1, waves, 2, 2 * STEP)
    along_rows = along_rows.transpose(0, 3, 2, 1).reshape(-1, 2 * waves)
    responses = _product(along_rows, _FROM_WAVES_ALONG_ROWS).reshape(rows, cols, 2 * STEP, 2 * STEP) * _WEIGHT
    return jnp.round(127.5 * (1 + jnp.tanh(STEEPNESS * _added(responses))))


# No TF32 on devices that would choose it.
_product = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


def _patches(values: jax.Array, rows: int, cols: int) -> jax.Array:
    """The rows of the patches around all nodes, (rows cols PATCH, PATCH); zeros outside of the print."""
    height, width = values.shape
    padded = jnp.pad(values, PATCH // 2)
    tiles = padded.reshape((height + PATCH) // STEP, STEP, (width + PATCH) // STEP, STEP).transpose(0, 2, 1, 3)
    count = PATCH // STEP
    of_rows = jnp.stack([tiles[k : k + rows] for k in range(count)], axis=1)
    patches = jnp.stack([of_rows[:, :, k : k + cols] for k in range(count)], axis=3)
    return patches.transpose(0, 2, 1, 4, 3, 5).reshape(-1, PATCH)  # (rows, count, cols, count, STEP, STEP) before


def _added(responses: jax.Array) -> jax.Array:
    """The sum of the nodes' responses (rows, cols, 2 STEP, 2 STEP) at each pixel of the image."""
    rows, cols = responses.shape[:2]
    parts = responses.reshape(rows, cols, 2, STEP, 2, STEP)
    last, first = parts[:, :, 1], parts[:, :, 0]  # below the node and above it
    total = last[:-1, :-1, :, 1] + first[1:, :-1, :, 1] + last[:-1, 1:, :, 0] + first[1:, 1:, :, 0]
    return total.transpose(0, 2, 1, 3).reshape((rows - 1) * STEP, (cols - 1) * STEP)


def _transforms() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The matrices to the waves of a patch, first along its rows, and back to the pixels around its middle."""
    place, around = np.arange(PATCH) - PATCH / 2, np.arange(2 * STEP) - STEP
    u, v = np.arange(MOST_WAVES + 1), np.arange(-MOST_WAVES, MOST_WAVES + 1)
    to_u, to_v = (2 * np.pi * np.outer(place, waves) / PATCH for waves in (u, v))
    from_v, from_u = (2 * np.pi * np.outer(waves, around) / PATCH for waves in (v, u))
    mirrored = np.where(u > 0, 2, 1)[:, None]  # a wave of u > 0 stands for its mirror image too
    matrices = (
        np.hstack([np.cos(to_u), -np.sin(to_u)]),
        np.block([[np.cos(to_v), -np.sin(to_v)], [np.sin(to_v), np.cos(to_v)]]),
        np.block([[np.cos(from_v), np.sin(from_v)], [-np.sin(from_v), np.cos(from_v)]]) / PATCH,
        np.vstack([mirrored * np.cos(from_u), -mirrored * np.sin(from_u)]) / PATCH,
    )
    to_rows, to_columns, from_columns, from_rows = (matrix.astype(np.float32) for matrix in matrices)
    return to_rows, to_columns, from_columns, from_rows


_TO_WAVES_ALONG_ROWS, _TO_WAVES_ALONG_COLUMNS, _FROM_WAVES_ALONG_COLUMNS, _FROM_WAVES_ALONG_ROWS = _transforms()
_NEARNESS = 1 - np.abs(np.arange(2 * STEP) - STEP) / STEP
_WEIGHT = np.outer(_NEARNESS, _NEARNESS).astype(np.float32)  # of a node, at the pixels around it


def _gain(u: jax.Array, v: jax.Array, theta: jax.Array, period: jax.Array) -> jax.Array:
    """The gain of a Gabor filter at each frequency (u, v), 1/px: 1 for its own ridges, 0 for a constant."""
    along = (u * jnp.cos(theta) + v * jnp.sin(theta)) * period  # waves per period
    across = (-u * jnp.sin(theta) + v * jnp.cos(theta)) * period

    def bump(a: jax.Array | float) -> jax.Array:
        return jnp.exp(-2 * jnp.pi**2 * ((ALONG * along) ** 2 + (ACROSS * a) ** 2))

    # The mean is subtracted in proportion to the envelope, so that the filter has no edge.
    mean = 2 * np.exp(-2 * np.pi**2 * ACROSS**2)
    return bump(across - 1) + bump(across + 1) - mean * bump(across)
