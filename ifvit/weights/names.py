"""The table of names: for every tensor of a LoFTR checkpoint its array name in this program, and back.

LoFTR's name is the one in a checkpoint of LoFTR (and of kornia). The array name is the one in a converted `.npz`:
`layers.{i}.0/q_proj/kernel`, `fine_transformer/layers.{i}.0/norm1/scale`, `backbone/layer1.0/conv1/kernel`,
`backbone/bn1/mean`, … Exactly one rule matches a tensor; anything else is an error. Linear kernels of this program are
(in, out), convolution kernels (height, width, in, out). docs/weights.md shows the table.
"""

from __future__ import annotations

import re
import string
from functools import cache
from typing import NamedTuple

BIN_SCORE = "belongs to optimal-transport matching; this model matches with dual softmax"
COUNTER = "a counter of training batches, not needed"
POSITION = "the position code is computed, not learned"
GROUPS = ("transformer", "backbone", "fine")

# Field of a template -> the pattern of its values.
FIELDS = {
    "i": "0|[1-9][0-9]?",  # the number of a layer or block, without leading zeros
    "stage": "[1-4]",
    "linear": r"q_proj|k_proj|v_proj|merge|mlp\.0|mlp\.2",
    "norm": "norm1|norm2",
    "project": "down_proj|merge_feat",
    "conv": r"conv1|conv2|downsample\.0",
    "bn": r"bn1|bn2|downsample\.1",
    "out": "0|3",
}
BATCH_NORM = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"}
LINEAR, CONV, VECTOR = (1, 0), (2, 3, 1, 0), (0,)


class Rule(NamedTuple):
    """A rule for the tensors of one template of LoFTR's names. Both templates have the same `FIELDS`."""

    loftr_template: str
    array_template: str | None  # None drops the tensor
    axes: tuple[int, ...] = ()  # the transposition from PyTorch's layout; its length is the number of axes
    reason: str = ""  # why a dropped tensor is not needed

    def array_name(self, loftr_name: str) -> str:
        """The array name of a tensor that this rule matches."""
        values = _fields(self.loftr_template, loftr_name)
        assert self.array_template is not None and values is not None
        return self.array_template.format_map(values)


def _layers(loftr: str, array: str) -> tuple[Rule, ...]:
    """The rules of transformer layers; loftr, array: the prefixes of their names."""
    return (
        Rule(f"{loftr}.{{i}}.{{linear}}.weight", f"{array}.{{i}}.0/{{linear}}/kernel", LINEAR),
        Rule(f"{loftr}.{{i}}.{{norm}}.weight", f"{array}.{{i}}.0/{{norm}}/scale", VECTOR),
        Rule(f"{loftr}.{{i}}.{{norm}}.bias", f"{array}.{{i}}.0/{{norm}}/bias", VECTOR),
    )


def _batch_norm(loftr: str, array: str) -> tuple[Rule, ...]:
    """The rules of a batch normalisation; loftr, array: the prefixes of its names."""
    leaves = (Rule(f"{loftr}.{old}", f"{array}/{new}", VECTOR) for old, new in BATCH_NORM.items())
    return (*leaves, Rule(f"{loftr}.num_batches_tracked", None, reason=COUNTER))


RULES: tuple[Rule, ...] = (
    *_layers("loftr_coarse.layers", "layers"),
    *_layers("loftr_fine.layers", "fine_transformer/layers"),
    Rule("fine_preprocess.{project}.weight", "fine_preprocess/{project}/kernel", LINEAR),
    Rule("fine_preprocess.{project}.bias", "fine_preprocess/{project}/bias", VECTOR),
    Rule("backbone.conv1.weight", "backbone/conv1/kernel", CONV),
    *_batch_norm("backbone.bn1", "backbone/bn1"),
    Rule("backbone.layer{stage}.{i}.{conv}.weight", "backbone/layer{stage}.{i}/{conv}/kernel", CONV),
    *_batch_norm("backbone.layer{stage}.{i}.{bn}", "backbone/layer{stage}.{i}/{bn}"),
    Rule("backbone.layer{stage}_outconv.weight", "backbone/layer{stage}_outconv/kernel", CONV),
    Rule("backbone.layer{stage}_outconv2.{out}.weight", "backbone/layer{stage}_outconv2.{out}/kernel", CONV),
    *_batch_norm("backbone.layer{stage}_outconv2.1", "backbone/layer{stage}_outconv2.1"),
    Rule("coarse_matching.bin_score", None, reason=BIN_SCORE),
    Rule("pos_encoding.pe", None, reason=POSITION),
)


@cache
def _pattern(template: str) -> re.Pattern[str]:
    """The pattern of a template, with a group for each field."""
    parts = string.Formatter().parse(template)
    return re.compile("".join(re.escape(text) + (f"(?P<{f}>{FIELDS[f]})" if f else "") for text, f, _, _ in parts))


def _fields(template: str, name: str) -> dict[str, str] | None:
    """Field -> value of a name that matches the template; None if it does not."""
    match = _pattern(template).fullmatch(name)
    return match and match.groupdict()


def matching_rules(loftr_name: str) -> list[Rule]:
    """The rules that match LoFTR's name (without wrappers): one rule for a tensor of LoFTR."""
    return [rule for rule in RULES if _fields(rule.loftr_template, loftr_name) is not None]


def rule_of(name: str) -> Rule | None:
    """The rule that gives the array name `name`; None if it is no array name."""
    return next(
        (rule for rule in RULES if rule.array_template and _fields(rule.array_template, name) is not None), None
    )


def source_name(name: str) -> str | None:
    """LoFTR's name of the array `name`; None if that is no array name."""
    rule = rule_of(name)
    if rule is None or rule.array_template is None:
        return None
    values = _fields(rule.array_template, name)
    assert values is not None
    return rule.loftr_template.format_map(values)


def counter_of(name: str) -> str | None:
    """LoFTR's name of the counter that PyTorch stores beside a normalisation's mean; None for other arrays."""
    loftr_name = source_name(name) if name.endswith("/mean") else None
    return loftr_name and loftr_name.replace("running_mean", "num_batches_tracked")


def group_of(name: str) -> str:
    """The part of the network that the array `name` belongs to, one of `GROUPS`."""
    if name.startswith("backbone/"):
        return "backbone"
    return "fine" if name.startswith("fine_") else "transformer"


def layer_kind(i: int) -> str:
    """The kind of LoFTR's transformer layer `i`: 'self' for even ones, 'cross' for odd ones."""
    return "cross" if i % 2 else "self"


def model_path(name: str) -> tuple[str, ...]:
    """The path of the array `name` in the model's variables, such as ('params', 'transformer', 'layers_0', …)."""
    *modules, leaf = name.split("/")
    if group_of(name) == "transformer":
        modules.insert(0, "transformer")
    collection = "batch_stats" if leaf in ("mean", "var") else "params"
    return (collection, *(re.sub(r"^(layers\.\d+)\.0$", r"\1", m).replace(".", "_") for m in modules), leaf)


def array_name(path: tuple[str, ...]) -> str | None:
    """The array name of a path in the model's variables, the inverse of `model_path`; None if it has none."""
    modules = [re.sub(r"_(\d+)$", r".\1", module) for module in path[1:-1]]
    modules = [f"{module}.0" if re.match(r"layers\.\d+$", module) else module for module in modules]
    name = "/".join([*(modules[1:] if modules[:1] == ["transformer"] else modules), path[-1]])
    return name if rule_of(name) and model_path(name) == path else None
