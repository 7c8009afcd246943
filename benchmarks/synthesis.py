"""Speed of the growth of fingers and of the rendering of pairs on this device.

    python benchmarks/synthesis.py [--sizes 128 256] [--masters 32] [--pairs 64]

benchmarks/training.py measures the train step alone (`repeated`), with data.image_size=128 and 256. Medians of five
rounds, after one that compiles; rounds of both kinds are timed in turn.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time

import jax
import numpy as np
from jax.sharding import SingleDeviceSharding

from ifvit.data.finger_pool import grow_packed
from ifvit.data.rendered_pairs import FingerIndices, draw_pairs, render_pairs
from ifvit.launch import compose_config

ROUNDS = 5


def main() -> None:
    """Print masters/s and pairs/s."""
    arguments = _parser().parse_args()
    device, data = jax.devices()[0], compose_config([]).data
    masters, count = arguments.masters, arguments.pairs
    skins = jax.device_put(grow_packed(0, np.arange(masters)), device)
    fingers = np.arange(count, dtype=np.int32) % masters
    picks = FingerIndices(fingers, fingers, np.ones(count, bool))

    def grow(turn: int):
        return grow_packed(turn, np.arange(masters))

    def render(turn: int, size: int):
        sized_data = dataclasses.replace(data, image_size=size)
        draws = draw_pairs(jax.random.key(turn), count, sized_data)
        return render_pairs(draws, skins, picks, sized_data, SingleDeviceSharding(device))

    seconds: dict[str, list[float]] = {}
    for turn in range(ROUNDS + 1):
        note_seconds(seconds, "masters", grow, turn)
        for size in arguments.sizes:
            note_seconds(seconds, f"pairs of {size}x{size} px", render, turn, size)
    print(f"{device.platform} {device.device_kind}; {masters} masters and {count} pairs at a time, {ROUNDS} rounds")
    for name, values in seconds.items():
        rates = sorted((masters if name == "masters" else count) / s for s in values[1:])
        print(f"{statistics.median(rates):9.1f} {name}/s (from {rates[0]:.1f} to {rates[-1]:.1f})")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256], metavar="PX")
    parser.add_argument("--masters", type=int, default=32, help="grown at a time")
    parser.add_argument("--pairs", type=int, default=64, help="rendered at a time")
    return parser


def note_seconds(seconds: dict[str, list[float]], name: str, function, *arguments) -> None:
    """Add the seconds that `function` takes."""
    start = time.perf_counter()
    jax.block_until_ready(function(*arguments))
    seconds.setdefault(name, []).append(time.perf_counter() - start)


if __name__ == "__main__":
    main()
