"""The table of a sweep's jobs, printed at its end: status, objective and run directory of each."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ifvit.config import StageName
from ifvit.program import EXIT_REFUSED, EXIT_RESUMABLE
from ifvit.table_text import aligned

NOT_BEGUN, RUNNING, FINISHED = "not begun", "running", "finished"
ENDS = {0: FINISHED, EXIT_REFUSED: "refused", EXIT_RESUMABLE: "stopped"}
UNKNOWN = "-"


@dataclass
class Job:
    """A job of a sweep."""

    run_dir: Path | None = None  # None before it begins
    stage: StageName | None = None  # None before it begins
    status: str = NOT_BEGUN


class Board:
    """The status of each job, by its name."""

    def __init__(self, names: Iterable[str] = ()):
        self._jobs = {name: Job() for name in names}

    def begin(self, name: str, run_dir: Path, stage: StageName) -> None:
        """Note that the job's process starts."""
        self._jobs[name] = Job(run_dir, stage, RUNNING)

    def end(self, name: str, status: int) -> None:
        """Note that the job ended with an exit status, or was refused before it began."""
        self._jobs.setdefault(name, Job()).status = ENDS.get(status, f"failed ({status})")

    def objective(self, name: str) -> float:
        """The objective of the job's latest validation; nan without a validation after the start of training.

        A refused job has none: the files in its folder belong to another run.
        """
        return self._latest(name)[1]

    def _latest(self, name: str) -> tuple[int, float]:
        """The step of the job's latest validation, and the objective; (0, nan) where there is none."""
        job = self._jobs[name]
        if job.run_dir is None or job.stage is None or job.status == ENDS[EXIT_REFUSED]:
            return 0, math.nan
        try:
            metrics = json.loads((job.run_dir / "metrics.json").read_text())
            step = int(metrics["step"])
            return (step, float(metrics[job.stage.objective])) if step else (0, math.nan)
        except (OSError, ValueError, RecursionError, LookupError, TypeError, AttributeError):
            return 0, math.nan

    @contextmanager
    def print_at_end(self) -> Iterator[None]:
        """Around the jobs: print the table at the sweep's end, also after an error, if a job has begun."""
        try:
            yield
        finally:
            if any(job.run_dir for job in self._jobs.values()):
                print("\n".join(self.lines()), flush=True)

    def lines(self) -> list[str]:
        """The table. A star marks the best finished job; the line below names the objective."""
        latest = {name: self._latest(name) for name in self._jobs}
        objectives = dict.fromkeys(job.stage.objective for job in self._jobs.values() if job.stage)
        done = [latest[name] for name, job in self._jobs.items() if job.status == FINISHED]
        comparable = [value for _, value in done if not math.isnan(value) and len(objectives) == 1]
        best = max(comparable, default=math.nan)
        rows = [["job", "status", f"{' or '.join(objectives)}  ", "run_dir"]]
        for name, job in self._jobs.items():
            value = latest[name][1]
            star = "*" if job.status == FINISHED and value == best else " "
            written = UNKNOWN if math.isnan(value) else f"{value:.4f}"
            rows.append([name, job.status, f"{written} {star}", str(job.run_dir or UNKNOWN)])
        steps = " or ".join(map(str, sorted({step for step, value in done if value == best})))
        meaning = f"* the best finished job: {' '.join(objectives)} at the last step ({steps}), higher is better"
        return [*aligned(rows, right={2}), *([meaning] if comparable else [])]
