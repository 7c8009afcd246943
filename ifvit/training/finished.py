"""Whether a run has made all its steps, and what came out of it: read from its files, without its data and JAX."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ifvit import table_text
from ifvit.config import Config, StageName, as_tree, identity

# Figures of a validation, the stage's objective first: their names for people, and how they are written.
FIGURES = {
    StageName.dense: {"exact": ("cells exact", ".3f"), "within_one": ("within one", ".3f")},
    StageName.matcher: {"auc": ("AUC", ".4f"), "eer": ("EER", ".2%")},
}


class Finished(NamedTuple):
    """What a finished run has come to: the validation's objective, and the text for who asks for it again."""

    value: float
    text: str


def finished(config: Config) -> Finished | None:
    """The outcome of a run that has made `trainer.max_steps` under this very config.

    None where anything is in doubt: another config, other weights than it began from, a file that is missing or
    damaged. Then training looks into it, and says what is wrong.
    """
    folder, steps = Path(config.run_dir), config.trainer.max_steps
    try:
        run, metrics = (json.loads((folder / name).read_text()) for name in ("config.json", "metrics.json"))
        begun = (folder / "config.json").stat().st_mtime
        same = identity(run["config"]) == identity(as_tree(config)) and metrics["step"] == steps
        renewed = any(_changed(Path(path)) > begun for path in _sources(config))
        value = float(metrics[config.stage.objective])
        lines = outcome(config.stage, metrics)
    except (OSError, ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return None
    if not same or renewed or not math.isfinite(value) or not (folder / "states" / str(steps)).is_dir():
        return None
    heading = f"{folder}: this run is finished, all its {steps} steps are made; nothing was done"
    advice = "to train on, raise trainer.max_steps; to train anew, set another run_dir"
    return Finished(value, "\n".join([heading, *lines, advice]))


def _sources(config: Config) -> list[str]:
    """What the weights came from: a run, or a file."""
    return [path for path in (config.init.dense, config.init.matcher, config.dense.loftr_pretrained_ckpt) if path]


def _changed(source: Path) -> float:
    """When the states of a run, or a file, were written last; 0 where it is gone, for it is needed no more."""
    states = [path for name in ("best", "states") for path in (source / name).glob("[0-9]*")]
    return max((path.stat().st_mtime for path in states or [source] if path.exists()), default=0.0)


def outcome(stage: StageName, metrics: Mapping[str, Any]) -> list[str]:
    """A table of the figures before training, at the end and where they were best.

    metrics: of metrics.json; null in it stands for a mean of nothing.
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
    """A figure as text; '-' for a mean of nothing, which is nan, and null in JSON."""
    return "-" if value is None or math.isnan(value) else format(value, form)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """The rows of a table as indented lines: the first column to the left, the others to the right."""
    return [f"  {line}" for line in table_text.aligned(rows, right=range(1, len(rows[0])))]
