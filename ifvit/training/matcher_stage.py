"""stage=matcher: Module 2's side of the training loop, with the lines and pictures of its validation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import optax

from ifvit.calibration import least_rate
from ifvit.comparison.module2_inputs import BranchImages, branch_inputs
from ifvit.config import Config
from ifvit.data.batches import Batches
from ifvit.data.loader import RunData
from ifvit.databases.synthetic_sets import has_synthetic
from ifvit.errors import CheckpointError
from ifvit.models.matcher import MatcherModel, from_dense
from ifvit.pair import Pair
from ifvit.pictures import charts
from ifvit.program import command
from ifvit.rates import Thresholds, equal_error
from ifvit.registration.module1 import Module1, load_dense
from ifvit.storage.checkpoint import MODULE1_FOLDER, read_variables
from ifvit.storage.run_copies import copy_best
from ifvit.training import run_dir
from ifvit.training.finished import aligned, written
from ifvit.training.matcher_step import CLASSES, make_matcher_eval, make_matcher_step, new_classes
from ifvit.training.matcher_validate import validate
from ifvit.training.run_dir import RunDirError
from ifvit.training.stage import Start, ValidationResult
from ifvit.training.state import INIT_STREAM, TrainState, make_optimizer, parameter_count
from ifvit.training.update import EvalStep, TrainStep

SYNTHETIC_NOTE = "; of synthetic fingers: real prints are harder"


class MatcherStage:
    """Module 2; see `stage.Stage`. Module 1 is copied into the run directory, so that the run needs no other run."""

    def __init__(self, config: Config, dtype: Any):
        self.config, self.dir = config, Path(config.run_dir)
        self.model = MatcherModel.from_config(config.dense, config.matcher, dtype)
        self.module1: Module1 | None = None
        self.synthetic = False  # whether some of its data are synthetic fingers

    def check_start(self) -> None:
        """Load the Module 1 that the run begins from.

        Raises:
            RunDirError: it does not exist or is damaged.
        """
        try:
            self.module1 = load_dense(run_dir.module1_dir(self.config))
        except CheckpointError as error:
            raise RunDirError(str(error)) from error

    def check_data(self, data: RunData) -> None:
        """Check that prepared prints were aligned with this run's Module 1.

        Raises:
            RunDirError: they were aligned with another one.
        """
        self.synthetic = has_synthetic(self.config.data)
        preparer = getattr(data, "module1", None)
        if not preparer:
            return
        assert self.module1 is not None
        if preparer != self.module1.digest():
            raise RunDirError(
                f"data.root: these pairs were aligned with another Module 1 than {run_dir.module1_dir(self.config)}; "
                f"prepare them with this one: {command('data prepare')}"
            )

    def new_variables(self, batches: Batches) -> dict[str, Any]:
        image = jnp.zeros((1, *self.config.data.frame), jnp.float32)
        images = BranchImages(Pair(image, image), Pair(image, image), image == 0)
        of_global, of_local, _ = branch_inputs(images, self.model.branch.stride)
        key = jax.random.fold_in(jax.random.key(self.config.seed), INIT_STREAM)
        variables = cast(dict[str, Any], self.model.init(key, of_global, of_local))
        classes = new_classes(self.config.seed, batches.classes, self.config.matcher.vector)
        return variables | {"params": {**variables["params"], CLASSES: classes}}

    def begin(self, variables: dict[str, Any]) -> tuple[dict[str, Any], Start]:
        classes = variables["params"][CLASSES]
        network = variables | {"params": {k: v for k, v in variables["params"].items() if k != CLASSES}}
        if self.config.init.matcher:
            source = Path(self.config.init.matcher)
            variables = _read_variables(source, network)
        else:
            assert self.config.init.dense is not None
            assert self.module1 is not None
            source = Path(self.config.init.dense)
            try:
                variables = from_dense(self.model, network, self.module1.variables)
            except ValueError as error:
                raise RunDirError(f"{source}: its state is not that of its config ({error})") from error
        copy_best(run_dir.module1_dir(self.config), self.dir / MODULE1_FOLDER)
        return variables | {"params": {**variables["params"], CLASSES: classes}}, self.resume()

    def resume(self) -> Start:
        init = self.config.init
        origin = f"Module 2 of {init.matcher}" if init.matcher else f"both branches from Module 1 of {init.dense}"
        return Start(_without_fine(make_optimizer(self.config, frozenset())), origin)

    def steps(self, start: Start, batches: Batches) -> tuple[TrainStep, EvalStep]:
        step = make_matcher_step(self.model, start.optimizer, self.config, batches.renewal)
        return step, make_matcher_eval(self.model, self.config)

    def validate(
        self,
        evaluate: EvalStep,
        state: TrainState,
        pairs: Iterable[Any],
        shares: Mapping[str, int],
        step: int,
        pairs_name: str,
    ) -> ValidationResult:
        weights = self.config.matcher
        report = validate(evaluate, state, pairs, self.config.loss, weights, shares)
        means, scores, genuine = report.means, report.scores, report.genuine
        note = resolution_note(means["eer"], genuine) + (SYNTHETIC_NOTE if self.synthetic else "")
        heading = [f"Module 2 after {step} steps, {pairs_name}", summary(means) + note]
        score = f"{weights.global_weight:g} x cosine of the global + {weights.local_weight:g} x of the local vectors"
        pictures = {"scores": score_sheet(scores, genuine, heading, score)}
        lines = figure_lines(means, note)
        return ValidationResult(means, len(scores), report.sources, pictures, lines, missing_pairs(means, genuine))

    def describe(self, params: Any) -> str:
        dense, matcher = self.config.dense, self.config.matcher
        network = {name: params[name] for name in self.model.names}
        copies = "one copy of Module 1" if matcher.shared else "two copies of Module 1"
        classes = params[CLASSES]["global"].shape[0]
        return (
            f"{copies} ({dense.backbone}, {dense.num_layers} layers, width {dense.d_model}) -> {matcher.vector} "
            f"numbers each; {parameter_count(network):,} parameters, and {parameter_count(params[CLASSES]):,} of "
            f"{classes} classes"
        )

    def advice(self, platform: str) -> str:
        return ""

    def progress(self, means: Mapping[str, float]) -> str:
        return (
            f"loss {means['loss']:.3f}  arc {means['arc']:.2f}  embedding {means['embedding']:.3f}  "
            f"exact {means['exact']:.2f}"
        )


def summary(means: Mapping[str, float]) -> str:
    """The figures of a validation on one line."""
    return (
        f"loss {means['loss']:.3f}, EER {means['eer']:.2%}, AUC {means['auc']:.4f} (global {means['global_auc']:.4f}, "
        f"local {means['local_auc']:.4f}), mean score {means['genuine_score']:.2f} of mates and "
        f"{means['impostor_score']:.2f} of others, cells exact {written(means['global_exact'], '.2f')} and "
        f"{written(means['local_exact'], '.2f')}"
    )


def figure_lines(means: Mapping[str, float], note: str = "") -> list[str]:
    """The lines of a validation of Module 2: figures of the score and of both branches.

    note: text after the EER.
    """
    rows = [["", "AUC", "cells exact"], ["score", f"{means['auc']:.4f}", ""]]
    for name in ("global", "local"):
        rows.append([name, f"{means[f'{name}_auc']:.4f}", written(means[f"{name}_exact"], ".3f")])
    return [
        f"  loss {means['loss']:.3f}   EER {means['eer']:.2%}{note}",
        f"  mean score of mates {means['genuine_score']:.2f}   of others {means['impostor_score']:.2f}",
        *aligned(rows),
    ]


def resolution_note(eer: float, genuine: np.ndarray) -> str:
    """A note that an EER is below what so many pairs, (P,) bool, can resolve; empty if it is not."""
    pairs = min(genuine.sum(), (~genuine).sum())
    if pairs == 0 or eer >= least_rate(pairs):
        return ""
    return f"; {pairs} pairs of a kind cannot tell an EER below {least_rate(pairs):.0%}"


def score_sheet(scores: np.ndarray, genuine: np.ndarray, heading: Sequence[str], score: str) -> np.ndarray:
    """The chart of the scores of P pairs, with the EER if both kinds exist, as (H, W, 3) uint8 RGB.

    scores: (P,). genuine: (P,) bool. score: how a score is computed, in words.
    """
    threshold, label = float("nan"), ""
    if genuine.any() and not genuine.all():
        equal = equal_error(Thresholds(scores.astype(np.float64), genuine).rates())
        threshold, label = float(equal.threshold), f"EER {100 * float(equal.rate):.2f} %"
    return charts.score_chart(charts.counts_of(scores, genuine), threshold, label, heading, score)


def missing_pairs(means: Mapping[str, float], genuine: np.ndarray) -> str | None:
    """What the pairs of a validation lack, as in `ValidationResult.missing`."""
    if not genuine.any():
        return "a pair of mates"
    if genuine.all():
        return "a pair of different fingers"
    return "a labelled cell" if np.isnan([means["global_exact"], means["local_exact"]]).all() else None


def _read_variables(source: Path, expected: dict[str, Any]) -> dict[str, Any]:
    """The variables of a trained run of Module 2, without ArcFace's classes.

    expected: the variables of the new model, which must have the same names and shapes.

    Raises:
        RunDirError: the run has no state, or that of another model.
    """
    try:
        _, _, variables = read_variables(source)
    except CheckpointError as error:
        raise RunDirError(str(error)) from error
    variables = {kind: {k: v for k, v in tree.items() if k != CLASSES} for kind, tree in variables.items()}
    shapes = [
        {jax.tree_util.keystr(path): leaf.shape for path, leaf in jax.tree.leaves_with_path(tree)}
        for tree in (expected, variables)
    ]
    if shapes[0] != shapes[1]:
        differing = sorted(k for k in shapes[0].keys() | shapes[1].keys() if shapes[0].get(k) != shapes[1].get(k))
        name = differing[0]
        raise RunDirError(
            f"{source}: another model's state ({name}: {shapes[1].get(name)} saved, {shapes[0].get(name)} expected); "
            "matcher.vector and matcher.shared must be that run's"
        )
    return jax.tree.map(jnp.asarray, variables)


def _without_fine(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """The optimiser without updates of the fine stage: Module 2 does not use it, and weight decay would shrink it."""

    def is_fine(params: Any) -> Any:
        return flax.traverse_util.path_aware_map(
            lambda path, _: any(cast(str, part).startswith("fine_") for part in path), params
        )

    return optax.chain(optimizer, optax.masked(optax.set_to_zero(), is_fine))
