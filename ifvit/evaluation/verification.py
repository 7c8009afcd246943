"""The figures of the FVC protocol from scores, with intervals over fingers.

A pair that failed gets the score 0, the lowest of FVC, or the lowest score where scores go below 0, as cosines do. So
it is never accepted before a comparison. Failed pairs are also counted. The caller states which pairs were compared: a
figure means nothing without its protocol.

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

import numpy as np

from ifvit.calibration import calibration, least_rate, pairs_needed
from ifvit.databases.protocols import PairList
from ifvit.databases.records import Record
from ifvit.evaluation.figures import FMRS, LEVEL, Figures, Histogram, ScoredPairs, Tar
from ifvit.rates import Rates, Thresholds, auc, det, equal_error, lowest_fnmr, zero_fnmr

FARS = (0.01, 0.001, 0.0001, 0.00001)  # for which TAR is computed
RESAMPLES = 1000
BINS = 50  # of the histogram, at most
MAX_NUMBERS = 1_000_000  # in an array of resamples, which then fits in the cache


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
