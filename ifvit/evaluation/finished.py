"""Recognise a finished evaluation before anything is loaded or decoded, by OUT/finished.json.

The file is written last. Its key covers everything that the report depends on, by the content of files: the images, the
run's state, and the calibration after the evaluation. If the key is the same, the stored lines are printed again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ifvit import __version__
from ifvit.comparison.run_calibration import FILES, RECIPE, Score
from ifvit.databases.records import Record
from ifvit.errors import CheckpointError
from ifvit.evaluation import nbis
from ifvit.evaluation.calibrating import UNDONE
from ifvit.evaluation.task import Task
from ifvit.storage.checkpoint import MODULE1_FOLDER, saved_steps
from ifvit.storage.files import obstacle
from ifvit.storage.json_files import read_json, write_json

FILE = "finished.json"
REPORT_FILES = ("report.html", "results.json", "pairs.csv")
FORMAT = 2  # goes up when the report of the same evaluation changes


def key_of(task: Task, calibrate: bool | None, robustness_pairs: int) -> dict[str, Any]:
    """What the report of a task depends on, as JSON can store it.

    calibrate, robustness_pairs: as in `evaluate.report`.
    """
    pairs = hashlib.sha256(task.pairs.first.tobytes() + task.pairs.second.tobytes()).hexdigest()
    return {
        "ifvit": __version__, "format": FORMAT, "judge": RECIPE, "run": str(task.run_dir),
        "state": None if task.run_dir is None else _state(task.run_dir), "score": task.score,
        "enhancement": str(task.data.ridge_mask), "protocol": str(task.protocol), "images": _images(task.records),
        "pairs": pairs, "robustness": robustness_pairs, "calibrate": calibrate, "calibration": calibration_of(task),
        "peers": nbis.unavailable(), "writable": _is_writable(task),
    }  # fmt: skip


def lines_of(out: Path, key: dict[str, Any]) -> list[str] | None:
    """The lines that the finished evaluation with this key printed; None where none is finished in `out`."""
    try:
        stored = read_json(out / FILE)
    except CheckpointError:
        return None
    if (
        not isinstance(stored, dict)
        or stored.get("key") != key
        or not all((out / name).is_file() for name in REPORT_FILES)
    ):
        return None
    lines = stored.get("lines")
    return lines if isinstance(lines, list) and all(isinstance(line, str) for line in lines) else None


def finish(out: Path, task: Task, key: dict[str, Any], lines: Sequence[str]) -> None:
    """Store that the evaluation is finished, with the lines that it printed.

    It is not stored where a run that can be written was not calibrated: the same command may calibrate it later.

    key: from before the evaluation, which may have changed the calibration.

    Raises:
        WriteError: the file cannot be written.
    """
    if key["writable"] and any(line.startswith(UNDONE) for line in lines):
        return
    write_json(out / FILE, {"key": key | {"calibration": calibration_of(task)}, "lines": list(lines)})


def _state(run_dir: Path) -> str:
    """A digest of the files that a run's networks are read from."""
    paths = []
    for folder in (run_dir, run_dir / MODULE1_FOLDER):
        paths.append(folder / "config.json")
        states = next((folder / name for name in ("best", "states") if saved_steps(folder / name)), None)
        if states is not None:
            paths += sorted(p for p in (states / str(saved_steps(states)[-1])).rglob("*") if p.is_file())
    return _digest((str(path.relative_to(run_dir)), path) for path in paths)


def _images(records: Sequence[Record]) -> str:
    """A digest of the images and of what the records say about them."""
    files = ((repr((str(r.path), r.database, r.identity, r.impression, r.ppi)), r.path) for r in records)
    return _digest(files)


def calibration_of(task: Task) -> str | None:
    """A digest of the run's calibration of the task's score, which another evaluation may replace; None without one."""
    return None if task.run_dir is None else _content(task.run_dir / FILES[Score(task.score)])


def _is_writable(task: Task) -> bool:
    """Whether a calibration can be stored with the run."""
    return task.run_dir is not None and obstacle(task.run_dir / FILES[Score(task.score)]) is None


def _digest(files: Iterable[tuple[str, Path]]) -> str:
    """A digest of files, each with a name that does not depend on its folder."""
    names, paths = zip(*files, strict=True)
    with ThreadPoolExecutor() as pool:
        contents = list(pool.map(_content, paths))
    return hashlib.sha256(repr(list(zip(names, contents, strict=True))).encode()).hexdigest()


def _content(path: Path) -> str | None:
    """A digest of a file's content; None where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
