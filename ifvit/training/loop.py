"""A run of Module 1, from a config to a validated model."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax

from ifvit import __version__, plots
from ifvit.checkpoint import Checkpoints, read_json, write_json
from ifvit.config import Config, Source
from ifvit.data.batches import TRAIN, VALIDATE, Batches
from ifvit.data.loader import supply
from ifvit.data.pairs import Pairs
from ifvit.models.dense import DenseModel
from ifvit.progress import clock
from ifvit.training import pretrained, run_dir
from ifvit.training.devices import Devices
from ifvit.training.log import TrainLog, placement_sheet, placements, sheet, summary
from ifvit.training.state import TrainState, init_variables, make_optimizer, new_state, parameter_count
from ifvit.training.step import make_eval_step, make_train_step
from ifvit.training.stop import Stop
from ifvit.training.validate import plain, validate
from ifvit.weights.merge import MergeReport


@dataclass(frozen=True)
class Outcome:
    """How a run ended: `exact`, the validation's exact cell accuracy; `stopped`, why it did before its last step."""

    exact: float
    stopped: str | None


def train(config: Config) -> Outcome:
    """Train until `trainer.max_steps`, from the first of: the run directory's latest state, `init.resume_from`'s,
    pretrained weights, scratch. Everything it writes lies in `config.run_dir`.

    Raises:
        RunDirError, DataError, DeviceError, WeightsError, CheckpointError: before anything was trained, in plain words.
        NotFiniteError: the loss or the gradient stopped being a number.
        CheckpointError: a state could not be saved.
    """
    started = time.monotonic()
    lock = run_dir.claim(config)
    try:
        return _Run(config, started).train()
    finally:
        run_dir.leave_nothing(config)
        lock.close()


def begun_from(report: MergeReport | None, config: Config) -> str:
    """What the weights were before the first update."""
    if report:
        return f"merged from {report.source}"
    return "LoFTR's encoder from scratch, no pretrained weights" if config.dense.use_loftr else "from scratch"


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
        if config.dense.loftr_pretrained_ckpt and not run_dir.has_states(self.dir):
            # Before the data, which may take minutes.
            pretrained.check_there(Path(config.dense.loftr_pretrained_ckpt))
        self.devices = Devices(config.trainer)
        self.model = DenseModel.from_config(config.dense, self.devices.dtype)
        data = supply(config, self.devices.split)
        run_dir.same_data(config, data)
        self.train_batches, self.val_batches = data.batches(TRAIN), data.batches(VALIDATE)
        self.checkpoints = Checkpoints(self.dir)
        self.state, optimizer, weights = self._initial_state()
        everywhere, split_up = self.devices.everywhere, self.devices.split
        self.step = jax.jit(
            make_train_step(self.model, optimizer, config),
            donate_argnums=0,
            in_shardings=(everywhere, split_up),
            out_shardings=(everywhere, everywhere),
        )
        self.evaluate = jax.jit(make_eval_step(self.model, config), in_shardings=(everywhere, split_up))
        run_dir.remember(config, data)
        self.log = TrainLog(self.dir, config, int(self.state.step))
        print(self._summary(weights), flush=True)

    def _initial_state(self) -> tuple[TrainState, Any, str]:
        """Own run directory -> init.resume_from (already copied there) -> pretrained weights -> scratch."""
        config, everywhere = self.config, self.devices.everywhere
        fresh = partial(init_variables, self.model, config.seed, config.data.frame)
        if self.checkpoints.latest_step() is not None:
            report = pretrained.kept_report(config)
            optimizer = make_optimizer(config, pretrained.merged_params(report))
            like = jax.eval_shape(lambda: new_state(fresh(), optimizer))
            like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=everywhere), like)
            state = self.checkpoints.restore(like)
            step = int(state.step)
            if step > config.trainer.max_steps:
                raise run_dir.RunDirError(
                    f"trainer.max_steps: {self.dir} already holds step {step}, beyond {config.trainer.max_steps}; "
                    "raise it, or set run_dir=FOLDER for a new run"
                )
            return state, optimizer, f"resumed after step {step}; {begun_from(report, config)}"
        # Compiled without optimisation: it runs once, and optimising it would take longer than all the rest.
        quickly = jax.jit(fresh, compiler_options={"xla_backend_optimization_level": "0"})
        variables, report = pretrained.initial_variables(config, self.model, quickly())
        optimizer = make_optimizer(config, pretrained.merged_params(report))
        state = jax.jit(partial(new_state, optimizer=optimizer), out_shardings=everywhere)(variables)
        return state, optimizer, begun_from(report, config)

    def _summary(self, weights: str) -> str:
        """What a person wants to know before waiting."""
        config, dense, data, trainer = self.config, self.config.dense, self.config.data, self.config.trainer
        height, width = data.frame
        rows, columns = self.model.grid(height, width)
        fine = f" + LoFTR's fine stage (stride {self.model.fine_stride})" if self.model.has_fine else ""
        encoder = "LoFTR" if dense.use_loftr else "plain"
        lines = {
            "model": f"{dense.backbone} (stride {dense.stride}) + {encoder} encoder: {dense.num_layers} layers, "
            f"width {dense.d_model}, {dense.num_heads} heads{fine}; {parameter_count(self.state.params):,} parameters",
            "weights": weights,
            "data": f"\n{' ' * 12}".join(self._sources()),
            "input": f"{width}x{height} px at {data.ppi:g} ppi, {rows}x{columns} cells",
            "training": f"{trainer.max_steps} steps of {trainer.batch_size} pairs, AdamW at {config.optimizer.lr:g}, "
            f"seed {config.seed}",
            "devices": str(self.devices),
            "writes to": str(self.dir),
        }
        return "\n".join([f"IFViT {__version__}, stage {config.stage}", *(f"  {k:9} {v}" for k, v in lines.items())])

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
        trainer, start = self.config.trainer, int(self.state.step)
        with Stop(self.started, trainer.max_hours) as stop:
            batches = iter(self._train_pairs(start))
            for step in range(start, trainer.max_steps):
                if step % trainer.validate_every == 0:
                    self._validate(step)
                if step % trainer.checkpoint_every == 0 and step > start:
                    self._save(step)
                self.state, said = self.step(self.state, next(batches))
                self.log.step(step + 1, said)
                if self.log.due(step + 1):
                    self.log.line(step + 1, self._take_waited())
                if (reason := stop.reason()) and step + 1 < trainer.max_steps:
                    return self._stopped(step + 1, reason)
            means = self._validate(trainer.max_steps)
            if trainer.max_steps > start:
                self._save(trainer.max_steps)
            self._close()
        print(self._closing(means))
        return Outcome(means["exact"], None)

    def _stopped(self, step: int, reason: str) -> Outcome:
        self._save(step)
        self._close()
        return Outcome(math.nan, f"{reason}: stopped after step {step} of {self.config.trainer.max_steps}, saved")

    def _close(self) -> None:
        self.checkpoints.close()
        self.log.close()

    def _train_pairs(self, start: int) -> Iterable[Pairs]:
        if self.config.trainer.overfit:
            return itertools.repeat(next(self.train_batches.pairs(0, 1)))
        return self.train_batches.pairs(start, self.config.trainer.max_steps)

    def _val_pairs(self) -> Iterable[Pairs]:
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
            self.checkpoints.save(step, self.state)

    def _validate(self, step: int) -> dict[str, float]:
        """Judge the state on unseen fingers, write metrics.json, keep the state if it is the best."""
        with self.log.paused():
            return self._judge(step)

    def _judge(self, step: int) -> dict[str, float]:
        source = self.train_batches if self.config.trainer.overfit else self.val_batches
        shares = {name: batches.size for name, batches in source.parts.items()}
        report = validate(self.evaluate, self.state, self._val_pairs(), self.config.loss, self.model.stride, shares)
        means = report.means
        whose = "the batch it learns by heart" if self.config.trainer.overfit else "unseen fingers"
        pictures = {
            "matches": sheet(report.shown, step, means, whose),
            "placements": placement_sheet(report.placed, step, means, whose),
        }
        self.log.validation(step, means, pictures, whose)
        held = read_json(self.dir / "metrics.json") or {}
        told = {"step": step, "pairs": report.pairs, **plain(means)}
        if report.sources:
            told["sources"] = {name: plain(own) for name, own in report.sources.items()}
            print("  " + "; ".join(
                f"{name}: exact {own['exact']:.3f}, within one {own['within_one']:.3f}"
                for name, own in report.sources.items()
            ), flush=True)  # fmt: skip
        best = held.get("best")
        if step and not math.isnan(means["exact"]) and (best is None or means["exact"] > best["exact"]):
            self.checkpoints.save_best(step, self.state)
            self.checkpoints.wait()
            best = {"step": step, "exact": told["exact"], "within_one": told["within_one"]}
        untrained = held.get("untrained") if step else {k: told[k] for k in told if k != "step"}
        write_json(self.dir / "metrics.json", told | {"best": best, "untrained": untrained})
        for name, picture in pictures.items():
            plots.save(self.dir / f"{name}.png", picture)
        return means

    def _closing(self, means: dict[str, float]) -> str:
        before = read_json(self.dir / "metrics.json")["untrained"] or {}
        return (
            f"finished {self.config.trainer.max_steps} steps in {clock(time.monotonic() - self.started)}: "
            f"{summary(means)}\n"
            f"{placements(means)}\n"
            f"untrained: cells exact {before.get('exact')}, within one {before.get('within_one')}\n"
            f"look at  {self.dir / 'matches.png'}, {self.dir / 'placements.png'}\n"
            f"figures  {self.dir / 'metrics.json'}\n"
            f"curves   tensorboard --logdir {self.dir / 'tb'}"
        )
