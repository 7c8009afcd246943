"""A trained Module 1 as its run directory holds it: nothing has to be said again, and so nothing can differ."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp

from ifvit import image
from ifvit.checkpoint import MODULE_1, CheckpointError, digest_of, read_json, read_variables
from ifvit.config import ConfigError, DenseConfig, Enhancement, Stage, dense_of
from ifvit.image import Canvas
from ifvit.models.dense import DenseModel
from ifvit.recognition.enhancement import Enhancer, misfit
from ifvit.recognition.registration import Registrar


class Trained(NamedTuple):
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

    def registrar(self, **settings: Any) -> Registrar:
        """What lays prints on one another with it; `settings` as of `Registrar`."""
        return Registrar(self.model, self.variables, self.dense, self.frame, self.ppi, **settings)

    def enhancer(self, cache_dir: str | None = None) -> Enhancer:
        """What finds a print's ridges, as in training; to be made once, for it loads networks. Errors as of it."""
        return Enhancer(self.enhancement, cache_dir)

    def canvas(self, path: Path, ppi: float | None, enhancer: Enhancer) -> Canvas:
        """A file's print as this model sees prints.

        ppi: of the file, over its own tag; 500 where neither says it. enhancer: this model's.

        Raises:
            ImageError: the file cannot be used; names it.
            EnhancementError: what finds the ridges cannot be used.
        """
        scan = image.read(path)
        try:
            return self.canvas_of(scan, ppi, enhancer)
        except image.ImageError as error:
            raise image.ImageError(f"{path}: {error}") from error

    def canvas_of(self, scan: image.Scan, ppi: float | None, enhancer: Enhancer) -> Canvas:
        """The same of a scan; the messages name no file."""
        ridges = None
        if self.enhancement is not Enhancement.none:
            used, _ = image.choose_ppi(scan, ppi)
            if why := misfit(scan.grey, used):
                raise image.ImageError(why)
            (ridges,) = enhancer.ridges_many([scan.grey], [used])
        return image.canvas_of(scan, ridges, ppi, self.ppi, *self.frame)


def load_dense(run_dir: Path) -> Trained:
    """The Module 1 of a run directory, which is only read; of a Module 2's run the one that it began from.

    Raises:
        CheckpointError: it is no run directory, holds no state yet, or its state is damaged.
    """
    held = read_json(run_dir / "config.json")
    try:
        tree = held["config"]
        if tree.get("stage") == Stage.matcher:
            return load_dense(run_dir / MODULE_1)
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
    return Trained(which, step, model, variables, dense, frame, ppi, enhancement)
