"""Error rates from scores: the pairs accepted and rejected at every threshold, and the figures computed from them.

A pair is accepted where its score is at or above the threshold. FMR is the share of impostor pairs accepted, FNMR the
share of genuine pairs rejected (Cappelli, Maio, Maltoni, Wayman and Jain, Performance evaluation of fingerprint
verification systems, IEEE PAMI 28(1), 2006). Both change at observed scores only. So the thresholds are the observed
scores and one threshold above them all; nothing is sampled or interpolated. Pairs are counted in integers and rates
are compared by cross-multiplication, so that rounding decides no tie.

The leading axes (...) of the counts are resamples; the scores themselves have none.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Rates(NamedTuple):
    """The errors at T thresholds."""

    thresholds: np.ndarray  # (T,) float, ascending: the distinct scores and then inf, which accepts no pair
    rejected: np.ndarray  # (..., T) int, the genuine pairs rejected
    accepted: np.ndarray  # (..., T) int, the impostor pairs accepted
    genuine: np.ndarray  # (...) int, the number of genuine pairs
    impostor: np.ndarray  # (...) int, the number of impostor pairs

    @property
    def fmr(self) -> np.ndarray:
        """The FMR at each threshold, (..., T) in [0, 1], never rising."""
        return self.accepted / self.impostor[..., None]

    @property
    def fnmr(self) -> np.ndarray:
        """The FNMR at each threshold, (..., T) in [0, 1], never falling."""
        return self.rejected / self.genuine[..., None]


class EqualError(NamedTuple):
    """The equal error rate: the middle of an interval, the interval, and the threshold."""

    rate: np.ndarray  # (...) in [0, 1]
    low: np.ndarray  # (...) in [0, 1]
    high: np.ndarray  # (...) in [0, 1]
    threshold: np.ndarray  # (...), a score


class Thresholds:
    """Pairs sorted by their scores, to be counted at every threshold with any weights."""

    def __init__(self, scores: np.ndarray, genuine: np.ndarray):
        """Sort the pairs. scores: float (P,), no NaN; genuine: bool (P,)."""
        self.order = np.argsort(scores, kind="stable")  # (P,)
        self.genuine = genuine[self.order]
        ascending = scores[self.order]
        starts = np.flatnonzero(np.concatenate([[True], ascending[1:] > ascending[:-1]]))
        self._below = np.append(starts, len(scores))  # (T,) the number of pairs below each threshold
        self.thresholds = np.append(ascending[starts], np.inf)

    def rates(self, weights: np.ndarray | None = None) -> Rates:
        """Count the errors at every threshold.

        weights: int (..., P) >= 0, how often the pair at each place of `order` counts; None: once.
        """
        if weights is None:
            weights = np.ones(len(self.order), np.int64)
        genuine_below, genuine = self._sums(weights * self.genuine)
        impostor_below, impostor = self._sums(weights * ~self.genuine)
        return Rates(self.thresholds, genuine_below, impostor[..., None] - impostor_below, genuine, impostor)

    def _sums(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The sum of the weights below each threshold (..., T), and the sum of all (...)."""
        total = np.zeros((*weights.shape[:-1], weights.shape[-1] + 1), np.int64)
        np.cumsum(weights, axis=-1, out=total[..., 1:])
        return total[..., self._below], total[..., -1]


def equal_error(rates: Rates) -> EqualError:
    """The EER by FVC's interval rule, because FMR and FNMR are rarely equal at a threshold.

    t1 is the highest threshold with FNMR <= FMR, t2 the lowest with FNMR >= FMR. Of the two, the one with the smaller
    sum of errors gives the interval, t1 where they are equal: [FNMR(t1), FMR(t1)] or [FMR(t2), FNMR(t2)]. The EER is
    its middle (Maio, Maltoni, Cappelli, Wayman and Jain, FVC2000: Fingerprint verification competition, IEEE PAMI
    24(3), 2002).
    """
    rejected = rates.rejected * rates.impostor[..., None]  # FNMR and FMR, both times genuine x impostor pairs
    accepted = rates.accepted * rates.genuine[..., None]
    t1 = (rejected <= accepted).sum(-1) - 1
    t2 = (rejected >= accepted).argmax(-1)
    rejected_1, accepted_1 = _at(rejected, t1), _at(accepted, t1)
    rejected_2, accepted_2 = _at(rejected, t2), _at(accepted, t2)
    first = rejected_1 + accepted_1 <= rejected_2 + accepted_2
    product = rates.genuine * rates.impostor
    low, high = np.where(first, rejected_1, accepted_2) / product, np.where(first, accepted_1, rejected_2) / product
    return EqualError((low + high) / 2, low, high, rates.thresholds[np.where(first, t1, t2)])


def lowest_fnmr(rates: Rates, fmr: float) -> tuple[np.ndarray, np.ndarray]:
    """The lowest FNMR (...) of the thresholds at which FMR is at most `fmr`, and the lowest such threshold (...)."""
    allowed = np.floor(fmr * rates.impostor + 1e-9)  # 0.29 x 100 is 28.999999999999996
    index = (rates.accepted <= allowed[..., None]).argmax(-1)
    return _at(rates.rejected, index) / rates.genuine, rates.thresholds[index]


def zero_fnmr(rates: Rates) -> np.ndarray:
    """The lowest FMR (...) at which no genuine pair is rejected."""
    return _at(rates.accepted, (rates.rejected == 0).sum(-1) - 1) / rates.impostor


def auc(rates: Rates) -> np.ndarray:
    """The area (...) under the curve of TAR over FMR, with straight lines between its points.

    It is the probability that a random genuine pair scores above a random impostor pair; a tie counts half.
    """
    genuine = np.diff(rates.rejected, axis=-1)  # (..., T - 1), the genuine pairs of each score
    twice_below = 2 * rates.impostor[..., None] - rates.accepted[..., :-1] - rates.accepted[..., 1:]
    return (genuine * twice_below).sum(-1) / (2.0 * rates.genuine * rates.impostor)


def det(rates: Rates) -> np.ndarray:
    """The corners (K, 2) of the DET curve (FMR, FNMR), from (1, 0) to (0, 1), of `rates` without leading axes.

    Points within a vertical or horizontal line are left out; the drawn curve is the same without them.
    """
    points = np.stack([rates.accepted, rates.rejected], -1)
    same = points[1:] == points[:-1]  # (T - 1, 2)
    between = (same[1:] & same[:-1]).any(-1)
    corners = np.concatenate([[True], ~between, [True]])
    return points[corners] / np.array([rates.impostor, rates.genuine])


def _at(values: np.ndarray, index: np.ndarray) -> np.ndarray:
    """The values (..., T) at one index (...) of the last axis: (...)."""
    return np.take_along_axis(values, index[..., None], axis=-1)[..., 0]
