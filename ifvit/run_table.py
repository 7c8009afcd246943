"""Runs side by side: what their configs differ in, their validations, their evaluations; mean and spread over seeds.

Only JSON files of the runs are read: neither JAX nor a device is needed.
"""

from __future__ import annotations

import difflib
import json
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ifvit import table_text
from ifvit.config import ADDED_GROUPS, Stage, identity
from ifvit.console import printable

LARGEST = 2**26  # bytes of a JSON file
LARGEST_FIGURE = 2**53  # no figure lies beyond it; means of greater numbers may overflow
NO_FIGURE = "-"
VALIDATED = "val."
UNSURE = "*"  # marks a figure that the pairs are too few for, as in the report
_FEW = f"{UNSURE} means little: too few pairs for such a figure\n"
NOTE = {"markdown": f"\n\\{_FEW}", "latex": f"% {_FEW}"}


class RunError(RuntimeError):
    """A folder is no run, or a file in it is damaged; the message names it."""


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
# Those that are shown where none are asked for; the first is the stage's objective.
USUAL_VALIDATION = {
    stage: (stage.objective, f"best.{stage.objective}", beside)
    for stage, beside in ((Stage.dense, "within_one"), (Stage.matcher, "eer"))
}
USUAL_VERIFICATION = ("eer", "fmr1000")


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


class Spread(NamedTuple):
    """A figure of a group of runs: the mean, the standard deviation (None of one run), of how many of the runs."""

    figure: Figure
    mean: float
    deviation: float | None
    count: int
    runs: int
    unsure: bool

    def text(self) -> str:
        """As a person reads it, like 0.662 ± 0.010."""
        numbers = [n * self.figure.factor for n in (self.mean, self.deviation) if n is not None]
        text = " ± ".join(f"{number:.{self.figure.digits}f}" for number in numbers)
        few = f" ({self.count} of {self.runs})" if self.count < self.runs else ""
        return f"{text}{UNSURE if self.unsure else ''}{few}"


def table(folders: Sequence[Path], form: str, names: Sequence[str] = ()) -> str:
    """The table of runs, or of all the runs of a sweep's folder, as `form`: markdown, latex or csv.

    names: of the figures, as the files call them, like best.exact or eer; none: the usual ones.

    Raises:
        RunError: a folder is neither, a file in it cannot be read, or no run has a figure.
    """
    groups = grouped([read_run(folder) for folder in runs_in(folders)])
    columns = _columns(groups, names)
    rows = [[_spread(group, column) for column in columns] for group in groups]
    if form == "csv":
        titles = [f"{_title(column, columns)} {column.figure.title}" for column in columns]
        heading = [f"{title}{more}" for title in titles for more in ("", " deviation", " runs")]
        figures = [heading, *([number for spread in row for number in _csv_numbers(spread)] for row in rows)]
        return table_text.csv_text(_beside(_described(groups), figures))
    heading = [f"{_title(column, columns)} {column.figure.heading()}" for column in columns]
    figures = [heading, *([NO_FIGURE if spread is None else spread.text() for spread in row] for row in rows)]
    text = table_text.TEXT[form](_beside(_described(groups), figures))
    unsure = any(spread and spread.unsure for row in rows for spread in row)
    return text + NOTE[form] if unsure else text


def _beside(left: Sequence[list], right: Sequence[list]) -> list[list]:
    return [[*cells, *more] for cells, more in zip(left, right, strict=True)]


def runs_in(folders: Sequence[Path]) -> list[Path]:
    """The run directories among the folders and, of a sweep's, in them; each once.

    Raises:
        RunError: a folder is neither.
    """
    found: dict[Path, Path] = {}
    for folder in folders:
        jobs = [folder] if _is_run(folder) else sorted(path for path in _inside(folder) if _is_run(path))
        if not jobs:
            why = "has no config.json" if folder.is_dir() else "is no folder" if folder.exists() else "is not there"
            raise RunError(f"{folder}: no run and no sweep of runs ({why}); give the run_dir of a training run")
        found |= {job.resolve(): job for job in jobs if job.resolve() not in found}
    return list(found.values())


def _is_run(folder: Path) -> bool:
    return (folder / "config.json").is_file()


def _inside(folder: Path) -> Iterator[Path]:
    return folder.iterdir() if folder.is_dir() else iter(())


def read_run(folder: Path) -> Run:
    """A run's config and figures.

    Raises:
        RunError: a file is damaged.
    """
    try:
        tree = _read(folder / "config.json")["config"]
        config, stage = identity(tree), Stage(tree["stage"])
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
        RunError: two of them give one database other figures: they may be of other images under one name.
    """
    place = folder / "evaluation"
    files = [path for path in (place / "results.json", *place.glob("*/results.json")) if path.is_file()]
    figures: dict[Column, Value] = {}
    source: dict[Column, Path] = {}
    for path in sorted(files):
        for column, value in _judged(path).items():
            if figures.setdefault(column, value) != value:
                raise RunError(
                    f"{source[column]} and {path} both judge {column.of} (protocol {column.how[0]}), with other "
                    f"figures; move one of them out of {place}"
                )
            source.setdefault(column, path)
    return figures


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
        raise RunError(f"{path}: not an evaluation's results.json ({error}); evaluate again") from error
    return figures


def _read(path: Path) -> Any:
    """The tree of a JSON file; None where there is none."""
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError(f"more than {LARGEST} bytes")
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path}: cannot be read ({error}); restore the file, or leave out that run") from error


def _number(value: Any) -> float | None:
    """A number that can be a figure, or None."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < LARGEST_FIGURE
    return float(value) if number else None


def grouped(runs: Sequence[Run]) -> list[list[Run]]:
    """The runs that differ in nothing but their seeds, together; a seed that comes twice begins a group of its own."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        key = json.dumps(run.config, sort_keys=True)
        while any(other.seed == run.seed for other in groups.get(key, ())):
            key += "+"
        groups.setdefault(key, []).append(run)
    return list(groups.values())


def _described(groups: Sequence[Sequence[Run]]) -> list[list[str]]:
    """What stands before the figures: the heading, and of each group its runs, what its config differs in, its seeds
    and steps.
    """
    configs = [group[0].config for group in groups]
    keys = sorted(set().union(*configs))
    keys = [key for key in keys if not key.startswith(ADDED_GROUPS) or all(key in config for config in configs)]
    keys = [key for key in keys if any(config.get(key) != configs[0].get(key) for config in configs)]
    rows = [["run", *keys, "seeds", "steps"]]
    for group in groups:
        name = group[0].folder.resolve().name + (f" (+{len(group) - 1})" if len(group) > 1 else "")
        seeds, steps = (sorted({value for value in values if value is not None}) for values in
                        zip(*((run.seed, run.steps) for run in group), strict=True))  # fmt: skip
        values = [_text(group[0].config[key]) if key in group[0].config else NO_FIGURE for key in keys]
        rows.append([name, *values, ", ".join(map(str, seeds)), ", ".join(map(str, steps)) or NO_FIGURE])
    return rows


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _columns(groups: Sequence[Sequence[Run]], names: Sequence[str]) -> list[Column]:
    """The figures that some run has and that are asked for: of the validations, then of each database.

    Raises:
        RunError: no run has one that is asked for.
    """
    found = {column for group in groups for run in group for column in run.figures}
    known = sorted({column.name for column in found})
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            advice = f"did you mean {near[0]}?" if near else f"there are {', '.join(known) or 'none'}"
            raise RunError(printable(f"--figures: no run has {name}; {advice}"))
    shown = [column for column in found if column.name in (names or _usual(column))]
    return sorted(shown, key=lambda c: (c.of != VALIDATED, c.of, c.how, (names or _usual(c)).index(c.name)))


def _usual(column: Column) -> Sequence[str]:
    return USUAL_VALIDATION[Stage(column.how[0])] if column.of == VALIDATED else USUAL_VERIFICATION


def _title(column: Column, columns: Sequence[Column]) -> str:
    """What a column's figure is of; of a database that was judged in several ways also in which."""
    ways = sorted({other.how for other in columns if other.of == column.of})
    differ = [len(set(parts)) > 1 for parts in zip(*ways, strict=True)]
    return " ".join([column.of, *(part for part, differs in zip(column.how, differ, strict=True) if differs)])


def _spread(group: Sequence[Run], column: Column) -> Spread | None:
    """A figure over the runs of a group that have it; None where none has."""
    there = [run.figures[column] for run in group if column in run.figures]
    if not there:
        return None
    numbers = [value.number for value in there]
    deviation = statistics.stdev(numbers) if len(numbers) > 1 else None
    unsure = any(value.unsure for value in there)
    return Spread(column.figure, statistics.fmean(numbers), deviation, len(numbers), len(group), unsure)


def _csv_numbers(spread: Spread | None) -> Sequence[float | None]:
    return (None, None, 0) if spread is None else (spread.mean, spread.deviation, spread.count)
