"""What a run and an evaluation leave for a table: a config, and the figures of validations and of databases.

Only JSON files are read: neither JAX nor a device is needed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ifvit.config import StageName, identity
from ifvit.config.renamed import upgraded
from ifvit.errors import UserError

LARGEST = 2**26  # bytes of a JSON file
LARGEST_FIGURE = 2**53  # no figure lies beyond it; means of greater numbers may overflow
VALIDATED = "val."
RUN, EVALUATION = "config.json", "results.json"  # a folder is what holds the one or the other


class RunError(UserError):
    """A folder is neither run nor evaluation, or a file in it is damaged; the message names it."""


class Figure(NamedTuple):
    """How a figure is written: its title, its unit, what it is multiplied by, how many digits follow the point."""

    title: str
    unit: str = ""
    factor: float = 1.0
    digits: int = 3

    def heading(self) -> str:
        """Its column's."""
        return f"{self.title} {self.unit}".rstrip()


# How figures are written that are not written as all others: of a validation, of a database's evaluation.
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
    """A figure of one run; unsure: whether its pairs are too few to tell it."""

    number: float
    unsure: bool = False


class Column(NamedTuple):
    """What a column shows: a figure by its name in the files, of a stage's validation or of a database's evaluation."""

    of: str  # VALIDATED, or the database
    how: tuple[str, ...]  # the stage; protocol and score
    name: str
    figure: Figure


class Run(NamedTuple):
    """A run: its folder, what makes it this run and no other (without the seed), its seed, its steps, its figures."""

    folder: Path
    config: dict[str, Any]
    seed: int
    steps: int | None
    figures: dict[Column, Value]


class Evaluated(NamedTuple):
    """Evaluations of one judge: its run in words, its enhancement, its figures."""

    run: str
    enhancement: str
    figures: dict[Column, Value]


def found_in(folders: Sequence[Path]) -> list[Path]:
    """The runs and evaluations among the folders and, of a folder of them (a sweep's), in it; each once.

    Raises:
        RunError: a folder is none of these.
    """
    found: dict[Path, Path] = {}
    for folder in folders:
        places = [folder] if _shown(folder) else sorted(path for path in _inside(folder) if _shown(path))
        if not places:
            lacks = f"has neither {RUN} nor {EVALUATION}"
            why = lacks if folder.is_dir() else "is no folder" if folder.exists() else "is not there"
            raise RunError(
                f"{folder}: no run, no evaluation and no folder of such ({why}); give the run_dir of a training run or "
                "the --out of an evaluation"
            )
        found |= {place.resolve(): place for place in places if place.resolve() not in found}
    return list(found.values())


def _shown(folder: Path) -> bool:
    return holds(folder, RUN) or holds(folder, EVALUATION)


def holds(folder: Path, file: str) -> bool:
    """Whether a folder is that of a run (`RUN`) or of an evaluation (`EVALUATION`)."""
    return (folder / file).is_file()


def _inside(folder: Path) -> Iterator[Path]:
    return folder.iterdir() if folder.is_dir() else iter(())


def read_run(folder: Path) -> Run:
    """A run's config and figures.

    Raises:
        RunError: a file is damaged.
    """
    try:
        tree = upgraded(_read(folder / RUN)["config"])
        config, stage = identity(tree), StageName(tree["stage"])
        seed = int(config.pop("seed"))
    except (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError) as error:
        raise RunError(f"{folder / 'config.json'}: not a run's config.json ({error}); give another folder") from error
    metrics, figures = _read(folder / "metrics.json") or {}, {}
    try:
        steps = metrics.get("step")
        trained = metrics if steps else {}  # before the first update there is nothing to compare
        best = {f"best.{name}": value for name, value in (metrics.get("best") or {}).items()}
        for name, value in (trained | best).items():
            if (number := _number(value)) is not None:
                figure = VALIDATION.get(name, Figure(name))
                figures[Column(VALIDATED, (stage,), name, figure)] = Value(number)
    except (AttributeError, TypeError) as error:
        raise RunError(f"{folder / 'metrics.json'}: not a run's metrics.json ({error})") from error
    return Run(folder, config, seed, steps if isinstance(steps, int) else None, figures | _verification(folder))


def _verification(folder: Path) -> dict[Column, Value]:
    """The figures of a run's evaluations.

    Raises:
        RunError: as of `_together`.
    """
    place = folder / "evaluation"
    files = [path for path in (place / EVALUATION, *place.glob(f"*/{EVALUATION}")) if path.is_file()]
    return _together(sorted(files), f"move one of them out of {place}")


def _together(files: Sequence[Path], advice: str) -> dict[Column, Value]:
    """The figures of evaluations of one judge.

    Raises:
        RunError: two of them give one database other figures: they may be of other images under one name.
    """
    figures: dict[Column, Value] = {}
    source: dict[Column, Path] = {}
    for path in files:
        for column, value in _judged(path).items():
            if figures.setdefault(column, value) != value:
                raise RunError(
                    f"{source[column]} and {path} both judge {column.of} (protocol {column.how[0]}), with other "
                    f"figures; {advice}"
                )
            source.setdefault(column, path)
    return figures


def read_evaluations(folders: Sequence[Path]) -> list[Evaluated]:
    """The evaluations that lie in folders, those of one run, or of the ridges alone, together.

    Raises:
        RunError: a file is damaged, or as of `_together`.
    """
    judges: dict[tuple[str, str], list[Path]] = {}
    for folder in folders:
        path = folder / EVALUATION
        results = _read(path)
        try:
            judges.setdefault((str(results["run"]), str(results["enhancement"])), []).append(path)
        except (KeyError, TypeError) as error:
            raise _no_evaluation(path, error) from error
    return [
        Evaluated(run, enhancement, _together(files, "leave one of them out"))
        for (run, enhancement), files in judges.items()
    ]


def _judged(path: Path) -> dict[Column, Value]:
    """The figures of an evaluation's results.json."""
    results = _read(path)
    figures = {}
    try:
        how = str(results["protocol"]), str(results["score"])
        for database, judged in results["databases"].items():
            enough = judged.get("enough") or {}
            for name, value in judged.items():
                if (number := _number(value)) is not None:
                    figure = VERIFICATION.get(name, Figure(name))
                    figures[Column(database, how, name, figure)] = Value(number, enough.get(name) is False)
    except (AttributeError, KeyError, TypeError) as error:
        raise _no_evaluation(path, error) from error
    return figures


def _no_evaluation(path: Path, error: Exception) -> RunError:
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
    """A number that can be a figure, or None."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < LARGEST_FIGURE
    return float(value) if number else None
