"""Whether a run directory belongs to another run. Read from its files without JAX, so that a sweep can check it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ifvit.config import Config, differences, to_dict
from ifvit.config.run_config import FILE, RunConfig, stored_run
from ifvit.errors import CheckpointError

RUN_FILES = {
    ".lock", FILE, "merge_report.json", "metrics.json", "split.csv", "matches.png", "placements.png",
    "scores.png", "states", "best", "tb", "dense",
}  # fmt: skip
MAX_CHANGES = 6  # of two configs, named in a message


def taken(config: Config) -> str | None:
    """Who else uses the run directory; None if it is free or belongs to this run.

    Weights, data and damaged files are not checked here: the run itself does so.
    """
    folder = Path(config.run_dir)
    try:
        if problem := foreign_content(folder):
            return problem
        if not has_any_state(folder):
            return None
        return config_difference(config, folder, stored_run(folder)) or states_beyond_end(config)
    except (CheckpointError, OSError, ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return None


def foreign_content(folder: Path) -> str | None:
    """The problem of a folder that contains something else than a run; None if it is a run, empty or absent.

    A run's directory may contain further files, like notes and logs. A run is never started among other files.
    """
    if not folder.exists():
        return None
    if not folder.is_dir():
        return f"{folder} is a file"
    foreign = sorted(path.name for path in folder.iterdir() if path.name not in RUN_FILES and path.name[0] != ".")
    if foreign and not (folder / FILE).exists():
        return f"{folder} holds something else than a run ({', '.join(foreign[:4])})"
    try:
        stored_run(folder)
    except CheckpointError as error:
        if not has_any_state(folder):  # beside states the reader of the run says it
            return str(error).partition(";")[0]
    return None


def has_any_state(folder: Path) -> bool:
    """Whether the folder contains a state of a run: a latest one, or only its best."""
    return bool(_steps(folder / "states") or _steps(folder / "best"))


def config_difference(
    config: Config, folder: Path, stored: RunConfig | None, weights: Sequence[str] = ()
) -> str | None:
    """How the config of the states in a folder differs from this one; None if it does not.

    stored: the config of the folder's run; None if it has no config.json.
    weights: further differences, in words.
    """
    if stored is None:
        return f"{folder} has no {FILE} beside its states"
    changed = [*differences(stored.tree, to_dict(config)), *weights]
    if not changed:
        return None
    more = f"; and {len(changed) - MAX_CHANGES} more" if len(changed) > MAX_CHANGES else ""
    return f"{folder} holds a run of another config ({'; '.join(changed[:MAX_CHANGES])}{more})"


def states_beyond_end(config: Config) -> str | None:
    """The problem of a run directory with a state beyond the config's last step; None if there is none."""
    folder, last = Path(config.run_dir), config.trainer.max_steps
    step = max(_steps(folder / "states"), default=0)
    return f"{folder} already holds step {step}, beyond trainer.max_steps={last}" if step > last else None


def _steps(folder: Path) -> list[int]:
    """The steps of the states in a folder."""
    return [int(path.name) for path in folder.glob("*") if path.name.isdigit() and path.is_dir()]
