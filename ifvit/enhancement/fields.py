"""The direction, period and reliability of the ridges of a print, from the power spectra of its windows.

In a Gaussian window the ridges are one peak of the power spectrum. Its direction is across the ridges, its distance
from the origin is 1 / period, and its share of the power is high only if there are ridges. (The windowed spectrum of a
print: Chikkerur, Cartwright and Govindaraju, Pattern Recognition 40, 2007.) With this window the logarithm of a peak is
a parabola, so three samples give its position between the bins.

Grey means uint8 (H, W), dark ridges on a light ground. Nothing in this file depends on the ppi.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np

USUAL_PERIOD = 9.0  # px, of ridges at 500 ppi
# Range of the median ridge period at 500 ppi, in px; the medians of FVC2002 B's databases lie between 7.0 and 9.0. With
# half or twice the true ppi the median of each of them lies outside.
PERIOD_RANGE = (6.0, 12.5)
WINDOWS = (32, 64)  # px, if the period is not known
FEWEST_PERIODS, MOST_PERIODS = 4.2, 12.0  # in such a window: the range of the search
WINDOW_PERIODS = 4.5  # across the window, if the period is known
SIGMA = 0.2  # of the Gaussian window, in window sides
CLEAR = 0.075  # mean reliability of a print's most common period: white noise has .02, a print .1 (worn) to .5
WINDOW_BATCH = 512  # windows at a time; more need more memory and no less time
FAINT = 0.25  # of the print's strong contrast: below it there is no finger


class Fields(NamedTuple):
    """The ridges at the centres of blocks; that of block (r, c) is the pixel x = (c + .5) block - .5, y likewise."""

    theta: np.ndarray  # (h, w) float32, the direction of the ridges in [0, pi), rad (x right, y down)
    period: np.ndarray  # (h, w) float32, px
    reliability: np.ndarray  # (h, w) float32, from 0 (no ridges) to 1 (a straight grating)
    block: int  # px, the side of a block


class _Peaks(NamedTuple):
    """The spectral peaks of windows (h, w)."""

    theta: np.ndarray  # (h, w) float32, as in `Fields`
    period: np.ndarray  # (h, w) float32, px
    reliability: np.ndarray  # (h, w) float32, 0 to 1
    contrast: np.ndarray  # (h, w) float32, the standard deviation of the grey levels


def ridge_period(grey: np.ndarray, ridges: np.ndarray | None = None) -> float | None:
    """The median ridge period of a print, px, at any ppi; None if there is no periodic structure.

    It finds periods from 3 to 25 px, if the print shows at least three of them.

    grey: a side of less than 32 px gives None.
    ridges: bool (H, W), the region of the search; None searches where there is contrast.
    """
    if min(grey.shape) < WINDOWS[0]:  # in a smaller image noise may look like ridges
        return None
    # Ridges are clearest in a window of about five periods: with fewer the shading is stronger, with more they bend. So
    # windows of three sizes search three overlapping ranges of periods, and the clearest result counts.
    results = [_most_common_period(grey, ridges, window) for window in WINDOWS[:2]]
    half = (grey.shape[1] // 2, grey.shape[0] // 2)
    if min(half) >= WINDOWS[1]:  # the widest ridges are searched in an image of half the size, which is faster
        smaller = cv2.resize(grey, half, interpolation=cv2.INTER_AREA)
        region = ridges
        if ridges is not None:
            region = cv2.resize(ridges.astype(np.uint8), half, interpolation=cv2.INTER_NEAREST) > 0
        clearness, period = _most_common_period(smaller, region, WINDOWS[1])
        results.append((clearness, 2 * period))
    clearness, period = max(results)
    return period if clearness > CLEAR else None


def _most_common_period(grey: np.ndarray, ridges: np.ndarray | None, window: int) -> tuple[float, float]:
    """The clearness of the ridges of the most common period, 0 to 1, and this period, px; window: its side, px."""
    height, width = grey.shape
    shortest, longest = window / MOST_PERIODS, window / FEWEST_PERIODS
    window = _even(min(window, height, width))
    longest = min(longest, window / 3)
    step = max(4, int(np.sqrt(height * width / 200)))  # about 200 windows in an image of any size
    rows, cols = (np.arange(0, side - window + 1, step) for side in (height, width))
    peaks = _peaks(grey, rows, cols, window, shortest, longest)
    visible = peaks.contrast > max(1.0, FAINT * np.percentile(peaks.contrast, 95))
    if ridges is not None:
        visible &= ridges[np.ix_(rows + window // 2, cols + window // 2)]
    if not visible.any():
        return 0.0, 0.0
    # A peak at the end of the range is the slope of a peak outside the range.
    inner = (peaks.period > 1.03 * shortest) & (peaks.period < 0.97 * longest)
    logs, weights = np.log(peaks.period[visible]), (peaks.reliability * inner)[visible]
    # A single window may show a fold, an edge or a harmonic instead of ridges.
    distance = np.abs(logs[:, None] - logs)
    common = np.argmax((distance < 0.15) @ weights)
    near = distance[common] < 0.35
    return float(weights[near].sum() / len(weights)), float(np.exp(np.median(logs[near])))


def ridge_fields(grey: np.ndarray, period: float | None = None) -> Fields:
    """Direction, period and reliability of the ridges, by blocks of 4/3 periods.

    grey: at least 16 px a side.
    period: the approximate ridge period of this print, px; None takes that of `ridge_period`, or `USUAL_PERIOD` if it
        finds none. Local periods are searched from 0.55 to 1.8 of it.
    """
    if period is None:
        period = ridge_period(grey) or USUAL_PERIOD
    height, width = grey.shape
    window = _even(min(WINDOW_PERIODS * period, height, width))
    block = max(4, round(4 / 3 * period))
    # At the border the windows stay inside the image, so that nothing must be extrapolated.
    rows, cols = (
        np.clip((np.arange(-(-side // block)) + 0.5) * block - window / 2, 0, side - window).round().astype(int)
        for side in (height, width)
    )
    peaks = _peaks(grey, rows, cols, window, max(2.2, 0.55 * period), 1.8 * period)
    return Fields(peaks.theta, peaks.period, peaks.reliability, block)


def at_pixels(fields: Fields, height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Direction, period and reliability at each pixel, float32 (height, width), smoothed with weights (reliability).

    Directions are averaged as doubled angles, because theta and theta + pi are the same direction (Hong, Wan and Jain
    1998).
    """
    weight = fields.reliability + 1e-6
    sums = np.stack([weight, weight * np.cos(2 * fields.theta), weight * np.sin(2 * fields.theta)], -1)
    sums = np.concatenate([sums, (weight * np.log(fields.period))[..., None]], -1).astype(np.float32)
    smooth = cv2.GaussianBlur(sums, (0, 0), 1.0, borderType=cv2.BORDER_REPLICATE).reshape(sums.shape)
    blocks = fields.block * np.array(fields.theta.shape)
    dense = cv2.resize(smooth, (int(blocks[1]), int(blocks[0])), interpolation=cv2.INTER_LINEAR)[:height, :width]
    total, cos, sin, log_period = np.moveaxis(dense, -1, 0)
    return (np.arctan2(sin, cos) / 2) % np.float32(np.pi), np.exp(log_period / total), total


def _peaks(
    grey: np.ndarray, rows: np.ndarray, cols: np.ndarray, window: int, shortest: float, longest: float
) -> _Peaks:
    """The spectral peaks of windows of `window` px that begin at `rows` x `cols`, of periods from `shortest` to
    `longest` px.
    """
    count = max(1, WINDOW_BATCH // len(cols))
    parts = [
        _peaks_of_batch(grey, rows[start : start + count], cols, window, shortest, longest)
        for start in range(0, len(rows), count)
    ]
    return _Peaks(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def _peaks_of_batch(
    grey: np.ndarray, rows: np.ndarray, cols: np.ndarray, window: int, shortest: float, longest: float
) -> _Peaks:
    """`_peaks` of windows that are few enough for the memory."""
    spectrum = _spectrum(window, min(math.ceil(window / shortest) + 1, window // 2))
    taper = spectrum.taper.ravel()
    windows = np.lib.stride_tricks.sliding_window_view(grey, (window, window))[np.ix_(rows, cols)]
    values = windows.reshape(len(rows) * len(cols), -1).astype(np.float32)  # (N, w w)
    values -= (np.einsum("nx,x->n", values, taper) / taper.sum())[:, None]
    values *= taper
    energy = np.einsum("nx,nx->n", values, values)
    contrast = np.sqrt(energy / (taper**2).sum())
    power = spectrum.power(values.reshape(-1, window, window))

    # The weight is the frequency: shading decreases faster than it grows, and harmonics stay weaker than their ridges.
    radius = spectrum.radius
    weighted = power * np.where((radius >= 1 / longest) & (radius <= 1 / shortest), radius, 0)
    height, frequency_y, frequency_x = spectrum.peak(power, weighted.argmax(-1))

    total = energy * window**2 / 2  # the power of half the spectrum (Parseval)
    share = taper.sum() ** 2 / (window**2 * (taper**2).sum())  # of a pure wave's power, at its peak
    reliability = np.where(contrast > 0.5, height / np.maximum(total * share, 1e-6), 0)  # 0.5: quantisation noise
    theta = (np.arctan2(frequency_y, frequency_x) + np.pi / 2) % np.pi
    period = np.clip(1 / np.maximum(np.hypot(frequency_y, frequency_x), 1e-6), shortest, longest)
    peaks = theta, period, np.clip(reliability, 0, 1), contrast
    return _Peaks(*(x.astype(np.float32).reshape(len(rows), len(cols)) for x in peaks))


class _Spectrum(NamedTuple):
    """The bins of a window's spectrum up to `most` waves along x and y: (v, u), v = -most..most, u = 0..most.

    Ridges are in few bins, so two small matrix products are much faster than a Fourier transform.
    """

    most: int
    taper: np.ndarray  # (w, w) float32, the Gaussian window
    radius: np.ndarray  # (bins,) float32, the frequency of each bin, 1/px
    rows: np.ndarray  # (w, 2 (most + 1)) float32, a row to its waves, real and imaginary parts in turn
    columns: np.ndarray  # (2 most + 1, w) complex64, a column to its waves

    def power(self, windows: np.ndarray) -> np.ndarray:
        """The power of each bin, (N, bins), of windows (N, w, w)."""
        # The product of one window is small enough for one thread; BLAS's threads would stand in the way of others.
        spectrum = self.columns @ (windows @ self.rows).view(np.complex64)
        return (spectrum.real**2 + spectrum.imag**2).reshape(len(windows), -1)

    def peak(self, power: np.ndarray, bins: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The height of the peak at a bin (N,), and its frequencies along y and x, 1/px.

        A parabola through the logarithms of neighbouring bins gives the place between the bins.
        """
        side = self.most + 1
        v, u = bins // side - self.most, bins % side

        def log_at(v: np.ndarray, u: np.ndarray) -> np.ndarray:
            v = np.where(u < 0, -v, v)  # the other half of the spectrum mirrors this one
            v, u = v.clip(-self.most, self.most) + self.most, np.abs(u).clip(0, self.most)
            return np.log(np.take_along_axis(power, (v * side + u)[:, None], -1)[:, 0] + 1e-6)

        log = log_at(v, u)
        top, frequencies = log, []
        for place, low, high in ((v, log_at(v - 1, u), log_at(v + 1, u)), (u, log_at(v, u - 1), log_at(v, u + 1))):
            offset = np.clip((low - high) / (2 * np.minimum(low + high - 2 * log, -1e-3)), -0.5, 0.5)
            top = top - (low - high) * offset / 4
            frequencies.append((place + offset) / len(self.taper))
        return np.exp(top), frequencies[0], frequencies[1]


@lru_cache(maxsize=32)
def _spectrum(window: int, most: int) -> _Spectrum:
    """The bins of windows of `window` px."""
    place = np.arange(window)
    line = np.exp(-(((place - (window - 1) / 2) / (SIGMA * window)) ** 2) / 2)
    u, v = np.arange(most + 1), np.arange(-most, most + 1)
    rows = np.exp(-2j * np.pi * np.outer(place, u) / window).astype(np.complex64)
    columns = np.exp(-2j * np.pi * np.outer(v, place) / window).astype(np.complex64)
    radius = np.hypot(v[:, None], u) / window
    taper = np.outer(line, line).astype(np.float32)
    return _Spectrum(most, taper, radius.ravel().astype(np.float32), rows.view(np.float32), columns)


def _even(length: float) -> int:
    return 2 * int(length // 2)
