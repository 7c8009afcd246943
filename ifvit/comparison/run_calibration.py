"""The two scores of a pair, and the calibration of a score that a run's evaluation has stored in the run directory.

A calibration belongs to one score and to everything that the score is computed from (`score_key`). For another key it
counts as absent.
"""

from __future__ import annotations

import enum
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ifvit import program
from ifvit.calibration import Calibration
from ifvit.comparison.score import WEIGHTS, WEIGHTS_WITH_NETWORKS
from ifvit.config import Enhancement
from ifvit.errors import CheckpointError, UserError
from ifvit.storage.json_files import read_json

if TYPE_CHECKING:  # a finished evaluation is reported without the import of the networks
    from ifvit.comparison.run_networks import RunNetworks

RECIPE = 1  # goes up when the same pair gets another score, so that stored scores are no longer used


class ScoreError(UserError):
    """A run does not have the requested score; the message says which it has."""


class Score(enum.StrEnum):
    """fused: the log-likelihood ratio of all evidence. cosines: Module 2's weighted cosines, as published."""

    fused = "fused"
    cosines = "cosines"


FILES = {Score.fused: "calibration.json", Score.cosines: "calibration_cosines.json"}  # in a run directory


def check_score(networks: RunNetworks | None, score: Score) -> None:
    """Check that networks, or None, give a score.

    Raises:
        ScoreError: they do not.
    """
    if score is Score.cosines and (networks is None or networks.module2 is None):
        reason = "there is no run" if networks is None else "the run has Module 1 alone"
        raise ScoreError(
            f"--score cosines: these are cosines of Module 2's vectors, and {reason}; give the run_dir of a run of "
            "stage=matcher (--run RUN_DIR), or leave --score away"
        )


def score_key(networks: RunNetworks | None, method: Enhancement, score: Score) -> dict[str, Any]:
    """Everything that a score is computed from, for JSON. method: the enhancement of the ridges."""
    key: dict[str, Any] = {"judge": f"ridges {RECIPE}", "enhancement": str(method)}
    if networks is None:
        return key
    module2 = networks.module2
    key |= {
        "score": str(score),
        "module_1": networks.module1.digest(),
        "module_2": None if module2 is None else module2.digest(),
    }
    if score is Score.cosines:
        assert module2 is not None
        return key | {"global_weight": module2.config.global_weight, "local_weight": module2.config.local_weight}
    return key | {"weights": (WEIGHTS if module2 is None else WEIGHTS_WITH_NETWORKS).tolist()}


def read_calibration(run_dir: Path, key: dict[str, Any]) -> Calibration | None:
    """The calibration of a run for the score of this key (`score_key`); None where there is none.

    Raises:
        CheckpointError: the file is damaged.
    """
    path = run_dir / FILES[Score(key["score"])]
    stored = read_json(path)
    if stored is None:
        return None
    try:
        if "score" not in dict(stored):
            print(
                f"{path}: of an earlier version, whose scores were others; not used "
                f"({program.command('evaluate')} replaces it)",
                file=sys.stderr,
            )
            return None
        if any(stored.get(name) != value for name, value in key.items()):
            return None
        return Calibration.from_dict(stored["table"])._replace(of=_basis_of(stored.get("of")))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: not a calibration ({error}); remove it, and evaluate again") from error


def _basis_of(basis: Any) -> dict[str, Any] | None:
    """The data that a calibration file names as its basis; None where it names none, or not in the expected form."""
    if not isinstance(basis, dict) or not isinstance(basis.get("databases"), list):
        return None
    words: dict[str, Any] = {name: basis.get(name) for name in ("databases", "protocol")}
    if not all(isinstance(word, str) and word.isprintable() for word in [*words["databases"], words["protocol"]]):
        return None
    kinds = {"images": int, "genuine": int, "content": str}
    return words | {name: basis[name] for name, kind in kinds.items() if isinstance(basis.get(name), kind)}
