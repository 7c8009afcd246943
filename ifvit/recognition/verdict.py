"""Whether a score speaks for one finger at a false-match rate, and whose impostor scores tell so."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ifvit import program
from ifvit.calibration import Calibration, pairs_needed

SAME, OTHER = "same finger", "not shown to be the same finger"
BY_FIT = "the fit of the score on synthetic fingers"
BY_RATIO = "the score itself, which below 0 speaks for two fingers"


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
    """The verdict on a score: 'yes' only where different fingers reach it in at most a share `fmr` of cases.

    own: of the run's evaluation, which decides where it can: with enough pairs for this FMR, or where more of its
        impostors reach the score than the FMR allows.
    synthetic: of a log-likelihood ratio, by synthetic fingers; None of other scores. A ratio below 1 is a no, however
        seldom different fingers reach it. Where the pairs are too few, the ratio itself decides: different fingers
        exceed 10^s in at most one of 10^s cases (`ridge_score`).
    """
    if own is not None and (own.tells(fmr) or own.exceeds(score, fmr)):
        return Verdict(own.fmr_at(score) <= fmr, own, own.basis())
    if synthetic is None:
        return Verdict(None, own, _open(own, fmr))
    if score < 0:
        return Verdict(False, synthetic, synthetic.basis() if synthetic.fmr_at(score) > fmr else BY_RATIO)
    if synthetic.tells(fmr):
        return Verdict(synthetic.fmr_at(score) <= fmr, synthetic, synthetic.basis())
    return Verdict(bool(score >= -np.log10(fmr)), synthetic, BY_FIT)


def _open(own: Calibration | None, fmr: float) -> str:
    if own is None:
        return f"this score is not calibrated ({program.command('evaluate RUN_DIR --score cosines')} calibrates it)"
    return (
        f"no impostor scores as high of {own.basis()}, too few to tell an FMR of {100 * fmr:g} %: it takes "
        f"{pairs_needed(fmr)}"
    )
