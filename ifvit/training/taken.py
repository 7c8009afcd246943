"""Whether a run directory belongs to something else, read from its files without JAX, so that a sweep asks first."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ifvit.config import Config, as_tree, differences

OWN = {
    ".lock", "config.json", "merge_report.json", "metrics.json", "split.csv", "matches.png", "placements.png",
    "scores.png", "states", "best", "tb", "dense",
}  # fmt: skip
MOST_CHANGES = 6  # named of what differs from the config that lies there


def taken(config: Config) -> str | None:
    """To what the run directory belongs; None where it is free or this very run's.

    None too where that takes more than its config: weights, data, a damaged file. The run itself looks into it.
    """
    folder = Path(config.run_dir)
    try:
        if problem := not_a_run(folder):
            return problem
        if not holds_run(folder):
            return None
        path = folder / "config.json"
        stored = json.loads(path.read_text()) if path.exists() else None
        return other_run(config, folder, stored) or further_on(config)
    except (OSError, ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return None


def not_a_run(folder: Path) -> str | None:
    """What lies in place of a run directory; None where that is one, empty or absent.

    A run's own directory may gather notes and logs; what must not happen is to write among somebody's files.
    """
    if not folder.exists():
        return None
    if not folder.is_dir():
        return f"{folder} is a file"
    others = sorted(path.name for path in folder.iterdir() if path.name not in OWN and path.name[0] != ".")
    if others and not (folder / "config.json").exists():
        return f"{folder} holds something else than a run ({', '.join(others[:4])})"
    return None


def holds_run(folder: Path) -> bool:
    """Whether a run saved a state there, be it only its best."""
    return bool(_steps(folder / "states") or _steps(folder / "best"))


def other_run(
    config: Config, folder: Path, stored: Mapping[str, Any] | None, weights: Sequence[str] = ()
) -> str | None:
    """Why the states in a folder are not this config's; None where they are.

    stored: its config.json. weights: what else differs.
    """
    if stored is None:
        return f"{folder} has no config.json beside its states"
    changed = [*differences(stored["config"], as_tree(config)), *weights]
    if not changed:
        return None
    more = f"; and {len(changed) - MOST_CHANGES} more" if len(changed) > MOST_CHANGES else ""
    return f"{folder} holds a run of another config ({'; '.join(changed[:MOST_CHANGES])}{more})"


def further_on(config: Config) -> str | None:
    """Whether the states in the run directory lie beyond the config's last step, in words."""
    folder, last = Path(config.run_dir), config.trainer.max_steps
    step = max(_steps(folder / "states"), default=0)
    return f"{folder} already holds step {step}, beyond trainer.max_steps={last}" if step > last else None


def _steps(folder: Path) -> list[int]:
    return [int(path.name) for path in folder.glob("*") if path.name.isdigit() and path.is_dir()]
