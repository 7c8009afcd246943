"""The verdict on a score: whether it speaks for one finger at a false-match rate (FMR), and which impostors show it."""

from __future__ import annotations

import enum
from typing import NamedTuple

import numpy as np

from ifvit import program
from ifvit.calibration import Calibration, pairs_needed

SAME, OTHER = "same finger", "not the same finger, as far as these prints show"


class Basis(enum.StrEnum):
    """The basis of a verdict."""

    run = "run"  # impostor pairs of the run's evaluation
    synthetic = "synthetic"  # impostor pairs of synthetic fingers
    fit = "fit"  # the fit of the score on synthetic fingers, extrapolated beyond what pairs can show
    score = "score"  # the sign of the score


class Verdict(NamedTuple):
    """The verdict on a score at an FMR."""

    accepted: bool | None  # whether the score speaks for one finger; None where there are too few impostor pairs
    calibration: Calibration | None  # the table to report an FMR from; without a basis the run's own, or None
    basis: Basis | None  # of the verdict; None where there is no verdict
    why: str  # the basis in words; without one, why there is none


def verdict(score: float, fmr: float, run_table: Calibration | None, synthetic: Calibration | None) -> Verdict:
    """The verdict on a score: one finger only where impostor pairs reach the score in at most a share `fmr` of cases.

    run_table: the calibration of the run's evaluation; None without one.
    synthetic: the calibration by synthetic fingers; None for a score that is no log-likelihood ratio.

    The run's table decides where it can, else the synthetic one. A table can decide with enough pairs for this FMR. It
    can also reject with few pairs, where more of its impostors reach the score than the FMR allows. Where neither can
    decide, a likelihood ratio itself does: different fingers exceed 10^s in at most one of 10^s cases (`ridge_score`).
    A score of 0 or less is never accepted as a likelihood ratio, because it speaks for two fingers.
    """
    for basis, table in ((Basis.run, run_table), (Basis.synthetic, synthetic)):
        if table is not None and (table.tells(fmr) or table.exceeds(score, fmr)):
            result = Verdict(table.fmr_at(score) <= fmr, table, basis, pairs_of(basis, table))
            break
    else:
        if synthetic is None:
            return Verdict(None, run_table, None, _undecided_text(run_table, fmr))
        result = Verdict(bool(score >= -np.log10(fmr)), synthetic, Basis.fit, _extrapolation_text(synthetic))
    if result.accepted and synthetic is not None and score <= 0:
        why = "the score itself, which speaks for one finger above 0 alone"
        return result._replace(accepted=False, basis=Basis.score, why=why)
    return result


def pairs_of(basis: Basis, table: Calibration) -> str:
    """The impostor pairs of a table, in words."""
    return f"the run's own {table.basis()}" if basis is Basis.run else table.basis()


def _extrapolation_text(synthetic: Calibration) -> str:
    return (
        f"the fit of the score on synthetic fingers, extrapolated: {synthetic.basis()} tell no FMR below "
        f"{100 * synthetic.least_fmr:.3g} %"
    )


def too_few(run_table: Calibration, fmr: float) -> str:
    """Why the run's own pairs decide neither yes nor no, in words."""
    pairs = pairs_of(Basis.run, run_table)
    return (
        f"no more of {pairs} score as high than an FMR of {100 * fmr:g} % allows, and a yes takes {pairs_needed(fmr):,}"
    )


def _undecided_text(run_table: Calibration | None, fmr: float) -> str:
    if run_table is not None:
        return too_few(run_table, fmr)
    return f"this score is not calibrated ({program.command('evaluate RUN_DIR --score cosines')} calibrates it)"
