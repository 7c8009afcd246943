"""Which of a pair's scores is meant, and what a run's evaluation found it to mean: the calibration kept with the run.

A calibration is of one score and of everything that the score follows from; of anything else it counts as absent.
"""

from __future__ import annotations

import enum
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ifvit import program
from ifvit.calibration import Calibration, from_tree
from ifvit.comparison.score import WEIGHTS, WEIGHTS_WITH_NETWORKS
from ifvit.errors import UserError
from ifvit.storage.errors import CheckpointError
from ifvit.storage.json_files import read_json

if TYPE_CHECKING:  # a finished evaluation is told without what compares
    from ifvit.comparison.comparer import Comparer

RECIPE = 1  # goes up when the same pair gets another score, so that what was kept before is no longer used


class ScoreError(UserError):
    """A run does not have the score that was asked for; the message says which it has."""


class Score(enum.StrEnum):
    """fused: the log-likelihood ratio of all evidence. cosines: Module 2's weighted cosines, as published."""

    fused = "fused"
    cosines = "cosines"


FILES = {Score.fused: "calibration.json", Score.cosines: "calibration_cosines.json"}  # in a run directory


def check_score(comparer: Comparer, score: Score) -> None:
    """See that a comparer has a score.

    Raises:
        ScoreError: it has none.
    """
    networks = comparer.networks
    if score is Score.cosines and (networks is None or networks.module_2 is None):
        what = "there is no run" if networks is None else "the run has Module 1 alone"
        raise ScoreError(
            f"--score cosines: these are cosines of Module 2's vectors, and {what}; give the run_dir of a run of "
            "stage=matcher (--run RUN_DIR), or leave --score away"
        )


def score_key(comparer: Comparer, score: Score) -> dict[str, Any]:
    """What a score follows from, for JSON."""
    key = {"judge": f"ridges {RECIPE}", "enhancement": str(comparer.enhancer.method)}
    networks = comparer.networks
    if networks is None:
        return key
    module_2 = networks.module_2
    key |= {
        "score": str(score),
        "module_1": networks.module_1.digest(),
        "module_2": None if module_2 is None else module_2.digest(),
    }
    if score is Score.cosines:
        return key | {"global_weight": module_2.config.global_weight, "local_weight": module_2.config.local_weight}
    return key | {"weights": (WEIGHTS if module_2 is None else WEIGHTS_WITH_NETWORKS).tolist()}


def read_calibration(run_dir: Path, key: dict[str, Any]) -> Calibration | None:
    """The calibration of this very score (`score_key`) of a run; None where there is none of it.

    Raises:
        CheckpointError: the file is damaged.
    """
    path = run_dir / FILES[Score(key["score"])]
    kept = read_json(path)
    if kept is None:
        return None
    try:
        if "score" not in dict(kept):
            print(
                f"{path}: of an earlier version, whose scores were others; not used "
                f"({program.command('evaluate')} replaces it)",
                file=sys.stderr,
            )
            return None
        if any(kept.get(name) != value for name, value in key.items()):
            return None
        return from_tree(kept["table"])._replace(of=_whose(kept.get("of")))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: not a calibration ({error}); remove it, and evaluate again") from error


def _whose(of: Any) -> dict[str, Any] | None:
    """Whose pairs a calibration file says it rests on; None where it does not say it in our words."""
    if not isinstance(of, dict) or not isinstance(of.get("databases"), list):
        return None
    words = {name: of.get(name) for name in ("databases", "protocol")}
    if not all(isinstance(word, str) and word.isprintable() for word in [*words["databases"], words["protocol"]]):
        return None
    kinds = {"images": int, "genuine": int, "content": str}
    return words | {name: of[name] for name, kind in kinds.items() if isinstance(of.get(name), kind)}
