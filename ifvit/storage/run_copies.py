"""Copies of runs: a whole run to go on from, or its best state alone."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ifvit.config.run_config import FILE
from ifvit.storage.checkpoint import CURVES, MODULE1_FOLDER, saved_steps

RUN_FILES = (FILE, "merge_report.json", "metrics.json", "split.csv")  # copied with a state


def copy_run(source: Path, run_dir: Path) -> int:
    """Copy a run into `run_dir`: its latest and its best state, its curves and `RUN_FILES`. Returns the latest step.

    The source may be read-only. It has at least one state (`saved_steps`). The latest state gets its name last, by a
    rename: if the copy is interrupted, `run_dir` has no latest state, and the copy is done again from the start.

    Raises:
        OSError: a file cannot be read or written.
    """
    steps = saved_steps(source / "states")
    for name in RUN_FILES:
        if (source / name).exists():
            shutil.copyfile(source / name, run_dir / name)
    for step in saved_steps(source / "best")[-1:]:
        _copy_tree(source / "best" / str(step), run_dir / "best" / str(step))
    if (source / MODULE1_FOLDER).is_dir():
        copy_best(source / MODULE1_FOLDER, run_dir / MODULE1_FOLDER)
    if (source / CURVES).is_dir():
        _copy_tree(source / CURVES, run_dir / CURVES)
    _copy_tree(source / "states" / str(steps[-1]), run_dir / "states" / str(steps[-1]))
    return steps[-1]


def copy_best(source: Path, run_dir: Path) -> None:
    """Copy the state that `read_variables` reads, and `RUN_FILES`, into another run directory.

    Raises:
        OSError: a file cannot be read or written.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    which = next((name for name in ("best", "states") if saved_steps(source / name)), None)
    if which is None or source.resolve() == run_dir.resolve():
        return
    step = saved_steps(source / which)[-1]
    for old_step in saved_steps(run_dir / "best"):  # of an earlier start that saved no state of its own
        shutil.rmtree(run_dir / "best" / str(old_step))
    _copy_tree(source / which / str(step), run_dir / "best" / str(step))
    for name in RUN_FILES:
        (run_dir / name).unlink(missing_ok=True)
        if (source / name).exists():
            shutil.copyfile(source / name, run_dir / name)


def _copy_tree(source: Path, target: Path) -> None:
    """Copy a folder, with default permissions: shutil.copytree would copy those of a read-only folder too."""
    partial = target.parent / f".copying-{target.name}"
    shutil.rmtree(partial, ignore_errors=True)
    for folder, _, files in os.walk(source):
        target_folder = partial / Path(folder).relative_to(source)
        target_folder.mkdir(parents=True)
        for file in files:
            shutil.copyfile(Path(folder) / file, target_folder / file)
    shutil.rmtree(target, ignore_errors=True)  # of an earlier copy that was interrupted after this folder
    partial.rename(target)
