"""Speed of comparisons, one by one and in batches, with and without cached prints.

    python benchmarks/comparison.py [FOLDER] [--run RUN_DIR] [--ppi 500] [--pairs 32]

Of the images in FOLDER and below, or of synthetic prints of 480x400 px; with the networks of RUN_DIR, or by the ridges
alone. `one by one` is `Matcher.compare` of images in memory, enhancement included; `cached` finds the enhanced prints
in a cache folder; `prints ready` is `Matcher.compare_prints` of prints made before, alone and 8 in a batch. Medians of
three rounds, after one that compiles. IFViT's paper has 463 ms a pair (Qiu et al. 2024), on hardware it does not name.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jax
from enhancement import read_prints, synthetic_prints

from ifvit import image, load

PAPER_MS = 463.0
ROUNDS = 3


def main() -> None:
    """Print ms a pair and pairs a second of each case."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", help="of images; synthetic prints without it")
    parser.add_argument("--run", dest="run_dir", type=Path, metavar="RUN_DIR", help="whose networks take part")
    parser.add_argument("--ppi", type=float, default=500.0)
    parser.add_argument("--pairs", type=int, default=32)
    arguments = parser.parse_args()
    count = 2 * arguments.pairs
    prints = read_prints(arguments.folder, count) if arguments.folder else synthetic_prints(count)
    pairs = list(zip(prints[::2], prints[1::2], strict=False))  # no print twice, so that none is cached
    device = jax.devices()[0]
    print(f"{device.platform} {device.device_kind}; {len(pairs)} pairs of {len(prints)} prints")
    print(f"  {'paper':34} {PAPER_MS:8.1f} ms a pair {1000 / PAPER_MS:8.1f} pairs/s")

    def compare_each(matcher) -> None:
        for a, b in pairs:
            matcher.compare(a, b, arguments.ppi)

    seconds = []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            matcher = load(arguments.run_dir, folder)
            matcher.compare(*pairs[0], arguments.ppi + 1)  # compiles; at another ppi, so that no print is cached
            seconds.append(_seconds(lambda matcher=matcher: compare_each(matcher)))
    _print_row("one by one, nothing cached", statistics.median(seconds), len(pairs))
    with tempfile.TemporaryDirectory() as folder:
        matcher = load(arguments.run_dir, folder)
        _print_row("one by one, cached", _median(lambda: compare_each(matcher)), len(pairs))
        seconds = _median(lambda: list(matcher.compare_many(pairs, arguments.ppi)))
        _print_row("8 in a batch, cached", seconds, len(pairs))
        prints_in_memory = [matcher.print_of(image.scan_of(grey), arguments.ppi) for grey in prints]
        sides = list(zip(prints_in_memory[::2], prints_in_memory[1::2], strict=False))
        for at_once in (1, 8):
            batches = matcher.by(at_once)
            name = f"prints ready, {at_once} in a batch"
            _print_row(name, _median(lambda batches=batches: list(batches.compare_prints(sides))), len(pairs))


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _median(work: Callable[[], object]) -> float:
    """The median of ROUNDS rounds, after one that is not counted."""
    work()
    return statistics.median(_seconds(work) for _ in range(ROUNDS))


def _print_row(name: str, seconds: float, pairs: int) -> None:
    ms = 1000 * seconds / pairs
    print(f"  {name:34} {ms:8.1f} ms a pair {1000 / ms:8.1f} pairs/s")


if __name__ == "__main__":
    main()
