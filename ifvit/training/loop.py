"""A run of Module 1 or Module 2, from a config to a validated model."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterable, Iterator, Mapping
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
from ifvit.training.taken import further_on
from ifvit.training.validate import plain

# A network of this width takes a CPU a day for this many updates; what suits a CPU is smaller by far.
LARGE_WIDTH, MANY_STEPS = 256, 2000
STAGES = {StageName.dense: DenseStage, StageName.matcher: MatcherStage}


@dataclass(frozen=True)
class Outcome:
    """How a run ended: `value`, the validation's objective (`config.Stage`); `stopped`, why it did so early."""

    value: float
    stopped: str | None


def train(config: Config) -> Outcome:
    """Train until `trainer.max_steps`, from the first of: the run directory's latest state, `init.resume_from`'s,
    pretrained weights (LoFTR's, or Module 1's for Module 2), scratch. Everything it writes lies in `config.run_dir`.

    Raises:
        RunDirError, DataError, DeviceError, WeightsError, CheckpointError: before anything was trained, in plain words.
        NotFiniteError: the loss or the gradient stopped being a number.
        NothingToLearnError: the pairs have no label.
        CheckpointError: a state could not be saved.
    """
    started = time.monotonic()
    devices.start(config.trainer.device)  # first of all: looking into a run directory would start another one
    try:
        lock = run_dir.claim(config)
    except run_dir.RunDirTakenError:
        check_inputs(config)  # what is missing is said first: in another run directory it would be missing too
        raise
    try:
        return _Run(config, started).train()
    finally:
        run_dir.leave_nothing(config)
        lock.close()


def _described(batches: Batches | None, source: Source) -> str:
    if batches is None:
        return "nobody"
    if source is Source.synthetic:
        return f"{batches.fingers} fingers"
    return f"{len(batches)} impressions of {batches.fingers} fingers"


class _Run:
    """The parts of a run that its phases share."""

    def __init__(self, config: Config, started: float):
        self.config, self.started, self.dir = config, started, Path(config.run_dir)
        self.devices = devices.Devices(config.trainer)
        self.stage: Stage = STAGES[config.stage](config, self.devices.dtype)
        self.stage.check_start()
        data = supply(config, self.devices.split)
        run_dir.same_data(config, data)
        self.stage.check_data(data)
        self.train_batches, self.val_batches = data.batches(TRAIN), data.batches(VALIDATE)
        self.checkpoints = Checkpoints(self.dir)
        self.state, start, weights = self._initial_state()
        self.start = int(self.state.step)
        step, evaluate = self.stage.steps(start, self.train_batches)
        everywhere, split_up = self.devices.everywhere, self.devices.split
        self.step = jax.jit(
            step,
            donate_argnums=0,
            in_shardings=(everywhere, split_up),
            out_shardings=(everywhere, everywhere),
        )
        self.evaluate = jax.jit(evaluate, in_shardings=(everywhere, split_up))
        run_dir.remember(config, data)
        self.log = TrainLog(self.dir, config, self.start, self.stage.progress)
        print(self._summary(weights), flush=True)

    def _initial_state(self) -> tuple[TrainState, Start, str]:
        """Own run directory -> init.resume_from (already copied there) -> pretrained weights -> scratch."""
        config, everywhere = self.config, self.devices.everywhere
        fresh = partial(self.stage.fresh, self.train_batches)
        if self.checkpoints.latest_step() is not None:
            start = self.stage.resume()
            like = jax.eval_shape(lambda: new_state(fresh(), start.optimizer))
            like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=everywhere), like)
            state = self.checkpoints.restore(like)
            step = int(state.step)
            if problem := further_on(config):
                raise run_dir.RunDirTakenError(f"run_dir: {problem}; raise it, or set another run_dir")
            return state, start, f"resumed after step {step} (at step 0: {start.origin})"
        # Compiled without optimisation: it runs once, and optimising it would take longer than all the rest.
        quickly = jax.jit(fresh, compiler_options={"xla_backend_optimization_level": "0"})
        variables, start = self.stage.begin(quickly())
        state = jax.jit(partial(new_state, optimizer=start.optimizer), out_shardings=everywhere)(variables)
        return state, start, start.origin

    def _summary(self, weights: str) -> str:
        """What a person wants to know before waiting."""
        config, data, trainer = self.config, self.config.data, self.config.trainer
        height, width = data.frame
        stride = STRIDES[config.dense.backbone]
        lines = {
            "model": self.stage.described(self.state.params),
            "weights": weights,
            "data": f"\n{' ' * 12}".join(self._sources()),
            "input": f"{width}x{height} px at {data.ppi:g} ppi, {height // stride}x{width // stride} cells",
            "training": f"{trainer.max_steps} steps of {trainer.batch_size} pairs, AdamW at {config.optimizer.lr:g}, "
            f"seed {config.seed}",
            "devices": f"{self.devices}{self._advice()}",
            "writes to": str(self.dir),
        }
        return "\n".join([f"IFViT {__version__}, stage {config.stage}", *(f"  {k:9} {v}" for k, v in lines.items())])

    def _advice(self) -> str:
        """What helps where the default Module 1 would train on a CPU."""
        config = self.config
        large = config.dense.d_model >= LARGE_WIDTH and config.trainer.max_steps >= MANY_STEPS
        if not large or config.stage is not StageName.dense or self.devices.platform != "cpu":
            return ""
        return "; a CPU needs a day or more for this run, and minutes for experiment=quickstart"

    def _sources(self) -> Iterator[str]:
        """A line for each source: where it lies, who of it trains and who validates, its share of a batch."""
        data = self.config.data
        for name, part in data.parts.items():
            mixed = data.source is Source.mixture
            trains, validates = (
                batches.parts.get(name) if mixed else batches for batches in (self.train_batches, self.val_batches)
            )
            where = str(part.root)
            if part.source is Source.synthetic:
                where = "grown here" + (f", {data.renew} new ones every step" if data.renew else "")
            who = f"{_described(trains, part.source)} to train, {_described(validates, part.source)} unseen to validate"
            share = f"; {trains.size if trains else 0} of {self.train_batches.size} pairs" if mixed else ""
            yield f"{name} ({where}): {who}{share}"

    def train(self) -> Outcome:
        """The loop. Its order: evaluate the old state -> save -> next batch -> step -> log -> stop?

        So the state saved at step N has made N updates and was validated before update N + 1, in a resumed run too.
        """
        trainer, start = self.config.trainer, self.start
        with Stop(self.started, trainer.max_hours) as stop:
            batches = iter(self._train_pairs(start))
            for step in range(start, trainer.max_steps):
                if step % trainer.validate_every == 0:
                    self._validate(step)
                if step % trainer.checkpoint_every == 0 and step > start:
                    self._save(step)
                self.state, metrics = self.step(self.state, next(batches))
                self.log.step(step + 1, metrics, self._take_waited())
                if self.log.due(step + 1):
                    self.log.line(step + 1)
                if (reason := stop.reason()) and step + 1 < trainer.max_steps:
                    return self._stopped(step + 1, reason)
            judged = self._validate(trainer.max_steps)
            if trainer.max_steps > start:
                self._save(trainer.max_steps)
            self.log.finish(trainer.max_steps)
            self._close()
        print("\n".join(self._closing(judged)))
        return Outcome(judged.means[self.config.stage.objective], None)

    def _stopped(self, step: int, reason: str) -> Outcome:
        self._save(step)
        self._close()
        return Outcome(math.nan, f"{reason}: stopped after step {step} of {self.config.trainer.max_steps}, saved")

    def _close(self) -> None:
        self.checkpoints.close()
        self.log.close()

    def _train_pairs(self, start: int) -> Iterable[Any]:
        if self.config.trainer.overfit:
            return itertools.repeat(next(self.train_batches.pairs(0, 1)))
        return self.train_batches.pairs(start, self.config.trainer.max_steps)

    def _val_pairs(self) -> Iterable[Any]:
        """The same pairs every time; when one batch is to be overfitted, that batch."""
        if self.config.trainer.overfit:
            return self.train_batches.pairs(0, 1)
        trainer = self.config.trainer
        return self.val_batches.pairs(0, -(-trainer.val_pairs // trainer.batch_size))

    def _take_waited(self) -> float:
        waited, self.train_batches.waited_s = self.train_batches.waited_s, 0.0
        return waited

    def _save(self, step: int) -> None:
        # A state that is not finite is never written.
        with self.log.paused():
            self.log.keep(step)
            self.checkpoints.save(step, self.state)

    def _validate(self, step: int) -> ValidationResult:
        """Judge the state on unseen fingers, write metrics.json, keep the state if it is the best."""
        with self.log.paused():
            return self._judge(step)

    def _judge(self, step: int) -> ValidationResult:
        source = self.train_batches if self.config.trainer.overfit else self.val_batches
        shares = {name: batches.size for name, batches in source.parts.items()}
        whose = "the batch it learns by heart" if self.config.trainer.overfit else "unseen fingers"
        judged = self.stage.judge(self.evaluate, self.state, self._val_pairs(), shares, step, whose)
        self._check(step, judged, whose)
        metrics, is_best = self._metrics(step, judged)
        self.log.validation(step, judged, whose, _rank(metrics, self.config.stage))
        if is_best:
            self.checkpoints.save_best(step, self.state)
            self.checkpoints.wait()
        write_json(self.dir / "metrics.json", metrics)
        for name, picture in judged.pictures.items():
            picture_files.save(self.dir / f"{name}.png", picture)
        return judged

    def _metrics(self, step: int, judged: ValidationResult) -> tuple[dict[str, Any], bool]:
        """What metrics.json is to hold after a validation, and whether that is the best so far."""
        before = read_json(self.dir / "metrics.json") or {}
        metrics = {"step": step, "pairs": judged.pairs, **plain(judged.means)}
        if judged.sources:
            metrics["sources"] = {name: plain(means) for name, means in judged.sources.items()}
        untrained = before.get("untrained") if step else {k: v for k, v in metrics.items() if k != "step"}
        objective, best = self.config.stage.objective, before.get("best")
        value = judged.means[objective]
        is_best = step > 0 and not math.isnan(value) and (best is None or value > best[objective])
        if is_best:
            best = {"step": step, **{name: metrics[name] for name in FIGURES[self.config.stage]}}
        return metrics | {"best": best, "untrained": untrained}, is_best

    def _check(self, step: int, judged: ValidationResult, whose: str) -> None:
        """Stop the run before anything is written of a validation that says nothing.

        Raises:
            NotFiniteError: the state gives no numbers.
            DataError, NothingToLearnError: the pairs cannot tell how good a state is; the first before the first step.
        """
        if judged.missing:
            message = (
                f"the validation's {judged.pairs} pairs ({whose}) lack {judged.missing}: no state can be judged by "
                f"them; {label_keys(self.config)}, trainer.val_pairs={self.config.trainer.val_pairs}"
            )
            raise DataError(message) if step == self.start else NothingToLearnError(message)
        if not math.isfinite(judged.means["loss"]):
            raise NotFiniteError(
                f"step {step}: the validation's loss is {judged.means['loss']}; training stops here and this state is "
                f"not saved. Try a lower optimizer.lr (now {self.config.optimizer.lr:g})"
            )

    def _closing(self, judged: ValidationResult) -> Iterator[str]:
        """What is said of a run that has made its steps."""
        yield f"finished {self.config.trainer.max_steps} steps in {clock(time.monotonic() - self.started)}"
        yield from outcome(self.config.stage, read_json(self.dir / "metrics.json"))
        yield "look at  " + ", ".join(str(self.dir / f"{name}.png") for name in judged.pictures)
        yield f"figures  {self.dir / 'metrics.json'}"
        yield f"curves   {curves.command(self.dir / CURVES)}"


def _rank(metrics: Mapping[str, Any], stage: StageName) -> str:
    """Whether a validation is the best of the run so far, the untrained state's included.

    metrics: of metrics.json.
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
