"""Whether a run is finished, and its results. Read from its files, without its data and without JAX."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ifvit import table_text
from ifvit.config import Config, StageName, identity, to_dict
from ifvit.config.run_config import FILE, open_run
from ifvit.errors import CheckpointError

# The figures of a validation by stage, the objective first: key in metrics.json -> (title, number format).
FIGURES = {
    StageName.dense: {"exact": ("cells exact", ".3f"), "within_one": ("within one", ".3f")},
    StageName.matcher: {"auc": ("AUC", ".4f"), "eer": ("EER", ".2%")},
}


class Finished(NamedTuple):
    """The results of a finished run."""

    value: float  # the validation's objective
    text: str  # printed when the same run is started again


def finished(config: Config) -> Finished | None:
    """The results of a run that has made `trainer.max_steps` updates with this config.

    None in case of doubt: another config, weights that changed after the start, a file that is missing or damaged.
    Then training starts as usual and names the problem.
    """
    folder, steps = Path(config.run_dir), config.trainer.max_steps
    try:
        run, metrics = open_run(folder), json.loads((folder / "metrics.json").read_text())
        start_time = (folder / FILE).stat().st_mtime
        is_same = identity(run.tree) == identity(to_dict(config)) and metrics["step"] == steps
        has_newer_weights = any(_last_write(Path(path)) > start_time for path in _weight_paths(config))
        value = float(metrics[config.stage.objective])
        lines = outcome(config.stage, metrics)
    except (CheckpointError, OSError, ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return None
    if not is_same or has_newer_weights or not math.isfinite(value) or not (folder / "states" / str(steps)).is_dir():
        return None
    heading = f"{folder}: this run is finished, all its {steps} steps are made; nothing was done"
    advice = "to train on, raise trainer.max_steps; to train anew, set another run_dir"
    return Finished(value, "\n".join([heading, *lines, advice]))


def _weight_paths(config: Config) -> list[str]:
    """The runs or files that the weights come from."""
    return [path for path in (config.init.dense, config.init.matcher, config.dense.loftr_pretrained_ckpt) if path]


def _last_write(source: Path) -> float:
    """When a file, or the states of a run, were last written, s; 0 if it no longer exists, as it is not needed."""
    states = [path for name in ("best", "states") for path in (source / name).glob("[0-9]*")]
    return max((path.stat().st_mtime for path in states or [source] if path.exists()), default=0.0)


def outcome(stage: StageName, metrics: Mapping[str, Any]) -> list[str]:
    """The lines of a table: the figures before training, at the end, and at the best step.

    metrics: the content of metrics.json; null stands for a mean without values.
    """
    best = metrics.get("best") or {}
    columns = {"untrained": metrics.get("untrained") or {}, f"step {metrics['step']}": metrics}
    if best and best["step"] != metrics["step"]:
        columns[f"best, step {best['step']}"] = best
    rows = [["", *columns]]
    for name, (title, form) in FIGURES[stage].items():
        values = [column.get(name) for column in columns.values()]
        rows.append([title, *(written(value, form) for value in values)])
    return aligned(rows)


def written(value: float | None, form: str) -> str:
    """A figure as text; '-' for a mean without values (nan, in JSON null)."""
    return "-" if value is None or math.isnan(value) else format(value, form)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """The rows of a table as indented lines: the first column left-aligned, the others right-aligned."""
    return [f"  {line}" for line in table_text.aligned(rows, right=range(1, len(rows[0])))]
