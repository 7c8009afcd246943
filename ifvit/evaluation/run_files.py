"""Read the config and the figures of runs and evaluations, for a table.

Only JSON files are read, without JAX or a device.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ifvit.config import StageName, identity
from ifvit.config.run_config import open_run
from ifvit.errors import CheckpointError, UserError

LARGEST = 2**26  # bytes of a JSON file
LARGEST_FIGURE = 2**53  # of a figure; the mean of larger numbers may overflow
VALIDATED = "val."
RUN, EVALUATION = "config.json", "results.json"  # the files by which a folder is recognised


class RunError(UserError):
    """A folder is neither a run nor an evaluation, or a file in it is damaged; the message names it."""


class Figure(NamedTuple):
    """How a figure is written in a table."""

    title: str
    unit: str = ""
    factor: float = 1.0  # the number is multiplied by it
    digits: int = 3  # after the decimal point

    def heading(self) -> str:
        """The heading of its column: title and unit."""
        return f"{self.title} {self.unit}".rstrip()


# Figures of a validation and of an evaluation that are not written with the defaults.
VALIDATION = {
    "within_one": Figure("within one"),
    "coarse_median": Figure("coarse median", "px", digits=2),
    "fine_median": Figure("fine median", "px", digits=2),
    "auc": Figure("AUC", digits=4),
    "best.auc": Figure("best AUC", digits=4),
    "best.exact": Figure("best exact"),
    "best.step": Figure("best step", digits=0),
    "eer": Figure("EER", "%", 100.0, 2),
}
VERIFICATION = {
    "eer": Figure("EER", "%", 100.0, 2),
    "fmr100": Figure("FMR100", "%", 100.0, 2),
    "fmr1000": Figure("FMR1000", "%", 100.0, 2),
    "zero_fmr": Figure("ZeroFMR", "%", 100.0, 2),
    "zero_fnmr": Figure("ZeroFNMR", "%", 100.0, 2),
    "auc": Figure("AUC", digits=4),
}


class Value(NamedTuple):
    """A figure of one run."""

    number: float
    unsure: bool = False  # whether the pairs are too few for this figure


class Column(NamedTuple):
    """A column of the table: one figure of the validation of a stage, or of the evaluation of a database."""

    dataset: str  # VALIDATED, or the database
    setting: tuple[str, ...]  # (stage,), or (protocol, score)
    name: str  # of the figure in the files
    figure: Figure


class Run(NamedTuple):
    """A training run."""

    folder: Path
    config: dict[str, Any]  # the keys that distinguish runs, without the seed
    seed: int
    steps: int | None  # None where it has no metrics yet
    figures: dict[Column, Value]


class ScorerEvaluations(NamedTuple):
    """The evaluations of one scorer that lie in no run."""

    run: str  # as text
    enhancement: str
    figures: dict[Column, Value]


def find_folders(folders: Sequence[Path]) -> list[Path]:
    """The folders of runs and evaluations, each once. Of a folder that contains some, like a sweep's, take those.

    Raises:
        RunError: a folder is none of these.
    """
    unique: dict[Path, Path] = {}
    for folder in folders:
        candidates = (
            [folder] if _has_results(folder) else sorted(path for path in _entries(folder) if _has_results(path))
        )
        if not candidates:
            lacks = f"has neither {RUN} nor {EVALUATION}"
            reason = lacks if folder.is_dir() else "is no folder" if folder.exists() else "is not there"
            raise RunError(
                f"{folder}: no run, no evaluation and no folder of such ({reason}); give the run_dir of a training run "
                "or the --out of an evaluation"
            )
        unique |= {path.resolve(): path for path in candidates if path.resolve() not in unique}
    return list(unique.values())


def _has_results(folder: Path) -> bool:
    return has_file(folder, RUN) or has_file(folder, EVALUATION)


def has_file(folder: Path, file: str) -> bool:
    """Whether a folder is that of a run (`RUN`) or of an evaluation (`EVALUATION`)."""
    return (folder / file).is_file()


def _entries(folder: Path) -> Iterator[Path]:
    return folder.iterdir() if folder.is_dir() else iter(())


def read_run(folder: Path) -> Run:
    """A run's config and figures.

    Raises:
        RunError: a file is damaged.
    """
    try:
        tree = open_run(folder).tree
        config, stage = identity(tree), StageName(tree["stage"])
        seed = int(config.pop("seed"))
    except (AttributeError, CheckpointError, KeyError, OverflowError, RecursionError, TypeError, ValueError) as error:
        raise RunError(f"{folder / 'config.json'}: not a run's config.json ({error}); give another folder") from error
    metrics, figures = _read(folder / "metrics.json") or {}, {}
    try:
        steps = metrics.get("step")
        latest = metrics if steps else {}  # before the first update there is nothing to compare
        best = {f"best.{name}": value for name, value in (metrics.get("best") or {}).items()}
        for name, value in (latest | best).items():
            if (number := _number(value)) is not None:
                figure = VALIDATION.get(name, Figure(name))
                figures[Column(VALIDATED, (stage,), name, figure)] = Value(number)
    except (AttributeError, TypeError) as error:
        raise RunError(f"{folder / 'metrics.json'}: not a run's metrics.json ({error})") from error
    return Run(folder, config, seed, steps if isinstance(steps, int) else None, figures | _verification(folder))


def _verification(folder: Path) -> dict[Column, Value]:
    """The figures of a run's evaluations.

    Raises:
        RunError: a file is damaged, or as of `_merge_evaluations`.
    """
    parent = folder / "evaluation"
    files = [path for path in (parent / EVALUATION, *parent.glob(f"*/{EVALUATION}")) if path.is_file()]
    return _merge_evaluations(sorted(files), f"move one of them out of {parent}")


def _merge_evaluations(files: Sequence[Path], advice: str) -> dict[Column, Value]:
    """The figures of several evaluations of one scorer.

    advice: what to do where they contradict each other, for the message.

    Raises:
        RunError: two of them have different figures of one database: its name may stand for different images.
    """
    figures: dict[Column, Value] = {}
    origin: dict[Column, Path] = {}
    for path in files:
        for column, value in _evaluation_figures(path).items():
            if figures.setdefault(column, value) != value:
                raise RunError(
                    f"{origin[column]} and {path} both evaluate {column.dataset} (protocol {column.setting[0]}), "
                    f"with other figures; {advice}"
                )
            origin.setdefault(column, path)
    return figures


def read_evaluations(folders: Sequence[Path]) -> list[ScorerEvaluations]:
    """The evaluations in the folders, grouped by run (or ridges alone) and enhancement.

    Raises:
        RunError: a file is damaged, or as of `_merge_evaluations`.
    """
    paths_by_scorer: dict[tuple[str, str], list[Path]] = {}
    for folder in folders:
        path = folder / EVALUATION
        results = _read(path)
        try:
            paths_by_scorer.setdefault((str(results["run"]), str(results["enhancement"])), []).append(path)
        except (KeyError, TypeError) as error:
            raise _not_an_evaluation(path, error) from error
    return [
        ScorerEvaluations(run, enhancement, _merge_evaluations(files, "leave one of them out"))
        for (run, enhancement), files in paths_by_scorer.items()
    ]


def _evaluation_figures(path: Path) -> dict[Column, Value]:
    """The figures of an evaluation's results.json."""
    results = _read(path)
    figures = {}
    try:
        setting = str(results["protocol"]), str(results["score"])
        for database, values in results["databases"].items():
            enough = values.get("enough") or {}
            for name, value in values.items():
                if (number := _number(value)) is not None:
                    figure = VERIFICATION.get(name, Figure(name))
                    figures[Column(database, setting, name, figure)] = Value(number, enough.get(name) is False)
    except (AttributeError, KeyError, TypeError) as error:
        raise _not_an_evaluation(path, error) from error
    return figures


def _not_an_evaluation(path: Path, error: Exception) -> RunError:
    return RunError(f"{path}: not an evaluation's results.json ({error}); evaluate again")


def _read(path: Path) -> Any:
    """The tree of a JSON file; None where there is none."""
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError(f"more than {LARGEST} bytes")
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path}: cannot be read ({error}); restore the file, or leave that folder out") from error


def _number(value: Any) -> float | None:
    """The value as a float; None where it is no number, or too large for a figure."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < LARGEST_FIGURE
    return float(value) if number else None
