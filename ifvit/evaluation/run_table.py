"""Runs side by side: what their configs differ in, their validations, their evaluations; mean and spread over seeds.

Evaluations that lie in no run, like those by the ridges alone, have rows of their own.
"""

from __future__ import annotations

import difflib
import json
import re
import statistics
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

from ifvit import table_text
from ifvit.config import ADDED_GROUPS, StageName
from ifvit.console import printable
from ifvit.evaluation.run_files import (
    RUN,
    VALIDATED,
    Column,
    Figure,
    Run,
    RunError,
    Value,
    found_in,
    holds,
    read_evaluations,
    read_run,
)

NO_FIGURE = "-"
ENHANCEMENT = "data.ridge_mask"
SIGNS = " ,;.:=+_-"  # between the parts of a folder's name
UNSURE = "*"  # marks a figure that the pairs are too few for, as in the report
_FEW = f"{UNSURE} means little: too few pairs for such a figure\n"
NOTE = {"markdown": f"\n\\{_FEW}", "latex": f"% {_FEW}"}
# Those that are shown where none are asked for; the first is the stage's objective.
USUAL_VALIDATION = {
    stage: (stage.objective, f"best.{stage.objective}", beside)
    for stage, beside in ((StageName.dense, "within_one"), (StageName.matcher, "eer"))
}
USUAL_VERIFICATION = ("eer", "fmr1000")


class Group(NamedTuple):
    """A row: its name, the config that its runs share, their seeds and steps, and the figures of each of them.

    config: of evaluations what is known of it.
    """

    name: str
    config: dict[str, Any]
    seeds: tuple[int, ...]
    steps: tuple[int, ...]
    figures: tuple[dict[Column, Value], ...]


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
    """The table of runs and evaluations, or of all those in a folder, as `form`: markdown, latex or csv.

    names: of the figures, as the files call them, like best.exact or eer; none: the usual ones.

    Raises:
        RunError: a folder is neither, a file in it cannot be read, or no run has a figure.
    """
    found = found_in(folders)
    runs = [read_run(folder) for folder in found if holds(folder, RUN)]
    alone = read_evaluations([folder for folder in found if not holds(folder, RUN)])
    groups = [*grouped(runs), *(Group(e.run, {ENHANCEMENT: e.enhancement}, (), (), (e.figures,)) for e in alone)]
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


def grouped(runs: Sequence[Run]) -> list[Group]:
    """The runs that differ in nothing but their seeds, together; a seed that comes twice begins a group of its own."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        key = json.dumps(run.config, sort_keys=True)
        while any(other.seed == run.seed for other in groups.get(key, ())):
            key += "+"
        groups.setdefault(key, []).append(run)
    return [
        Group(
            shared_name([run.folder.resolve() for run in group]),
            group[0].config,
            tuple(sorted(run.seed for run in group)),
            tuple(sorted({run.steps for run in group} - {None})),
            tuple(run.figures for run in group),
        )
        for group in groups.values()
    ]


def shared_name(folders: Sequence[Path]) -> str:
    """What the names of folders share, without "seed": x of x-seed1 and x-seed2.

    Of a sweep's folders that are named by their seeds alone it is the sweep's. Names that share nothing are listed.
    """
    names = [folder.name for folder in folders]
    if len(names) == 1:
        return names[0]
    parts = [re.findall(r"[^\W\d_]+|\d+|.", name) for name in names]
    begin = _shared(parts)
    end = _shared([each[len(begin) :][::-1] for each in parts])[::-1]
    start = re.sub(r"(^|[\W_]+)seed$", "", "".join(begin).rstrip(SIGNS), flags=re.IGNORECASE)
    name = f"{start}{''.join(end)}".strip(SIGNS)
    if not name and begin and len({folder.parent for folder in folders}) == 1:
        return folders[0].parent.name
    return name or ", ".join(names)


def _shared(parts: Sequence[Sequence[str]]) -> list[str]:
    """What all begin with."""
    return [same[0] for same in takewhile(lambda each: len(set(each)) == 1, zip(*parts, strict=False))]


def _described(groups: Sequence[Group]) -> list[list[str]]:
    """What stands before the figures: the heading, and of each group its name, what its config differs in, its seeds
    and steps.
    """
    keys = _differing([group.config for group in groups if group.seeds], [g.config for g in groups if not g.seeds])
    rows = [["run", *keys, "seeds", "steps"]]
    for group in groups:
        values = [_text(group.config[key]) if key in group.config else NO_FIGURE for key in keys]
        numbers = (", ".join(map(str, each)) or NO_FIGURE for each in (group.seeds, group.steps))
        rows.append([group.name, *values, *numbers])
    return rows


def _differing(whole: Sequence[dict[str, Any]], partial: Sequence[dict[str, Any]]) -> list[str]:
    """The keys in which configs differ; of partial ones by those that they have."""
    found = []
    for key in sorted(set().union(*whole, *partial)):
        if key.startswith(ADDED_GROUPS) and not all(key in config for config in whole):
            continue
        values = [config.get(key) for config in whole] + [config[key] for config in partial if key in config]
        if any(value != values[0] for value in values):
            found.append(key)
    return found


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _columns(groups: Sequence[Group], names: Sequence[str]) -> list[Column]:
    """The figures that some run has and that are asked for: of the validations, then of each database.

    Raises:
        RunError: no run has one that is asked for.
    """
    found = {column for group in groups for figures in group.figures for column in figures}
    known = sorted({column.name for column in found})
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            advice = f"did you mean {near[0]}?" if near else f"there are {', '.join(known) or 'none'}"
            raise RunError(printable(f"--figures: no run has {name}; {advice}"))
    shown = [column for column in found if column.name in (names or _usual(column))]
    return sorted(shown, key=lambda c: (c.of != VALIDATED, c.of, c.how, (names or _usual(c)).index(c.name)))


def _usual(column: Column) -> Sequence[str]:
    return USUAL_VALIDATION[StageName(column.how[0])] if column.of == VALIDATED else USUAL_VERIFICATION


def _title(column: Column, columns: Sequence[Column]) -> str:
    """What a column's figure is of; of a database that was judged in several ways also in which."""
    ways = sorted({other.how for other in columns if other.of == column.of})
    differ = [len(set(parts)) > 1 for parts in zip(*ways, strict=True)]
    return " ".join([column.of, *(part for part, differs in zip(column.how, differ, strict=True) if differs)])


def _spread(group: Group, column: Column) -> Spread | None:
    """A figure over the runs of a group that have it; None where none has."""
    there = [figures[column] for figures in group.figures if column in figures]
    if not there:
        return None
    numbers = [value.number for value in there]
    deviation = statistics.stdev(numbers) if len(numbers) > 1 else None
    unsure = any(value.unsure for value in there)
    return Spread(column.figure, statistics.fmean(numbers), deviation, len(numbers), len(group.figures), unsure)


def _csv_numbers(spread: Spread | None) -> Sequence[float | None]:
    return (None, None, 0) if spread is None else (spread.mean, spread.deviation, spread.count)
