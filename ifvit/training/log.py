"""The log of a run: lines on the console, points of the curves, and the check that all metrics are finite."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import jax

from ifvit.config import Config, identity, leaves, to_dict
from ifvit.errors import CheckpointError, UserError
from ifvit.program import EXIT_FAILED
from ifvit.progress import clock
from ifvit.storage.checkpoint import CURVES
from ifvit.storage.json_files import read_json, write_json
from ifvit.training.curves import PICTURE, TRAIN, VALIDATION, Curves
from ifvit.training.finished import written
from ifvit.training.stage import ValidationResult

WINDOWS = "windows.json"  # beside the curves
MAX_WINDOWS = 3  # one for each state that a run may resume from, and one for the state that is being written
MIN_GENUINE_PAIRS = 64  # if none of so many pairs has a labelled cell, training stops


class NotFiniteError(UserError):
    """The loss or the gradient is not finite. The message names the step."""

    exit_status = EXIT_FAILED


class NothingToLearnError(UserError):
    """The pairs have no labelled cell. The message names the keys that may be the reason."""

    exit_status = EXIT_FAILED


@dataclass
class Window:
    """The updates since the last progress line."""

    updates: int = 0  # number of updates
    timed: int = 0  # number of those that were timed
    seconds: float = 0.0  # time of the timed updates, s
    waited_s: float = 0.0  # the part of it in which they waited for input, s
    sums: dict[str, float] = field(default_factory=dict)  # of the metrics of all updates, by name


class TrainLog:
    """Collects the metrics of each step on the device, and reads them only when a line is due. So no step waits."""

    def __init__(self, run_dir: Path, config: Config, start: int, progress: Callable[[Mapping[str, float]], str]):
        """Open the log of a run that has made `start` updates.

        progress: makes text of the means of some updates, for a progress line.

        Raises:
            CheckpointError: the windows file of an earlier session is damaged.
        """
        self._config, self._progress = config, progress
        self._curves = Curves(run_dir / CURVES, start, logged=self.due(start))
        if start == 0:
            tree = to_dict(config)
            self._curves.begin(leaves(tree), identity(tree), VALIDATION + config.stage.objective)
        self._windows_path = run_dir / CURVES / WINDOWS
        self._windows = {step: window for step, window in _read_windows(self._windows_path).items() if step <= start}
        self._window = self._windows.get(start, Window())
        self._pending: list[tuple[int, Mapping[str, jax.Array]]] = []  # not yet read from the device
        # The expected number of genuine pairs so far, all of them without a label; None after the first label.
        self._unlabelled_pairs: float | None = 0.0
        self._compiled = False
        self._last_time = time.monotonic()

    def step(self, step: int, metrics: Mapping[str, jax.Array], waited_s: float) -> None:
        """Add the metrics, on the device, of update number `step`. waited_s: time it waited for its input, s."""
        self._pending.append((step, metrics))
        if self._compiled:
            self._window.timed += 1
            self._window.waited_s += waited_s
            return
        # The first update of a session includes compilation, so it is not timed.
        jax.block_until_ready(metrics)
        self._compiled = True
        self._last_time = time.monotonic()

    def due(self, step: int) -> bool:
        """Whether a progress line is due after update number `step`."""
        return step % self._config.trainer.log_every == 0 or step == self._config.trainer.max_steps

    def _fetch(self) -> None:
        """Read the pending metrics from the device.

        Raises:
            NotFiniteError: at the first step whose loss or gradient is not finite.
            NothingToLearnError: no cell was labelled so far, in MIN_GENUINE_PAIRS pairs.
        """
        for step, device_metrics in self._pending:
            metrics = {name: float(value) for name, value in jax.device_get(device_metrics).items()}
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
            self._check_labels(step, metrics["labelled"])
        self._pending = []

    def _check_labels(self, step: int, labelled: float) -> None:
        """Raise NothingToLearnError if MIN_GENUINE_PAIRS genuine pairs had no labelled cell."""
        if labelled or self._unlabelled_pairs is None:
            self._unlabelled_pairs = None
            return
        self._unlabelled_pairs += self._config.trainer.batch_size * (1 - self._config.data.pairs.impostor_share)
        if self._unlabelled_pairs >= MIN_GENUINE_PAIRS:
            raise NothingToLearnError(
                f"step {step}: no pair so far has a labelled cell, so that there is nothing to learn; "
                f"{label_keys(self._config)}"
            )

    def line(self, step: int) -> None:
        """Print a progress line, and write its numbers to the curves."""
        self._fetch()
        window, trainer = self._timed_window(), self._config.trainer
        means = {name: total / window.updates for name, total in window.sums.items()}
        speed = "compiled"
        if window.timed:
            means["pairs_per_s"] = window.timed * trainer.batch_size / window.seconds
            means["input_wait"] = window.waited_s / window.seconds
            remaining = clock((trainer.max_steps - step) * window.seconds / window.timed)
            speed = f"{means['pairs_per_s']:.0f} pairs/s  input wait {means['input_wait']:.0%}  {remaining} left"
        self._curves.scalars(step, {TRAIN + name: value for name, value in means.items()})
        self._curves.flush()
        print(f"step {step}/{trainer.max_steps}  {self._progress(means)}  {speed}", flush=True)
        # The last line of a run may come early. If the run is prolonged, the next line needs this window.
        if step % trainer.log_every == 0:
            self._window = Window()

    def _timed_window(self) -> Window:
        """Add the time until now to the window, and return it."""
        now = time.monotonic()
        if self._compiled:
            self._window.seconds += now - self._last_time
        self._last_time = now
        return self._window

    def save_window(self, step: int) -> None:
        """Save the window for a session that resumes after `step` updates. Called before that state is saved.

        Raises:
            OSError: the file cannot be written.
        """
        self._curves.flush()
        newest = sorted(self._windows.keys() - {step})[1 - MAX_WINDOWS :]
        self._windows = {past_step: self._windows[past_step] for past_step in newest} | {step: self._timed_window()}
        write_json(self._windows_path, {str(step): asdict(window) for step, window in self._windows.items()})

    @contextmanager
    def paused(self) -> Iterator[None]:
        """A context for all work but training: its time is not counted. First it checks the pending metrics.

        Raises:
            NotFiniteError: before a state that is not finite is validated or saved.
        """
        self._fetch()
        self._timed_window()
        yield
        self._last_time = time.monotonic()

    def validation(self, step: int, result: ValidationResult, pairs_name: str, rank: str) -> None:
        """Print and write the validation after `step` updates.

        pairs_name: which pairs were used, in words. rank: whether it is the best so far, in words.
        """
        finite = {VALIDATION + name: value for name, value in result.means.items() if math.isfinite(value)}
        self._curves.scalars(step, finite)
        for name, picture in result.pictures.items():
            self._curves.picture(step, PICTURE + name, picture)
        self._curves.flush()
        lines = [f"validation after {step} steps, {result.pairs} pairs of {pairs_name}: {rank}", *result.lines]
        for name, means in result.sources.items():
            figures = ", ".join(f"{key.replace('_', ' ')} {written(value, '.3f')}" for key, value in means.items())
            lines.append(f"  {name}: {figures}")
        print("\n".join(lines), flush=True)

    def finish(self, step: int) -> None:
        """Mark the run as finished after `step` updates and the last validation."""
        self._curves.finish(step)

    def close(self) -> None:
        """Write all events and close the curves."""
        self._curves.close()


def _read_windows(path: Path) -> dict[int, Window]:
    """The saved windows by step of the state; empty without a file."""

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
    """The keys that decide whether a pair has labelled cells, with their values."""
    pairs, data = config.data.pairs, config.data
    return (
        f"see data.pairs.shift_px={pairs.shift_px:g} and data.pairs.rotation_deg={pairs.rotation_deg:g} against "
        f"data.image_size={data.frame[1]}x{data.frame[0]} px, data.pairs.impostor_share={pairs.impostor_share:g}"
    )
