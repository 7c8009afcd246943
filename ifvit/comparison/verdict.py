"""Whether a score speaks for one finger at a false-match rate, and whose impostor scores tell so."""

from __future__ import annotations

import enum
from typing import NamedTuple

import numpy as np

from ifvit import program
from ifvit.calibration import Calibration, pairs_needed

SAME, OTHER = "same finger", "not the same finger, as far as these prints show"


class Basis(enum.StrEnum):
    """What decides.

    run: impostor pairs of the run's evaluation. synthetic: of synthetic fingers. fit: of the score on synthetic
    fingers, extrapolated beyond what pairs can tell. score: its sign.
    """

    run = "run"
    synthetic = "synthetic"
    fit = "fit"
    score = "score"


class Verdict(NamedTuple):
    """Of a score at an FMR.

    accepted: whether it speaks for one finger; None where too few impostor pairs tell.
    calibration: that decided, or stood by; where nothing decided, the run's own, or None.
    basis: what decided; None where nothing did.
    why: the same in words; where nothing decided, why not.
    """

    accepted: bool | None
    calibration: Calibration | None
    basis: Basis | None
    why: str


def verdict(score: float, fmr: float, own: Calibration | None, synthetic: Calibration | None) -> Verdict:
    """The verdict on a score: for one finger only where different fingers reach it in at most a share `fmr` of cases.

    own: of the run's evaluation. synthetic: of a log-likelihood ratio, by synthetic fingers; None of other scores. The
        first of them decides that can: with enough pairs for this FMR, or where more of its impostors reach the score
        than the FMR allows, which few pairs show too.
    Where neither can, a ratio itself decides: different fingers exceed 10^s in at most one of 10^s cases
    (`ridge_score`). A ratio that speaks for two fingers is never one for one.
    """
    for basis, table in ((Basis.run, own), (Basis.synthetic, synthetic)):
        if table is not None and (table.tells(fmr) or table.exceeds(score, fmr)):
            found = Verdict(table.fmr_at(score) <= fmr, table, basis, pairs_of(basis, table))
            break
    else:
        if synthetic is None:
            return Verdict(None, own, None, _open(own, fmr))
        found = Verdict(bool(score >= -np.log10(fmr)), synthetic, Basis.fit, _beyond(synthetic))
    if found.accepted and synthetic is not None and score <= 0:
        why = "the score itself, which speaks for one finger above 0 alone"
        return found._replace(accepted=False, basis=Basis.score, why=why)
    return found


def pairs_of(basis: Basis, table: Calibration) -> str:
    """Whose impostor pairs a table rests on, in words."""
    return f"the run's own {table.basis()}" if basis is Basis.run else table.basis()


def _beyond(synthetic: Calibration) -> str:
    return (
        f"the fit of the score on synthetic fingers, extrapolated: {synthetic.basis()} tell no FMR below "
        f"{100 * synthetic.least_fmr:.3g} %"
    )


def too_few(own: Calibration, fmr: float) -> str:
    """Why a run's own pairs say neither yes nor no."""
    return (
        f"no more of {pairs_of(Basis.run, own)} score as high than an FMR of {100 * fmr:g} % allows, and a yes takes "
        f"{pairs_needed(fmr):,}"
    )


def _open(own: Calibration | None, fmr: float) -> str:
    if own is not None:
        return too_few(own, fmr)
    return f"this score is not calibrated ({program.command('evaluate RUN_DIR --score cosines')} calibrates it)"
