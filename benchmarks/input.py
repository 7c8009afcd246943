"""Speed of the input, from disk to the device, by 1, 2 and 4 loader threads.

    python benchmarks/input.py data=fvc data.root=FOLDER [any data.* override]
    python benchmarks/input.py            on 20 synthetic fingers x 8, written to a temporary folder (PNG, 400x480)

Each image is read, decoded, resampled, segmented, framed and copied to the device; no pairs are rendered. `disk`
decodes every image again (data.memory_gb=0, the system's file cache warm), `memory` has all of them in memory. Medians
of five rounds, settings in turn. benchmarks/training.py measures how long a training waits for its input.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np

from ifvit.config import Config
from ifvit.data.batches import TRAIN, BatchSpec, CopiedBatches
from ifvit.data.finger_set import make_set
from ifvit.data.impressions import load
from ifvit.launch import compose_config
from ifvit.training.devices import Devices

ROUNDS, BATCHES = 5, 8
THREADS = (1, 2, 4)


class Canvases(CopiedBatches):
    """Batches of canvases on the device, without the rendering of pairs."""

    def on_device(self, n, prepared):
        """The canvases on the device."""
        return jax.device_put(prepared, self._sharding)


def main() -> None:
    """Print images/s for each number of threads, from disk and from memory."""
    with tempfile.TemporaryDirectory() as folder:
        config = compose_config(sys.argv[1:] or synthetic_set(Path(folder)))
        sharding = Devices(config.trainer).split
        config = replace(config, data=replace(config.data, pairs=replace(config.data.pairs, impostor_share=0.0)))
        size = config.trainer.batch_size
        rates: dict[tuple[str, int], list[float]] = {}
        sources = {}
        for name, gigabytes in (("disk", 0.0), ("memory", config.data.memory_gb)):
            sources[name] = load(replace(config.data, memory_gb=gigabytes))
        for round_ in range(ROUNDS + 1):
            for name, prints in sources.items():
                for threads in THREADS:
                    batches = make_batches(config, prints, threads, size, sharding)
                    seconds = seconds_of(batches)
                    if round_:  # the first round warms the file cache
                        rates.setdefault((name, threads), []).append(BATCHES * size / seconds)
    print(f"{len(sources['disk'])} images, {jax.devices()[0].device_kind}; batches of {size}, {ROUNDS} rounds")
    for (name, threads), values in rates.items():
        median = statistics.median(values)
        print(f"{name:6} {threads} threads {median:7.0f} images/s (from {min(values):.0f} to {max(values):.0f})")


def synthetic_set(folder: Path) -> list[str]:
    """Write a synthetic set; its overrides."""
    make_set(folder / "set", 20, 8, 0, compose_config([]).data.impression)
    return ["data=fvc", f"data.root={folder / 'set'}", "data.file_ppi=500"]


def make_batches(config: Config, prints, threads: int, size: int, sharding) -> Canvases:
    """Batches of all prints, by a number of threads."""
    config = replace(config, data=replace(config.data, threads=threads))
    return Canvases(config, prints, np.arange(len(prints)), BatchSpec(size, sharding, TRAIN))


def seconds_of(batches: Canvases) -> float:
    """Seconds for BATCHES batches, from the first thread's start to the last canvas on the device."""
    start = time.perf_counter()
    for canvases in batches.iterate(0, BATCHES):
        jax.block_until_ready(canvases)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
