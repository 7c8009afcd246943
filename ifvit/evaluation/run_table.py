"""A table of runs: the config keys in which they differ, and the mean and deviation of their figures over seeds.

Evaluations that lie in no run, like those by the ridges alone, are rows too.
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
    find_folders,
    has_file,
    read_evaluations,
    read_run,
)

NO_FIGURE = "-"
ENHANCEMENT = "data.ridge_mask"
SIGNS = " ,;.:=+_-"  # between the parts of a folder's name
UNSURE = "*"  # marks a figure for which the pairs are too few, as in the report
_UNSURE_NOTE = f"{UNSURE} means little: too few pairs for such a figure\n"
NOTE = {"markdown": f"\n\\{_UNSURE_NOTE}", "latex": f"% {_UNSURE_NOTE}"}
# The figures of a table without --figures; the first one is the objective of the stage.
USUAL_VALIDATION = {
    stage: (stage.objective, f"best.{stage.objective}", beside)
    for stage, beside in ((StageName.dense, "within_one"), (StageName.matcher, "eer"))
}
USUAL_VERIFICATION = ("eer", "fmr1000")


class Group(NamedTuple):
    """A row: runs that differ only in their seeds, or the evaluations of one scorer."""

    name: str
    config: dict[str, Any]  # without the seed; of evaluations only the enhancement
    seeds: tuple[int, ...]  # empty for evaluations
    steps: tuple[int, ...]
    figures: tuple[dict[Column, Value], ...]  # of each run


class Spread(NamedTuple):
    """A figure over the runs of a group."""

    figure: Figure
    mean: float
    deviation: float | None  # standard deviation; None for one run
    count: int  # type: ignore[assignment]  # of the runs that have the figure; hides tuple.count, which nothing uses
    runs: int  # of the group
    unsure: bool  # whether the pairs of a run are too few for it

    def text(self) -> str:
        """The figure for people, like 0.662 ± 0.010."""
        numbers = [n * self.figure.factor for n in (self.mean, self.deviation) if n is not None]
        text = " ± ".join(f"{number:.{self.figure.digits}f}" for number in numbers)
        coverage = f" ({self.count} of {self.runs})" if self.count < self.runs else ""
        return f"{text}{UNSURE if self.unsure else ''}{coverage}"


def table(folders: Sequence[Path], form: str, names: Sequence[str] = ()) -> str:
    """The table of runs and evaluations, or of all those in a folder, as `form`: markdown, latex or csv.

    names: of the figures in the files, like best.exact or eer; without names the usual ones.

    Raises:
        RunError: a folder is neither a run nor an evaluation, a file cannot be read, or no run has a figure.
    """
    folders_found = find_folders(folders)
    runs = [read_run(folder) for folder in folders_found if has_file(folder, RUN)]
    evaluations = read_evaluations([folder for folder in folders_found if not has_file(folder, RUN)])
    groups = [*grouped(runs), *(Group(e.run, {ENHANCEMENT: e.enhancement}, (), (), (e.figures,)) for e in evaluations)]
    columns = _columns(groups, names)
    rows = [[_spread(group, column) for column in columns] for group in groups]
    if form == "csv":
        titles = [f"{_title(column, columns)} {column.figure.title}" for column in columns]
        heading = [f"{title}{suffix}" for title in titles for suffix in ("", " deviation", " runs")]
        numbers = [[number for spread in row for number in _csv_numbers(spread)] for row in rows]
        return table_text.csv_text(_join_columns(_description_columns(groups), [heading, *numbers]))
    heading = [f"{_title(column, columns)} {column.figure.heading()}" for column in columns]
    figures = [[NO_FIGURE if spread is None else spread.text() for spread in row] for row in rows]
    text = table_text.TEXT[form](_join_columns(_description_columns(groups), [heading, *figures]))
    unsure = any(spread and spread.unsure for row in rows for spread in row)
    return text + NOTE[form] if unsure else text


def _join_columns(left: Sequence[list], right: Sequence[list]) -> list[list]:
    """Two tables with the same number of rows, side by side."""
    return [[*cells, *others] for cells, others in zip(left, right, strict=True)]


def grouped(runs: Sequence[Run]) -> list[Group]:
    """Group the runs that differ only in their seeds. A second run with the same seed starts another group."""
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
            tuple(sorted({run.steps for run in group if run.steps is not None})),
            tuple(run.figures for run in group),
        )
        for group in groups.values()
    ]


def shared_name(folders: Sequence[Path]) -> str:
    """The common part of the folders' names without "seed": x for x-seed1 and x-seed2.

    If only the seeds are in the names, as in a sweep, it is the name of their parent folder. Names without a common
    part are joined by commas.
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
    """The common beginning of all sequences."""
    return [same[0] for same in takewhile(lambda each: len(set(each)) == 1, zip(*parts, strict=False))]


def _description_columns(groups: Sequence[Group]) -> list[list[str]]:
    """The columns before the figures: name, the config keys in which the groups differ, seeds and steps.

    The first row is the heading.
    """
    keys = _differing([group.config for group in groups if group.seeds], [g.config for g in groups if not g.seeds])
    rows = [["run", *keys, "seeds", "steps"]]
    for group in groups:
        values = [_text(group.config[key]) if key in group.config else NO_FIGURE for key in keys]
        numbers = (", ".join(map(str, each)) or NO_FIGURE for each in (group.seeds, group.steps))
        rows.append([group.name, *values, *numbers])
    return rows


def _differing(complete: Sequence[dict[str, Any]], partial: Sequence[dict[str, Any]]) -> list[str]:
    """The keys in which configs differ. A key that a partial config lacks is not a difference."""
    keys = []
    for key in sorted(set().union(*complete, *partial)):
        if key.startswith(ADDED_GROUPS) and not all(key in config for config in complete):
            continue
        values = [config.get(key) for config in complete] + [config[key] for config in partial if key in config]
        if any(value != values[0] for value in values):
            keys.append(key)
    return keys


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _columns(groups: Sequence[Group], names: Sequence[str]) -> list[Column]:
    """The columns of the named figures, or of the usual ones: of the validations, then of each database.

    Raises:
        RunError: no run has a named figure.
    """
    columns = {column for group in groups for figures in group.figures for column in figures}
    known = sorted({column.name for column in columns})
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            advice = f"did you mean {near[0]}?" if near else f"there are {', '.join(known) or 'none'}"
            raise RunError(printable(f"--figures: no run has {name}; {advice}"))
    selected = [column for column in columns if column.name in (names or _usual(column))]
    return sorted(
        selected, key=lambda c: (c.dataset != VALIDATED, c.dataset, c.setting, (names or _usual(c)).index(c.name))
    )


def _usual(column: Column) -> Sequence[str]:
    """The names of the figures that are shown without --figures, beside this column."""
    return USUAL_VALIDATION[StageName(column.setting[0])] if column.dataset == VALIDATED else USUAL_VERIFICATION


def _title(column: Column, columns: Sequence[Column]) -> str:
    """The dataset of a column, with those parts of the setting in which its evaluations differ."""
    settings = sorted({other.setting for other in columns if other.dataset == column.dataset})
    differ = [len(set(parts)) > 1 for parts in zip(*settings, strict=True)]
    return " ".join([column.dataset, *(part for part, differs in zip(column.setting, differ, strict=True) if differs)])


def _spread(group: Group, column: Column) -> Spread | None:
    """A figure over the runs of a group; None where no run has it."""
    values = [figures[column] for figures in group.figures if column in figures]
    if not values:
        return None
    numbers = [value.number for value in values]
    deviation = statistics.stdev(numbers) if len(numbers) > 1 else None
    unsure = any(value.unsure for value in values)
    return Spread(column.figure, statistics.fmean(numbers), deviation, len(numbers), len(group.figures), unsure)


def _csv_numbers(spread: Spread | None) -> Sequence[float | None]:
    """Mean, deviation and count of runs."""
    return (None, None, 0) if spread is None else (spread.mean, spread.deviation, spread.count)
