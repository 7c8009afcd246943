"""The scorer of an evaluation: it compares pairs by their ridges and, with a run, also by its networks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from ifvit.calibration import Calibration
from ifvit.comparison.compared import Compared
from ifvit.comparison.matcher import Matcher
from ifvit.comparison.matcher_print import Print
from ifvit.comparison.result import Comparison
from ifvit.comparison.run_calibration import Score, read_calibration, score_key
from ifvit.comparison.run_networks import RunNetworks, load_networks
from ifvit.config import Enhancement
from ifvit.databases.records import Record
from ifvit.errors import DataError
from ifvit.evaluation.pair_score import PairScore
from ifvit.image import ImageError, Scan, from_files
from ifvit.progress import Progress
from ifvit.registration.registrar import frame_of

PAIR_BATCH = 8  # pairs in a batch
IMAGE_BATCH = 64  # images read in one go


class Scorer:
    """Scores pairs of prints.

    score: the kind of score as text. about: run, state, input and enhancement as text, by name, for the report. key:
    what the scores depend on, as JSON can store it.
    """

    def __init__(self, matcher: Matcher):
        self.matcher, self.run_dir, self.score_of = matcher, matcher.run_dir, matcher.score
        self._frame = (0, 0)  # the smallest for all prints so far: with one frame one program is compiled
        self._matcher_of = lru_cache(maxsize=4)(partial(matcher.by, PAIR_BATCH))
        self.score = _score_text(matcher.networks, self.score_of)
        self.about = _about(matcher)
        self.key = score_key(matcher.networks, matcher.enhancer.method, self.score_of)

    def calibration(self) -> Calibration | None:
        """The calibration of this score that the run has stored; None where there is none.

        Raises:
            CheckpointError: its file is damaged.
        """
        return None if self.run_dir is None else read_calibration(self.run_dir, self.key)

    def prints(self, records: Sequence[Record]) -> Iterator[Print | ImageError]:
        """The print of each record, or the ImageError that says why there is none and names the file."""
        with ThreadPoolExecutor() as pool:
            for start in range(0, len(records), IMAGE_BATCH):
                chunk = records[start : start + IMAGE_BATCH]
                paths, ppis = [record.path for record in chunk], [record.ppi for record in chunk]
                for print_ in from_files(paths, ppis, self.matcher.prints_of, pool.map):
                    if not isinstance(print_, ImageError):
                        self._frame = _larger(self._frame, frame_of([print_.of_ridges]))
                    yield print_

    def print_of(self, scan: Scan, ppi: float) -> Print:
        """The print of an image.

        Raises:
            ImageError: it cannot be used.
        """
        return self.matcher.print_of(scan, ppi)

    def content(self, print_: Print) -> bytes:
        """The content of a print as bytes, for a digest."""
        _, images = print_.order()
        return b"".join(images)

    def compare(self, pairs: Iterable[tuple[Print, Print]]) -> Iterator[PairScore]:
        """The result of each pair of prints, in order."""
        pairs = list(pairs)
        for pair, compared in zip(pairs, self._compare_batch(pairs), strict=True):
            yield self._pair_score(self._comparison(("A", "B"), pair, compared))

    def _compare_batch(self, pairs: list[tuple[Print, Print]]) -> Iterator[Compared]:
        if not pairs:
            return iter(())
        # Rotated prints may need a larger frame.
        frame = _larger(self._frame, frame_of(print_.of_ridges for pair in pairs for print_ in pair))
        return self._matcher_of(frame).compare_prints(pairs)

    def draw(
        self, names: Sequence[tuple[str, str]], pairs: Sequence[tuple[Print, Print]]
    ) -> Iterator[tuple[str, np.ndarray]]:
        """Each pair of prints as a line and a picture, uint8 RGB (H, W, 3). names: the files of each pair."""
        for files, pair, compared in zip(names, pairs, self._compare_batch(list(pairs)), strict=True):
            comparison = self._comparison(files, pair, compared)
            yield comparison.headline(), comparison.picture()

    def _comparison(self, names: tuple[str, str], pair: tuple[Print, Print], compared: Compared) -> Comparison:
        networks = self.matcher.networks
        ppi = None if networks is None else networks.module1.ppi
        run = None if self.run_dir is None else str(self.run_dir)
        return Comparison(*names, *pair, compared, 0.0, ppi, self.score_of, run=run)

    def _pair_score(self, comparison: Comparison) -> PairScore:
        paired, _, unpaired = comparison.alignment.paired.counts
        cosines = () if comparison.compared.module2_result is None else comparison.compared.module2_result.cosines
        decided = replace(
            comparison, score_of=Score.fused
        ).decided  # a pair fails by the fused score, whichever score is in use
        return PairScore(comparison.score, not decided, paired, paired + unpaired, comparison.overlap, *cosines)


def _larger(frame: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return max(frame[0], other[0]), max(frame[1], other[1])


def _score_text(networks: RunNetworks | None, score_of: Score) -> str:
    if score_of is Score.cosines:
        assert networks is not None and networks.module2 is not None
        config = networks.module2.config
        return f"{config.global_weight:g} x cosine of the global + {config.local_weight:g} x of the local vectors"
    cosines = "" if networks is None or networks.module2 is None else ", and of Module 2's cosines"
    return f"log10 of the likelihood ratio of ridge agreement and paired minutiae{cosines}"


def _about(matcher: Matcher) -> dict[str, Any]:
    networks, enhancement = matcher.networks, {"enhancement": str(matcher.enhancer.method)}
    if networks is None:
        return {"run": "none: ridges and minutiae alone"} | enhancement
    module1, state = networks.module1, networks.module2 or networks.module1
    return {
        "run": str(matcher.run_dir),
        "state": f"{state.which}, step {state.step}",
        "input": f"{module1.frame[1]}x{module1.frame[0]} px at {module1.ppi:g} ppi",
    } | enhancement


def load_scorer(
    run_dir: Path | None,
    cache_dir: str | None = None,
    enhancement: Enhancement = Enhancement.none,
    score: Score = Score.fused,
) -> Scorer:
    """The scorer with the networks of a run; with None the scorer by the ridges alone.

    enhancement: without a run; `none` becomes `gabor`. With a run it is the run's.

    Raises:
        CheckpointError: it is not a run directory, has no state yet, or is damaged.
        EnhancementError: the enhancement is not installed.
        ScoreError: there is no such score.
    """
    if run_dir is None:
        method = Enhancement.gabor if enhancement is Enhancement.none else enhancement
        return Scorer(Matcher(None, method, cache_dir, score=score))
    return Scorer(Matcher(load_networks(run_dir), cache_dir=cache_dir, score=score, run_dir=run_dir))


class Gallery:
    """The prints of N records, by index; None where an image cannot be used.

    unusable: the reason, by index.
    """

    def __init__(self, scorer: Scorer, records: Sequence[Record]):
        """Raises:
        DataError: none of the images can be used.
        """
        self.unusable: dict[int, str] = {}
        self._prints: list[Any] = []
        self._content_of = scorer.content
        progress = Progress("reading images", len(records))
        for k, print_ in enumerate(scorer.prints(records)):
            progress.step()
            if isinstance(print_, ImageError):
                self.unusable[k] = str(print_)
            self._prints.append(None if isinstance(print_, ImageError) else print_)
        if len(self.unusable) == len(records):
            raise DataError(f"none of {len(records)} images can be used: {next(iter(self.unusable.values()))}")

    def __getitem__(self, k: int) -> Any:
        return self._prints[k]

    def contents(self) -> Iterator[bytes]:
        """The content of each print as bytes, for a digest."""
        for print_ in self._prints:
            yield b"none" if print_ is None else self._content_of(print_)
