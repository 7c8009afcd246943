"""The hook that merges pretrained LoFTR weights into a new model, and its report on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from ifvit import checkpoint
from ifvit.config import Config
from ifvit.models.dense import DenseModel
from ifvit.models.matching import extract_matches
from ifvit.training.state import init_variables
from ifvit.weights.errors import WeightsError
from ifvit.weights.loftr import load_arrays
from ifvit.weights.merge import MergeReport, merge

REPORT = "merge_report.json"

HOW_TO_GET = """\
  get LoFTR's weights (outdoor_ds.ckpt, from the links on LoFTR's project page, github.com/zju3dv/LoFTR), then
    python -m ifvit convert --pytorch_ckpt outdoor_ds.ckpt --output {path}
  or point dense.loftr_pretrained_ckpt at the .ckpt itself, or train LoFTR's encoder from scratch with
  dense.loftr_pretrained_ckpt=null"""


def check_there(path: Path) -> None:
    """Raise a WeightsError that says how to get the weights when there is no such file."""
    if not path.exists():
        raise WeightsError(f"dense.loftr_pretrained_ckpt: {path} does not exist\n{HOW_TO_GET.format(path=path)}")


def merge_pretrained(model: DenseModel, variables: dict[str, Any], path: Path) -> tuple[dict[str, Any], MergeReport]:
    """The variables with the weights of `path` (.npz or a PyTorch file) merged in, and the report of what happened.

    Raises:
        WeightsError: the file is missing (the message says how to get it), unreadable, or does not fit.
    """
    check_there(path)
    arrays, dropped = load_arrays(path)
    return merge(
        variables,
        arrays,
        layer_kinds=model.layer_kinds,
        backbone=model.backbone,
        source=str(path),
        dropped=dropped,
    )


def initial_variables(
    config: Config, model: DenseModel, variables: dict[str, Any]
) -> tuple[dict[str, Any], MergeReport | None]:
    """The variables that step 0 starts from; the merge's report is printed and kept in the run directory."""
    path = config.dense.loftr_pretrained_ckpt
    if path is None:
        # Of a run with weights that ended here before its first state.
        (Path(config.run_dir) / REPORT).unlink(missing_ok=True)
        return variables, None
    variables, report = merge_pretrained(model, variables, Path(path))
    print(report.text())
    checkpoint.write_json(Path(config.run_dir) / REPORT, report.to_json())
    return variables, report


def merged_params(report: MergeReport | None) -> frozenset[str]:
    """The parameters that pretrained weights filled, as paths below 'params/'."""
    paths = report.merged.values() if report else ()
    return frozenset(path.removeprefix("params/") for path in paths if path.startswith("params/"))


def kept_report(config: Config) -> MergeReport | None:
    """The report of the merge that a resumed run started from."""
    held = checkpoint.read_json(Path(config.run_dir) / REPORT)
    return MergeReport.from_json(held) if held else None


def try_weights(config: Config) -> str:
    """Merge the configured weights into a fresh model and run it once: the report and the shapes that came out.

    Raises:
        WeightsError: they are missing, unreadable, or do not fit.
    """
    model = DenseModel.from_config(config.dense, jnp.float32)
    variables = init_variables(model, config.seed, config.data.frame)
    variables, report = merge_pretrained(model, variables, Path(config.dense.loftr_pretrained_ckpt))
    grid = model.grid(*config.data.frame)
    image = jax.random.uniform(jax.random.key(config.seed), (1, *config.data.frame))
    output = jax.jit(model.apply)(variables, image, image[:, :, ::-1])
    dense = config.dense
    found = extract_matches(
        output.log_p,
        grid,
        grid,
        threshold=dense.threshold,
        border=dense.border,
        max_matches=dense.max_matches,
    )
    p = jnp.exp(output.log_p)
    if not bool(jnp.isfinite(p).all()):
        raise WeightsError(f"{report.source}: the forward pass gives values that are not finite")
    return f"{report.text()}\nforward pass: P {p.shape}, matches {found.cells.shape}"
