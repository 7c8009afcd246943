"""Pairs scored by their ridges alone, without any trained run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ifvit import backend, image
from ifvit.config import Enhancement
from ifvit.data.records import Record
from ifvit.evaluation.row import Row
from ifvit.image import ImageError, Scan
from ifvit.recognition.enhancement import Enhancer
from ifvit.recognition.ridge_comparison import RidgeComparison
from ifvit.recognition.ridge_matcher import RidgeAlignment, RidgeMatcher, frame_of
from ifvit.recognition.ridge_print import RidgePrint, ridge_print

AT_ONCE = 8  # pairs in a batch
RECIPE = 1  # goes up when a pair's score changes, so that what was kept of an evaluation is made anew


class RidgeJudge:
    """The agreement of ridges and minutiae; see `judges.Judge`."""

    score = "log10 of the likelihood ratio of ridge agreement and paired minutiae"

    def __init__(self, method: Enhancement, cache_dir: str | None = None):
        backend.start()
        self._enhancer = Enhancer(method, cache_dir)
        self._matcher: RidgeMatcher | None = None
        self.told = {"run": "none: ridges and minutiae alone", "enhancement": str(method)}
        self.key = {"judge": f"ridges {RECIPE}", "enhancement": str(method)}

    def prints(self, records: Sequence[Record]) -> Iterator[RidgePrint | ImageError]:
        def read(record: Record) -> RidgePrint | ImageError:
            try:
                scan = image.read(record.path)
            except ImageError as error:
                return error
            try:
                return self.print_of(scan, record.ppi)
            except ImageError as error:
                return ImageError(f"{record.path}: {error}")

        prints = []
        with ThreadPoolExecutor() as pool:
            for shown in pool.map(read, records):
                prints.append(shown)
                yield shown
        # One frame for all, so that one program is compiled.
        good = [shown for shown in prints if not isinstance(shown, ImageError)]
        self._matcher = RidgeMatcher(frame_of(good), AT_ONCE) if good else None

    def print_of(self, scan: Scan, ppi: float) -> RidgePrint:
        return ridge_print(scan, ppi, self._enhancer)

    def content(self, shown: RidgePrint) -> bytes:
        return shown.enhanced.tobytes() + shown.ridges.tobytes()

    def compare(self, pairs: Iterable[tuple[RidgePrint, RidgePrint]]) -> Iterator[Row]:
        pairs = list(pairs)
        matcher = self._matcher or RidgeMatcher(at_once=AT_ONCE)
        for (a, b), alignment in zip(pairs, matcher.align_many(pairs), strict=True):
            yield _row(RidgeComparison("A", "B", a, b, alignment, 0.0))

    def drawn(self, names: tuple[str, str], a: RidgePrint, b: RidgePrint) -> tuple[str, np.ndarray]:
        alignment: RidgeAlignment = (self._matcher or RidgeMatcher()).align(a, b)
        comparison = RidgeComparison(*names, a, b, alignment, 0.0)
        return comparison.headline(), comparison.picture()


def _row(comparison: RidgeComparison) -> Row:
    paired, _, alone = comparison.alignment.paired.counts
    return Row(comparison.score, not comparison.decided, paired, paired + alone, comparison.overlap)
