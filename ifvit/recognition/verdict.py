"""Whether a score speaks for one finger at a false-match rate, and whose impostor scores tell so."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ifvit import program
from ifvit.calibration import Calibration, pairs_needed

SAME, OTHER = "same finger", "not the same finger, as far as these prints show"
BY_FIT = "the fit of the score on synthetic fingers"
BY_RATIO = "the score itself, which speaks for one finger above 0 alone"


class Verdict(NamedTuple):
    """Of a score at an FMR.

    accepted: whether it speaks for one finger; None where too few impostor pairs tell.
    calibration: that decided; where none did, the run's own, or None.
    by: what decided, in words; where nothing did, why not.
    """

    accepted: bool | None
    calibration: Calibration | None
    by: str


def verdict(score: float, fmr: float, own: Calibration | None, synthetic: Calibration | None) -> Verdict:
    """The verdict on a score: for one finger only where different fingers reach it in at most a share `fmr` of cases.

    own: of the run's evaluation, which decides where it can: with enough pairs for this FMR, or where more of its
        impostors reach the score than the FMR allows.
    synthetic: of a log-likelihood ratio, by synthetic fingers; None of other scores. Where its pairs are too few, the
        ratio itself decides: different fingers exceed 10^s in at most one of 10^s cases (`ridge_score`). A ratio that
        speaks for two fingers is never one for one.
    """
    if own is not None and (own.tells(fmr) or own.exceeds(score, fmr)):
        found = Verdict(own.fmr_at(score) <= fmr, own, own.basis())
    elif synthetic is None:
        return Verdict(None, own, _open(own, fmr))
    elif synthetic.tells(fmr):
        found = Verdict(synthetic.fmr_at(score) <= fmr, synthetic, synthetic.basis())
    else:
        found = Verdict(bool(score >= -np.log10(fmr)), synthetic, BY_FIT)
    if found.accepted and synthetic is not None and score <= 0:
        return found._replace(accepted=False, by=BY_RATIO)
    return found


def _open(own: Calibration | None, fmr: float) -> str:
    if own is None:
        return f"this score is not calibrated ({program.command('evaluate RUN_DIR --score cosines')} calibrates it)"
    return (
        f"no impostor scores as high of {own.basis()}, too few to tell an FMR of {100 * fmr:g} %: it takes "
        f"{pairs_needed(fmr)}"
    )
