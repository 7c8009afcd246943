"""The cases of `bench.py` that measure this package."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from enhancement import read_prints, synthetic_prints
from jax.sharding import SingleDeviceSharding
from rounds import Round, serve

from ifvit import image, load, program
from ifvit.config import Enhancement
from ifvit.data.batches import TRAIN
from ifvit.data.finger_pool import grow_packed
from ifvit.data.loader import supply
from ifvit.data.rendered_pairs import FingerIndices, draw_pairs, render_pairs
from ifvit.enhancement.enhancer import Enhancer
from ifvit.launch import compose_config
from ifvit.models.dense import DenseModel
from ifvit.models.matching import extract_matches
from ifvit.pair import Pair
from ifvit.registration.registrar import frame_of
from ifvit.training.dense_step import make_dense_step
from ifvit.training.devices import Devices
from ifvit.training.state import init_variables, make_optimizer, new_state

BATCH = 16  # pairs in a training step
STEPS = 3  # in a round
PRINTS = 16  # compared and enhanced in a round
PPI = 500.0
DIFFERENT = 33  # prints of the long series: 1,056 different pairs


def training(height: int, width: int, batch: int = BATCH, layers: int = 4) -> Round:
    """Steps of `dense=loftr` (256 wide) on one batch that stays on the device."""
    keys = ["dense=loftr", "dense.loftr_pretrained_ckpt=null", "data=synthetic", "data.fingers=32"]
    sizes = [f"data.image_size=[{height},{width}]", f"trainer.batch_size={batch}", f"dense.num_layers={layers}"]
    config = compose_config([*keys, *sizes])
    devices = Devices(config.trainer)
    model = DenseModel.from_config(config.dense, devices.dtype)
    optimizer = make_optimizer(config, ())
    state = jax.device_put(
        new_state(init_variables(model, config.seed, config.data.frame), optimizer), devices.everywhere
    )
    pairs = next(supply(config, devices.split).batches(TRAIN).iterate(0, 1))
    step = jax.jit(
        make_dense_step(model, optimizer, config), donate_argnums=0, compiler_options=devices.compiler_options
    )

    def run_round() -> int:
        nonlocal state
        for _ in range(STEPS):
            state, _ = step(state, pairs)
        jax.block_until_ready(state)
        return STEPS * batch

    return run_round


def loftr_full(side: int = 256) -> Round:
    """`dense=loftr_full` on a pair: backbone, transformer, all mutual matches, and the fine stage."""
    dense = compose_config(["dense=loftr_full", "dense.loftr_pretrained_ckpt=null"]).dense
    model = DenseModel.from_config(dense, jnp.float32)
    images = np.random.default_rng(0).random((2, 1, side, side), np.float32)
    variables = model.init(jax.random.key(0), *images)
    grid = model.grid(side, side)

    @jax.jit
    def forward(a: jax.Array, b: jax.Array) -> jax.Array:
        output = model.apply(variables, a, b)
        options = {"threshold": 0.0, "border": dense.border, "max_matches": dense.max_matches}
        matches = extract_matches(output.log_p, grid, grid, **options)
        return model.apply(variables, output, matches.cells, method="refine").points_b

    def run_round() -> int:
        jax.block_until_ready([forward(*images) for _ in range(STEPS)])
        return STEPS

    return run_round


def prints() -> list[np.ndarray]:
    """The prints of a folder (BENCH_PRINTS), or synthetic ones."""
    folder = os.environ.get("BENCH_PRINTS")
    return read_prints(Path(folder), PRINTS) if folder else synthetic_prints(PRINTS)


def comparing(cached: str, together: bool = False) -> Round:
    """Comparisons without a run. cached: `nothing`, `enhanced` (in a cache folder) or `features` (in memory)."""
    greys = prints()
    pairs = list(zip(greys[::2], greys[1::2], strict=True))
    folder = tempfile.mkdtemp()
    run_dir = os.environ.get("BENCH_RUN")
    matcher = load(run_dir, folder)

    def from_images() -> int:
        matcher = load(run_dir, folder if cached == "enhanced" else tempfile.mkdtemp())
        results = matcher.compare_many(pairs, PPI) if together else (matcher.compare(a, b, PPI) for a, b in pairs)
        return len(list(results))

    if cached != "features":
        return from_images
    sides = [matcher.print_of(image.scan_of(grey), PPI) for grey in greys]
    print_pairs = list(zip(sides[::2], sides[1::2], strict=True))
    if together:
        matcher = matcher.by(8)

    def from_prints() -> int:
        if together:
            return len(list(matcher.compare_prints(print_pairs)))
        return sum(len(list(matcher.compare_prints([pair]))) for pair in print_pairs)

    return from_prints


def comparisons(count: int) -> Round:
    """So many comparisons of prints that are known, all different pairs, in one round."""
    matcher = load(None, tempfile.mkdtemp())
    sides = [matcher.print_of(image.scan_of(grey), PPI) for grey in synthetic_prints(DIFFERENT)]
    frame = frame_of(side.of_ridges for side in sides)
    matcher = matcher.by(8, frame)

    def run_round() -> int:
        pairs = itertools.islice(itertools.cycle(itertools.permutations(sides, 2)), count)
        return sum(1 for _ in matcher.compare_prints(pairs))

    return run_round


def enhancing(together: bool) -> Round:
    """Prints enhanced by `gabor`, one by one or all at once, none from a cache."""
    greys = prints()

    def run_round() -> int:
        enhancer = Enhancer(Enhancement.gabor, tempfile.mkdtemp())
        if together:
            return len(list(enhancer.enhance_many(greys, [PPI] * len(greys))))
        return len([enhancer.enhance(grey, PPI) for grey in greys])

    return run_round


def growing() -> Round:
    """Masters of synthetic fingers."""
    numbers = itertools.count()

    def run_round() -> int:
        jax.block_until_ready(grow_packed(0, np.arange(8) + 8 * next(numbers)))
        return 8

    return run_round


def rendering(size: int = 128, count: int = 64) -> Round:
    """Pairs of impressions, rendered with their exact maps."""
    data = compose_config([f"data.image_size={size}"]).data
    sharding = SingleDeviceSharding(jax.devices()[0])
    skins = jax.device_put(grow_packed(0, np.arange(16)), sharding)
    fingers = np.arange(count, dtype=np.int32) % 16
    indices = FingerIndices(Pair(fingers, fingers), np.ones(count, bool))
    numbers = itertools.count()

    def run_round() -> int:
        draws = draw_pairs(jax.random.key(next(numbers)), count, data=data)
        jax.block_until_ready(render_pairs(draws, skins, indices, data, sharding))
        return count

    return run_round


def shell(*words: str) -> Round:
    """A command of the package, from the shell to its end."""
    folder = Path(tempfile.mkdtemp())
    for name, grey in zip("ab", synthetic_prints(2), strict=True):
        image_path = folder / f"{name}.png"
        cv2.imwrite(str(image_path), grey)
    arguments = [str(folder / f"{word}.png") if word in ("a", "b") else word for word in words]

    def run_round() -> int:
        subprocess.run([sys.executable, "-m", "ifvit", *arguments], check=True, capture_output=True)
        return 1

    return run_round


CASES: dict[str, Callable[[], Round]] = {
    "training 128x128": partial(training, 128, 128),
    "training 192x160": partial(training, 192, 160),
    "loftr_full 256x256": loftr_full,
    "compare, nothing cached": partial(comparing, "nothing"),
    "compare, enhanced prints cached": partial(comparing, "enhanced"),
    "compare, features cached": partial(comparing, "features"),
    "compare 8 at once, nothing cached": partial(comparing, "nothing", True),
    "compare 8 at once, features cached": partial(comparing, "features", True),
    "enhance one by one": partial(enhancing, False),
    "enhance together": partial(enhancing, True),
    "grow fingers": growing,
    "render pairs": rendering,
    "ifvit --help": partial(shell, "--help"),
    "ifvit compare a.png b.png": partial(shell, "compare", "a", "b", "--ppi", "500"),
}

if __name__ == "__main__":
    with program.started("bench"):  # sets the memory as for users
        serve(CASES)
