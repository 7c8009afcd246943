"""From score lists to the figures of the FVC protocol, with intervals over fingers.

A failure to register counts as a score of 0, FVC's lowest, or as the lowest score where scores go below 0 (cosines do),
so that it is never accepted before a comparison; it is also counted. Rates are shares in [0, 1]; only `text` speaks of
per cent. Which pairs were compared is the caller's to say: a figure without its protocol means nothing.

**Resolution.** N pairs tell no rate below 3 / N from none (`calibration.least_rate`, the rule of three). An operating
point that hangs on a lower one is marked (`Figures.enough`), and no interval is shown with it.

**Intervals.** Pairs of one finger resemble each other, so that a bootstrap over pairs gives intervals that are too
narrow; fingers are drawn instead, with replacement (the subset bootstrap: Bolle, Ratha and Pankanti, Error analysis of
pattern recognition systems, CVIU 93, 2004). A genuine pair counts as often as its finger was drawn, an impostor pair as
often as the one times as often as the other: every pairing of the drawn fingers that was compared, less those of a
finger with its own copies. Drawing both sides errs on the wide side, up to a factor of sqrt(3) for an FMR that depends
on neither finger (Owen, The pigeonhole bootstrap, Annals of Applied Statistics 1, 2007). ZeroFMR hangs on a single
impostor pair, which a resample has or lacks: its interval is a rough one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ifvit.calibration import Calibration, calibration, counted, least_rate, pairs_needed
from ifvit.databases.protocols import PairList
from ifvit.databases.records import Record
from ifvit.rates import Rates, Thresholds, auc, det, equal_error, lowest_fnmr, zero_fnmr

FMRS = {"fmr100": 0.01, "fmr1000": 0.001}  # of the operating points that have one
POINTS = {"eer": "EER", "fmr100": "FMR100", "fmr1000": "FMR1000", "zero_fmr": "ZeroFMR"}
LITTLE = "means little: "
TOO_FEW = "* means little: the pairs are too few"  # where there is room for a mark only
FARS = (0.01, 0.001, 0.0001, 0.00001)  # at which TAR is given
RESAMPLES = 1000
LEVEL = 0.95
BINS = 50  # of the histogram, at most
AT_ONCE = 1_000_000  # numbers in an array of resamples, so that it stays in the cache


class ScoredPairs(NamedTuple):
    """How many pairs there were, how many of them failed, and of how many fingers."""

    genuine: int
    impostor: int
    failed_genuine: int
    failed_impostor: int
    fingers: int


class Tar(NamedTuple):
    """The highest TAR = 1 - FNMR at an FMR of at most `far`, and the lowest threshold that gives it (inf: no score).

    enough: whether so few as `far` could be told from none: 3 / far impostor pairs, by the rule of three.
    """

    far: float
    tar: float
    threshold: float
    enough: bool


class Histogram(NamedTuple):
    """Pairs by score: edges float (K + 1,), genuine and impostor int (K,), K at most 50."""

    edges: np.ndarray
    genuine: np.ndarray
    impostor: np.ndarray


@dataclass(frozen=True)
class Figures:
    """All figures of one evaluation; rates in [0, 1].

    eer: the middle of [eer_low, eer_high], at the score eer_threshold (inf: where nobody is accepted).
    fmr100, fmr1000, zero_fmr: the lowest FNMR at an FMR of at most 1 %, 0.1 %, 0. zero_fnmr: the lowest FMR at an FNMR
        of 0. auc: how often a genuine pair scores above an impostor pair.
    least_fmr, least_fnmr: the lowest rates that so many impostor and genuine pairs tell from none.
    enough: whether the pairs resolve eer, fmr100, fmr1000 and zero_fmr (which takes as many as fmr100).
    intervals: of eer, fmr100, fmr1000 and zero_fmr, 95 % over fingers.
    det: (K, 2) the curve's corners (FMR, FNMR), from (1, 0) to (0, 1).
    """

    pairs: ScoredPairs
    eer: float
    eer_low: float
    eer_high: float
    eer_threshold: float
    fmr100: float
    fmr1000: float
    zero_fmr: float
    zero_fnmr: float
    auc: float
    least_fmr: float
    least_fnmr: float
    enough: dict[str, bool]
    tar: tuple[Tar, ...]
    intervals: dict[str, tuple[float, float]]
    det: np.ndarray
    histogram: Histogram
    calibration: Calibration

    def tree(self) -> dict:
        """Everything as numbers, lists and dicts, for JSON; a threshold of inf is None."""
        return _plain(vars(self))

    def text(self) -> list[str]:
        """Lines for people."""
        pairs = self.pairs
        genuine, impostor = self._counted()
        what = (
            f"{genuine} ({pairs.failed_genuine} failed), {impostor} ({pairs.failed_impostor} failed), "
            f"{pairs.fingers} fingers"
        )
        if self.nothing:
            return [what, f"{self.nothing}, so that there are no rates"]
        between = f"; between {_percent(self.eer_low)} and {_percent(self.eer_high)}" if self.enough["eer"] else ""
        return [
            what,
            f"EER       {self._with_interval('eer')}{between}",
            f"FMR100    {self._with_interval('fmr100')}",
            f"FMR1000   {self._with_interval('fmr1000')}",
            f"ZeroFMR   {self._with_interval('zero_fmr')}; FMR: 0 of {impostor}, so up to {_percent(self.least_fmr)}",
            f"ZeroFNMR  {_percent(self.zero_fnmr)}; FNMR: 0 of {genuine}, so up to {_percent(self.least_fnmr)}",
            *(self._tar_line(tar) for tar in self.tar),
            f"AUC       {self.auc:.5f}",
            *([] if all(map(self.doubt, POINTS)) else [f"in brackets: {LEVEL:.0%} intervals over fingers"]),
        ]

    @property
    def nothing(self) -> str:
        """Why the scores tell nothing at all, in words; empty where they tell something."""
        pairs = self.pairs
        if pairs.failed_genuine == pairs.genuine and pairs.failed_impostor == pairs.impostor:
            return "no pair could be compared"
        if pairs.failed_genuine == pairs.genuine:
            return "no genuine pair could be compared"
        if len(self.det) == 2:  # from everybody accepted to nobody in one step
            return "every pair has the same score"
        return ""

    def doubt(self, name: str) -> str:
        """Why one of `enough` means little, in words; empty where the pairs resolve it."""
        if self.nothing:
            return self.nothing
        if self.enough[name]:
            return ""
        if name != "eer":
            return too_few(FMRS.get(name, FMRS["fmr100"]))
        least = max(self.least_fmr, self.least_fnmr)
        pairs = self._counted()[least == self.least_fmr]
        return f"{LITTLE}{pairs} cannot tell a rate below {_percent(least)}"

    def mark(self, name: str) -> str:
        """The same where there is room for a mark only; `TOO_FEW` explains it."""
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
    """What is said of an operating point at an FMR that the impostor pairs do not resolve."""
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
        scores: (P,), higher for more alike; where a pair failed whatever stands there is not looked at.
        genuine: bool (P,). finger_first, finger_second: (P,) identities, numbers or names, equal for mates alone.
        failed: bool (P,), pairs that could not be registered; None for no pair.
        seed: of the bootstrap.

    Raises:
        ValueError: the lists do not go together, a score is not finite, or one kind of pair is missing.
    """
    failed = np.zeros(len(genuine), bool) if failed is None else failed
    scores, genuine, failed = np.asarray(scores, np.float64), np.asarray(genuine), np.asarray(failed)
    _, fingers = np.unique(np.concatenate([np.asarray(finger_first), np.asarray(finger_second)]), return_inverse=True)
    first, second = np.split(fingers, [len(finger_first)])
    _check(scores, genuine, first, second, failed)
    count = int(fingers.max()) + 1

    scores = np.where(failed, min(0.0, scores[~failed].min(initial=0.0)), scores)
    ladder = Thresholds(scores, genuine)
    rates = ladder.rates()
    equal = equal_error(rates)
    others = int(rates.impostor)
    return Figures(
        pairs=ScoredPairs(
            int(rates.genuine), others, int((failed & genuine).sum()), int((failed & ~genuine).sum()), count
        ),
        **_headline(rates),
        eer_low=float(equal.low),
        eer_high=float(equal.high),
        eer_threshold=float(equal.threshold),
        zero_fnmr=float(zero_fnmr(rates)),
        auc=float(auc(rates)),
        **_resolution(float(equal.rate), int(rates.genuine), others),
        tar=tuple(_tar(rates, far, others) for far in FARS),
        intervals=_intervals(ladder, first, second, count, seed),
        det=det(rates),
        histogram=_histogram(scores, genuine),
        calibration=calibration(scores[~genuine]),
    )


def _check(scores: np.ndarray, genuine: np.ndarray, first: np.ndarray, second: np.ndarray, failed: np.ndarray) -> None:
    lists = {"scores": scores, "genuine": genuine, "finger_first": first, "finger_second": second, "failed": failed}
    if scores.ndim != 1 or len({np.shape(values) for values in lists.values()}) > 1:
        shapes = ", ".join(f"{name} {np.shape(values)}" for name, values in lists.items())
        raise ValueError(f"scores and what belongs to them must be lists of one length, not {shapes}")
    for name in ("genuine", "failed"):
        if lists[name].dtype != bool:
            raise ValueError(f"{name} must be true or false for each pair, not {lists[name].dtype}")
    wrong = np.flatnonzero(~np.isfinite(scores) & ~failed)
    if len(wrong):
        raise ValueError(
            f"{len(wrong)} scores are not finite numbers, the first that of pair {wrong[0]}: {scores[wrong[0]]}; a "
            "comparison that failed is marked in `failed`"
        )
    if not genuine.any():
        raise ValueError("there is no genuine pair, so that there is no FNMR")
    if genuine.all():
        raise ValueError("there is no impostor pair, so that there is no FMR")
    wrong = np.flatnonzero((first == second) != genuine)
    if len(wrong):
        is_one = "genuine and is of two fingers" if genuine[wrong[0]] else "impostor and is of one finger"
        raise ValueError(f"{len(wrong)} pairs are not what their fingers say; the first, pair {wrong[0]}, is {is_one}")


def _headline(rates: Rates) -> dict:
    """The figures that have intervals, each (...) in [0, 1]; plain numbers of rates without leading axes."""
    made = {
        "eer": equal_error(rates).rate,
        **{name: lowest_fnmr(rates, fmr)[0] for name, fmr in FMRS.items()},
        "zero_fmr": lowest_fnmr(rates, 0.0)[0],
    }
    return {name: float(value) if np.ndim(value) == 0 else value for name, value in made.items()}


def _resolution(eer: float, genuine: int, impostor: int) -> dict:
    """`Figures`' entries about what so many pairs can tell."""
    least_fmr, least_fnmr = least_rate(impostor), least_rate(genuine)
    least = max(least_fmr, least_fnmr)
    enough = {name: impostor >= pairs_needed(fmr) for name, fmr in FMRS.items()}
    enough |= {"eer": least < 1 and eer >= least, "zero_fmr": enough["fmr100"]}
    return {"least_fmr": least_fmr, "least_fnmr": least_fnmr, "enough": enough}


def _intervals(
    ladder: Thresholds, first: np.ndarray, second: np.ndarray, fingers: int, seed: int
) -> dict[str, tuple[float, float]]:
    """The 95 % percentile intervals of `_headline` over resampled fingers.

    first, second: int (P,) in [0, fingers). A resample that holds no genuine or no impostor pair, as happens with very
    few fingers, has no rates and is left out.
    """
    rng = np.random.default_rng(seed)
    first, second = first[ladder.order], second[ladder.order]
    chunk = max(1, AT_ONCE // len(first))
    drawn: dict[str, list[np.ndarray]] = {}
    for start in range(0, RESAMPLES, chunk):
        size = (min(chunk, RESAMPLES - start), fingers)
        times = rng.multinomial(fingers, np.full(fingers, 1 / fingers), size[0])  # (chunk, fingers)
        weights = times[:, first] * np.where(ladder.genuine, 1, times[:, second])
        rates = ladder.rates(weights)
        held = (rates.genuine > 0) & (rates.impostor > 0)
        rates = Rates(rates.thresholds, *(counts[held] for counts in rates[1:]))
        for name, values in _headline(rates).items():
            drawn.setdefault(name, []).append(values)
    tails = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    return {name: tuple(np.quantile(np.concatenate(values), tails).tolist()) for name, values in drawn.items()}


def _tar(rates: Rates, far: float, impostors: int) -> Tar:
    fnmr, threshold = lowest_fnmr(rates, far)
    return Tar(far, 1 - float(fnmr), float(threshold), impostors >= pairs_needed(far))


def _histogram(scores: np.ndarray, genuine: np.ndarray) -> Histogram:
    edges = np.histogram_bin_edges(scores, BINS)
    if (scores == np.round(scores)).all():  # as many whole numbers in each bin, or the bars would be a comb
        low, high = scores.min(), scores.max()
        step = np.ceil((high - low + 1) / BINS)
        edges = low - 0.5 + step * np.arange(np.ceil((high - low + 1) / step) + 1)
    return Histogram(edges, np.histogram(scores[genuine], edges)[0], np.histogram(scores[~genuine], edges)[0])


def _percent(rate: float) -> str:
    return f"{100 * rate:.2f} %"


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, Calibration):
        return value.tree()
    if hasattr(value, "_asdict"):
        return _plain(value._asdict())
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if isinstance(value, np.ndarray):
        return value.tolist()
    return None if isinstance(value, float) and np.isinf(value) else value


def by_database(
    records: Sequence[Record], compared: PairList, score: np.ndarray, failed: np.ndarray
) -> dict[str, Figures]:
    """The figures of each database; a pair of two belongs to the first one's."""
    identity = np.array([record.identity for record in records])
    database = np.array([record.database for record in records])
    found = {}
    for name in dict.fromkeys(database.tolist()):
        k = np.flatnonzero(database[compared.first] == name)
        if compared.genuine[k].any() and not compared.genuine[k].all():
            sides = identity[compared.first[k]], identity[compared.second[k]]
            found[name] = figures(score[k], compared.genuine[k], *sides, failed[k])
    return found
