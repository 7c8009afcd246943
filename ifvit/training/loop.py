"""The training loop of Module 1 or Module 2, from a config to a validated model."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax

from ifvit.config import Config, StageName
from ifvit.data.batches import TRAIN, VALIDATE, Batches
from ifvit.data.loader import supply
from ifvit.errors import DataError
from ifvit.pictures import picture_files
from ifvit.storage.checkpoint import Checkpoints
from ifvit.storage.json_files import read_json, write_json
from ifvit.training import devices, run_dir
from ifvit.training.dense_stage import DenseStage
from ifvit.training.finished import FIGURES
from ifvit.training.inputs import check_inputs
from ifvit.training.log import NotFiniteError, NothingToLearnError, TrainLog, label_keys
from ifvit.training.matcher_stage import MatcherStage
from ifvit.training.stage import Stage, Start, ValidationResult
from ifvit.training.state import TrainState, new_state
from ifvit.training.stop import Stop
from ifvit.training.summary import closing_text, opening_text
from ifvit.training.taken import states_beyond_end
from ifvit.training.update import EvalStep, TrainStep

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
        return begin(config, started).train()
    finally:
        run_dir.remove_if_unused(config)
        lock.close()


def begin(config: Config, started: float) -> Run:
    """A run that is ready to train: its inputs are checked, its state is on the devices, its summary is printed.

    started: when it began, of `time.monotonic`, s.
    """
    used = devices.Devices(config.trainer)
    stage = STAGES[config.stage](config, used.dtype)
    stage.check_start()
    data = supply(config, used.split)
    run_dir.check_same_data(config, data)
    stage.check_data(data)
    train_batches, val_batches = data.batches(TRAIN), data.batches(VALIDATE)
    checkpoints = Checkpoints(Path(config.run_dir))
    state, start, origin = _first_state(config, stage, checkpoints, train_batches, used)
    step, evaluate = _compiled(stage.steps(start, train_batches), used)
    run_dir.write_config(config, data)
    log = TrainLog(Path(config.run_dir), config, int(state.step), stage.progress)
    print(opening_text(config, stage, used, train_batches, val_batches, state.params, origin), flush=True)
    return Run(config, started, stage, train_batches, val_batches, checkpoints, log, step, evaluate, state)


def _first_state(
    config: Config, stage: Stage, checkpoints: Checkpoints, batches: Batches, used: devices.Devices
) -> tuple[TrainState, Start, str]:
    """The state that a session begins from, the start of the run, and the origin of the weights in words.

    The order: run directory (with a copy of init.resume_from) -> pretrained weights -> random weights.
    """
    new_variables = partial(stage.new_variables, batches)
    if checkpoints.latest_step() is not None:
        start = stage.resume()
        shapes = jax.eval_shape(lambda: new_state(new_variables(), start.optimizer))
        shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=used.everywhere), shapes)
        state = checkpoints.restore(shapes)
        if problem := states_beyond_end(config):
            raise run_dir.RunDirTakenError(f"run_dir: {problem}; raise it, or set another run_dir")
        return state, start, f"resumed after step {int(state.step)} (at step 0: {start.origin})"
    # Compiled without optimisation: it runs only once, and the optimisation would take most of the start.
    initialize = jax.jit(new_variables, compiler_options={"xla_backend_optimization_level": "0"})
    variables, start = stage.begin(initialize())
    state = jax.jit(partial(new_state, optimizer=start.optimizer), out_shardings=used.everywhere)(variables)
    return state, start, start.origin


def _compiled(steps: tuple[TrainStep, EvalStep], used: devices.Devices) -> tuple[Any, Any]:
    """The update and the validation of a batch, jit-compiled for the devices."""
    step, evaluate = steps
    inputs, outputs = (used.everywhere, used.split), (used.everywhere, used.everywhere)
    options = used.compiler_options
    compiled = jax.jit(step, donate_argnums=0, in_shardings=inputs, out_shardings=outputs, compiler_options=options)
    return compiled, jax.jit(evaluate, in_shardings=inputs, compiler_options=options)


@dataclass
class Run:
    """A run that is ready to train; see `begin`."""

    config: Config
    started: float  # when it began, of `time.monotonic`, s
    stage: Stage
    train_batches: Batches
    val_batches: Batches
    checkpoints: Checkpoints
    log: TrainLog
    step: Any  # the compiled `TrainStep`
    evaluate: Any  # the compiled `EvalStep`
    state: TrainState

    def __post_init__(self) -> None:
        self.dir = Path(self.config.run_dir)
        self.start = int(self.state.step)

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
            self.close()
        print(closing_text(self.config, time.monotonic() - self.started, result.pictures))
        return Outcome(result.means[self.config.stage.objective], None)

    def _stop_early(self, step: int, reason: str) -> Outcome:
        """Save the state, and end the run before its last step."""
        self._save(step)
        self.close()
        return Outcome(math.nan, f"{reason}: stopped after step {step} of {self.config.trainer.max_steps}, saved")

    def close(self) -> None:
        """Finish writing states and curves."""
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
        metrics = {"step": step, "pairs": result.pairs, **_plain(result.means)}
        if result.sources:
            metrics["sources"] = {name: _plain(means) for name, means in result.sources.items()}
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


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers for JSON, which has no nan: null stands for a mean without values."""
    return {name: None if math.isnan(value) else round(float(value), 6) for name, value in values.items()}


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
