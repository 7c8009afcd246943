"""Merge pretrained LoFTR weights into a new model, and keep the report of it on disk."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from ifvit import backend, program
from ifvit.config import Config
from ifvit.models.dense import DenseModel
from ifvit.pair import Pair
from ifvit.storage.json_files import read_json, write_json
from ifvit.training.dense_matches import select_matches
from ifvit.training.state import init_variables
from ifvit.weights.errors import WeightsError
from ifvit.weights.loftr import Converted, read_weights
from ifvit.weights.merge import MergeReport, merge
from ifvit.weights.official import describe, warnings

REPORT = "merge_report.json"

HOW_TO_GET = """\
  get LoFTR's weights (outdoor_ds.ckpt, from the links on LoFTR's project page, github.com/zju3dv/LoFTR), then
    {convert} --pytorch_ckpt outdoor_ds.ckpt --output {npz}{key}
  (and --prefix '' for its backbone and fine stage too), or point dense.loftr_pretrained_ckpt at the .ckpt itself, or
  train LoFTR's encoder from scratch with dense.loftr_pretrained_ckpt=null"""


def check_exists(path: Path) -> None:
    """Check that the file of weights exists.

    Raises:
        WeightsError: it does not; the message says how to get the weights.
    """
    if not path.exists():
        # An absolute path may be in a read-only folder of inputs.
        npz = (Path("checkpoints") / path.name if path.is_absolute() else path).with_suffix(".npz")
        key = "" if npz == path else f"\n    and set dense.loftr_pretrained_ckpt={npz}"
        instructions = HOW_TO_GET.format(convert=program.command("convert"), npz=npz, key=key)
        raise WeightsError(f"dense.loftr_pretrained_ckpt: {path} does not exist\n{instructions}")


def read_pretrained(path: Path) -> Converted:
    """The weights of `path`: a PyTorch, `.safetensors` or converted `.npz` file.

    Raises:
        WeightsError: it is missing (the message says how to get it) or cannot be read.
    """
    check_exists(path)
    return read_weights(path)


def merge_pretrained(
    model: DenseModel, variables: dict[str, Any], weights: Converted, path: Path
) -> tuple[dict[str, Any], MergeReport]:
    """Merge the weights that were read from `path` into the variables: the new variables, and a report.

    Raises:
        WeightsError: the weights do not fit the model.
    """
    assert weights.origin is not None
    notes = warnings(
        weights.origin,
        weights.arrays.keys(),
        temp_bug_fix=model.temp_bug_fix,
        num_layers=model.num_layers,
        backbone=model.backbone,
        fine=model.fine,
    )
    return merge(
        variables,
        weights.arrays,
        layer_kinds=model.layer_kinds,
        backbone=model.backbone,
        source=str(path),
        dropped=weights.dropped,
        notes=[*notes, *([weights.note] if weights.note else [])],
        wrapper=weights.wrapper,
    )


def initial_variables(
    config: Config, model: DenseModel, variables: dict[str, Any]
) -> tuple[dict[str, Any], MergeReport | None]:
    """The variables of step 0. The report of a merge is printed and written into the run directory."""
    path = config.dense.loftr_pretrained_ckpt
    if path is None:
        # A report may be left from a run with weights that ended before its first state.
        (Path(config.run_dir) / REPORT).unlink(missing_ok=True)
        return variables, None
    variables, report = merge_pretrained(model, variables, read_pretrained(Path(path)), Path(path))
    print(report.text())
    write_json(Path(config.run_dir) / REPORT, report.to_dict())
    return variables, report


def merged_params(report: MergeReport | None) -> frozenset[str]:
    """The paths, below 'params/', of the parameters that pretrained weights filled."""
    paths = report.merged.values() if report else ()
    return frozenset(path.removeprefix("params/") for path in paths if path.startswith("params/"))


def stored_report(config: Config) -> MergeReport | None:
    """The merge report in the run directory of a resumed run; None without pretrained weights."""
    stored = read_json(Path(config.run_dir) / REPORT)
    return MergeReport.from_dict(stored) if stored else None


def try_weights(config: Config) -> str:
    """Merge the configured weights into a new model and run it once.

    Returns the text that `ifvit weights` prints: what the weights are, the merge report, the shapes of the outputs.

    Raises:
        WeightsError: they are missing, cannot be read, or do not fit the model.
        BackendError: JAX has no device.
    """
    backend.start()
    assert config.dense.loftr_pretrained_ckpt is not None
    path = Path(config.dense.loftr_pretrained_ckpt)
    weights = read_pretrained(path)
    model = DenseModel.from_config(config.dense, jnp.float32)
    variables = init_variables(model, config.seed, config.data.frame)
    variables, report = merge_pretrained(model, variables, weights, path)
    assert weights.origin is not None
    description = describe(path.name, weights.origin, weights.arrays, weights.dropped)
    return f"{description}\n{report.text()}\nforward pass: {_forward(config, model, variables, path)}"


def _forward(config: Config, model: DenseModel, variables: dict[str, Any], path: Path) -> str:
    """Run the model on noise of the configured size: the shapes of its outputs, in words."""
    grid = model.grid(*config.data.frame)
    image = jax.random.uniform(jax.random.key(config.seed), (1, *config.data.frame))
    output = jax.jit(model.apply)(variables, image, image[:, :, ::-1])
    matches = select_matches(output.log_p, Pair(grid, grid), config.dense)
    values = [jnp.exp(output.log_p)]
    shapes = f"P {output.log_p.shape}, matches {matches.cells.shape}"
    if model.has_fine:
        refined = jax.jit(partial(model.apply, method=model.refine))(variables, output, matches.cells)
        values += [refined.points_b, refined.spread]
        shapes += f", refined points {refined.points_b.shape}"
    if not all(bool(jnp.isfinite(value).all()) for value in values):
        raise WeightsError(f"{path}: the forward pass gives values that are not finite")
    return shapes
