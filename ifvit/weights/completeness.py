"""Whether a set of arrays is whole: no layer, block, top-down path or fine stage of which a part is missing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from ifvit.weights.errors import WeightsError, listed
from ifvit.weights.names import BATCH_NORM, FIELDS, group_of

FINE_LAYERS = 2  # self, cross
_NORM = ("scale", "bias")
_LINEAR_PARTS, _NORM_PARTS, _PROJECTIONS = (
    [part.replace("\\", "") for part in FIELDS[field].split("|")] for field in ("linear", "norm", "project")
)
_OUT = re.compile(r"backbone/layer(\d)_outconv(?:2\.\d)?/")


def check_whole(arrays: Mapping[str, np.ndarray], called: Callable[[str], str] = str) -> None:
    """Raise `WeightsError` unless `arrays` (by our names) is whole, of finite numbers, and not empty.

    called: our name -> the name that the reader of the message knows the array by.
    """

    def named(names: Iterable[str]) -> str:
        return listed(called(name) for name in names)

    if not arrays:
        raise WeightsError(
            "holds neither LoFTR's coarse transformer (loftr_coarse) nor its backbone nor its fine stage (loftr_fine)"
        )
    if broken := [name for name, array in arrays.items() if not np.isfinite(array).all()]:
        raise WeightsError(f"these arrays hold numbers that are not finite in float32: {named(broken)}")
    if strange := sorted(top_down_names(arrays) - _top_down(arrays)):
        raise WeightsError(f"these arrays have no place in a ResNet-FPN of so many stages: {named(strange)}")
    if missing := sorted(required_names(arrays) - arrays.keys()):
        raise WeightsError(f"the network is incomplete; missing: {named(missing)}. Use the whole checkpoint")


def required_names(names: Iterable[str]) -> set[str]:
    """The arrays that must be there because those in `names` are."""
    names = set(names)
    groups = {group_of(name) for name in names}
    required = _layers("layers", names, 0)
    if "fine" in groups:
        required |= _layers("fine_transformer/layers", names, FINE_LAYERS)
        required |= {f"fine_preprocess/{part}/{leaf}" for part in _PROJECTIONS for leaf in ("kernel", "bias")}
    return required | _backbone(names) if "backbone" in groups else required


def top_down_names(names: Iterable[str]) -> set[str]:
    """The arrays among `names` of an FPN's path from the coarse map down to the fine one."""
    names = set(names)
    return {name for name in names if _OUT.match(name)} - _coarse_out(names)


def backbone_kind(names: Iterable[str]) -> str | None:
    """The kind of the backbone among `names`, told by its coarse map; None if there is no backbone."""
    names = {name for name in names if group_of(name) == "backbone"}
    if not names:
        return None
    if "backbone/layer4_outconv/kernel" in names:
        return "resnet_fpn_16_4"
    return "resnet_fpn_8_2" if "backbone/layer3_outconv/kernel" in names else "resnet18"


def layer_count(names: Iterable[str], prefix: str = "layers") -> int:
    """One more than the highest layer under `prefix`."""
    found = (re.match(rf"{prefix}\.(\d+)\.0/", name) for name in names)
    return max((int(match[1]) for match in found if match), default=-1) + 1


def _layers(prefix: str, names: set[str], at_least: int) -> set[str]:
    parts = {f"{part}/kernel" for part in _LINEAR_PARTS} | {f"{n}/{leaf}" for n in _NORM_PARTS for leaf in _NORM}
    return {f"{prefix}.{i}.0/{part}" for i in range(max(layer_count(names, prefix), at_least)) for part in parts}


def _backbone(names: set[str]) -> set[str]:
    required = _conv_norm("", "conv1", "bn1")
    blocks = _blocks(names)
    for stage in range(1, _stages(names) + 1):
        for block in range(blocks.get(stage, 0) + 1):
            place = f"layer{stage}.{block}/"
            required |= _conv_norm(place, "conv1", "bn1") | _conv_norm(place, "conv2", "bn2")
            # Where the map shrinks, and where else the file has one: a stage may also widen its first map.
            if (stage > 1 and block == 0) or any(name.startswith(f"backbone/{place}downsample") for name in names):
                required |= _conv_norm(place, "downsample.0", "downsample.1")
    if top_down_names(names):
        required |= _coarse_out(names) | _top_down(names)
    return required


def _blocks(names: Iterable[str]) -> dict[int, int]:
    """Stage -> its highest block."""
    blocks: dict[int, int] = {}
    for match in (re.match(r"backbone/layer(\d)\.(\d+)/", name) for name in names):
        if match:
            blocks[int(match[1])] = max(int(match[2]), blocks.get(int(match[1]), 0))
    return blocks


def _stages(names: Iterable[str]) -> int:
    names = list(names)
    outs = (int(match[1]) for match in map(_OUT.match, names) if match)
    return max((*_blocks(names), *outs), default=0)


def _coarse_out(names: Iterable[str]) -> set[str]:
    return {f"backbone/layer{_stages(names)}_outconv/kernel"}


def _top_down(names: Iterable[str]) -> set[str]:
    """The arrays of the path from the coarse map down to the fine one, two stages below."""
    top = _stages(names)
    found = set()
    for stage in (top - 1, top - 2):
        found |= {f"backbone/layer{stage}_outconv/kernel"}
        found |= _conv_norm(f"layer{stage}_", "outconv2.0", "outconv2.1") | _conv_norm(f"layer{stage}_", "outconv2.3")
    return found


def _conv_norm(place: str, conv: str, norm: str | None = None) -> set[str]:
    leaves = [f"{norm}/{leaf}" for leaf in BATCH_NORM.values()] if norm else []
    return {f"backbone/{place}{part}" for part in (f"{conv}/kernel", *leaves)}
