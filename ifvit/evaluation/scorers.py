"""Who scores the pairs of an evaluation: the ridges, and with them the networks of a run where there is one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from ifvit import image
from ifvit.calibration import Calibration
from ifvit.comparison.comparer import Compared, Comparer
from ifvit.comparison.matcher_print import Print
from ifvit.comparison.result import Comparison
from ifvit.comparison.run_calibration import Score, check_score, read_calibration, score_key
from ifvit.comparison.run_networks import RunNetworks, load_networks
from ifvit.config import Enhancement
from ifvit.databases.records import Record
from ifvit.errors import DataError
from ifvit.evaluation.pair_score import PairScore
from ifvit.image import ImageError, Scan
from ifvit.progress import Progress
from ifvit.registration.registrar import frame_of

AT_ONCE = 8  # pairs in a batch
READ_AT_ONCE = 64  # images


class Scorer:
    """Scores pairs.

    comparer: what compares them. run_dir: whose networks take part, None without. score_of: which score is judged.
    score: that score in words. about: what judges, by name. key: what the scores follow from, for comparison.

    Raises:
        ScoreError: there is no such score.
    """

    def __init__(self, comparer: Comparer, run_dir: Path | None, score_of: Score = Score.fused):
        check_score(comparer, score_of)
        self.comparer, self.run_dir, self.score_of = comparer, run_dir, score_of
        self._frame = (0, 0)  # that holds the prints of all records, so that one program is compiled
        self._of_frame = lru_cache(maxsize=4)(partial(comparer.by, AT_ONCE))
        self.score = _in_words(comparer.networks, score_of)
        self.about = _about(comparer, run_dir)
        self.key = score_key(comparer, score_of)

    def calibration(self) -> Calibration | None:
        """What the run knows of this score already.

        Raises:
            CheckpointError: its file is damaged.
        """
        return None if self.run_dir is None else read_calibration(self.run_dir, self.key)

    def prints(self, records: Sequence[Record]) -> Iterator[Print | ImageError]:
        """The print of each record, or the ImageError that says why there is none (naming the file)."""
        with ThreadPoolExecutor() as pool:
            for start in range(0, len(records), READ_AT_ONCE):
                part = records[start : start + READ_AT_ONCE]
                for shown in self._prints(part, list(pool.map(_scan, part))):
                    if not isinstance(shown, ImageError):
                        self._frame = _larger(self._frame, frame_of([shown.of_ridges]))
                    yield shown

    def _prints(self, records: Sequence[Record], scans: list[Scan | ImageError]) -> Iterator[Print | ImageError]:
        good = [k for k, scan in enumerate(scans) if not isinstance(scan, ImageError)]
        found = self.comparer.prints_of([scans[k] for k in good], [records[k].ppi for k in good])
        seen = dict(zip(good, found, strict=True))
        for k, record in enumerate(records):
            shown = seen.get(k, scans[k])
            yield ImageError(f"{record.path}: {shown}") if k in seen and isinstance(shown, ImageError) else shown

    def print_of(self, scan: Scan, ppi: float) -> Print:
        """The print of an image.

        Raises:
            ImageError: it cannot be used.
        """
        return self.comparer.print_of(scan, ppi)

    def content(self, shown: Print) -> bytes:
        """What a print shows."""
        return b"".join(shown.content())

    def compare(self, pairs: Iterable[tuple[Print, Print]]) -> Iterator[PairScore]:
        """Each pair of prints, in order."""
        pairs = list(pairs)
        for pair, found in zip(pairs, self._compared(pairs), strict=True):
            yield self._row(self._comparison(("A", "B"), pair, found))

    def _compared(self, pairs: list[tuple[Print, Print]]) -> Iterator[Compared]:
        if not pairs:
            return iter(())
        # Prints that are turned may need a larger frame.
        frame = _larger(self._frame, frame_of(shown.of_ridges for pair in pairs for shown in pair))
        return self._of_frame(frame).compare_many(pairs)

    def drawn(
        self, names: Sequence[tuple[str, str]], pairs: Sequence[tuple[Print, Print]]
    ) -> Iterator[tuple[str, np.ndarray]]:
        """Each pair of prints in a line and as a picture."""
        for name, pair, found in zip(names, pairs, self._compared(list(pairs)), strict=True):
            comparison = self._comparison(name, pair, found)
            yield comparison.headline(), comparison.picture()

    def _comparison(self, names: tuple[str, str], pair: tuple[Print, Print], found: Compared) -> Comparison:
        networks = self.comparer.networks
        ppi = None if networks is None else networks.module1.ppi
        run = None if self.run_dir is None else str(self.run_dir)
        return Comparison(*names, *pair, found, 0.0, ppi, self.score_of, run=run)

    def _row(self, comparison: Comparison) -> PairScore:
        paired, _, alone = comparison.alignment.paired.counts
        cosines = () if comparison.compared.module2_result is None else comparison.compared.module2_result.cosines
        decided = replace(comparison, score_of=Score.fused).decided  # for either score the same pairs count
        return PairScore(comparison.score, not decided, paired, paired + alone, comparison.overlap, *cosines)


def _larger(frame: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return max(frame[0], other[0]), max(frame[1], other[1])


def _in_words(networks: RunNetworks | None, score_of: Score) -> str:
    if score_of is Score.cosines:
        config = networks.module2.config
        return f"{config.global_weight:g} x cosine of the global + {config.local_weight:g} x of the local vectors"
    cosines = "" if networks is None or networks.module2 is None else ", and of Module 2's cosines"
    return f"log10 of the likelihood ratio of ridge agreement and paired minutiae{cosines}"


def _about(comparer: Comparer, run_dir: Path | None) -> dict[str, Any]:
    networks, enhancement = comparer.networks, {"enhancement": str(comparer.enhancer.method)}
    if networks is None:
        return {"run": "none: ridges and minutiae alone"} | enhancement
    module1, state = networks.module1, networks.module2 or networks.module1
    return {
        "run": str(run_dir),
        "state": f"{state.which}, step {state.step}",
        "input": f"{module1.frame[1]}x{module1.frame[0]} px at {module1.ppi:g} ppi",
    } | enhancement


def _scan(record: Record) -> Scan | ImageError:
    try:
        return image.read(record.path)
    except ImageError as error:
        return error


def judge_of(
    run_dir: Path | None,
    cache_dir: str | None = None,
    enhancement: Enhancement = Enhancement.none,
    score: Score = Score.fused,
) -> Scorer:
    """Who judges with a run; None judges by the ridges alone.

    enhancement: of ridges alone; `none` takes `gabor`. With a run it is the run's.

    Raises:
        CheckpointError: it is no run directory, holds no state yet, or is damaged.
        EnhancementError: the enhancement is not installed.
        ScoreError: there is no such score.
    """
    if run_dir is None:
        method = Enhancement.gabor if enhancement is Enhancement.none else enhancement
        return Scorer(Comparer(None, method, cache_dir), None, score)
    return Scorer(Comparer(load_networks(run_dir), cache_dir=cache_dir), run_dir, score)


class Gallery:
    """The prints of some records as a judge sees them; None where one cannot be used, with the reason in `unusable`."""

    def __init__(self, judge: Scorer, records: Sequence[Record]):
        self.unusable: dict[int, str] = {}
        self._prints: list[Any] = []
        self._content = judge.content
        progress = Progress("reading images", len(records))
        for k, shown in enumerate(judge.prints(records)):
            progress.step()
            if isinstance(shown, ImageError):
                self.unusable[k] = str(shown)
            self._prints.append(None if isinstance(shown, ImageError) else shown)
        if len(self.unusable) == len(records):
            raise DataError(f"none of {len(records)} images can be used: {next(iter(self.unusable.values()))}")

    def __getitem__(self, k: int) -> Any:
        return self._prints[k]

    def contents(self) -> Iterator[bytes]:
        """What each print shows."""
        for shown in self._prints:
            yield b"none" if shown is None else self._content(shown)
