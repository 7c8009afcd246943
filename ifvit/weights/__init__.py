"""LoFTR's pretrained weights: read them safely, rename them, merge them into a model, and write them again."""

from ifvit.weights.errors import WeightsError
from ifvit.weights.loftr import (
    Converted,
    convert,
    convert_state_dict,
    load_arrays,
    read_npz,
    read_weights,
    state_dict,
    write_weights,
)
from ifvit.weights.merge import MergeReport, arrays_of, merge
from ifvit.weights.names import layer_kind
from ifvit.weights.npz import write_npz
from ifvit.weights.official import Provenance
from ifvit.weights.torch_file import read_state_dict

__all__ = [
    "Converted",
    "MergeReport",
    "Provenance",
    "WeightsError",
    "arrays_of",
    "convert",
    "convert_state_dict",
    "layer_kind",
    "load_arrays",
    "merge",
    "read_npz",
    "read_state_dict",
    "read_weights",
    "state_dict",
    "write_npz",
    "write_weights",
]
