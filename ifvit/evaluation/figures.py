"""The figures of one evaluation, as lines for people and as JSON; and whether the pairs were enough for each.

Rates are shares in [0, 1]; only `text` gives per cent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ifvit.calibration import Calibration, counted, pairs_needed

FMRS = {"fmr100": 0.01, "fmr1000": 0.001}  # of the operating points at a fixed FMR
POINTS = {"eer": "EER", "fmr100": "FMR100", "fmr1000": "FMR1000", "zero_fmr": "ZeroFMR"}
LITTLE = "means little: "
TOO_FEW = "* means little: the pairs are too few"  # explains the mark in tables
LEVEL = 0.95


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
