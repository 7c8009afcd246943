"""Who scores the pairs of an evaluation: a run's Module 2, a Module 1 by itself, or the ridges alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ifvit import image, plots
from ifvit.checkpoint import MODULE_1, read_json
from ifvit.config import Enhancement, Stage
from ifvit.data.records import DataError, Record
from ifvit.data.splits import read_split
from ifvit.evaluation.ridge_judge import RidgeJudge
from ifvit.evaluation.row import Row
from ifvit.image import Canvas, ImageError, Scan
from ifvit.progress import Progress
from ifvit.recognition.comparer import Comparer, calibration_key, load_comparer
from ifvit.recognition.comparison import Comparison
from ifvit.recognition.pair import Pair
from ifvit.recognition.prints import MatcherPrint, matcher_prints
from ifvit.recognition.registration import Registered
from ifvit.recognition.trained import load_dense

AT_ONCE = 8  # pairs in a batch
READ_AT_ONCE = 64  # images


class Judge(Protocol):
    """score: what its scores are, in words; told: what it is, by name; key: the same, for comparison."""

    score: str
    told: dict[str, Any]
    key: dict[str, Any]

    def prints(self, records: Sequence[Record]) -> Iterator[Any]:
        """The print of each record, or the ImageError that says why there is none (naming the file)."""

    def print_of(self, scan: Scan, ppi: float) -> Any:
        """The print of an image.

        Raises:
            ImageError: it cannot be used.
        """

    def content(self, shown: Any) -> bytes:
        """What a print shows."""

    def compare(self, pairs: Iterable[tuple[Any, Any]]) -> Iterator[Row]:
        """Each pair of prints, in order."""

    def drawn(self, names: tuple[str, str], a: Any, b: Any) -> tuple[str, np.ndarray]:
        """A pair in a line and as a picture."""


class DenseJudge:
    """Module 1 by itself: how much of the two prints it finds in one another."""

    score = "summed confidence of Module 1's matches that agree with the registration"

    def __init__(self, run_dir: Path, cache_dir: str | None = None):
        self._trained = load_dense(run_dir)
        self._enhancer = self._trained.enhancer(cache_dir)
        self._registrar = self._trained.registrar(at_once=AT_ONCE)
        trained = self._trained
        self.told = _told(run_dir, trained)
        self.key = {"state": f"{trained.which} {trained.step} of {run_dir.resolve()}"}

    def prints(self, records: Sequence[Record]) -> Iterator[Canvas | ImageError]:
        def read(record: Record) -> Canvas | ImageError:
            try:
                return self._trained.canvas(record.path, record.ppi, self._enhancer)
            except ImageError as error:
                return error

        with ThreadPoolExecutor() as pool:
            yield from pool.map(read, records)

    def print_of(self, scan: Scan, ppi: float) -> Canvas:
        return self._trained.canvas_of(scan, ppi, self._enhancer)

    def content(self, shown: Canvas) -> bytes:
        return shown.grey.tobytes()

    def compare(self, pairs: Iterable[tuple[Canvas, Canvas]]) -> Iterator[Row]:
        return map(self._row, self._registrar.register_many(pairs))

    @staticmethod
    def _row(registered: Registered) -> Row:
        confidence = registered.matches.confidence[registered.inliers]
        return _row(registered, float(confidence.sum()))

    def drawn(self, names: tuple[str, str], a: Canvas, b: Canvas) -> tuple[str, np.ndarray]:
        registered = next(self._registrar.register_many([(a, b)]))
        pair = Pair(Path(names[0]), Path(names[1]), a, b, self._trained.ppi, registered, 0.0)
        said = pair.text().splitlines()[0]
        if registered.aligned:
            return said, pair.picture()
        matches = registered.matches
        points = matches.points_a, matches.points_b, matches.confidence, registered.inliers
        return said, plots.draw_refused(a.grey, b.grey, *points, [said])


class MatcherJudge:
    """Module 2: the fused cosine."""

    def __init__(self, run_dir: Path, cache_dir: str | None = None):
        self.comparer: Comparer = load_comparer(run_dir, cache_dir=cache_dir, at_once=AT_ONCE)
        config = self.comparer.config
        self.score = f"{config.global_weight:g} x cosine of the global + {config.local_weight:g} x of the local vectors"
        self.told = _told(run_dir, self.comparer.module_1) | {
            "state": f"{self.comparer.which}, step {self.comparer.step}", "enhancement": str(config.enhancement),
        }  # fmt: skip
        self.calibration_key = calibration_key(self.comparer.digest, config)
        self.key = self.calibration_key | {"module_1": self.comparer.module_1.digest()}

    def prints(self, records: Sequence[Record]) -> Iterator[MatcherPrint | ImageError]:
        with ThreadPoolExecutor() as pool:
            for start in range(0, len(records), READ_AT_ONCE):
                some = records[start : start + READ_AT_ONCE]
                scans = list(pool.map(_scan, some))
                good = [k for k, scan in enumerate(scans) if not isinstance(scan, ImageError)]
                made = matcher_prints(
                    (scans[k] for k in good),
                    (some[k].ppi for k in good),
                    self.comparer.module_1,
                    self.comparer.enhancer,
                )
                seen = dict(zip(good, made, strict=True))
                for k, record in enumerate(some):
                    one = seen.get(k, scans[k])
                    yield ImageError(f"{record.path}: {one}") if k in seen and isinstance(one, ImageError) else one

    def print_of(self, scan: Scan, ppi: float) -> MatcherPrint:
        return self.comparer.print_of(scan, ppi)

    def content(self, shown: MatcherPrint) -> bytes:
        return shown.canvas.grey.tobytes() + shown.enhanced.tobytes()

    def compare(self, pairs: Iterable[tuple[MatcherPrint, MatcherPrint]]) -> Iterator[Row]:
        for scored in self.comparer.score_many(pairs):
            yield _row(scored.registered, scored.score)._replace(of_global=scored.of_global, of_local=scored.of_local)

    def drawn(self, names: tuple[str, str], a: MatcherPrint, b: MatcherPrint) -> tuple[str, np.ndarray]:
        scored = self.comparer.score(a, b)
        comparison = Comparison(*names, a, b, self.comparer.module_1.ppi, scored, None, 0.0)
        return comparison.headline(), comparison.picture()


def _row(registered: Registered, score: float) -> Row:
    made, agree = len(registered.inliers), int(registered.inliers.sum())
    if registered.aligned is None:
        return Row(0.0, True, agree, made, 0.0)
    return Row(score, False, agree, made, registered.aligned.share)


def _scan(record: Record) -> Scan | ImageError:
    try:
        return image.read(record.path)
    except ImageError as error:
        return error


def _told(run_dir: Path, trained: Any) -> dict[str, Any]:
    return {
        "run": str(run_dir), "state": f"{trained.which}, step {trained.step}",
        "input": f"{trained.frame[1]}x{trained.frame[0]} px at {trained.ppi:g} ppi",
    }  # fmt: skip


def judge_of(run_dir: Path | None, cache_dir: str | None = None, enhancement: Enhancement = Enhancement.none) -> Judge:
    """Who judges with a run; None judges by the ridges alone.

    enhancement: of ridges alone; `none` takes `gabor`.

    Raises:
        CheckpointError: it is no run directory, holds no state yet, or is damaged.
        EnhancementError: the enhancement is not installed.
    """
    if run_dir is None:
        return RidgeJudge(Enhancement.gabor if enhancement is Enhancement.none else enhancement, cache_dir)
    held = read_json(run_dir / "config.json")
    config = held.get("config") if isinstance(held, dict) else None
    stage = config.get("stage") if isinstance(config, dict) else None
    return MatcherJudge(run_dir, cache_dir) if stage == Stage.matcher else DenseJudge(run_dir, cache_dir)


def refuse_seen(run_dir: Path | None, records: Sequence[Record]) -> None:
    """Refuse people whom the run, or the Module 1 it began from, trained or validated on.

    Raises:
        DataError: naming them.
    """
    tables = () if run_dir is None else (run_dir / "split.csv", run_dir / MODULE_1 / "split.csv")
    for table in tables:
        if table.exists():
            read_split(table, "split.csv").refuse_seen(records, "the data")


class Gallery:
    """The prints of some records as a judge sees them; None where one cannot be used, with the reason in `unusable`."""

    def __init__(self, judge: Judge, records: Sequence[Record]):
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
