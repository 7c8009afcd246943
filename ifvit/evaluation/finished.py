"""Whether an evaluation is finished already, asked before anything is loaded or decoded: OUT/finished.json.

The file is written last. Its key is of everything that the report follows from, by the content of files: the images,
the run's state, the calibration as the evaluation left it. Where it is the same, nothing but the lines is missing.
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
from ifvit.evaluation import nbis
from ifvit.evaluation.calibrating import UNDONE
from ifvit.evaluation.task import Task
from ifvit.storage.checkpoint import MODULE1_FOLDER, saved_steps
from ifvit.storage.errors import CheckpointError
from ifvit.storage.files import obstacle
from ifvit.storage.json_files import read_json, write_json

FILE = "finished.json"
WRITTEN = ("report.html", "results.json", "pairs.csv")
FORMAT = 2  # goes up when a report shows something else of the same evaluation


def key_of(task: Task, calibrate: bool | None, moved: int) -> dict[str, Any]:
    """What the report of a task follows from, for JSON. calibrate, moved: as of `run.report`."""
    pairs = hashlib.sha256(task.pairs.first.tobytes() + task.pairs.second.tobytes()).hexdigest()
    return {
        "ifvit": __version__, "format": FORMAT, "judge": RECIPE, "run": str(task.run_dir),
        "state": None if task.run_dir is None else _state(task.run_dir), "score": task.score,
        "enhancement": str(task.data.enhancement), "protocol": str(task.protocol), "images": _images(task.records),
        "pairs": pairs, "robustness": moved, "calibrate": calibrate, "calibration": calibration_of(task),
        "peers": nbis.unavailable(), "writable": _is_writable(task),
    }  # fmt: skip


def lines_of(out: Path, key: dict[str, Any]) -> list[str] | None:
    """What the evaluation with this key printed when it was finished in `out`; None where it was not."""
    try:
        kept = read_json(out / FILE)
    except CheckpointError:
        return None
    if not isinstance(kept, dict) or kept.get("key") != key or not all((out / name).is_file() for name in WRITTEN):
        return None
    lines = kept.get("lines")
    return lines if isinstance(lines, list) and all(isinstance(line, str) for line in lines) else None


def finish(out: Path, task: Task, key: dict[str, Any], lines: Sequence[str]) -> None:
    """Note that everything is written, unless a line says that the same command may do more the next time: a run that
    can be written may be calibrated then. A read-only one stays as it is.

    key: as it was before; the calibration may be another now.

    Raises:
        WriteError: it cannot be noted.
    """
    if key["writable"] and any(line.startswith(UNDONE) for line in lines):
        return
    write_json(out / FILE, {"key": key | {"calibration": calibration_of(task)}, "lines": list(lines)})


def _state(run_dir: Path) -> str:
    """The files that a run's networks are read from."""
    paths = []
    for folder in (run_dir, run_dir / MODULE1_FOLDER):
        paths.append(folder / "config.json")
        saved = next((folder / name for name in ("best", "states") if saved_steps(folder / name)), None)
        if saved is not None:
            paths += sorted(p for p in (saved / str(saved_steps(saved)[-1])).rglob("*") if p.is_file())
    return _digest((str(path.relative_to(run_dir)), path) for path in paths)


def _images(records: Sequence[Record]) -> str:
    named = ((repr((str(r.path), r.database, r.identity, r.impression, r.ppi)), r.path) for r in records)
    return _digest(named)


def calibration_of(task: Task) -> str | None:
    """What is kept with the run about the task's score: another evaluation may have replaced it."""
    return None if task.run_dir is None else _content(task.run_dir / FILES[Score(task.score)])


def _is_writable(task: Task) -> bool:
    """Whether a calibration could be kept with the run."""
    return task.run_dir is not None and obstacle(task.run_dir / FILES[Score(task.score)]) is None


def _digest(files: Iterable[tuple[str, Path]]) -> str:
    """What some files hold, each under a name."""
    names, paths = zip(*files, strict=True)
    with ThreadPoolExecutor() as pool:
        contents = list(pool.map(_content, paths))
    return hashlib.sha256(repr(list(zip(names, contents, strict=True))).encode()).hexdigest()


def _content(path: Path) -> str | None:
    """What a file holds; None where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
