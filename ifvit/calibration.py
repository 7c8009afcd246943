"""What a score means: how often two different fingers reach it, by the impostor scores of one evaluation.

The answer is never too low in the sense of a test: it is the upper end of the one-sided 95 % confidence interval of the
FMR at that score. Where no impostor pair reaches a score, that is the rule of three: 3 / N of N pairs, not nothing
(Hanley and Lippman-Hand, If nothing goes wrong, is everything all right?, JAMA 249, 1983). The interval takes pairs for
independent. Pairs that share a finger are not quite, and other sensors or other people give other scores: the table
holds for prints like those that it was made from.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

NORMAL_95 = 1.66  # the standard normal's 95 % point, 1.645, raised until no bound lies below the exact one
RULE_OF_THREE = 3.0  # -ln 0.05 = 2.996: none seen of N leaves a rate of 3 / N
TABLE = ("impostors", "above", "fmr")
STEP = 0.02  # of the bound: a row of the table that would change it by less is left out


class Calibration(NamedTuple):
    """A table of upper bounds of the FMR.

    impostors: how many pairs it was made from.
    above: float (K,), scores, ascending. fmr: float (K + 1,) in (0, 1], never rising: fmr[0] holds up to and at
        above[0], fmr[k] for scores greater than above[k - 1].
    of: whose pairs they are: `databases`, a list of names, and `protocol`, among other entries; None if not known.
    """

    impostors: int
    above: np.ndarray
    fmr: np.ndarray
    of: Mapping[str, Any] | None = None

    def basis(self) -> str:
        """What it rests on, in words."""
        whose = f" of {', '.join(self.of['databases'])} (protocol {self.of['protocol']})" if self.of else ""
        return counted(self.impostors, "impostor") + whose

    def fmr_at(self, score: float | np.ndarray) -> float | np.ndarray:
        """The bound at a score, or at each of an array of any shape.

        Raises:
            ValueError: a score is NaN.
        """
        if np.isnan(score).any():
            raise ValueError("a score that is not a number (NaN) has no FMR")
        bound = self.fmr[np.searchsorted(self.above, score, side="left")]
        return float(bound) if np.ndim(score) == 0 else bound

    @property
    def least_fmr(self) -> float:
        """The lowest FMR that the pairs tell from none."""
        return float(self.fmr.min())

    def tells(self, fmr: float) -> bool:
        """Whether the pairs are enough to tell an FMR from none."""
        return self.least_fmr <= fmr

    def exceeds(self, score: float, fmr: float) -> bool:
        """Whether more of the impostors reach the score than an FMR allows, however few they are."""
        allowed = _upper_bound(np.asarray(fmr * self.impostors), self.impostors)
        bound = self.fmr_at(score)
        # The lowest bound, which a file may have rounded up, is of scores that none reaches.
        return bool(bound > self.least_fmr and bound * (1 - STEP) > allowed)

    def tree(self) -> dict:
        """The table as numbers and lists, for JSON; `from_tree` reads it. Whose pairs they are is not in it."""
        return {"impostors": self.impostors, "above": self.above.tolist(), "fmr": self.fmr.tolist()}


def calibration(impostor_scores: np.ndarray) -> Calibration:
    """The table of N >= 1 impostor scores, float (N,) without NaN; failures to register have theirs too.

    A row that changes the bound by less than 2 % is left out and the higher bound before it kept, so that millions of
    scores make a table of some hundred rows that is still an upper bound.
    """
    scores, counts = np.unique(impostor_scores, return_counts=True)
    total = len(impostor_scores)
    bounds = _upper_bound(total - np.concatenate([[0], np.cumsum(counts)]), total)
    kept, last = [], bounds[0]
    for k, bound in enumerate(bounds[1:]):
        if bound <= (1 - STEP) * last:
            kept.append(k)
            last = bound
    return Calibration(total, scores[kept], np.concatenate([bounds[:1], bounds[1:][kept]]))


def from_tree(tree: Mapping) -> Calibration:
    """The table back from what `Calibration.tree` made.

    Raises:
        ValueError: it is none, says in what way.
    """
    if not isinstance(tree, Mapping) or set(tree) != set(TABLE):
        raise ValueError(f"a calibration table has {', '.join(sorted(TABLE))} and nothing else")
    if not isinstance(tree["impostors"], int) or tree["impostors"] < 1:
        raise ValueError("a calibration table names how many impostor pairs it was made from, at least one")
    calibration = Calibration(tree["impostors"], *(np.asarray(tree[name], np.float64) for name in ("above", "fmr")))
    if calibration.above.ndim != 1 or calibration.fmr.shape != (len(calibration.above) + 1,):
        raise ValueError("a calibration table has one bound more than scores, both in plain lists")
    if not (np.diff(calibration.above) > 0).all() or not (np.diff(calibration.fmr) <= 0).all():
        raise ValueError("a calibration table's scores rise and its bounds never do")
    if not ((calibration.fmr > 0) & (calibration.fmr <= 1)).all():
        raise ValueError("a calibration table's bounds lie above 0 and up to 1")
    return calibration


def least_rate(pairs: int) -> float:
    """The lowest rate that so many pairs tell from none, in (0, 1], by the rule of three."""
    return min(1.0, RULE_OF_THREE / pairs)


def pairs_needed(rate: float) -> int:
    """How many pairs tell a rate from none."""
    return round(RULE_OF_THREE / rate)


def counted(pairs: int, kind: str) -> str:
    """So many pairs of a kind, in words."""
    return f"{pairs} {kind} pair{'' if pairs == 1 else 's'}"


def _upper_bound(count: np.ndarray, total: int) -> np.ndarray:
    """The one-sided 95 % upper bound of a rate of which `count` (...) of `total` were seen.

    Byar's approximation of the Poisson distribution's bound (Breslow and Day, Statistical methods in cancer research
    II, IARC 1987, 2.3), which for rates is itself no less than the binomial distribution's.
    """
    more = count + 1.0
    byar = more * (1 - 1 / (9 * more) + NORMAL_95 / (3 * np.sqrt(more))) ** 3
    return np.minimum(1.0, np.maximum(byar, RULE_OF_THREE) / total)
