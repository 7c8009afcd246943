"""A trained Module 1, loaded with its settings from its run directory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp

from ifvit.config import DenseConfig, Enhancement, StageName
from ifvit.config.run_config import open_run
from ifvit.models.dense import DenseModel
from ifvit.registration.module1_search import Module1Search
from ifvit.storage.checkpoint import MODULE1_FOLDER, digest_of, read_variables


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
    run = open_run(run_dir)
    if run.stage is StageName.matcher:
        return load_dense(run_dir / MODULE1_FOLDER)
    dense = run.dense()
    which, step, variables = read_variables(run_dir)
    # float32, also after a training in bfloat16: the same results on every device.
    model = DenseModel.from_config(dense, jnp.float32)
    return Module1(which, step, model, variables, dense, run.frame(), run.ppi(), run.ridge_mask())
