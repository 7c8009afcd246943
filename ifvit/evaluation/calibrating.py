"""What an evaluation finds a run's score to mean, stored with the run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ifvit.calibration import calibration
from ifvit.checkpoint import write_json
from ifvit.evaluation.judges import Judge
from ifvit.recognition.run_calibration import FILES


def store_calibration(judge: Judge, scores: np.ndarray, of: Mapping[str, Any], replace: bool) -> str:
    """Store with the judge's run how often different fingers reach a score, by impostor scores (N,); what was done, in
    a line.

    A calibration of the same score that rests on more impostor pairs stays, unless `replace`. A run that cannot be
    written is not calibrated.

    of: whose scores they are, as of `Calibration.of`.
    """
    path, stored = judge.run_dir / FILES[judge.score_of], judge.calibration()
    found = calibration(scores)._replace(of=of)
    if stored is not None and stored.impostors > found.impostors and not replace:
        return f"{path} stays: it rests on {stored.basis()}, this on {found.basis()} (--calibrate replaces it)"
    try:
        write_json(path, {**judge.key, "of": dict(of), "table": found.tree()})
    except OSError as error:
        return (
            f"not calibrated: {path} cannot be written ({error.strerror}); to calibrate it, evaluate a copy of the run "
            "that can be written"
        )
    return f"calibrated with {found.basis()}: {path}"
