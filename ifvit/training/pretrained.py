"""The hook that merges pretrained LoFTR weights into a new model, and its report on disk."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from ifvit import backend, program
from ifvit.config import Config
from ifvit.models.dense import DenseModel
from ifvit.storage.json_files import read_json, write_json
from ifvit.training.dense_matches import found_matches
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


def check_there(path: Path) -> None:
    """Raise a WeightsError that says how to get the weights when there is no such file."""
    if not path.exists():
        # What lies elsewhere may be a read-only input.
        npz = (Path("checkpoints") / path.name if path.is_absolute() else path).with_suffix(".npz")
        key = "" if npz == path else f"\n    and set dense.loftr_pretrained_ckpt={npz}"
        how = HOW_TO_GET.format(convert=program.command("convert"), npz=npz, key=key)
        raise WeightsError(f"dense.loftr_pretrained_ckpt: {path} does not exist\n{how}")


def read_pretrained(path: Path) -> Converted:
    """The weights of `path`: a PyTorch, `.safetensors` or converted `.npz` file.

    Raises:
        WeightsError: it is missing (the message says how to get it) or unreadable.
    """
    check_there(path)
    return read_weights(path)


def merge_pretrained(
    model: DenseModel, variables: dict[str, Any], weights: Converted, path: Path
) -> tuple[dict[str, Any], MergeReport]:
    """The variables with the weights read from `path` merged in, and the report of what happened.

    Raises:
        WeightsError: they do not fit.
    """
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
    """The variables that step 0 starts from; the merge's report is printed and kept in the run directory."""
    path = config.dense.loftr_pretrained_ckpt
    if path is None:
        # Of a run with weights that ended here before its first state.
        (Path(config.run_dir) / REPORT).unlink(missing_ok=True)
        return variables, None
    variables, report = merge_pretrained(model, variables, read_pretrained(Path(path)), Path(path))
    print(report.text())
    write_json(Path(config.run_dir) / REPORT, report.to_json())
    return variables, report


def merged_params(report: MergeReport | None) -> frozenset[str]:
    """The parameters that pretrained weights filled, as paths below 'params/'."""
    paths = report.merged.values() if report else ()
    return frozenset(path.removeprefix("params/") for path in paths if path.startswith("params/"))


def kept_report(config: Config) -> MergeReport | None:
    """The report of the merge that a resumed run started from."""
    held = read_json(Path(config.run_dir) / REPORT)
    return MergeReport.from_json(held) if held else None


def try_weights(config: Config) -> str:
    """Merge the configured weights into a fresh model and run it once: which weights they are, the report, and the
    shapes that came out.

    Raises:
        WeightsError: they are missing, unreadable, or do not fit.
        BackendError: JAX has no device to run it on.
    """
    backend.start()
    path = Path(config.dense.loftr_pretrained_ckpt)
    weights = read_pretrained(path)
    model = DenseModel.from_config(config.dense, jnp.float32)
    variables = init_variables(model, config.seed, config.data.frame)
    variables, report = merge_pretrained(model, variables, weights, path)
    said = describe(path.name, weights.origin, weights.arrays, weights.dropped)
    return f"{said}\n{report.text()}\nforward pass: {_forward(config, model, variables, path)}"


def _forward(config: Config, model: DenseModel, variables: dict[str, Any], path: Path) -> str:
    """The shapes that come out of the model, run on noise of the configured size."""
    grid = model.grid(*config.data.frame)
    image = jax.random.uniform(jax.random.key(config.seed), (1, *config.data.frame))
    output = jax.jit(model.apply)(variables, image, image[:, :, ::-1])
    found = found_matches(output.log_p, (grid, grid), config.dense)
    values = [jnp.exp(output.log_p)]
    shapes = f"P {output.log_p.shape}, matches {found.cells.shape}"
    if model.has_fine:
        refined = jax.jit(partial(model.apply, method=model.refine))(variables, output, found.cells)
        values += [refined.points_b, refined.spread]
        shapes += f", refined points {refined.points_b.shape}"
    if not all(bool(jnp.isfinite(value).all()) for value in values):
        raise WeightsError(f"{path}: the forward pass gives values that are not finite")
    return shapes
