"""What training says: lines on the console, TensorBoard, and the check that every number is one."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import jax
import numpy as np
from tensorboardX import SummaryWriter

from ifvit import plots
from ifvit.config import Config
from ifvit.metrics import PCK_PX
from ifvit.progress import clock
from ifvit.training.stage import Judgement


class NotFiniteError(RuntimeError):
    """The loss or the gradient is no number any more; the message says at which step."""


class TrainLog:
    """Collects each step's metrics on the device and reads them only when a line is due, so that no step waits."""

    def __init__(self, run_dir: Path, config: Config, start: int, progress: Callable[[Mapping[str, float]], str]):
        """progress: what a line says of the updates' means."""
        self._config, self._run_dir, self._progress = config, run_dir, progress
        # What an earlier session logged beyond the step it resumes from would be shown twice.
        self._writer = SummaryWriter(str(run_dir / "tb"), purge_step=start, write_to_disk=True)
        self._pending: list[tuple[int, Mapping[str, jax.Array]]] = []  # not yet read off the device
        self._read: list[dict[str, float]] = []  # since the last line
        self._last_step, self._last_time = start, time.monotonic()

    def step(self, step: int, said: Mapping[str, jax.Array]) -> None:
        """Update number `step` has been asked for; its metrics are still on the device."""
        self._pending.append((step, said))

    def due(self, step: int) -> bool:
        """Whether a line is due after this update."""
        return step % self._config.trainer.log_every == 0 or step == self._config.trainer.max_steps

    def _fetch(self) -> None:
        """Read the pending metrics off the device.

        Raises:
            NotFiniteError: at the first step whose loss or gradient is not finite.
        """
        for step, on_device in self._pending:
            said = {name: float(value) for name, value in jax.device_get(on_device).items()}
            for name in ("loss", "grad_norm"):
                if not math.isfinite(said[name]):
                    raise NotFiniteError(
                        f"step {step}: {name} is {said[name]}; training stops here and this state is not saved. "
                        f"Try a lower optimizer.lr (now {self._config.optimizer.lr:g}) or a longer "
                        "optimizer.warmup_steps"
                    )
            self._read.append(said)
        self._pending = []

    def line(self, step: int, waited_s: float) -> None:
        """One line of progress, and its numbers to TensorBoard. `waited_s`: time lost to the input since the last."""
        self._fetch()
        now = time.monotonic()
        seconds, steps = now - self._last_time, step - self._last_step
        self._last_time, self._last_step = now, step
        means = {name: float(np.mean([said[name] for said in self._read])) for name in self._read[0]}
        self._read = []
        trainer = self._config.trainer
        means |= {
            "pairs_per_s": steps * trainer.batch_size / seconds,
            "input_wait": waited_s / seconds,
        }
        for name, value in means.items():
            self._writer.add_scalar(f"train/{name}", value, step)
        left = clock((trainer.max_steps - step) * seconds / steps)
        print(
            f"step {step}/{trainer.max_steps}  {self._progress(means)}  {means['pairs_per_s']:.0f} pairs/s  "
            f"input wait {means['input_wait']:.0%}  {left} left",
            flush=True,
        )

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Around anything other than training: first the pending steps are checked, then its time is left out.

        Raises:
            NotFiniteError: so a state that is not finite is never validated or saved.
        """
        self._fetch()
        since = time.monotonic()
        yield
        self._last_time += time.monotonic() - since

    def validation(self, step: int, judged: Judgement, whose: str) -> None:
        """The validation after `step` updates, on `whose` pairs."""
        for name, value in judged.means.items():
            if math.isfinite(value):
                self._writer.add_scalar(f"validation/{name}", value, step)
        for name, picture in judged.pictures.items():
            self._writer.add_image(f"validation/{name}", picture, step, dataformats="HWC")
        self._writer.flush()
        print(f"validation after {step} steps, {whose}: " + "\n  ".join(judged.lines), flush=True)
        if judged.sources:
            own = (
                f"{name}: " + ", ".join(f"{key.replace('_', ' ')} {value:.3f}" for key, value in means.items())
                for name, means in judged.sources.items()
            )
            print("  " + "; ".join(own), flush=True)

    def close(self) -> None:
        """Write what is held back."""
        self._writer.close()


def summary(means: Mapping[str, float]) -> str:
    """The figures of a validation on one line."""
    pck = ", ".join(f"@{px} {means[f'pck_{px}']:.2f}" for px in PCK_PX)
    # Before a match is made there is nothing that could be precise.
    precision = "-" if math.isnan(means["precision"]) else f"{means['precision']:.2f}"
    return (
        f"loss {means['loss']:.3f}, cells exact {means['exact']:.3f}, within one {means['within_one']:.3f}, "
        f"end-point error {means['end_point_error']:.1f} px, PCK {pck}, "
        f"matches {means['matches']:.1f} a pair, precision {precision}, recall {means['recall']:.2f}"
    )


def placements(means: Mapping[str, float]) -> str:
    """How far off the matches are, on one line: the coarse stage's, then the fine one's where there is one."""
    stages = []
    for stage in ("coarse", "fine"):
        if math.isnan(means.get(f"{stage}_median", 0.0)):
            stages.append(f"{stage} no match yet")
        elif f"{stage}_median" in means:
            pck = ", ".join(f"@{px} {means[f'{stage}_pck_{px}']:.2f}" for px in PCK_PX)
            stages.append(f"{stage} median {means[f'{stage}_median']:.2f} px, PCK {pck}")
    return "matches off by: " + "; ".join(stages)


def placement_sheet(
    placed: Sequence[plots.PlacedPair], step: int, means: Mapping[str, float], whose: str
) -> np.ndarray:
    """The picture of how far off the matches of a validation are."""
    return plots.placement_sheet(placed, [f"Module 1 after {step} steps, {whose}", placements(means)])


def sheet(shown: Sequence[plots.MatchedPair], step: int, means: Mapping[str, float], whose: str) -> np.ndarray:
    """The picture of a validation; `whose` pairs they are."""
    heading = [
        f"Module 1 after {step} steps, {whose}",
        f"cells exact {means['exact']:.2f}, within one {means['within_one']:.2f}, "
        f"precision {means['precision']:.2f}, recall {means['recall']:.2f}",
    ]
    return plots.match_sheet(shown, heading)
