"""Speed of training with fresh pairs, beside the same with one batch that stays on the device (`repeated`).

    .venv/bin/python benchmarks/training.py experiment=quickstart
    .venv/bin/python benchmarks/training.py dense=loftr dense.loftr_pretrained_ckpt=null trainer.batch_size=16

Both are timed in turn in one run, so that other load on the machine affects both alike. Prints medians and their ratio.
"""

from __future__ import annotations

import itertools
import statistics
import sys
import time
from collections.abc import Iterator

import jax

from ifvit.data.batches import TRAIN
from ifvit.data.loader import supply
from ifvit.data.warped_pairs import TrainingPairs
from ifvit.launch import compose_config
from ifvit.models.dense import DenseModel
from ifvit.training.dense_step import make_dense_step
from ifvit.training.devices import Devices
from ifvit.training.state import init_variables, make_optimizer, new_state

ROUNDS, STEPS = 5, 8


def main() -> None:
    """Time the configured training."""
    config = compose_config(sys.argv[1:])
    devices = Devices(config.trainer)
    batches = supply(config, devices.split).batches(TRAIN)
    model = DenseModel.from_config(config.dense, devices.dtype)
    optimizer = make_optimizer(config, ())
    state = new_state(init_variables(model, config.seed, config.data.frame), optimizer)
    state = jax.device_put(state, devices.everywhere)
    step = jax.jit(
        make_dense_step(model, optimizer, config),
        donate_argnums=0,
        in_shardings=(devices.everywhere, devices.split),
        out_shardings=(devices.everywhere, devices.everywhere),
        compiler_options=devices.compiler_options,
    )

    fresh = batches.iterate(0, 1 + (ROUNDS + 1) * STEPS)
    repeated = itertools.repeat(next(fresh))
    rates: dict[str, list[float]] = {"fresh": [], "repeated": []}
    waits = []
    for turn in range(ROUNDS + 1):
        for name, source in (("fresh", fresh), ("repeated", repeated)):
            batches.waited_s = 0.0
            state, seconds = run_steps(step, state, source)
            if turn:  # the first round compiles
                rates[name].append(STEPS * config.trainer.batch_size / seconds)
                waits += [batches.waited_s / seconds] if name == "fresh" else []
    compilations = step._cache_size()
    medians = {name: statistics.median(values) for name, values in rates.items()}
    print(f"{devices}; batches of {config.trainer.batch_size}, {ROUNDS} rounds of {STEPS} steps")
    for name, values in rates.items():
        print(f"{name:8} {medians[name]:7.1f} pairs/s (from {min(values):.1f} to {max(values):.1f})")
    print(
        f"ratio    {medians['fresh'] / medians['repeated']:.2f}; input wait {statistics.median(waits):.1%}; "
        f"compilations of the step: {compilations}"
    )


def run_steps(step, state, source: Iterator[TrainingPairs]) -> tuple[object, float]:
    """The state after STEPS steps, and the seconds they took."""
    start = time.perf_counter()
    for pairs in itertools.islice(source, STEPS):
        state, _ = step(state, pairs)
    # Wait for all arrays: otherwise the batch that is prepared ahead would count in the next round's time.
    jax.block_until_ready(jax.live_arrays())
    return state, time.perf_counter() - start


if __name__ == "__main__":
    main()
