"""What an evaluation finds a run's score to mean, stored with the run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ifvit.calibration import Calibration, calibration
from ifvit.comparison.run_calibration import FILES
from ifvit.storage.json_files import write_json

if TYPE_CHECKING:
    from ifvit.evaluation.scorers import Scorer

UNDONE = "not calibrated: "  # how a line begins where there is no calibration, though there could be one


def store_calibration(judge: Scorer, scores: np.ndarray, of: Mapping[str, Any], replace: bool) -> str:
    """Store with the judge's run how often different fingers reach a score, by impostor scores (N,); what was done, in
    a line.

    Unless `replace`, a calibration of the same score stays that rests on more impostor pairs, or on as many of other
    data: the order of evaluations of equal size decides nothing. A run that cannot be written is not calibrated.

    of: whose scores they are, as of `Calibration.of`.
    """
    path, stored = judge.run_dir / FILES[judge.score_of], judge.calibration()
    found = calibration(scores)._replace(of=of)
    if stored is not None and not replace and not _gains(stored, found):
        other = " of other images" if stored.basis() == found.basis() else ""
        return f"{path} stays: it rests on {stored.basis()}, this on {found.basis()}{other} (--calibrate replaces it)"
    try:
        write_json(path, {**judge.key, "of": dict(of), "table": found.tree()})
    except OSError as error:
        return (
            f"{UNDONE}{path} cannot be written ({error.strerror}); to calibrate it, evaluate a copy of the run "
            "that can be written"
        )
    return f"calibrated with {found.basis()}{_before(stored, found)}: {path}"


def _before(stored: Calibration | None, found: Calibration) -> str:
    """What was stored before, in words, where it rests on something else."""
    if stored is None or (stored.basis() == found.basis() and _same_images(stored, found)):
        return ""
    return f", before with {stored.basis()}{' of other images' if stored.basis() == found.basis() else ''}"


def _gains(stored: Calibration, found: Calibration) -> bool:
    """Whether the one found is to take the place of the one stored."""
    if found.impostors != stored.impostors:
        return found.impostors > stored.impostors
    same = all((stored.of or {}).get(name) == found.of.get(name) for name in ("databases", "protocol"))
    return same and _same_images(stored, found)


def _same_images(stored: Calibration, found: Calibration) -> bool:
    """Whether both rest on the same images, as far as is known: a calibration of an earlier version does not say it."""
    before = (stored.of or {}).get("content")
    return before in (None, found.of.get("content"))
