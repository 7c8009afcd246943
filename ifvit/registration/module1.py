"""A trained Module 1 as its run directory holds it: nothing has to be said again, and so nothing can differ."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp

from ifvit.config import ConfigError, DenseConfig, Enhancement, StageName, dense_of
from ifvit.models.dense import DenseModel
from ifvit.registration.module1_search import Module1Search
from ifvit.storage.checkpoint import MODULE1_FOLDER, digest_of, read_variables
from ifvit.storage.errors import CheckpointError
from ifvit.storage.json_files import read_json


class Module1(NamedTuple):
    """The best state of a run, else its latest (`which`), after `step` updates.

    frame: (height, width) px of the images it was trained on; ppi: theirs; enhancement: what found their ridges.
    """

    which: str
    step: int
    model: DenseModel
    variables: Mapping[str, Any]
    dense: DenseConfig
    frame: tuple[int, int]
    ppi: float
    enhancement: Enhancement

    def digest(self) -> str:
        """Which Module 1 this is: of its variables' names and bytes, so that a copy of the run is the same one."""
        return digest_of(self.variables)

    def registrar(self, **settings: Any) -> Module1Search:
        """What guesses with it how prints lie on one another; `settings` as of `Module1Search`."""
        return Module1Search(self.model, self.variables, self.dense, self.frame, self.ppi, **settings)


def load_dense(run_dir: Path) -> Module1:
    """The Module 1 of a run directory, which is only read; of a Module 2's run the one that it began from.

    Raises:
        CheckpointError: it is no run directory, holds no state yet, or its state is damaged.
    """
    held = read_json(run_dir / "config.json")
    try:
        tree = held["config"]
        if tree.get("stage") == StageName.matcher:
            return load_dense(run_dir / MODULE1_FOLDER)
        data, dense = tree["data"], dense_of(tree)
        size, ppi = data["image_size"], float(data["ppi"])
        frame = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
        enhancement = Enhancement(data.get("enhancement", "none"))
    except (TypeError, KeyError, ValueError, AttributeError, ConfigError) as error:
        raise CheckpointError(
            f"{run_dir}: no run directory (it has no config.json of a run); give the run_dir of a training run"
        ) from error
    which, step, variables = read_variables(run_dir)
    # float32 whatever it was trained in: the same figures on every device.
    model = DenseModel.from_config(dense, jnp.float32)
    return Module1(which, step, model, variables, dense, frame, ppi, enhancement)
