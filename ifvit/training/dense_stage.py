"""stage=dense: what the loop asks of Module 1."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ifvit.config import Config
from ifvit.data.batches import Batches
from ifvit.data.loader import RunData
from ifvit.models.dense import DenseModel
from ifvit.training import pretrained, run_dir
from ifvit.training.dense_step import TrainStep, make_eval_step, make_train_step
from ifvit.training.log import figure_lines, placement_sheet, sheet
from ifvit.training.stage import Start, ValidationResult
from ifvit.training.state import TrainState, init_variables, make_optimizer, parameter_count
from ifvit.training.validate import validate
from ifvit.weights.merge import MergeReport


def begun_from(report: MergeReport | None, config: Config) -> str:
    """What the weights were before the first update."""
    if report:
        return f"merged from {report.source}"
    return "LoFTR's encoder from scratch, no pretrained weights" if config.dense.use_loftr else "from scratch"


class DenseStage:
    """Module 1; see `stage.Stage`."""

    def __init__(self, config: Config, dtype: Any):
        self.config, self.model = config, DenseModel.from_config(config.dense, dtype)

    def check_start(self) -> None:
        path = self.config.dense.loftr_pretrained_ckpt
        if path and not run_dir.has_states(Path(self.config.run_dir)):
            pretrained.check_there(Path(path))

    def check_data(self, data: RunData) -> None:
        pass

    def fresh(self, batches: Batches) -> dict[str, Any]:
        return init_variables(self.model, self.config.seed, self.config.data.frame)

    def begin(self, variables: dict[str, Any]) -> tuple[dict[str, Any], Start]:
        variables, report = pretrained.initial_variables(self.config, self.model, variables)
        return variables, self._start(report)

    def resume(self) -> Start:
        return self._start(pretrained.kept_report(self.config))

    def _start(self, report: MergeReport | None) -> Start:
        optimizer = make_optimizer(self.config, pretrained.merged_params(report))
        return Start(optimizer, begun_from(report, self.config))

    def steps(self, start: Start, batches: Batches) -> tuple[TrainStep, Callable[[TrainState, Any], Any]]:
        return make_train_step(self.model, start.optimizer, self.config), make_eval_step(self.model, self.config)

    def judge(
        self,
        evaluate: Callable,
        state: TrainState,
        pairs: Iterable[Any],
        shares: Mapping[str, int],
        step: int,
        whose: str,
    ) -> ValidationResult:
        report = validate(evaluate, state, pairs, self.config.loss, self.model.stride, shares)
        means = report.means
        pictures = {
            "matches": sheet(report.shown, step, means, whose, self.config.loss.negative_weight > 0),
            "placements": placement_sheet(report.placed, step, means, whose),
        }
        missing = "a labelled cell" if math.isnan(means["exact"]) else None
        return ValidationResult(means, report.pairs, report.sources, pictures, figure_lines(means), missing)

    def described(self, params: Any) -> str:
        dense = self.config.dense
        fine = f" + LoFTR's fine stage (stride {self.model.fine_stride})" if self.model.has_fine else ""
        encoder = "LoFTR" if dense.use_loftr else "plain"
        return (
            f"{dense.backbone} (stride {dense.stride}) + {encoder} encoder: {dense.num_layers} layers, "
            f"width {dense.d_model}, {dense.num_heads} heads{fine}; {parameter_count(params):,} parameters"
        )

    def progress(self, means: Mapping[str, float]) -> str:
        fine = f"fine {means['fine']:.3f}  " if "fine" in means else ""
        return f"loss {means['loss']:.3f}  {fine}exact {means['exact']:.2f}  within one {means['within_one']:.2f}"
