"""What training says: lines on the console, curves, and the check that every number is one."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ifvit.config import Config, as_tree, identity, leaves
from ifvit.errors import UserError
from ifvit.metrics import PCK_PX
from ifvit.pictures import plots
from ifvit.program import EXIT_FAILED
from ifvit.progress import clock
from ifvit.storage.checkpoint import CURVES
from ifvit.storage.errors import CheckpointError
from ifvit.storage.json_files import read_json, write_json
from ifvit.training.curves import PICTURE, TRAIN, VALIDATION, Curves
from ifvit.training.finished import aligned, written
from ifvit.training.stage import ValidationResult
from ifvit.training.validate import DIFFERENT, NO_MATCH

WINDOWS = "windows.json"  # beside the curves
KEPT_WINDOWS = 3  # as many states as may be resumed from, and one that is being written
GENUINE_PAIRS = 64  # without a labelled cell in so many, the data have none

# What the picture of the matches says of those between different fingers.
FAILURES = (
    "Matches between different fingers are failures: Module 1 learns to find none there. No verdict rests on them: the "
    "ridges and Module 2 decide."
)
EXPECTED = (
    "Matches between different fingers are expected: loss.negative_weight=0 teaches Module 1 nothing against them. The "
    "ridges and Module 2 decide."
)


class NotFiniteError(UserError):
    """The loss or the gradient is no number any more; the message names the step."""

    exit_status = EXIT_FAILED


class NothingToLearnError(UserError):
    """The pairs have no label; the message names the keys that may be the reason."""

    exit_status = EXIT_FAILED


@dataclass
class Window:
    """The updates since the last line, and the sums of their metrics; how many of them were timed, the time that those
    took, and the part of it in which they waited for their input.
    """

    updates: int = 0
    timed: int = 0
    seconds: float = 0.0
    waited_s: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)


class TrainLog:
    """Collects each step's metrics on the device and reads them only when a line is due, so that no step waits."""

    def __init__(self, run_dir: Path, config: Config, start: int, progress: Callable[[Mapping[str, float]], str]):
        """progress: what a line says of the updates' means.

        Raises:
            CheckpointError: what an earlier session kept of its last updates is damaged.
        """
        self._config, self._progress = config, progress
        self._curves = Curves(run_dir / CURVES, start, logged=self.due(start))
        if start == 0:
            tree = as_tree(config)
            self._curves.begin(leaves(tree), identity(tree), VALIDATION + config.stage.objective)
        self._kept_at = run_dir / CURVES / WINDOWS
        self._kept = {step: window for step, window in _read_windows(self._kept_at).items() if step <= start}
        self._window = self._kept.get(start, Window())
        self._pending: list[tuple[int, Mapping[str, jax.Array]]] = []  # not yet read off the device
        self._genuine: float | None = 0.0  # pairs without any label so far, in expectation; None once there was one
        self._compiled = False
        self._since = time.monotonic()

    def step(self, step: int, metrics: Mapping[str, jax.Array], waited_s: float) -> None:
        """Update number `step` has been asked for; its metrics are still on the device. waited_s: for its input."""
        self._pending.append((step, metrics))
        if self._compiled:
            self._window.timed += 1
            self._window.waited_s += waited_s
            return
        # The first update of a session is compiled first: its time says nothing of those that come.
        jax.block_until_ready(metrics)
        self._compiled = True
        self._since = time.monotonic()

    def due(self, step: int) -> bool:
        """Whether a line is due after this update."""
        return step % self._config.trainer.log_every == 0 or step == self._config.trainer.max_steps

    def _fetch(self) -> None:
        """Read the pending metrics off the device.

        Raises:
            NotFiniteError: at the first step whose loss or gradient is not finite.
            NothingToLearnError: not one cell was labelled so far, in many pairs.
        """
        for step, on_device in self._pending:
            metrics = {name: float(value) for name, value in jax.device_get(on_device).items()}
            for name in ("loss", "grad_norm"):
                if not math.isfinite(metrics[name]):
                    raise NotFiniteError(
                        f"step {step}: {name} is {metrics[name]}; training stops here and this state is not saved. "
                        f"Try a lower optimizer.lr (now {self._config.optimizer.lr:g}) or a longer "
                        "optimizer.warmup_steps"
                    )
            self._window.updates += 1
            sums = self._window.sums
            sums |= {name: sums.get(name, 0.0) + value for name, value in metrics.items()}
            self._see_labels(step, metrics["labelled"])
        self._pending = []

    def _see_labels(self, step: int, labelled: float) -> None:
        if labelled or self._genuine is None:
            self._genuine = None
            return
        self._genuine += self._config.trainer.batch_size * (1 - self._config.data.pairs.impostor_share)
        if self._genuine >= GENUINE_PAIRS:
            raise NothingToLearnError(
                f"step {step}: no pair so far has a labelled cell, so that there is nothing to learn; "
                f"{label_keys(self._config)}"
            )

    def line(self, step: int) -> None:
        """One line of progress, and its numbers to the curves."""
        self._fetch()
        window, trainer = self._measured(), self._config.trainer
        means = {name: total / window.updates for name, total in window.sums.items()}
        speed = "compiled"
        if window.timed:
            means["pairs_per_s"] = window.timed * trainer.batch_size / window.seconds
            means["input_wait"] = window.waited_s / window.seconds
            left = clock((trainer.max_steps - step) * window.seconds / window.timed)
            speed = f"{means['pairs_per_s']:.0f} pairs/s  input wait {means['input_wait']:.0%}  {left} left"
        self._curves.scalars(step, {TRAIN + name: value for name, value in means.items()})
        self._curves.flush()
        print(f"step {step}/{trainer.max_steps}  {self._progress(means)}  {speed}", flush=True)
        # The last line of a run may come early: one that goes on with more steps needs what it was made of.
        if step % trainer.log_every == 0:
            self._window = Window()

    def _measured(self) -> Window:
        """The window, with the time up to now."""
        now = time.monotonic()
        if self._compiled:
            self._window.seconds += now - self._since
        self._since = now
        return self._window

    def keep(self, step: int) -> None:
        """Before the state after `step` updates is saved: what a session that resumes from it needs to draw on.

        Raises:
            OSError: it cannot be written.
        """
        self._curves.flush()
        newest = sorted(self._kept.keys() - {step})[1 - KEPT_WINDOWS :]
        self._kept = {other: self._kept[other] for other in newest} | {step: self._measured()}
        write_json(self._kept_at, {str(step): asdict(window) for step, window in self._kept.items()})

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Around anything other than training: first the pending steps are checked, then its time is left out.

        Raises:
            NotFiniteError: so a state that is not finite is never validated or saved.
        """
        self._fetch()
        self._measured()
        yield
        self._since = time.monotonic()

    def validation(self, step: int, judged: ValidationResult, whose: str, rank: str) -> None:
        """The validation after `step` updates, on `whose` pairs. rank: whether it is the best so far."""
        finite = {VALIDATION + name: value for name, value in judged.means.items() if math.isfinite(value)}
        self._curves.scalars(step, finite)
        for name, picture in judged.pictures.items():
            self._curves.picture(step, PICTURE + name, picture)
        self._curves.flush()
        lines = [f"validation after {step} steps, {judged.pairs} pairs of {whose}: {rank}", *judged.lines]
        for name, means in judged.sources.items():
            figures = ", ".join(f"{key.replace('_', ' ')} {written(value, '.3f')}" for key, value in means.items())
            lines.append(f"  {name}: {figures}")
        print("\n".join(lines), flush=True)

    def finish(self, step: int) -> None:
        """The run has made all its steps, and is judged."""
        self._curves.finish(step)

    def close(self) -> None:
        """Write what is held back."""
        self._curves.close()


def _read_windows(path: Path) -> dict[int, Window]:
    """The windows kept with each of the latest states, by step; none where no session kept any."""

    def window(tree: Mapping[str, Any]) -> Window:
        sums = {str(name): float(value) for name, value in tree["sums"].items()}
        updates = int(tree["updates"])
        timed = int(tree.get("timed", updates))  # earlier versions timed every update
        return Window(updates, timed, float(tree["seconds"]), float(tree["waited_s"]), sums)

    try:
        return {int(step): window(tree) for step, tree in (read_json(path) or {}).items()}
    except (AttributeError, CheckpointError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: not what a run wrote; remove it and run the same command again (the next point of the curves is "
            "then the mean of fewer updates)"
        ) from error


def label_keys(config: Config) -> str:
    """The keys that decide whether the two prints of a pair share labelled cells, as they are set."""
    pairs, data = config.data.pairs, config.data
    return (
        f"see data.pairs.shift_px={pairs.shift_px:g} and data.pairs.rotation_deg={pairs.rotation_deg:g} against "
        f"data.image_size={data.frame[1]}x{data.frame[0]} px, data.pairs.impostor_share={pairs.impostor_share:g}"
    )


def placements(means: Mapping[str, float]) -> str:
    """How far off the matches are, on one line: the coarse stage's, then the fine one's where there is one."""
    stages = []
    for stage in found_stages(means):
        within = ", ".join(f"{means[f'{stage}_pck_{px}']:.0%} within {px} px" for px in PCK_PX)
        stages.append(f"{stage} median {means[f'{stage}_median']:.2f} px, {within}")
    return "matches off by: " + "; ".join(stages) if stages else "no match whose truth is known"


def found_stages(means: Mapping[str, float]) -> list[str]:
    """The stages that found matches whose truth is known."""
    return [stage for stage in ("coarse", "fine") if not math.isnan(means.get(f"{stage}_median", math.nan))]


def figure_lines(means: Mapping[str, float]) -> list[str]:
    """The figures of a validation of Module 1: of all labelled cells, and of the matches that were found."""
    found = NO_MATCH
    if not math.isnan(means["precision"]):  # before a match is found there is nothing that could be precise
        found = (
            f"matches {means['matches']:.1f} a pair   precision {means['precision']:.2f}   recall {means['recall']:.2f}"
        )
    rows = [["off by, px", "mean", "median", *(f"within {px}" for px in PCK_PX)]]
    rows.append(["cells", f"{means['end_point_error']:.2f}", "", *(f"{means[f'pck_{px}']:.2f}" for px in PCK_PX)])
    for stage in found_stages(means):
        errors = [f"{means[f'{stage}_{name}']:.2f}" for name in ("mean", "median", *(f"pck_{px}" for px in PCK_PX))]
        rows.append([f"{stage} matches", *errors])
    return [
        f"  loss {means['loss']:.3f}   cells exact {means['exact']:.3f}   within one {means['within_one']:.3f}",
        f"  {found}",
        *aligned(rows),
    ]


def placement_sheet(
    placed: Sequence[plots.PlacedPair], step: int, means: Mapping[str, float], whose: str
) -> np.ndarray:
    """The picture of how far off the matches of a validation are."""
    return plots.placement_sheet(placed, [f"Module 1 after {step} steps, {whose}", placements(means)])


def sheet(
    shown: Sequence[plots.MatchedPair], step: int, means: Mapping[str, float], whose: str, taught: bool
) -> np.ndarray:
    """The picture of a validation; `whose` pairs they are. taught: whether Module 1 learns what has no partner."""
    precision = means["precision"]
    found = NO_MATCH if math.isnan(precision) else f"precision {precision:.2f}, recall {means['recall']:.2f}"
    cells = f"cells exact {means['exact']:.2f}, within one {means['within_one']:.2f}"
    heading = [f"Module 1 after {step} steps, {whose}", f"{cells}; {found}"]
    if any(pair.title.startswith(DIFFERENT) for pair in shown):
        heading.append(FAILURES if taught else EXPECTED)
    return plots.match_sheet(shown, heading)
