"""The training loop of Module 1 or Module 2, from a config to a validated model."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax

from ifvit import __version__
from ifvit.config import STRIDES, Config, Source
from ifvit.config import StageName as StageName
from ifvit.data.batches import TRAIN, VALIDATE, Batches
from ifvit.data.loader import supply
from ifvit.errors import DataError
from ifvit.pictures import picture_files
from ifvit.progress import clock
from ifvit.storage.checkpoint import CURVES, Checkpoints
from ifvit.storage.json_files import read_json, write_json
from ifvit.training import curves, devices, run_dir
from ifvit.training.dense_stage import DenseStage
from ifvit.training.finished import FIGURES, outcome
from ifvit.training.inputs import check_inputs
from ifvit.training.log import NotFiniteError, NothingToLearnError, TrainLog, label_keys
from ifvit.training.matcher_stage import MatcherStage
from ifvit.training.stage import Stage, Start, ValidationResult
from ifvit.training.state import TrainState, new_state
from ifvit.training.stop import Stop
from ifvit.training.taken import states_beyond_end
from ifvit.training.validate import plain

# A CPU needs a day for this many updates of a network of this width. Configs for a CPU are much smaller.
LARGE_WIDTH, MANY_STEPS = 256, 2000
STAGES: dict[StageName, Callable[[Config, Any], Stage]] = {StageName.dense: DenseStage, StageName.matcher: MatcherStage}


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    value: float  # the objective of the last validation (`StageName.objective`); nan if the run stopped early
    stopped: str | None  # why it stopped early; None: it is finished


def train(config: Config) -> Outcome:
    """Train until `trainer.max_steps`. All files are written into `config.run_dir`.

    The run begins from the first of these that exists: the latest state in the run directory, that of
    `init.resume_from`, pretrained weights (LoFTR's, or for Module 2 those of Module 1), random weights.

    Raises:
        RunDirError, DataError, DeviceError, WeightsError, CheckpointError: the run cannot begin.
        NotFiniteError: the loss or the gradient is not finite.
        NothingToLearnError: the pairs have no labelled cell.
        CheckpointError: a state could not be saved.
    """
    started = time.monotonic()
    devices.start(config.trainer.device)  # first, because reading a run directory starts JAX on its default backend
    try:
        lock = run_dir.claim(config)
    except run_dir.RunDirTakenError:
        check_inputs(config)  # a missing input would be missing in another run directory too, so it is reported first
        raise
    try:
        return _Run(config, started).train()
    finally:
        run_dir.remove_if_unused(config)
        lock.close()


def _fingers_text(batches: Batches | None, source: Source) -> str:
    """The number of impressions and fingers of some batches, in words."""
    if batches is None:
        return "nobody"
    if source is Source.synthetic:
        return f"{batches.fingers} fingers"
    return f"{len(batches)} impressions of {batches.fingers} fingers"


class _Run:
    """A run: its data, stage, state and log."""

    def __init__(self, config: Config, started: float):
        self.config, self.started, self.dir = config, started, Path(config.run_dir)
        self.devices = devices.Devices(config.trainer)
        self.stage: Stage = STAGES[config.stage](config, self.devices.dtype)
        self.stage.check_start()
        data = supply(config, self.devices.split)
        run_dir.check_same_data(config, data)
        self.stage.check_data(data)
        self.train_batches, self.val_batches = data.batches(TRAIN), data.batches(VALIDATE)
        self.checkpoints = Checkpoints(self.dir)
        self.state, start, weights = self._initial_state()
        self.start = int(self.state.step)
        step, evaluate = self.stage.steps(start, self.train_batches)
        everywhere, split = self.devices.everywhere, self.devices.split
        self.step = jax.jit(
            step,
            donate_argnums=0,
            in_shardings=(everywhere, split),
            out_shardings=(everywhere, everywhere),
        )
        self.evaluate = jax.jit(evaluate, in_shardings=(everywhere, split))
        run_dir.write_config(config, data)
        self.log = TrainLog(self.dir, config, self.start, self.stage.progress)
        print(self._summary(weights), flush=True)

    def _initial_state(self) -> tuple[TrainState, Start, str]:
        """The state, the start and the text on its weights.

        The order: run directory (with a copy of init.resume_from) -> pretrained weights -> random weights.
        """
        config, everywhere = self.config, self.devices.everywhere
        new_variables = partial(self.stage.new_variables, self.train_batches)
        if self.checkpoints.latest_step() is not None:
            start = self.stage.resume()
            shapes = jax.eval_shape(lambda: new_state(new_variables(), start.optimizer))
            shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=everywhere), shapes)
            state = self.checkpoints.restore(shapes)
            step = int(state.step)
            if problem := states_beyond_end(config):
                raise run_dir.RunDirTakenError(f"run_dir: {problem}; raise it, or set another run_dir")
            return state, start, f"resumed after step {step} (at step 0: {start.origin})"
        # Compiled without optimisation: it runs only once, and the optimisation would take most of the start.
        initialize = jax.jit(new_variables, compiler_options={"xla_backend_optimization_level": "0"})
        variables, start = self.stage.begin(initialize())
        state = jax.jit(partial(new_state, optimizer=start.optimizer), out_shardings=everywhere)(variables)
        return state, start, start.origin

    def _summary(self, weights: str) -> str:
        """The first lines of a run: its model, data, settings and devices."""
        config, data, trainer = self.config, self.config.data, self.config.trainer
        height, width = data.frame
        stride = STRIDES[config.dense.backbone]
        lines = {
            "model": self.stage.describe(self.state.params),
            "weights": weights,
            "data": f"\n{' ' * 12}".join(self._source_lines()),
            "input": f"{width}x{height} px at {data.ppi:g} ppi, {height // stride}x{width // stride} cells",
            "training": f"{trainer.max_steps} steps of {trainer.batch_size} pairs, AdamW at {config.optimizer.lr:g}, "
            f"seed {config.seed}",
            "devices": f"{self.devices}{self._advice()}",
            "writes to": str(self.dir),
        }
        return "\n".join([f"IFViT {__version__}, stage {config.stage}", *(f"  {k:9} {v}" for k, v in lines.items())])

    def _advice(self) -> str:
        """Advice if the default Module 1 would train on a CPU; else empty."""
        config = self.config
        large = config.dense.d_model >= LARGE_WIDTH and config.trainer.max_steps >= MANY_STEPS
        if not large or config.stage is not StageName.dense or self.devices.platform != "cpu":
            return ""
        return "; a CPU needs a day or more for this run, and minutes for experiment=quickstart"

    def _source_lines(self) -> Iterator[str]:
        """A line for each source: its place, its impressions for training and validation, its share of a batch."""
        data = self.config.data
        for name, part in data.parts.items():
            mixed = data.source is Source.mixture
            train_part, val_part = (
                batches.parts.get(name) if mixed else batches for batches in (self.train_batches, self.val_batches)
            )
            location = str(part.root)
            if part.source is Source.synthetic:
                location = "grown here" + (f", {data.renew} new ones every step" if data.renew else "")
            train_text, val_text = (_fingers_text(batches, part.source) for batches in (train_part, val_part))
            share = f"; {train_part.size if train_part else 0} of {self.train_batches.size} pairs" if mixed else ""
            yield f"{name} ({location}): {train_text} to train, {val_text} unseen to validate{share}"

    def train(self) -> Outcome:
        """The loop. Its order: validate the old state -> save -> next batch -> step -> log -> stop?

        So the state saved at step N has made N updates and was validated before update N + 1. This holds for a resumed
        run too.
        """
        trainer, start = self.config.trainer, self.start
        with Stop(self.started, trainer.max_hours) as stop:
            batches = iter(self._train_batches_from(start))
            for step in range(start, trainer.max_steps):
                if step % trainer.validate_every == 0:
                    self._validate(step)
                if step % trainer.checkpoint_every == 0 and step > start:
                    self._save(step)
                self.state, metrics = self.step(self.state, next(batches))
                self.log.step(step + 1, metrics, self._take_input_wait())
                if self.log.due(step + 1):
                    self.log.line(step + 1)
                if (reason := stop.reason()) and step + 1 < trainer.max_steps:
                    return self._stop_early(step + 1, reason)
            result = self._validate(trainer.max_steps)
            if trainer.max_steps > start:
                self._save(trainer.max_steps)
            self.log.finish(trainer.max_steps)
            self._close()
        print("\n".join(self._closing_lines(result)))
        return Outcome(result.means[self.config.stage.objective], None)

    def _stop_early(self, step: int, reason: str) -> Outcome:
        """Save the state, and end the run before its last step."""
        self._save(step)
        self._close()
        return Outcome(math.nan, f"{reason}: stopped after step {step} of {self.config.trainer.max_steps}, saved")

    def _close(self) -> None:
        self.checkpoints.close()
        self.log.close()

    def _train_batches_from(self, start: int) -> Iterable[Any]:
        """The batches of the updates after `start`; with `trainer.overfit` one batch, repeated."""
        if self.config.trainer.overfit:
            return itertools.repeat(next(self.train_batches.iterate(0, 1)))
        return self.train_batches.iterate(start, self.config.trainer.max_steps)

    def _val_batches(self) -> Iterable[Any]:
        """The same pairs at every validation; with `trainer.overfit` the batch that is trained on."""
        if self.config.trainer.overfit:
            return self.train_batches.iterate(0, 1)
        trainer = self.config.trainer
        return self.val_batches.iterate(0, -(-trainer.val_pairs // trainer.batch_size))

    def _take_input_wait(self) -> float:
        """The time that training waited for its input since the last call, s."""
        wait_s, self.train_batches.waited_s = self.train_batches.waited_s, 0.0
        return wait_s

    def _save(self, step: int) -> None:
        """Save the state after `step` updates."""
        # `paused` raises NotFiniteError first, so a state that is not finite is never written.
        with self.log.paused():
            self.log.save_window(step)
            self.checkpoints.save(step, self.state)

    def _validate(self, step: int) -> ValidationResult:
        """Validate the state on unseen fingers, write metrics.json, save the state if it is the best."""
        with self.log.paused():
            return self._run_validation(step)

    def _run_validation(self, step: int) -> ValidationResult:
        source = self.train_batches if self.config.trainer.overfit else self.val_batches
        shares = {name: batches.size for name, batches in source.parts.items()}
        pairs_name = "the batch it learns by heart" if self.config.trainer.overfit else "unseen fingers"
        result = self.stage.validate(self.evaluate, self.state, self._val_batches(), shares, step, pairs_name)
        self._check_result(step, result, pairs_name)
        metrics, is_best = self._new_metrics(step, result)
        self.log.validation(step, result, pairs_name, _rank(metrics, self.config.stage))
        if is_best:
            self.checkpoints.save_best(step, self.state)
            self.checkpoints.wait()
        write_json(self.dir / "metrics.json", metrics)
        for name, picture in result.pictures.items():
            picture_files.save(self.dir / f"{name}.png", picture)
        return result

    def _new_metrics(self, step: int, result: ValidationResult) -> tuple[dict[str, Any], bool]:
        """The new content of metrics.json after a validation, and whether this is the best state so far."""
        stored = read_json(self.dir / "metrics.json") or {}
        metrics = {"step": step, "pairs": result.pairs, **plain(result.means)}
        if result.sources:
            metrics["sources"] = {name: plain(means) for name, means in result.sources.items()}
        untrained = stored.get("untrained") if step else {k: v for k, v in metrics.items() if k != "step"}
        objective, best = self.config.stage.objective, stored.get("best")
        value = result.means[objective]
        is_best = step > 0 and not math.isnan(value) and (best is None or value > best[objective])
        if is_best:
            best = {"step": step, **{name: metrics[name] for name in FIGURES[self.config.stage]}}
        return metrics | {"best": best, "untrained": untrained}, is_best

    def _check_result(self, step: int, result: ValidationResult, pairs_name: str) -> None:
        """Stop the run if a validation has no meaning, before any of it is written.

        Raises:
            NotFiniteError: the loss is not finite.
            DataError, NothingToLearnError: the pairs cannot score a state. DataError before the first step.
        """
        if result.missing:
            message = (
                f"the validation's {result.pairs} pairs ({pairs_name}) lack {result.missing}: no state can be scored "
                f"by them; {label_keys(self.config)}, trainer.val_pairs={self.config.trainer.val_pairs}"
            )
            raise DataError(message) if step == self.start else NothingToLearnError(message)
        if not math.isfinite(result.means["loss"]):
            raise NotFiniteError(
                f"step {step}: the validation's loss is {result.means['loss']}; training stops here and this state is "
                f"not saved. Try a lower optimizer.lr (now {self.config.optimizer.lr:g})"
            )

    def _closing_lines(self, result: ValidationResult) -> Iterator[str]:
        """The last lines of a finished run."""
        yield f"finished {self.config.trainer.max_steps} steps in {clock(time.monotonic() - self.started)}"
        yield from outcome(self.config.stage, read_json(self.dir / "metrics.json"))
        yield "look at  " + ", ".join(str(self.dir / f"{name}.png") for name in result.pictures)
        yield f"figures  {self.dir / 'metrics.json'}"
        yield f"curves   {curves.command(self.dir / CURVES)}"


def _rank(metrics: Mapping[str, Any], stage: StageName) -> str:
    """Whether a validation is the best of the run so far, in words. The untrained state counts too.

    metrics: the content of metrics.json.
    """
    if not metrics["step"]:
        return "untrained"
    (name, (title, form)), *_ = FIGURES[stage].items()
    best, untrained = metrics["best"], (metrics["untrained"] or {}).get(name)
    if untrained is not None and (best is None or untrained >= best[name]):
        return f"best is the untrained state, {title} {untrained:{form}}"
    if best is None:
        return "none is the best yet"
    is_this = best["step"] == metrics["step"]
    return "best so far" if is_this else f"best is step {best['step']}, {title} {best[name]:{form}}"
