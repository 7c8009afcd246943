"""stage=dense: Module 1's side of the training loop, with the lines and pictures of its validation."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ifvit.config import Config
from ifvit.data.batches import Batches
from ifvit.data.loader import RunData
from ifvit.metrics import PCK_PX
from ifvit.models.dense import DenseModel
from ifvit.pictures import plots
from ifvit.training import pretrained, run_dir
from ifvit.training.dense_step import make_dense_eval, make_dense_step
from ifvit.training.dense_validate import DIFFERENT, NO_MATCH, validate
from ifvit.training.finished import aligned
from ifvit.training.stage import Start, ValidationResult
from ifvit.training.state import TrainState, init_variables, make_optimizer, parameter_count
from ifvit.training.update import EvalStep, TrainStep
from ifvit.weights.merge import MergeReport

# A CPU needs a day for this many updates of a network of this width. Configs for a CPU are much smaller.
LARGE_WIDTH, MANY_STEPS = 256, 2000
CPU_ADVICE = "; a CPU needs a day or more for this run, and minutes for experiment=quickstart"
# Notes below the picture of matches on those between different fingers.
IMPOSTOR_FAILURES = (
    "Matches between different fingers are failures: Module 1 learns to find none there. No verdict rests on them: the "
    "ridges and Module 2 decide."
)
IMPOSTOR_EXPECTED = (
    "Matches between different fingers are expected: loss.negative_weight=0 teaches Module 1 nothing against them. The "
    "ridges and Module 2 decide."
)


class DenseStage:
    """Module 1; see `stage.Stage`."""

    def __init__(self, config: Config, dtype: Any):
        self.config, self.model = config, DenseModel.from_config(config.dense, dtype)

    def check_start(self) -> None:
        path = self.config.dense.loftr_pretrained_ckpt
        if path and not run_dir.has_states(Path(self.config.run_dir)):
            pretrained.check_exists(Path(path))

    def check_data(self, data: RunData) -> None:
        pass

    def new_variables(self, batches: Batches) -> dict[str, Any]:
        return init_variables(self.model, self.config.seed, self.config.data.frame)

    def begin(self, variables: dict[str, Any]) -> tuple[dict[str, Any], Start]:
        variables, report = pretrained.initial_variables(self.config, self.model, variables)
        return variables, self._start(report)

    def resume(self) -> Start:
        return self._start(pretrained.stored_report(self.config))

    def _start(self, report: MergeReport | None) -> Start:
        optimizer = make_optimizer(self.config, pretrained.merged_params(report))
        return Start(optimizer, _origin_text(report, self.config))

    def steps(self, start: Start, batches: Batches) -> tuple[TrainStep, EvalStep]:
        return make_dense_step(self.model, start.optimizer, self.config), make_dense_eval(self.model, self.config)

    def validate(
        self,
        evaluate: EvalStep,
        state: TrainState,
        pairs: Iterable[Any],
        shares: Mapping[str, int],
        step: int,
        pairs_name: str,
    ) -> ValidationResult:
        report = validate(evaluate, state, pairs, self.config.loss, self.model.stride, shares)
        means = report.means
        pictures = {
            "matches": match_sheet(report.matched, step, means, pairs_name, self.config.loss.negative_weight > 0),
            "placements": placement_sheet(report.placed, step, means, pairs_name),
        }
        lines = figure_lines(means)
        return ValidationResult(means, report.pairs, report.sources, pictures, lines, missing_pairs(means))

    def describe(self, params: Any) -> str:
        dense = self.config.dense
        fine = f" + LoFTR's fine stage (stride {self.model.fine_stride})" if self.model.has_fine else ""
        encoder = "LoFTR" if dense.use_loftr else "plain"
        return (
            f"{dense.backbone} (stride {dense.stride}) + {encoder} encoder: {dense.num_layers} layers, "
            f"width {dense.d_model}, {dense.num_heads} heads{fine}; {parameter_count(params):,} parameters"
        )

    def advice(self, platform: str) -> str:
        large = self.config.dense.d_model >= LARGE_WIDTH and self.config.trainer.max_steps >= MANY_STEPS
        return CPU_ADVICE if large and platform == "cpu" else ""

    def progress(self, means: Mapping[str, float]) -> str:
        fine = f"fine {means['fine']:.3f}  " if "fine" in means else ""
        return f"loss {means['loss']:.3f}  {fine}exact {means['exact']:.2f}  within one {means['within_one']:.2f}"


def figure_lines(means: Mapping[str, float]) -> list[str]:
    """The lines of a validation of Module 1: figures of all labelled cells, and of the matches."""
    match_text = NO_MATCH
    if not math.isnan(means["precision"]):  # nan: no match
        match_text = (
            f"matches {means['matches']:.1f} a pair   precision {means['precision']:.2f}   recall {means['recall']:.2f}"
        )
    rows = [["off by, px", "mean", "median", *(f"within {px}" for px in PCK_PX)]]
    rows.append(["cells", f"{means['end_point_error']:.2f}", "", *(f"{means[f'pck_{px}']:.2f}" for px in PCK_PX)])
    for stage in stages_with_matches(means):
        errors = [f"{means[f'{stage}_{name}']:.2f}" for name in ("mean", "median", *(f"pck_{px}" for px in PCK_PX))]
        rows.append([f"{stage} matches", *errors])
    return [
        f"  loss {means['loss']:.3f}   cells exact {means['exact']:.3f}   within one {means['within_one']:.3f}",
        f"  {match_text}",
        *aligned(rows),
    ]


def stages_with_matches(means: Mapping[str, float]) -> list[str]:
    """The stages that have matches whose true point is known."""
    return [stage for stage in ("coarse", "fine") if not math.isnan(means.get(f"{stage}_median", math.nan))]


def placement_sheet(
    placed: Sequence[plots.RegistrationPlot], step: int, means: Mapping[str, float], pairs_name: str
) -> np.ndarray:
    """The picture of the errors of a validation's matches, (H, W, 3) uint8 RGB."""
    return plots.registration_sheet(placed, [f"Module 1 after {step} steps, {pairs_name}", placement_text(means)])


def placement_text(means: Mapping[str, float]) -> str:
    """The errors of the matches on one line: of the coarse stage, then of the fine stage if there is one."""
    stages = []
    for stage in stages_with_matches(means):
        within = ", ".join(f"{means[f'{stage}_pck_{px}']:.0%} within {px} px" for px in PCK_PX)
        stages.append(f"{stage} median {means[f'{stage}_median']:.2f} px, {within}")
    return "matches off by: " + "; ".join(stages) if stages else "no match whose truth is known"


def match_sheet(
    matched: Sequence[plots.MatchedPair], step: int, means: Mapping[str, float], pairs_name: str, learns_negatives: bool
) -> np.ndarray:
    """The picture of a validation's matches, (H, W, 3) uint8 RGB.

    pairs_name: which pairs these are, in words.
    learns_negatives: whether the loss has a negative term.
    """
    precision = means["precision"]
    match_text = NO_MATCH if math.isnan(precision) else f"precision {precision:.2f}, recall {means['recall']:.2f}"
    cells = f"cells exact {means['exact']:.2f}, within one {means['within_one']:.2f}"
    heading = [f"Module 1 after {step} steps, {pairs_name}", f"{cells}; {match_text}"]
    if any(pair.title.startswith(DIFFERENT) for pair in matched):
        heading.append(IMPOSTOR_FAILURES if learns_negatives else IMPOSTOR_EXPECTED)
    return plots.match_sheet(matched, heading)


def missing_pairs(means: Mapping[str, float]) -> str | None:
    """What the pairs of a validation lack, as in `ValidationResult.missing`."""
    return "a labelled cell" if math.isnan(means["exact"]) else None


def _origin_text(report: MergeReport | None, config: Config) -> str:
    """Where the weights of step 0 come from, in words."""
    if report:
        return f"merged from {report.source}"
    return "LoFTR's encoder from scratch, no pretrained weights" if config.dense.use_loftr else "from scratch"
