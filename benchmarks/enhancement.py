"""Time to enhance a print by each method, computed and from the cache.

    python benchmarks/enhancement.py [FOLDER] [--ppi 500] [--prints 16]

Of the images in FOLDER and below, or of synthetic prints of 480x400 px. `mask` is the ridge mask alone; `enhanced` is
the enhanced image and the mask. Medians of prints one by one. The first print of a process takes longer, because it
compiles, and with pyfing loads the networks: this extra time is printed too. pyfing is timed where it is installed.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np

from ifvit.config import Enhancement
from ifvit.enhancement.enhancer import EnhancementError, Enhancer
from ifvit.enhancement.fields import ridge_period
from ifvit.image import ImageError, read_grey

SUFFIXES = {".png", ".tif", ".tiff", ".bmp", ".jpg"}
SEED = 0


def main() -> None:
    """Print ms a print of each method, cold and cached, and of the ridge period."""
    arguments = _parser().parse_args()
    prints = read_prints(arguments.folder, arguments.prints) if arguments.folder else synthetic_prints(arguments.prints)
    ppi = arguments.ppi if arguments.folder else 500.0
    sizes = sorted({grey.shape for grey in prints})
    device = jax.devices()[0]
    print(f"{device.platform} {device.device_kind}; {len(prints)} prints, the first of {sizes[0][1]}x{sizes[0][0]} px")
    seconds = _seconds_each(prints, ridge_period)
    print(f"  {'ridge period':18} {1e3 * statistics.median(seconds):8.1f} ms a print")
    for method in Enhancement:
        for output in ("mask", "enhanced"):
            with tempfile.TemporaryDirectory() as folder:
                try:
                    cold_seconds, cached_seconds = (_seconds_of(method, output, folder, prints, ppi) for _ in range(2))
                except EnhancementError as error:
                    print(f"  {method + ', ' + output:18} {error}")
                    continue
            median = statistics.median(cold_seconds[1:] or cold_seconds)
            extra = max(0.0, cold_seconds[0] - median)
            print(
                f"  {method + ', ' + output:18} {1e3 * median:8.1f} ms a print (the first {extra:.1f} s more), "
                f"cached {1e3 * statistics.median(cached_seconds):.2f} ms"
            )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", help="of images; synthetic prints without it")
    parser.add_argument("--ppi", type=float, default=500.0, help="of the folder's images")
    parser.add_argument("--prints", type=int, default=16)
    return parser


def _seconds_of(method: Enhancement, output: str, folder: str, prints: list[np.ndarray], ppi: float) -> list[float]:
    """Seconds for each print by a new enhancer with the cache in `folder`."""
    enhancer = Enhancer(method, folder)
    if output == "mask":
        return _seconds_each(prints, lambda grey: next(enhancer.ridges_many([grey], [ppi])))
    return _seconds_each(prints, lambda grey: enhancer.enhance(grey, ppi))


def _seconds_each(prints: list[np.ndarray], run: Callable[[np.ndarray], object]) -> list[float]:
    seconds = []
    for grey in prints:
        start = time.perf_counter()
        run(grey)
        seconds.append(time.perf_counter() - start)
    return seconds


def read_prints(folder: Path, count: int) -> list[np.ndarray]:
    """The first images of a folder that can be read."""

    def readable() -> Iterator[np.ndarray]:
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() in SUFFIXES:
                try:
                    yield read_grey(path)
                except ImageError as error:
                    print(error)

    prints = [grey for grey, _ in zip(readable(), range(count), strict=False)]
    if not prints:
        raise SystemExit(f"{folder}: no image that can be read")
    return prints


def synthetic_prints(count: int) -> list[np.ndarray]:
    """Impressions of synthetic fingers, uint8 (480, 400) each."""
    from ifvit.launch import compose_config
    from ifvit.synthesis.impression import draw_impression, frame_points, render
    from ifvit.synthesis.master import grow_finger

    settings = compose_config([]).data.impression
    points = frame_points(480, 400, 500)

    @jax.jit
    def render_print(key: jax.Array) -> jax.Array:
        finger_key, impression_key = jax.random.split(key)
        return render(grow_finger(finger_key).skin, draw_impression(impression_key, settings), points, 500)

    keys = jax.random.split(jax.random.key(SEED), count)
    return [np.asarray(255 * render_print(key)).round().clip(0, 255).astype(np.uint8) for key in keys]


if __name__ == "__main__":
    main()
