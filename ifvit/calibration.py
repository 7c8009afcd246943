"""Calibration: from a score to an upper bound of its FMR, by the impostor scores of one evaluation.

The bound is the upper end of the one-sided 95 % confidence interval of the FMR at that score. Where no impostor pair
reaches a score, it is given by the rule of three: 3 / N for N pairs, and not 0 (Hanley and Lippman-Hand, If nothing
goes wrong, is everything all right?, JAMA 249, 1983). The interval assumes independent pairs. Pairs that share a finger
are not fully independent, and other sensors or other people give other scores: the table is valid for prints like
those of the evaluation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, overload

import numpy as np

NORMAL_95 = 1.66  # the standard normal's 95 % point, 1.645, raised until no bound lies below the exact one
RULE_OF_THREE = 3.0  # -ln 0.05 = 2.996: the bound of a rate is 3 / N where none of N pairs was observed
TABLE = ("impostors", "above", "fmr")
STEP = 0.02  # share of the bound: a row of the table that would lower it by less is left out


class Calibration(NamedTuple):
    """A table of upper bounds of the FMR: fmr[0] for scores <= above[0], fmr[k] for scores > above[k - 1]."""

    impostors: int  # the number of impostor pairs of the evaluation
    above: np.ndarray  # (K,) float, scores, ascending
    fmr: np.ndarray  # (K + 1,) float in (0, 1], never rising
    # The evaluation: `databases`, a list of names, and `protocol`, among other entries; None if not known.
    of: Mapping[str, Any] | None = None

    def basis(self) -> str:
        """The pairs that the table was computed from, in words."""
        whose = f" of {', '.join(self.of['databases'])} (protocol {self.of['protocol']})" if self.of else ""
        return counted(self.impostors, "impostor") + whose

    @overload
    def fmr_at(self, score: float) -> float: ...

    @overload
    def fmr_at(self, score: np.ndarray) -> np.ndarray: ...

    def fmr_at(self, score: float | np.ndarray) -> float | np.ndarray:
        """The bound at a score, or at each score of an array of any shape.

        Raises:
            ValueError: a score is NaN.
        """
        if np.isnan(score).any():
            raise ValueError("a score that is not a number (NaN) has no FMR")
        bound = self.fmr[np.searchsorted(self.above, score, side="left")]
        return float(bound) if np.ndim(score) == 0 else bound

    @property
    def least_fmr(self) -> float:
        """The lowest FMR that so many pairs distinguish from 0."""
        return float(self.fmr.min())

    def tells(self, fmr: float) -> bool:
        """Whether the pairs are enough to distinguish an FMR from 0."""
        return self.least_fmr <= fmr

    def exceeds(self, score: float, fmr: float) -> bool:
        """Whether more impostor pairs reach the score than an FMR allows, even where the pairs are few."""
        allowed = _upper_bound(np.asarray(fmr * self.impostors), self.impostors)
        bound = self.fmr_at(score)
        # The lowest bound, which a file may have rounded up, belongs to scores that no impostor pair reaches.
        return bool(bound > self.least_fmr and bound * (1 - STEP) > allowed)

    def to_dict(self) -> dict[str, Any]:
        """The table as numbers and lists, for JSON, without `of`."""
        return {"impostors": self.impostors, "above": self.above.tolist(), "fmr": self.fmr.tolist()}

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> Calibration:
        """The table that `to_dict` gave, without `of`.

        Raises:
            ValueError: it is no such table; the message names the problem.
        """
        if not isinstance(table, Mapping) or set(table) != set(TABLE):
            raise ValueError(f"a calibration table has {', '.join(sorted(TABLE))} and nothing else")
        if not isinstance(table["impostors"], int) or table["impostors"] < 1:
            raise ValueError("a calibration table names how many impostor pairs it was made from, at least one")
        above, fmr = (np.asarray(table[name], np.float64) for name in ("above", "fmr"))
        calibration = cls(table["impostors"], above, fmr)
        if calibration.above.ndim != 1 or calibration.fmr.shape != (len(calibration.above) + 1,):
            raise ValueError("a calibration table has one bound more than scores, both in plain lists")
        if not (np.diff(calibration.above) > 0).all() or not (np.diff(calibration.fmr) <= 0).all():
            raise ValueError("a calibration table's scores rise and its bounds never do")
        if not ((calibration.fmr > 0) & (calibration.fmr <= 1)).all():
            raise ValueError("a calibration table's bounds lie above 0 and up to 1")
        return calibration


def calibration(impostor_scores: np.ndarray) -> Calibration:
    """The table of N >= 1 impostor scores, float (N,) without NaN; pairs that fail to register have scores too.

    A row that lowers the bound by less than 2 % is left out, and the higher bound before it is valid there too. So
    millions of scores give a table of some hundred rows that is still an upper bound.
    """
    scores, counts = np.unique(impostor_scores, return_counts=True)
    total = len(impostor_scores)
    bounds = _upper_bound(total - np.concatenate([[0], np.cumsum(counts)]), total)
    rows, last = [], bounds[0]
    for k, bound in enumerate(bounds[1:]):
        if bound <= (1 - STEP) * last:
            rows.append(k)
            last = bound
    return Calibration(total, scores[rows], np.concatenate([bounds[:1], bounds[1:][rows]]))


def least_rate(pairs: int) -> float:
    """The lowest rate that so many pairs distinguish from 0, in (0, 1], by the rule of three."""
    return min(1.0, RULE_OF_THREE / pairs)


def pairs_needed(rate: float) -> int:
    """The number of pairs that distinguish a rate from 0, by the rule of three."""
    return round(RULE_OF_THREE / rate)


def counted(pairs: int, kind: str) -> str:
    """A number of pairs of a kind, in words, such as '3 impostor pairs'."""
    return f"{pairs} {kind} pair{'' if pairs == 1 else 's'}"


def _upper_bound(count: np.ndarray, total: int) -> np.ndarray:
    """The one-sided 95 % upper bound (...) of a rate, where `count` (...) of `total` were observed.

    Byar's approximation of the Poisson distribution's bound (Breslow and Day, Statistical methods in cancer research
    II, IARC 1987, 2.3), which for rates is not less than the binomial distribution's bound.
    """
    next_count = count + 1.0
    byar = next_count * (1 - 1 / (9 * next_count) + NORMAL_95 / (3 * np.sqrt(next_count))) ** 3
    return np.minimum(1.0, np.maximum(byar, RULE_OF_THREE) / total)
