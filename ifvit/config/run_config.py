"""A run directory's config.json, read in one place and without JAX: what was trained, on what, from what."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ifvit.config.build import ConfigError, dense_of, matcher_of
from ifvit.config.choices import Enhancement, StageName
from ifvit.config.renamed import upgraded
from ifvit.config.schema import DenseConfig, MatcherConfig
from ifvit.errors import CheckpointError

FILE = "config.json"
LARGEST = 2**24  # bytes


class RunConfig(NamedTuple):
    """What a run directory says of its run."""

    folder: Path
    tree: Mapping[str, Any]  # the config, under the names of today
    content: Mapping[str, Any]  # all of config.json: fingerprints, digests, the folders of databases

    @property
    def stage(self) -> StageName:
        """Which module was trained."""
        return StageName(self.tree["stage"])

    def dense(self) -> DenseConfig:
        """The network of Module 1.

        Raises:
            CheckpointError: the config has none.
        """
        try:
            return dense_of(self.tree)
        except ConfigError as error:
            raise not_a_run(self.folder, error) from error

    def matcher(self) -> MatcherConfig:
        """Module 2.

        Raises:
            CheckpointError: the config has none.
        """
        try:
            return matcher_of(self.tree)
        except ConfigError as error:
            raise not_a_run(self.folder, error) from error

    def frame(self) -> tuple[int, int]:
        """(height, width) px of the images that the network saw."""
        size = self.tree["data"]["image_size"]
        return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))

    def ppi(self) -> float:
        """The resolution of those images."""
        return float(self.tree["data"]["ppi"])

    def ridge_mask(self) -> Enhancement:
        """What found the ridges of those images."""
        return Enhancement(self.tree["data"].get("ridge_mask", Enhancement.none))


def open_run(run_dir: Path) -> RunConfig:
    """The config of a run directory, which is only read.

    Raises:
        CheckpointError: there is no config.json of a run.
    """
    path = run_dir / FILE
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError("too large")
        content = json.loads(path.read_text())
        run = RunConfig(run_dir, upgraded(content["config"]), content)
        run.stage, run.frame(), run.ppi(), run.ridge_mask()
        dict(run.tree["dense"])
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        raise not_a_run(run_dir, error) from error
    return run


def stored_run(run_dir: Path) -> RunConfig | None:
    """The config of a run directory; None if it has no config.json.

    Raises:
        CheckpointError: its config.json is not that of a run.
    """
    return open_run(run_dir) if (run_dir / FILE).exists() else None


def not_a_run(run_dir: Path, error: Exception) -> CheckpointError:
    """The error of a folder that is no run directory."""
    detail = "" if isinstance(error, (FileNotFoundError, NotADirectoryError)) else f": {error}"
    return CheckpointError(
        f"{run_dir}: no run directory (it has no config.json of a run{detail}); give the run_dir of a training run"
    )
