"""The figures of the FVC protocol from scores, with intervals over fingers.

A pair that failed gets the score 0, the lowest of FVC, or the lowest score where scores go below 0, as cosines do. So
it is never accepted before a comparison. Failed pairs are also counted. Rates are shares in [0, 1]; only `text` gives
per cent. The caller states which pairs were compared: a figure means nothing without its protocol.

**Resolution.** N pairs cannot distinguish a rate below 3 / N from 0 (`calibration.least_rate`, the rule of three). A
figure that depends on a lower rate is marked (`Figures.enough`), and no interval is shown with it.

**Intervals.** Pairs of one finger are similar to each other, and so a bootstrap over pairs gives intervals that are too
narrow. Fingers are drawn instead, with replacement (the subset bootstrap: Bolle, Ratha and Pankanti, Error analysis of
pattern recognition systems, CVIU 93, 2004). The weight of a genuine pair is how often its finger was drawn. The weight
of an impostor pair is the product of how often each of its two fingers was drawn: this is every compared pair of the
drawn fingers without those of a finger and its own copies. The intervals are rather too wide, up to a factor of sqrt(3)
for an FMR that depends on neither finger (Owen, The pigeonhole bootstrap, Annals of Applied Statistics 1, 2007).
ZeroFMR depends on a single impostor pair, which a resample has or lacks: its interval is a rough one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ifvit.calibration import Calibration, calibration, counted, least_rate, pairs_needed
from ifvit.databases.protocols import PairList
from ifvit.databases.records import Record
from ifvit.rates import Rates, Thresholds, auc, det, equal_error, lowest_fnmr, zero_fnmr

FMRS = {"fmr100": 0.01, "fmr1000": 0.001}  # of the operating points at a fixed FMR
POINTS = {"eer": "EER", "fmr100": "FMR100", "fmr1000": "FMR1000", "zero_fmr": "ZeroFMR"}
LITTLE = "means little: "
TOO_FEW = "* means little: the pairs are too few"  # explains the mark in tables
FARS = (0.01, 0.001, 0.0001, 0.00001)  # for which TAR is computed
RESAMPLES = 1000
LEVEL = 0.95
BINS = 50  # of the histogram, at most
MAX_NUMBERS = 1_000_000  # in an array of resamples, which then fits in the cache


class ScoredPairs(NamedTuple):
    """The counts of pairs, of failed pairs and of fingers."""

    genuine: int
    impostor: int
    failed_genuine: int  # of the genuine pairs
    failed_impostor: int  # of the impostor pairs
    fingers: int


class Tar(NamedTuple):
    """The highest TAR = 1 - FNMR at an FMR of at most `far`."""

    far: float
    tar: float
    threshold: float  # the lowest one with this TAR; inf where no score reaches it
    enough: bool  # whether there are 3 / far impostor pairs: a rate of `far` differs from 0, by the rule of three


class Histogram(NamedTuple):
    """Counts of pairs in K score bins, K at most BINS."""

    edges: np.ndarray  # (K + 1,) float64
    genuine: np.ndarray  # (K,) int64
    impostor: np.ndarray  # (K,) int64


@dataclass(frozen=True)
class Figures:
    """All figures of one evaluation; rates in [0, 1]."""

    pairs: ScoredPairs
    eer: float  # the middle of [eer_low, eer_high]
    eer_low: float
    eer_high: float
    eer_threshold: float  # score; inf where no pair is accepted
    fmr100: float  # the lowest FNMR at an FMR of at most 1 %
    fmr1000: float  # the lowest FNMR at an FMR of at most 0.1 %
    zero_fmr: float  # the lowest FNMR at an FMR of 0
    zero_fnmr: float  # the lowest FMR at an FNMR of 0
    auc: float  # how often a genuine pair scores above an impostor pair
    least_fmr: float  # the lowest FMR that so many impostor pairs distinguish from 0
    least_fnmr: float  # the lowest FNMR that so many genuine pairs distinguish from 0
    enough: dict[str, bool]  # whether the pairs resolve eer, fmr100, fmr1000, zero_fmr (which takes as many as fmr100)
    tar: tuple[Tar, ...]  # for each of FARS
    intervals: dict[str, tuple[float, float]]  # of eer, fmr100, fmr1000, zero_fmr: 95 % over fingers
    det: np.ndarray  # (K, 2) float64, corners (FMR, FNMR) of the curve from (1, 0) to (0, 1)
    histogram: Histogram
    calibration: Calibration

    def to_dict(self) -> dict:
        """The figures as a tree for JSON; a threshold of inf is None."""
        return _json_value(vars(self))

    def text(self) -> list[str]:
        """Lines for people."""
        pairs = self.pairs
        genuine, impostor = self._counted()
        counts = (
            f"{genuine} ({pairs.failed_genuine} failed), {impostor} ({pairs.failed_impostor} failed), "
            f"{pairs.fingers} fingers"
        )
        if self.missing_reason:
            return [counts, f"{self.missing_reason}, so that there are no rates"]
        range_text = f"; between {_percent(self.eer_low)} and {_percent(self.eer_high)}" if self.enough["eer"] else ""
        return [
            counts,
            f"EER       {self._with_interval('eer')}{range_text}",
            f"FMR100    {self._with_interval('fmr100')}",
            f"FMR1000   {self._with_interval('fmr1000')}",
            f"ZeroFMR   {self._with_interval('zero_fmr')}; FMR: 0 of {impostor}, so up to {_percent(self.least_fmr)}",
            f"ZeroFNMR  {_percent(self.zero_fnmr)}; FNMR: 0 of {genuine}, so up to {_percent(self.least_fnmr)}",
            *(self._tar_line(tar) for tar in self.tar),
            f"AUC       {self.auc:.5f}",
            *([] if all(map(self.doubt, POINTS)) else [f"in brackets: {LEVEL:.0%} intervals over fingers"]),
        ]

    @property
    def missing_reason(self) -> str:
        """Why there are no figures, as text; empty where there are."""
        pairs = self.pairs
        if pairs.failed_genuine == pairs.genuine and pairs.failed_impostor == pairs.impostor:
            return "no pair could be compared"
        if pairs.failed_genuine == pairs.genuine:
            return "no genuine pair could be compared"
        if len(self.det) == 2:  # one threshold accepts all pairs, the next one none
            return "every pair has the same score"
        return ""

    def doubt(self, name: str) -> str:
        """Why a figure of `enough` means little, as text; empty where the pairs resolve it."""
        if self.missing_reason:
            return self.missing_reason
        if self.enough[name]:
            return ""
        if name != "eer":
            return too_few(FMRS.get(name, FMRS["fmr100"]))
        least = max(self.least_fmr, self.least_fnmr)
        pairs = self._counted()[least == self.least_fmr]
        return f"{LITTLE}{pairs} cannot tell a rate below {_percent(least)}"

    def mark(self, name: str) -> str:
        """The mark of a figure that means little; empty for others. `TOO_FEW` explains it."""
        return "*" if self.doubt(name) else ""

    def _counted(self) -> tuple[str, str]:
        return counted(self.pairs.genuine, "genuine"), counted(self.pairs.impostor, "impostor")

    def _with_interval(self, name: str) -> str:
        if doubt := self.doubt(name):
            return f"{_percent(getattr(self, name))}; {doubt}"
        low, high = self.intervals[name]
        return f"{_percent(getattr(self, name))} [{_percent(low)}, {_percent(high)}]"

    def _tar_line(self, tar: Tar) -> str:
        doubt = "" if tar.enough else f"; {too_few(tar.far)}"
        return f"TAR       {_percent(tar.tar)} at FAR {100 * tar.far:g} %{doubt}"


def too_few(fmr: float) -> str:
    """The note on an operating point whose FMR the impostor pairs do not resolve."""
    return f"{LITTLE}it takes {pairs_needed(fmr)} impostor pairs"


def figures(
    scores: np.ndarray,
    genuine: np.ndarray,
    finger_first: Sequence | np.ndarray,
    finger_second: Sequence | np.ndarray,
    failed: np.ndarray | None = None,
    seed: int = 0,
) -> Figures:
    """The figures of P compared pairs.

    Args:
        scores: float (P,), higher for more similar prints; ignored where a pair failed.
        genuine: bool (P,).
        finger_first, finger_second: (P,) identities, numbers or names, equal for genuine pairs only.
        failed: bool (P,), pairs that could not be registered; None where no pair failed.
        seed: of the bootstrap.

    Raises:
        ValueError: the lists contradict each other, a score is not finite, or there is only one kind of pair.
    """
    failed = np.zeros(len(genuine), bool) if failed is None else failed
    scores, genuine, failed = np.asarray(scores, np.float64), np.asarray(genuine), np.asarray(failed)
    _, fingers = np.unique(np.concatenate([np.asarray(finger_first), np.asarray(finger_second)]), return_inverse=True)
    first, second = np.split(fingers, [len(finger_first)])
    _check_lists(scores, genuine, first, second, failed)
    count = int(fingers.max()) + 1

    scores = np.where(failed, min(0.0, scores[~failed].min(initial=0.0)), scores)
    thresholds = Thresholds(scores, genuine)
    rates = thresholds.rates()
    equal = equal_error(rates)
    impostors = int(rates.impostor)
    return Figures(
        pairs=ScoredPairs(
            int(rates.genuine), impostors, int((failed & genuine).sum()), int((failed & ~genuine).sum()), count
        ),
        **_headline(rates),
        eer_low=float(equal.low),
        eer_high=float(equal.high),
        eer_threshold=float(equal.threshold),
        zero_fnmr=float(zero_fnmr(rates)),
        auc=float(auc(rates)),
        **_resolution(float(equal.rate), int(rates.genuine), impostors),
        tar=tuple(_tar(rates, far, impostors) for far in FARS),
        intervals=_intervals(thresholds, first, second, count, seed),
        det=det(rates),
        histogram=_histogram(scores, genuine),
        calibration=calibration(scores[~genuine]),
    )


def _check_lists(
    scores: np.ndarray, genuine: np.ndarray, first: np.ndarray, second: np.ndarray, failed: np.ndarray
) -> None:
    lists = {"scores": scores, "genuine": genuine, "finger_first": first, "finger_second": second, "failed": failed}
    if scores.ndim != 1 or len({np.shape(values) for values in lists.values()}) > 1:
        shapes = ", ".join(f"{name} {np.shape(values)}" for name, values in lists.items())
        raise ValueError(f"scores and what belongs to them must be lists of one length, not {shapes}")
    for name in ("genuine", "failed"):
        if lists[name].dtype != bool:
            raise ValueError(f"{name} must be true or false for each pair, not {lists[name].dtype}")
    invalid = np.flatnonzero(~np.isfinite(scores) & ~failed)
    if len(invalid):
        raise ValueError(
            f"{len(invalid)} scores are not finite numbers, the first that of pair {invalid[0]}: {scores[invalid[0]]}; "
            "a comparison that failed is marked in `failed`"
        )
    if not genuine.any():
        raise ValueError("there is no genuine pair, so that there is no FNMR")
    if genuine.all():
        raise ValueError("there is no impostor pair, so that there is no FMR")
    invalid = np.flatnonzero((first == second) != genuine)
    if len(invalid):
        contradiction = "genuine and is of two fingers" if genuine[invalid[0]] else "impostor and is of one finger"
        raise ValueError(
            f"{len(invalid)} pairs are not what their fingers say; the first, pair {invalid[0]}, is {contradiction}"
        )


def _headline(rates: Rates) -> dict:
    """The figures that have intervals, each (...) in [0, 1]; numbers where the rates have no leading axes."""
    headline = {
        "eer": equal_error(rates).rate,
        **{name: lowest_fnmr(rates, fmr)[0] for name, fmr in FMRS.items()},
        "zero_fmr": lowest_fnmr(rates, 0.0)[0],
    }
    return {name: float(value) if np.ndim(value) == 0 else value for name, value in headline.items()}


def _resolution(eer: float, genuine: int, impostor: int) -> dict:
    """The fields of `Figures` about what so many pairs can resolve."""
    least_fmr, least_fnmr = least_rate(impostor), least_rate(genuine)
    least = max(least_fmr, least_fnmr)
    enough = {name: impostor >= pairs_needed(fmr) for name, fmr in FMRS.items()}
    enough |= {"eer": least < 1 and eer >= least, "zero_fmr": enough["fmr100"]}
    return {"least_fmr": least_fmr, "least_fnmr": least_fnmr, "enough": enough}


def _intervals(
    thresholds: Thresholds, first: np.ndarray, second: np.ndarray, fingers: int, seed: int
) -> dict[str, tuple[float, float]]:
    """The 95 % percentile intervals of `_headline` over resampled fingers.

    first, second: int (P,) in [0, fingers). A resample without a genuine or an impostor pair has no rates and is
    left out; this occurs with very few fingers.
    """
    rng = np.random.default_rng(seed)
    first, second = first[thresholds.order], second[thresholds.order]
    chunk = max(1, MAX_NUMBERS // len(first))
    samples: dict[str, list[np.ndarray]] = {}
    for start in range(0, RESAMPLES, chunk):
        size = (min(chunk, RESAMPLES - start), fingers)
        multiplicity = rng.multinomial(fingers, np.full(fingers, 1 / fingers), size[0])  # (chunk, fingers)
        weights = multiplicity[:, first] * np.where(thresholds.genuine, 1, multiplicity[:, second])
        rates = thresholds.rates(weights)
        complete = (rates.genuine > 0) & (rates.impostor > 0)
        rates = Rates(rates.thresholds, *(counts[complete] for counts in rates[1:]))
        for name, values in _headline(rates).items():
            samples.setdefault(name, []).append(values)
    tails = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    return {name: tuple(np.quantile(np.concatenate(values), tails).tolist()) for name, values in samples.items()}


def _tar(rates: Rates, far: float, impostors: int) -> Tar:
    fnmr, threshold = lowest_fnmr(rates, far)
    return Tar(far, 1 - float(fnmr), float(threshold), impostors >= pairs_needed(far))


def _histogram(scores: np.ndarray, genuine: np.ndarray) -> Histogram:
    edges = np.histogram_bin_edges(scores, BINS)
    if (scores == np.round(scores)).all():  # bins with the same count of whole numbers, else bars alternate
        low, high = scores.min(), scores.max()
        step = np.ceil((high - low + 1) / BINS)
        edges = low - 0.5 + step * np.arange(np.ceil((high - low + 1) / step) + 1)
    return Histogram(edges, np.histogram(scores[genuine], edges)[0], np.histogram(scores[~genuine], edges)[0])


def _percent(rate: float) -> str:
    return f"{100 * rate:.2f} %"


def _json_value(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _json_value(item) for name, item in value.items()}
    if isinstance(value, Calibration):
        return value.to_dict()
    if hasattr(value, "_asdict"):
        return _json_value(value._asdict())
    if isinstance(value, tuple):
        return [_json_value(item) for item in value]
    if isinstance(value, np.ndarray):
        return value.tolist()
    return None if isinstance(value, float) and np.isinf(value) else value


def by_database(
    records: Sequence[Record], pairs: PairList, score: np.ndarray, failed: np.ndarray
) -> dict[str, Figures]:
    """The figures of each database; a pair of two databases belongs to that of its first record.

    score: float (P,). failed: bool (P,). A database without genuine or impostor pairs has no figures.
    """
    identity = np.array([record.identity for record in records])
    database = np.array([record.database for record in records])
    figures_by_name = {}
    for name in dict.fromkeys(database.tolist()):
        k = np.flatnonzero(database[pairs.first] == name)
        if pairs.genuine[k].any() and not pairs.genuine[k].all():
            sides = identity[pairs.first[k]], identity[pairs.second[k]]
            figures_by_name[name] = figures(score[k], pairs.genuine[k], *sides, failed[k])
    return figures_by_name
