r"""Transfer of trained models to other databases: the registration metrics of runs on self-pairs of real prints.

    python train.py experiment=quickstart run_dir=checkpoints/synthetic
    python train.py experiment=quickstart run_dir=checkpoints/db2 data=fvc data.root=FOLDER data.databases=[DB2_B] \
        data.val_fingers=2
    python benchmarks/transfer.py checkpoints/synthetic checkpoints/db2 --data data.root=FOLDER data.databases=[DB1_B]

A self-pair is an image and a rotated, shifted, bent and worn copy of it, with the exact map between (data=fvc). All
images of the named databases are used. Each run's best state (by its own validation fingers) is measured on the same
pairs. The first row is an untrained model.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import jax
import numpy as np

from ifvit.config import Config, build
from ifvit.data.batches import VALIDATE, BatchSpec, CopiedBatches
from ifvit.data.impressions import load
from ifvit.data.warped_pairs import TrainingPairs
from ifvit.launch import compose_tree
from ifvit.models.dense import DenseModel
from ifvit.storage.checkpoint import read_variables
from ifvit.training.dense_step import make_dense_eval
from ifvit.training.dense_validate import validate
from ifvit.training.devices import Devices
from ifvit.training.state import init_variables, make_optimizer, new_state

BATCH, BATCHES = 16, 32
METRICS = ("exact", "within_one", "pck_1", "pck_3", "pck_5", "pck_10", "end_point_error", "precision", "recall")


def main() -> None:
    """Print a row for each run."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN_DIR", help="of runs of one data.ppi and image_size")
    parser.add_argument("--data", nargs="+", required=True, metavar="KEY=VALUE", help="like data.root=FOLDER")
    arguments = parser.parse_args()
    pairs = pairs_of(build(compose_tree(["data=fvc", f"trainer.batch_size={BATCH}", *arguments.data])))
    print(f"{BATCH * BATCHES} self-pairs, {' '.join(arguments.data)}")
    print(" | ".join(("run", *METRICS)))
    for run in [None, *arguments.runs]:
        config = build(json.loads(((run or arguments.runs[0]) / "config.json").read_text())["config"])
        print(" | ".join((str(run or "untrained"), *(f"{value:.3f}" for value in figures(config, run, pairs)))))


def pairs_of(config: Config) -> list[TrainingPairs]:
    """The pairs for all runs: every image of the databases, wear and warps of a fixed seed."""
    impressions = load(config.data)
    sharding = Devices(config.trainer).split
    batches = CopiedBatches(config, impressions, np.arange(len(impressions)), BatchSpec(BATCH, sharding, VALIDATE))
    return list(batches.iterate(0, BATCHES))


def figures(config: Config, run: Path | None, pairs: list[TrainingPairs]) -> list[float]:
    """The run's metrics, in the order of METRICS; those of an untrained model where run is None."""
    model = DenseModel.from_config(config.dense, jax.numpy.float32)
    state = new_state(init_variables(model, config.seed, config.data.frame), make_optimizer(config, ()))
    if run:
        state = state.replace(**read_variables(run)[2])
    means = validate(jax.jit(make_dense_eval(model, config)), state, pairs, config.loss, model.stride).means
    return [means[name] for name in METRICS]


if __name__ == "__main__":
    main()
