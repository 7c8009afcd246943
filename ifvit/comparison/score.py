"""The score of a pair: the log-likelihood ratio of "the same finger" over "different fingers", from its evidence.

Logistic regression on pairs of synthetic fingers alone (`benchmarks/score.py` fits and prints the weights): real
prints had no part in it. Both kinds of pairs count alike, so the sum is the logarithm of a likelihood ratio; base 10.
Of different fingers at most one in 10^s reaches a score s, if prints are like those of the fit (the expectation of a
likelihood ratio under the other hypothesis is 1, so by Markov's inequality it exceeds k in at most 1 / k of cases).

Straight ridges fit any other straight ridges. Only the places where a ridge ends or divides distinguish fingers. So the
score is limited to `MOST_OF_A_MINUTIA` for each paired minutia, however well the ridges agree: each minutia that both
prints show makes one finger at most ten times more likely.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

MOST_OF_A_MINUTIA = 1.0  # score for each paired minutia, at most
FULL_AREA = 40_000.0  # px at 500 ppi; the evidence of a larger overlap is not more certain


class Evidence(NamedTuple):
    """The evidence of an alignment; each field is a number or an array (N,)."""

    mean: float | np.ndarray  # of the local agreement over the overlap, [-1, 1]
    area: float | np.ndarray  # of the overlap, px at 500 ppi
    paired: int | np.ndarray  # pairs of minutiae
    alone: int | np.ndarray  # minutiae in the overlap without a partner, in both prints together


class Cosines(NamedTuple):
    """The cosines of Module 2's vectors of a pair, [-1, 1]; each field is a number or an array (N,)."""

    of_global: float | np.ndarray
    of_local: float | np.ndarray


def terms(evidence: Evidence, cosines: Cosines | None = None) -> np.ndarray:
    """The terms of the regression, (..., 3): 1, agreement times overlap, balance of paired and unpaired minutiae.

    With cosines (..., 5): the global and the local one too. On the synthetic fingers further terms (agreement alone,
    overlap alone, number of paired minutiae) add nothing.
    """
    mean, area, paired, alone = (np.asarray(value, np.float64) for value in evidence)
    overlap = np.sqrt(np.minimum(area / FULL_AREA, 1.0))
    balance = (paired - alone / 2) / (paired + alone / 2 + 2.0)
    return np.stack([np.ones_like(mean), mean * overlap, balance, *(() if cosines is None else cosines)], axis=-1)


WEIGHTS = np.array([-2.941, 5.868, 2.158])  # of `terms`
WEIGHTS_WITH_NETWORKS = np.array([-3.974, 7.492, 2.398, 0.0, 0.4])  # fitted with experiment=small_matcher


def ridge_score(evidence: Evidence, cosines: Cosines | None = None, weights: np.ndarray | None = None) -> np.ndarray:
    """The log-likelihood ratio, base 10: at 2 the evidence is a hundred times more likely of one finger than of two.

    weights: of `terms`; None takes the fitted ones.
    """
    if weights is None:
        weights = WEIGHTS if cosines is None else WEIGHTS_WITH_NETWORKS
    score = (terms(evidence, cosines) * weights).sum(-1)  # the same for one pair and for many
    return np.minimum(score, MOST_OF_A_MINUTIA * np.asarray(evidence.paired, np.float64))
