"""Store the calibration of a run's score, measured by the impostor pairs of an evaluation, in the run directory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ifvit.calibration import Calibration, calibration
from ifvit.comparison.run_calibration import FILES
from ifvit.storage.json_files import write_json

if TYPE_CHECKING:
    from ifvit.evaluation.scorers import Scorer

UNDONE = "not calibrated: "  # beginning of the line where a calibration was possible and was not stored


def store_calibration(scorer: Scorer, scores: np.ndarray, of: Mapping[str, Any], replace: bool) -> str:
    """Store the calibration of the scorer's run: how often impostor pairs reach a score. Returns a line for people.

    Unless `replace`, a stored calibration stays if it rests on more impostor pairs, or on as many pairs of other data:
    so the order of evaluations of equal size has no effect. A run that cannot be written is not calibrated.

    scores: float (N,), of impostor pairs. of: where the scores come from, as in `Calibration.of`.
    """
    assert scorer.run_dir is not None
    path, stored = scorer.run_dir / FILES[scorer.score_of], scorer.calibration()
    measured = calibration(scores)._replace(of=of)
    if stored is not None and not replace and not _is_better(stored, measured):
        other = " of other images" if stored.basis() == measured.basis() else ""
        return (
            f"{path} stays: it rests on {stored.basis()}, this on {measured.basis()}{other} (--calibrate replaces it)"
        )
    try:
        write_json(path, {**scorer.key, "of": dict(of), "table": measured.to_dict()})
    except OSError as error:
        return (
            f"{UNDONE}{path} cannot be written ({error.strerror}); to calibrate it, evaluate a copy of the run "
            "that can be written"
        )
    return f"calibrated with {measured.basis()}{_replacement_note(stored, measured)}: {path}"


def _replacement_note(stored: Calibration | None, measured: Calibration) -> str:
    """The basis of the replaced calibration as text; empty where there was none, or where it has the same basis."""
    if stored is None or (stored.basis() == measured.basis() and _same_images(stored, measured)):
        return ""
    return f", before with {stored.basis()}{' of other images' if stored.basis() == measured.basis() else ''}"


def _is_better(stored: Calibration, measured: Calibration) -> bool:
    """Whether the measured calibration replaces the stored one."""
    if measured.impostors != stored.impostors:
        return measured.impostors > stored.impostors
    same = all((stored.of or {}).get(name) == (measured.of or {}).get(name) for name in ("databases", "protocol"))
    return same and _same_images(stored, measured)


def _same_images(stored: Calibration, measured: Calibration) -> bool:
    """Whether both rest on the same images. Calibrations of earlier versions do not say it and count as the same."""
    stored_content = (stored.of or {}).get("content")
    return stored_content in (None, (measured.of or {}).get("content"))
