"""LoFTR's pretrained weights: read them safely, name them, merge them into a model."""

from ifvit.weights.errors import WeightsError
from ifvit.weights.loftr import Converted, convert, convert_state_dict, layer_kind, load_arrays, read_npz
from ifvit.weights.merge import MergeReport, merge
from ifvit.weights.npz import write_npz
from ifvit.weights.torch_file import read_state_dict

__all__ = [
    "Converted",
    "MergeReport",
    "WeightsError",
    "convert",
    "convert_state_dict",
    "layer_kind",
    "load_arrays",
    "merge",
    "read_npz",
    "read_state_dict",
    "write_npz",
]
