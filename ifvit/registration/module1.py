"""A trained Module 1, loaded with its settings from its run directory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp

from ifvit.config import ConfigError, DenseConfig, Enhancement, StageName, dense_of
from ifvit.config.renamed import upgraded
from ifvit.errors import CheckpointError
from ifvit.models.dense import DenseModel
from ifvit.registration.module1_search import Module1Search
from ifvit.storage.checkpoint import MODULE1_FOLDER, digest_of, read_variables
from ifvit.storage.json_files import read_json


class Module1(NamedTuple):
    """A trained Module 1: the best state of a run, or its latest one if there is no best one."""

    which: str  # 'best' or 'latest'
    step: int  # the number of updates
    model: DenseModel
    variables: Mapping[str, Any]  # {'params': ..., 'batch_stats': ...}
    dense: DenseConfig
    frame: tuple[int, int]  # (height, width) px of the training images
    ppi: float  # of the training images
    enhancement: Enhancement  # of the training images

    def digest(self) -> str:
        """A hash of the names and bytes of the variables: a copy of the run has the same one."""
        return digest_of(self.variables)

    def registrar(self, **settings: Any) -> Module1Search:
        """The search for guesses with this Module 1; `settings` are keyword arguments of `Module1Search`."""
        return Module1Search(self.model, self.variables, self.dense, self.frame, self.ppi, **settings)


def load_dense(run_dir: Path) -> Module1:
    """The Module 1 of a run directory, which is only read; for a run of Module 2, the Module 1 that it started from.

    Raises:
        CheckpointError: it is no run directory, has no state yet, or its state is damaged.
        BackendError: JAX has no device.
    """
    stored = read_json(run_dir / "config.json")
    try:
        tree = upgraded(stored["config"])
        if tree.get("stage") == StageName.matcher:
            return load_dense(run_dir / MODULE1_FOLDER)
        data, dense = tree["data"], dense_of(tree)
        size, ppi = data["image_size"], float(data["ppi"])
        frame = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
        enhancement = Enhancement(data.get("ridge_mask", "none"))
    except (TypeError, KeyError, ValueError, AttributeError, ConfigError) as error:
        raise CheckpointError(
            f"{run_dir}: no run directory (it has no config.json of a run); give the run_dir of a training run"
        ) from error
    which, step, variables = read_variables(run_dir)
    # float32, also after a training in bfloat16: the same results on every device.
    model = DenseModel.from_config(dense, jnp.float32)
    return Module1(which, step, model, variables, dense, frame, ppi, enhancement)
