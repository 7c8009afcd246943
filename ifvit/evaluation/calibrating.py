"""What an evaluation finds a Module 2's scores to mean, stored with its run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ifvit.calibration import calibration
from ifvit.checkpoint import write_json
from ifvit.evaluation.judges import MatcherJudge
from ifvit.recognition.comparer import CALIBRATION


def store_calibration(
    run_dir: Path, judge: MatcherJudge, scores: np.ndarray, of: Mapping[str, Any], replace: bool
) -> str:
    """Store how often different fingers reach a score, by impostor scores (N,); what was done, in a line.

    A calibration of the same state that rests on more impostor pairs stays, unless `replace`. A run that cannot be
    written is not calibrated.

    of: whose scores they are, as of `Calibration.of`.
    """
    path, stored = run_dir / CALIBRATION, judge.comparer.calibration
    found = calibration(scores)._replace(of=of)
    if stored is not None and stored.impostors > found.impostors and not replace:
        return f"{path} stays: it rests on {stored.basis()}, this on {found.basis()} (--calibrate replaces it)"
    try:
        write_json(path, {**judge.calibration_key, "of": dict(of), "table": found.tree()})
    except OSError as error:
        return (
            f"not calibrated: {path} cannot be written ({error.strerror}); to calibrate it, evaluate a copy of the run "
            "that can be written"
        )
    return f"calibrated with {found.basis()}: {path}"
