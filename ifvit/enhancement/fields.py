"""Which way the ridges of a print run, how far apart they lie, and how sure that is, from the spectra of its windows.

Under a Gaussian window ridges are one peak of the power spectrum: its direction is across the ridges, its distance from
the origin is one over their period, and its share of the power says whether there are ridges at all. (The windowed
spectrum of a print: Chikkerur, Cartwright and Govindaraju, Pattern Recognition 40, 2007.) Under this window the
logarithm of a peak is a parabola, so three samples give its place between the bins.

Grey means uint8 (H, W), dark ridges on a light ground. Nothing here needs to know the ppi.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np

USUAL_PERIOD = 9.0  # px, of ridges at 500 ppi
WINDOWS = (32, 64)  # px, when nothing is known of the print
FEWEST_PERIODS, MOST_PERIODS = 4.2, 12.0  # that are looked for in such a window
WINDOW_PERIODS = 4.5  # across the window, when the period is known
SIGMA = 0.2  # of the Gaussian window, in windows
CLEAR = 0.075  # mean reliability of a print's commonest period: white noise has .02, a print .1 (worn) to .5
AT_A_TIME = 512  # windows; more take more memory and no less time
FAINT = 0.25  # of the strong contrast of the print: below it there is no finger


class Fields(NamedTuple):
    """The ridges around the centres of blocks; that of block (r, c) is the pixel x = (c + .5) block - .5, y likewise.

    theta: ridge direction in [0, pi), rad (x right, y down); period: px; reliability: 0 (no ridges) to 1 (a straight
    grating); all float32 (h, w). block: the blocks' size, px.
    """

    theta: np.ndarray
    period: np.ndarray
    reliability: np.ndarray
    block: int


class _Peaks(NamedTuple):
    """Of windows (h, w): theta, period and reliability as in `Fields`, and contrast, the grey levels' deviation."""

    theta: np.ndarray
    period: np.ndarray
    reliability: np.ndarray
    contrast: np.ndarray


def ridge_period(grey: np.ndarray, ridges: np.ndarray | None = None) -> float | None:
    """The median ridge period of a print, px, whatever its ppi; None where no periodic structure is found.

    grey: at least 32 px a side, or nothing is found. ridges: bool (H, W), where to look; None looks wherever there is
    contrast. Periods from 3 to 25 px are found, if the print shows three of them.
    """
    if min(grey.shape) < WINDOWS[0]:  # what a smaller one shows cannot be told from chance
        return None
    # Ridges are clearest where a window holds some five periods: fewer drown in shading, more bend. So windows of three
    # sizes look for three overlapping ranges of periods, and the clearest answer counts.
    answers = [_commonest(grey, ridges, window) for window in WINDOWS[:2]]
    half = (grey.shape[1] // 2, grey.shape[0] // 2)
    if min(half) >= WINDOWS[1]:  # the widest ridges look the same on an image half as large, which takes less time
        smaller = cv2.resize(grey, half, interpolation=cv2.INTER_AREA)
        within = ridges
        if ridges is not None:
            within = cv2.resize(ridges.astype(np.uint8), half, interpolation=cv2.INTER_NEAREST) > 0
        clearness, period = _commonest(smaller, within, WINDOWS[1])
        answers.append((clearness, 2 * period))
    clearness, period = max(answers)
    return period if clearness > CLEAR else None


def _commonest(grey: np.ndarray, ridges: np.ndarray | None, window: int) -> tuple[float, float]:
    """How clear the ridges of the commonest period are, 0 to 1, and that period, px, among those a window can tell."""
    height, width = grey.shape
    shortest, longest = window / MOST_PERIODS, window / FEWEST_PERIODS
    window = _even(min(window, height, width))
    longest = min(longest, window / 3)
    step = max(4, int(np.sqrt(height * width / 200)))  # about 200 windows, of any image
    rows, cols = (np.arange(0, side - window + 1, step) for side in (height, width))
    found = _peaks(grey, rows, cols, window, shortest, longest)
    there = found.contrast > max(1.0, FAINT * np.percentile(found.contrast, 95))
    if ridges is not None:
        there &= ridges[np.ix_(rows + window // 2, cols + window // 2)]
    if not there.any():
        return 0.0, 0.0
    # A peak at the edge of the range is the slope of one beyond it.
    within = (found.period > 1.03 * shortest) & (found.period < 0.97 * longest)
    logs, weights = np.log(found.period[there]), (found.reliability * within)[there]
    # Single windows may see a fold, an edge or a harmonic instead of ridges.
    near = np.abs(logs[:, None] - logs)
    common = np.argmax((near < 0.15) @ weights)
    among = near[common] < 0.35
    return float(weights[among].sum() / len(weights)), float(np.exp(np.median(logs[among])))


def ridge_fields(grey: np.ndarray, period: float | None = None) -> Fields:
    """Direction, period and reliability of the ridges, by blocks of 4/3 periods.

    grey: at least 16 px a side. period: about how far apart the ridges of this print lie, px; by default what
    `ridge_period` finds, or, where that finds none, USUAL_PERIOD. Local periods are looked for from 0.55 to 1.8 of it.
    """
    if period is None:
        period = ridge_period(grey) or USUAL_PERIOD
    height, width = grey.shape
    window = _even(min(WINDOW_PERIODS * period, height, width))
    block = max(4, round(4 / 3 * period))
    # Beside the border the windows stay inside, rather than look at an invented continuation.
    rows, cols = (
        np.clip((np.arange(-(-side // block)) + 0.5) * block - window / 2, 0, side - window).round().astype(int)
        for side in (height, width)
    )
    found = _peaks(grey, rows, cols, window, max(2.2, 0.55 * period), 1.8 * period)
    return Fields(found.theta, found.period, found.reliability, block)


def at_pixels(fields: Fields, height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Direction, period and reliability at every pixel, float32 (height, width) each, smoothed by their reliability.

    Directions are averaged as doubled angles, for theta and theta + pi are the same ridge (Hong, Wan and Jain 1998).
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
    """The spectral peaks of windows that begin at `rows` x `cols`, among periods from `shortest` to `longest`, px."""
    some = max(1, AT_A_TIME // len(cols))
    parts = [
        _peaks_of(grey, rows[start : start + some], cols, window, shortest, longest)
        for start in range(0, len(rows), some)
    ]
    return _Peaks(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def _peaks_of(
    grey: np.ndarray, rows: np.ndarray, cols: np.ndarray, window: int, shortest: float, longest: float
) -> _Peaks:
    taper, radius, partners = _grid(window)
    values = np.lib.stride_tricks.sliding_window_view(grey, (window, window))[np.ix_(rows, cols)].astype(np.float32)
    values -= np.einsum("rcyx,yx->rc", values, taper)[..., None, None] / taper.sum()
    values *= taper
    contrast = np.sqrt(np.einsum("rcyx,rcyx->rc", values, values) / (taper**2).sum())
    spectrum = np.fft.rfft2(values)
    power = (spectrum.real**2 + spectrum.imag**2).reshape(len(rows), len(cols), -1)

    # Times the frequency: shading falls off faster than that, and harmonics lie further below their ridges.
    weighted = power * np.where((radius >= 1 / longest) & (radius <= 1 / shortest), radius, 0)
    peak = weighted.argmax(-1)[..., None]
    height, offset_y, offset_x = _between_bins(power, peak, partners)
    half = window // 2 + 1
    frequency_y = ((peak[..., 0] // half + window // 2) % window - window // 2 + offset_y) / window
    frequency_x = (peak[..., 0] % half + offset_x) / window

    total = power @ _counted(window)
    share = taper.sum() ** 2 / (window**2 * (taper**2).sum())  # of its power that a pure wave has at its peak
    reliability = np.where(contrast > 0.5, height / np.maximum(total * share, 1e-6), 0)  # below: quantisation
    theta = (np.arctan2(frequency_y, frequency_x) + np.pi / 2) % np.pi
    period = np.clip(1 / np.maximum(np.hypot(frequency_y, frequency_x), 1e-6), shortest, longest)
    return _Peaks(*(x.astype(np.float32) for x in (theta, period, np.clip(reliability, 0, 1), contrast)))


def _between_bins(power: np.ndarray, peak: np.ndarray, partners: np.ndarray) -> tuple[np.ndarray, ...]:
    """The height of each peak and its offset from its bin in y and x, in bins, by a parabola through the logarithms."""
    log = np.log(np.take_along_axis(power, peak, -1)[..., 0] + 1e-6)
    top, offsets = log, []
    for before, after in ((0, 1), (2, 3)):
        low, high = (
            np.log(np.take_along_axis(power, partners[k][peak[..., 0]][..., None], -1)[..., 0] + 1e-6)
            for k in (before, after)
        )
        offset = np.clip((low - high) / (2 * np.minimum(low + high - 2 * log, -1e-3)), -0.5, 0.5)
        top = top - (low - high) * offset / 4
        offsets.append(offset)
    return np.exp(top), *offsets


@lru_cache(maxsize=16)
def _grid(window: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The Gaussian window (w, w); of every bin its frequency, 1/px, and its neighbours above, below, left and right."""
    at = (np.arange(window) - (window - 1) / 2) / (SIGMA * window)
    line = np.exp(-(at**2) / 2)
    taper = np.outer(line, line).astype(np.float32)
    half = window // 2 + 1
    y, x = np.mgrid[:window, :half]
    radius = np.hypot((y + window // 2) % window - window // 2, x) / window

    def bin_at(y: np.ndarray, x: np.ndarray) -> np.ndarray:
        # The other half of the spectrum mirrors this one.
        mirrored = (x < 0) | (x >= half)
        y, x = np.where(mirrored, -y, y) % window, np.where(x < 0, -x, np.where(x >= half, window - x, x))
        return (y * half + x).ravel()

    partners = np.stack([bin_at(y - 1, x), bin_at(y + 1, x), bin_at(y, x - 1), bin_at(y, x + 1)])
    return taper, radius.ravel().astype(np.float32), partners


def _counted(window: int) -> np.ndarray:
    """How often each bin of the half spectrum stands for itself and its mirror, over two: (w (w/2 + 1),)."""
    column = np.ones(window // 2 + 1, np.float32)
    column[[0, -1]] = 0.5
    return np.tile(column, window)


def _even(length: float) -> int:
    return 2 * int(length // 2)
