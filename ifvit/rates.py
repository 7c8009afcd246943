"""Error rates from scores: who is accepted at every threshold there is, and the figures read off that.

A pair is accepted where its score is at or above the threshold. FMR is the share of impostor pairs accepted, FNMR the
share of genuine pairs rejected (Cappelli, Maio, Maltoni, Wayman and Jain, Performance evaluation of fingerprint
verification systems, IEEE PAMI 28(1), 2006). Both change at observed scores only, so that those, and one threshold
above them all, are every case there is; nothing is sampled or interpolated. Pairs are counted in whole numbers and
rates compared by cross-multiplication, so that no tie is decided by rounding.

The leading axes (...) of the counts are resamples: none for the scores as they are.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Rates(NamedTuple):
    """Pairs counted at T thresholds.

    thresholds: (T,) ascending, the distinct scores and then inf, where nobody is accepted.
    missed, accepted: int (..., T), the genuine pairs rejected and the impostor pairs accepted.
    genuine, impostor: int (...), how many there are.
    """

    thresholds: np.ndarray
    missed: np.ndarray
    accepted: np.ndarray
    genuine: np.ndarray
    impostor: np.ndarray

    @property
    def fmr(self) -> np.ndarray:
        """(..., T) in [0, 1], never rising."""
        return self.accepted / self.impostor[..., None]

    @property
    def fnmr(self) -> np.ndarray:
        """(..., T) in [0, 1], never falling."""
        return self.missed / self.genuine[..., None]


class EqualError(NamedTuple):
    """The equal error rate, each (...): in [0, 1], as a mean and as the interval it lies in; threshold: a score."""

    rate: np.ndarray
    low: np.ndarray
    high: np.ndarray
    threshold: np.ndarray


class Thresholds:
    """Pairs in the order of their scores, sorted once to be counted with any weights.

    scores: float (P,), no NaN; genuine: bool (P,).
    """

    def __init__(self, scores: np.ndarray, genuine: np.ndarray):
        self.order = np.argsort(scores, kind="stable")  # (P,)
        self.genuine = genuine[self.order]
        ascending = scores[self.order]
        begins = np.flatnonzero(np.concatenate([[True], ascending[1:] > ascending[:-1]]))
        self._below = np.append(begins, len(scores))  # (T,) how many pairs lie below each threshold
        self.thresholds = np.append(ascending[begins], np.inf)

    def rates(self, weights: np.ndarray | None = None) -> Rates:
        """The counts where the pair at each place of `order` stands for so many: whole numbers >= 0, (..., P)."""
        if weights is None:
            weights = np.ones(len(self.order), np.int64)
        mates, mates_in_all = self._counted(weights * self.genuine)
        others, others_in_all = self._counted(weights * ~self.genuine)
        return Rates(self.thresholds, mates, others_in_all[..., None] - others, mates_in_all, others_in_all)

    def _counted(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The weight below each threshold (..., T), and all of it (...)."""
        total = np.zeros((*weights.shape[:-1], weights.shape[-1] + 1), np.int64)
        np.cumsum(weights, axis=-1, out=total[..., 1:])
        return total[..., self._below], total[..., -1]


def equal_error(rates: Rates) -> EqualError:
    """The EER by FVC's interval rule, for FMR and FNMR rarely meet in a point.

    t1 is the highest threshold with FNMR <= FMR, t2 the lowest with FNMR >= FMR. Of the two the one with the smaller
    sum of errors gives the interval, t1 where they are equal: [FNMR(t1), FMR(t1)] or [FMR(t2), FNMR(t2)]. The EER is
    its middle (Maio, Maltoni, Cappelli, Wayman and Jain, FVC2000: Fingerprint verification competition, IEEE PAMI
    24(3), 2002).
    """
    missed = rates.missed * rates.impostor[..., None]  # FNMR and FMR, both times genuine x impostor pairs
    accepted = rates.accepted * rates.genuine[..., None]
    t1 = (missed <= accepted).sum(-1) - 1
    t2 = (missed >= accepted).argmax(-1)
    missed_1, accepted_1 = _at(missed, t1), _at(accepted, t1)
    missed_2, accepted_2 = _at(missed, t2), _at(accepted, t2)
    first = missed_1 + accepted_1 <= missed_2 + accepted_2
    whole = rates.genuine * rates.impostor
    low, high = np.where(first, missed_1, accepted_2) / whole, np.where(first, accepted_1, missed_2) / whole
    return EqualError((low + high) / 2, low, high, rates.thresholds[np.where(first, t1, t2)])


def lowest_fnmr(rates: Rates, fmr: float) -> tuple[np.ndarray, np.ndarray]:
    """The lowest FNMR (...) of the thresholds at which FMR is at most `fmr`, and the lowest such threshold (...)."""
    allowed = np.floor(fmr * rates.impostor + 1e-9)  # 0.29 x 100 is 28.999999999999996
    index = (rates.accepted <= allowed[..., None]).argmax(-1)
    return _at(rates.missed, index) / rates.genuine, rates.thresholds[index]


def zero_fnmr(rates: Rates) -> np.ndarray:
    """The lowest FMR (...) at which no genuine pair is rejected."""
    return _at(rates.accepted, (rates.missed == 0).sum(-1) - 1) / rates.impostor


def auc(rates: Rates) -> np.ndarray:
    """The area (...) under the curve of TAR over FMR, straight between its points.

    It is how often a genuine pair scores above an impostor pair, both drawn at random, a tie counting half.
    """
    mates = np.diff(rates.missed, axis=-1)  # (..., T - 1) genuine pairs of each score
    twice_below = 2 * rates.impostor[..., None] - rates.accepted[..., :-1] - rates.accepted[..., 1:]
    return (mates * twice_below).sum(-1) / (2.0 * rates.genuine * rates.impostor)


def det(rates: Rates) -> np.ndarray:
    """The corners (K, 2) of the curve (FMR, FNMR), from (1, 0) to (0, 1), of `rates` without leading axes.

    Only points in the middle of an upright or level stretch are left out: what is drawn through the rest is the same.
    """
    points = np.stack([rates.accepted, rates.missed], -1)
    same = points[1:] == points[:-1]  # (T - 1, 2)
    between = (same[1:] & same[:-1]).any(-1)
    kept = np.concatenate([[True], ~between, [True]])
    return points[kept] / np.array([rates.impostor, rates.genuine])


def _at(values: np.ndarray, index: np.ndarray) -> np.ndarray:
    return np.take_along_axis(values, index[..., None], axis=-1)[..., 0]
