"""stage=matcher: what the loop asks of Module 2."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

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
from ifvit.metrics import mean, term
from ifvit.models.matcher import MatcherModel, from_dense
from ifvit.pictures import charts
from ifvit.program import command
from ifvit.rates import Thresholds, auc, equal_error
from ifvit.registration.module1 import Module1, load_dense
from ifvit.storage.checkpoint import MODULE1_FOLDER, copy_best, read_variables
from ifvit.storage.errors import CheckpointError
from ifvit.training import run_dir
from ifvit.training.dense_step import TrainStep
from ifvit.training.finished import aligned, written
from ifvit.training.matcher_step import CLASSES, BatchScores, make_matcher_eval, make_matcher_step, new_classes
from ifvit.training.run_dir import RunDirError
from ifvit.training.stage import Start, ValidationResult
from ifvit.training.state import INIT_STREAM, TrainState, make_optimizer, parameter_count

REAL_PRINTS = "; of synthetic fingers: real prints are harder"


class MatcherStage:
    """Module 2; see `stage.Stage`. Its Module 1 is copied into the run directory, so that a run compares by itself."""

    def __init__(self, config: Config, dtype: Any):
        self.config, self.dir = config, Path(config.run_dir)
        self.model = MatcherModel.from_config(config.dense, config.matcher, dtype)
        self.module_1: Module1 | None = None
        self.synthetic = False  # whether it is judged on fingers that nobody has

    def check_start(self) -> None:
        """Raises:
        RunDirError: there is no Module 1 to begin from, or it is damaged.
        """
        try:
            self.module_1 = load_dense(run_dir.module_1_of(self.config))
        except CheckpointError as error:
            raise RunDirError(str(error)) from error

    def check_data(self, data: RunData) -> None:
        """Raises:
        RunDirError: the data were prepared by another Module 1.
        """
        self.synthetic = has_synthetic(self.config.data)
        made_by = getattr(data, "module1", None)
        if made_by and made_by != self.module_1.digest():
            raise RunDirError(
                f"data.root: these pairs were aligned with another Module 1 than {run_dir.module_1_of(self.config)}; "
                f"prepare them with this one: {command('data prepare')}"
            )

    def fresh(self, batches: Batches) -> dict[str, Any]:
        image = jnp.zeros((1, *self.config.data.frame), jnp.float32)
        laid = BranchImages(image, image, image, image, image == 0)
        of_global, of_local, _ = branch_inputs(laid, self.model.branch.stride)
        key = jax.random.fold_in(jax.random.key(self.config.seed), INIT_STREAM)
        variables = self.model.init(key, of_global, of_local)
        classes = new_classes(self.config.seed, batches.classes, self.config.matcher.vector)
        return variables | {"params": {**variables["params"], CLASSES: classes}}

    def begin(self, variables: dict[str, Any]) -> tuple[dict[str, Any], Start]:
        classes = variables["params"][CLASSES]
        own = variables | {"params": {k: v for k, v in variables["params"].items() if k != CLASSES}}
        if self.config.init.matcher:
            source = Path(self.config.init.matcher)
            variables = _trained_before(source, own)
        else:
            source = Path(self.config.init.dense)
            try:
                variables = from_dense(self.model, own, self.module_1.variables)
            except ValueError as error:
                raise RunDirError(f"{source}: its state is not that of its config ({error})") from error
        copy_best(run_dir.module_1_of(self.config), self.dir / MODULE1_FOLDER)
        return variables | {"params": {**variables["params"], CLASSES: classes}}, self.resume()

    def resume(self) -> Start:
        init = self.config.init
        origin = f"Module 2 of {init.matcher}" if init.matcher else f"both branches from Module 1 of {init.dense}"
        return Start(_without_fine(make_optimizer(self.config, frozenset())), origin)

    def steps(self, start: Start, batches: Batches) -> tuple[TrainStep, Callable[[TrainState, Any], Any]]:
        step = make_matcher_step(self.model, start.optimizer, self.config, batches.renewal)
        return step, make_matcher_eval(self.model, self.config)

    def judge(
        self,
        evaluate: Callable,
        state: TrainState,
        pairs: Iterable[Any],
        shares: Mapping[str, int],
        step: int,
        whose: str,
    ) -> ValidationResult:
        sums: dict[str, np.ndarray] = {}
        parts: list[BatchScores] = []
        for batch in pairs:
            judged = jax.device_get(evaluate(state, batch))
            parts.append(judged)
            for name, part in judged.totals.items():
                sums[name] = sums.get(name, 0) + np.array([values.sum(dtype=np.float64) for values in part])
        cos_global, cos_local, genuine = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("cos_global", "cos_local", "genuine")
        )
        weights = self.config.matcher
        scores = weights.global_weight * cos_global + weights.local_weight * cos_local
        means = mean(sums) | figures_of(scores, genuine)
        means |= {f"{name}_auc": figures_of(cosine, genuine)["auc"]
                  for name, cosine in (("global", cos_global), ("local", cos_local))}  # fmt: skip
        loss = self.config.matcher
        registration = [
            term(sums, f"{b}_positive") + self.config.loss.negative_weight * term(sums, f"{b}_negative")
            for b in ("global", "local")
        ]
        embedding = [means[f"{b}_embedding"] for b in ("global", "local")]
        means["loss"] = float(loss.dense_weight * np.mean(registration) + loss.embedding_weight * np.mean(embedding))
        note = _too_few(means["eer"], genuine) + (REAL_PRINTS if self.synthetic else "")
        heading = [f"Module 2 after {step} steps, {whose}", summary(means) + note]
        score = f"{weights.global_weight:g} x cosine of the global + {weights.local_weight:g} x of the local vectors"
        pictures = {"scores": draw_scores(scores, genuine, heading, score)}
        sources = _by_source(scores, genuine, shares, len(parts))
        return ValidationResult(
            means, len(scores), sources, pictures, figure_lines(means, note), _missing(means, genuine)
        )

    def described(self, params: Any) -> str:
        dense, matcher = self.config.dense, self.config.matcher
        network = {name: params[name] for name in self.model.names}
        copies = "one copy of Module 1" if matcher.shared else "two copies of Module 1"
        classes = params[CLASSES]["global"].shape[0]
        return (
            f"{copies} ({dense.backbone}, {dense.num_layers} layers, width {dense.d_model}) -> {matcher.vector} "
            f"numbers each; {parameter_count(network):,} parameters, and {parameter_count(params[CLASSES]):,} of "
            f"{classes} classes"
        )

    def progress(self, means: Mapping[str, float]) -> str:
        return (
            f"loss {means['loss']:.3f}  arc {means['arc']:.2f}  embedding {means['embedding']:.3f}  "
            f"exact {means['exact']:.2f}"
        )


def figures_of(scores: np.ndarray, genuine: np.ndarray) -> dict[str, float]:
    """EER, AUC and the mean scores of (P,) pairs; nan where one kind is missing."""
    if genuine.all() or not genuine.any():
        return dict.fromkeys(("eer", "auc", "genuine_score", "impostor_score"), float("nan"))
    rates = Thresholds(scores.astype(np.float64), genuine).rates()
    return {
        "eer": float(equal_error(rates).rate),
        "auc": float(auc(rates)),
        "genuine_score": float(scores[genuine].mean()),
        "impostor_score": float(scores[~genuine].mean()),
    }


def draw_scores(scores: np.ndarray, genuine: np.ndarray, heading: Sequence[str], score: str) -> np.ndarray:
    """The chart of the scores of (P,) pairs, with the EER where there is one. score: what they are, in words."""
    threshold, label = float("nan"), ""
    if genuine.any() and not genuine.all():
        equal = equal_error(Thresholds(scores.astype(np.float64), genuine).rates())
        threshold, label = float(equal.threshold), f"EER {100 * float(equal.rate):.2f} %"
    return charts.score_chart(charts.counts_of(scores, genuine), threshold, label, heading, score)


def _missing(means: Mapping[str, float], genuine: np.ndarray) -> str | None:
    """What the validation's pairs lack: `ValidationResult.missing`."""
    if not genuine.any():
        return "a pair of mates"
    if genuine.all():
        return "a pair of different fingers"
    return "a labelled cell" if np.isnan([means["global_exact"], means["local_exact"]]).all() else None


def _by_source(scores: np.ndarray, genuine: np.ndarray, shares: Mapping[str, int], batches: int) -> dict:
    """EER and AUC of each source of a mixture: of every batch the first pairs are the first source's."""
    found, start = {}, 0
    for name, count in shares.items():
        chosen = [values.reshape(batches, -1)[:, start : start + count].ravel() for values in (scores, genuine)]
        found[name] = {key: value for key, value in figures_of(*chosen).items() if key in ("eer", "auc")}
        start += count
    return found


def summary(means: Mapping[str, float]) -> str:
    """The figures of a validation on one line."""
    return (
        f"loss {means['loss']:.3f}, EER {means['eer']:.2%}, AUC {means['auc']:.4f} (global {means['global_auc']:.4f}, "
        f"local {means['local_auc']:.4f}), mean score {means['genuine_score']:.2f} of mates and "
        f"{means['impostor_score']:.2f} of others, cells exact {written(means['global_exact'], '.2f')} and "
        f"{written(means['local_exact'], '.2f')}"
    )


def figure_lines(means: Mapping[str, float], note: str = "") -> list[str]:
    """The figures of a validation of Module 2: of the score, and of the branches that it is made of.

    note: behind the EER.
    """
    rows = [["", "AUC", "cells exact"], ["score", f"{means['auc']:.4f}", ""]]
    for name in ("global", "local"):
        rows.append([name, f"{means[f'{name}_auc']:.4f}", written(means[f"{name}_exact"], ".3f")])
    return [
        f"  loss {means['loss']:.3f}   EER {means['eer']:.2%}{note}",
        f"  mean score of mates {means['genuine_score']:.2f}   of others {means['impostor_score']:.2f}",
        *aligned(rows),
    ]


def _too_few(eer: float, genuine: np.ndarray) -> str:
    """What is said of an EER that so many pairs, bool (P,), do not resolve; nothing where they do."""
    pairs = min(genuine.sum(), (~genuine).sum())
    if pairs == 0 or eer >= least_rate(pairs):
        return ""
    return f"; {pairs} pairs of a kind cannot tell an EER below {least_rate(pairs):.0%}"


def _trained_before(source: Path, own: dict[str, Any]) -> dict[str, Any]:
    """The variables of a Module 2 that was trained before, without its classes.

    Raises:
        RunDirError: it has none, or those of another model.
    """
    try:
        _, _, variables = read_variables(source)
    except CheckpointError as error:
        raise RunDirError(str(error)) from error
    variables = {kind: {k: v for k, v in tree.items() if k != CLASSES} for kind, tree in variables.items()}
    shapes = [
        {jax.tree_util.keystr(path): leaf.shape for path, leaf in jax.tree.leaves_with_path(tree)}
        for tree in (own, variables)
    ]
    if shapes[0] != shapes[1]:
        wrong = sorted(k for k in shapes[0].keys() | shapes[1].keys() if shapes[0].get(k) != shapes[1].get(k))
        raise RunDirError(
            f"{source}: another model's state ({wrong[0]}: {shapes[1].get(wrong[0])} saved, {shapes[0].get(wrong[0])} "
            "expected); matcher.vector and matcher.shared must be that run's"
        )
    return jax.tree.map(jnp.asarray, variables)


def _without_fine(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """The fine stage is Module 1's alone: here it has no gradient, and weight decay must not shrink it."""

    def is_fine(params: Any) -> Any:
        return flax.traverse_util.path_aware_map(lambda path, _: any(part.startswith("fine_") for part in path), params)

    return optax.chain(optimizer, optax.masked(optax.set_to_zero(), is_fine))
