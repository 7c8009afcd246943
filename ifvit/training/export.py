"""Export the weights of a trained run to a file, under this program's names or LoFTR's."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from ifvit.config.run_config import open_run
from ifvit.storage.checkpoint import read_variables
from ifvit.weights.errors import WeightsError
from ifvit.weights.loftr import check_suffix, write_weights
from ifvit.weights.merge import arrays_of
from ifvit.weights.official import Provenance


def export(run_dir: Path, output: str | PathLike[str]) -> str:
    """Write the params and batch statistics of a run's best state, else of its latest state, to `output`.

    The run directory is only read. Neither the run's data nor its device is needed.

    Args:
        output: ends in .npz (this program's names) or .safetensors (LoFTR's names).

    Returns a text for the console.

    Raises:
        WeightsError: LoFTR has no names for such a model, or the file cannot be written.
        CheckpointError: it is no run directory, contains no state, or its state is damaged.
    """
    check_suffix(output)
    dense = open_run(run_dir).tree["dense"]
    if not dense.get("use_loftr"):
        raise WeightsError(
            f"{run_dir}: its model has the plain encoder (dense.use_loftr=false), for which LoFTR has no names; "
            "runs of dense=loftr can be exported"
        )
    state_name, step, variables = read_variables(run_dir)
    try:
        arrays = arrays_of(variables)
    except WeightsError as error:
        raise WeightsError(f"{run_dir}: {error}") from error
    origin = Provenance(f"run {run_dir.resolve().name}, step {step}", temp_bug_fix=bool(dense["temp_bug_fix"]))
    write_weights(output, arrays, origin)
    parameters = sum(array.size for array in arrays.values())
    return (
        f"the {state_name} state of {run_dir}, step {step}: {len(arrays)} arrays, {parameters:,} parameters; "
        f"dense.temp_bug_fix={str(origin.temp_bug_fix).lower()} goes with them\nwritten to {output}"
    )
