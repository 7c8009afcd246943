"""Difficulty of the prints in a folder: Bozorth3 scores, NFIQ2, ridge period and minutiae of FVC-named images.

    pip install nbis-python==0.1.9     # with Debian's libopencv-{core,imgproc,ml,imgcodecs}406
    python -m ifvit synthesize --fingers 200 --impressions 8 --out /tmp/fingers
    python benchmarks/difficulty.py /tmp/fingers/DB1_A [FOLDER ...] [--ppi 500]

Genuine: all pairs of a finger; impostor: the first impressions of all fingers (FVC's protocol). Minutiae are NBIS
mindtct's, all qualities, counted within the ridge mask of `ifvit.image`. Prints a row a folder, for comparison with a
real set measured the same way.
"""

from __future__ import annotations

import argparse
import re
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import cv2
import nbis
import numpy as np

from ifvit import image

NAME = re.compile(r"(\d+)_(\d+)\.(tif|png|bmp)", re.IGNORECASE)


class Print(NamedTuple):
    """The measures of an image."""

    minutiae: nbis.Minutiae
    quality: float  # NFIQ2
    period: float  # px at 500 ppi
    density: float  # minutiae per mm2


def main() -> None:
    """Print a row for each folder."""
    arguments = _parser().parse_args()
    print("folder | prints | genuine 5, 50, 95 % (min) | impostor 50, 99.9 % (max) | EER %", end=" | ")
    print("NFIQ2 50 % (10-90 %) | period px 50 % (10-90 %) | minutiae/mm2")
    for folder in arguments.folders:
        print(f"{folder} | {row(folder, arguments.ppi)}", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="with images named FINGER_IMPRESSION")
    parser.add_argument("--ppi", type=float, default=500.0, help="of the images")
    return parser


def row(folder: Path, ppi: float) -> str:
    """The figures of a folder's images, in the order of the heading."""
    files = {path: NAME.fullmatch(path.name) for path in sorted(folder.iterdir())}
    files = {path: (int(match[1]), int(match[2])) for path, match in files.items() if match}
    with ThreadPoolExecutor(2) as pool:
        measurements = list(pool.map(lambda path: measure(path, ppi), files))
        prints = dict(zip(files.values(), measurements, strict=True))
        fingers = sorted({finger for finger, _ in prints})
        first_impressions = [min(key for key in prints if key[0] == finger) for finger in fingers]
        genuine = [pair for pair in combinations(sorted(prints), 2) if pair[0][0] == pair[1][0]]

        def score(pair) -> int:
            return prints[pair[0]].minutiae.compare(prints[pair[1]].minutiae)

        genuines = np.array(list(pool.map(score, genuine)))
        impostors = np.array(list(pool.map(score, combinations(first_impressions, 2))))
    quality, period, density = (np.array([getattr(p, name) for p in measurements]) for name in Print._fields[1:])
    low, middle, high = np.quantile(genuines, (0.05, 0.5, 0.95))
    median_impostor, high_impostor = np.quantile(impostors, (0.5, 0.999))
    return (
        f"{len(prints)} | {low:.0f}, {middle:.0f}, {high:.0f} ({genuines.min()}) | "
        f"{median_impostor:.0f}, {high_impostor:.0f} ({impostors.max()}) | {equal_error(genuines, impostors):.2f} | "
        f"{np.nanmedian(quality):.0f} ({_spread(quality, '.0f')}) | "
        f"{np.nanmedian(period):.1f} ({_spread(period, '.1f')}) | {density.mean():.2f}"
    )


def equal_error(genuines: np.ndarray, impostors: np.ndarray) -> float:
    """EER in percent: the mean of FNMR and FMR at the threshold where they are nearest."""
    thresholds = np.unique(np.concatenate([genuines, impostors]))
    fnmr = np.searchsorted(np.sort(genuines), thresholds) / len(genuines)
    fmr = 1 - np.searchsorted(np.sort(impostors), thresholds) / len(impostors)
    nearest = np.argmin(np.abs(fnmr - fmr))
    return 50 * (fnmr[nearest] + fmr[nearest])


def _spread(values: np.ndarray, form: str) -> str:
    return "-".join(format(v, form) for v in np.nanquantile(values, (0.1, 0.9)))


def measure(path: Path, ppi: float) -> Print:
    """The measures of an image; quality is nan where NFIQ2 fails."""
    grey = image.read_grey(path)
    png = cv2.imencode(".png", grey)[1].tobytes()
    try:
        minutiae = _extractor(ppi, quality=True).extract_minutiae(png)
        quality = float(minutiae.quality().score)
    except nbis.NbisError.Nfiq2ComputeFailed:
        minutiae, quality = _extractor(ppi, quality=False).extract_minutiae(png), np.nan
    ridges = image.ridge_mask(grey, ppi)
    inside = sum(bool(ridges[min(m.y(), grey.shape[0] - 1), min(m.x(), grey.shape[1] - 1)]) for m in minutiae.get())
    area = ridges.sum() * (25.4 / ppi) ** 2  # mm2
    return Print(minutiae, quality, ridge_period(grey, ridges) * 500 / ppi, inside / area)


def _extractor(ppi: float, quality: bool) -> nbis.NbisExtractor:
    settings = nbis.NbisExtractorSettings(
        min_quality=0.0, get_center=False, check_fingerprint=False, compute_nfiq2=quality, ppi=ppi
    )
    return nbis.new_nbis_extractor(settings)


def ridge_period(grey: np.ndarray, ridges: np.ndarray, window: int = 64) -> float:
    """Median ridge period, px, over windows inside the ridges: the radius at the peak of each window's spectrum."""
    taper = np.outer(np.hanning(window), np.hanning(window))
    frequency = np.hypot(np.fft.fftfreq(4 * window)[:, None], np.fft.fftfreq(4 * window))
    plausible = (frequency > 1 / 20) & (frequency < 1 / 4)
    periods = []
    for top in range(0, grey.shape[0] - window, window // 2):
        for left in range(0, grey.shape[1] - window, window // 2):
            part = np.s_[top : top + window, left : left + window]
            if ridges[part].all():
                values = grey[part] - grey[part].mean()
                power = np.abs(np.fft.fft2(values * taper, frequency.shape)) ** 2
                periods.append(1 / frequency.ravel()[np.argmax(np.where(plausible, power, 0))])
    return float(np.median(periods)) if periods else float("nan")


if __name__ == "__main__":
    main()
