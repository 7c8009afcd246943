"""Check that a set of arrays is complete: no array is missing of a layer, block, top-down path or fine stage.

Arrays are known by their array names (`names`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from ifvit.weights.errors import WeightsError, short_list
from ifvit.weights.names import BATCH_NORM, FIELDS, group_of

FINE_LAYERS = 2  # self, cross
_NORM = ("scale", "bias")
_LINEAR_PARTS, _NORM_PARTS, _PROJECTIONS = (
    [part.replace("\\", "") for part in FIELDS[field].split("|")] for field in ("linear", "norm", "project")
)
_OUT = re.compile(r"backbone/layer(\d)_outconv(?:2\.\d)?/")


def check_complete(arrays: Mapping[str, np.ndarray], display_name: Callable[[str], str | None] = str) -> None:
    """Check that the arrays are complete, not empty, and of finite numbers.

    Args:
        arrays: array name -> array.
        display_name: array name -> the name in the error message.

    Raises:
        WeightsError: they are not.
    """

    def joined(names: Iterable[str]) -> str:
        return short_list(display_name(name) or name for name in names)

    if not arrays:
        raise WeightsError(
            "holds neither LoFTR's coarse transformer (loftr_coarse) nor its backbone nor its fine stage (loftr_fine)"
        )
    if infinite := [name for name, array in arrays.items() if not np.isfinite(array).all()]:
        raise WeightsError(f"these arrays hold numbers that are not finite in float32: {joined(infinite)}")
    if superfluous := sorted(top_down_names(arrays) - _top_down(arrays)):
        raise WeightsError(f"these arrays have no place in a ResNet-FPN of so many stages: {joined(superfluous)}")
    if missing := sorted(required_names(arrays) - arrays.keys()):
        raise WeightsError(f"the network is incomplete; missing: {joined(missing)}. Use the whole checkpoint")


def required_names(names: Iterable[str]) -> set[str]:
    """All arrays of the network parts that at least one of `names` belongs to."""
    names = set(names)
    groups = {group_of(name) for name in names}
    required = _layers("layers", names, 0)
    if "fine" in groups:
        required |= _layers("fine_transformer/layers", names, FINE_LAYERS)
        required |= {f"fine_preprocess/{part}/{leaf}" for part in _PROJECTIONS for leaf in ("kernel", "bias")}
    return required | _backbone(names) if "backbone" in groups else required


def top_down_names(names: Iterable[str]) -> set[str]:
    """Those of `names` that belong to an FPN's top-down path from the coarse map to the fine one."""
    names = set(names)
    return {name for name in names if _OUT.match(name)} - _coarse_out(names)


def backbone_kind(names: Iterable[str]) -> str | None:
    """The kind of the backbone of `names`, by its coarse map; None if there is no backbone."""
    names = {name for name in names if group_of(name) == "backbone"}
    if not names:
        return None
    if "backbone/layer4_outconv/kernel" in names:
        return "resnet_fpn_16_4"
    return "resnet_fpn_8_2" if "backbone/layer3_outconv/kernel" in names else "resnet18"


def layer_count(names: Iterable[str], prefix: str = "layers") -> int:
    """One more than the highest layer under `prefix`."""
    matches = (re.match(rf"{prefix}\.(\d+)\.0/", name) for name in names)
    return max((int(match[1]) for match in matches if match), default=-1) + 1


def _layers(prefix: str, names: set[str], at_least: int) -> set[str]:
    """The arrays of all transformer layers under `prefix`, `at_least` so many layers."""
    parts = {f"{part}/kernel" for part in _LINEAR_PARTS} | {f"{n}/{leaf}" for n in _NORM_PARTS for leaf in _NORM}
    return {f"{prefix}.{i}.0/{part}" for i in range(max(layer_count(names, prefix), at_least)) for part in parts}


def _backbone(names: set[str]) -> set[str]:
    """The arrays of the backbone whose stages, blocks and paths occur in `names`."""
    required = _conv_norm("", "conv1", "bn1")
    blocks = _blocks(names)
    for stage in range(1, _stages(names) + 1):
        for block in range(blocks.get(stage, 0) + 1):
            place = f"layer{stage}.{block}/"
            required |= _conv_norm(place, "conv1", "bn1") | _conv_norm(place, "conv2", "bn2")
            # Where the map shrinks, and where the file has such a convolution: a stage may also widen its first map.
            if (stage > 1 and block == 0) or any(name.startswith(f"backbone/{place}downsample") for name in names):
                required |= _conv_norm(place, "downsample.0", "downsample.1")
    if top_down_names(names):
        required |= _coarse_out(names) | _top_down(names)
    return required


def _blocks(names: Iterable[str]) -> dict[int, int]:
    """Stage -> the number of its highest block."""
    blocks: dict[int, int] = {}
    for match in (re.match(r"backbone/layer(\d)\.(\d+)/", name) for name in names):
        if match:
            blocks[int(match[1])] = max(int(match[2]), blocks.get(int(match[1]), 0))
    return blocks


def _stages(names: Iterable[str]) -> int:
    """The number of the backbone's highest stage; 0 if there is none."""
    names = list(names)
    outs = (int(match[1]) for match in map(_OUT.match, names) if match)
    return max((*_blocks(names), *outs), default=0)


def _coarse_out(names: Iterable[str]) -> set[str]:
    """The convolution of the coarse map."""
    return {f"backbone/layer{_stages(names)}_outconv/kernel"}


def _top_down(names: Iterable[str]) -> set[str]:
    """The arrays of the path from the coarse map down to the fine one, two stages below."""
    top = _stages(names)
    path = set()
    for stage in (top - 1, top - 2):
        path |= {f"backbone/layer{stage}_outconv/kernel"}
        path |= _conv_norm(f"layer{stage}_", "outconv2.0", "outconv2.1") | _conv_norm(f"layer{stage}_", "outconv2.3")
    return path


def _conv_norm(place: str, conv: str, norm: str | None = None) -> set[str]:
    """The arrays of a convolution and of the norm after it."""
    leaves = [f"{norm}/{leaf}" for leaf in BATCH_NORM.values()] if norm else []
    return {f"backbone/{place}{part}" for part in (f"{conv}/kernel", *leaves)}
