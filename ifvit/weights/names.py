"""The table of names: what becomes of every tensor of a LoFTR checkpoint, read both ways.

Theirs is LoFTR's (and kornia's) name, ours the one in a converted `.npz`: `layers.{i}.0/q_proj/kernel`,
`fine_transformer/layers.{i}.0/norm1/scale`, `backbone/layer1.0/conv1/kernel`, `backbone/bn1/mean`, … A tensor meets
exactly one rule or is an error. Linear kernels of ours are (in, out), convolution kernels (height, width, in, out).
docs/weights.md shows the table.
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

# What may stand for a field of a template.
FIELDS = {
    "i": "0|[1-9][0-9]?",  # the number of a layer or block, written in one way only
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
    """The tensors named `theirs` are our arrays `ours`, or are dropped; both are templates of the same `FIELDS`."""

    theirs: str
    ours: str | None  # None drops the tensor
    axes: tuple[int, ...] = ()  # the transposition from PyTorch's layout; its length is the number of axes
    reason: str = ""  # why a dropped tensor is not needed

    def our_name(self, theirs: str) -> str:
        """Ours of one of this rule's tensors."""
        return self.ours.format_map(_fields(self.theirs, theirs))


def _layers(theirs: str, ours: str) -> tuple[Rule, ...]:
    return (
        Rule(f"{theirs}.{{i}}.{{linear}}.weight", f"{ours}.{{i}}.0/{{linear}}/kernel", LINEAR),
        Rule(f"{theirs}.{{i}}.{{norm}}.weight", f"{ours}.{{i}}.0/{{norm}}/scale", VECTOR),
        Rule(f"{theirs}.{{i}}.{{norm}}.bias", f"{ours}.{{i}}.0/{{norm}}/bias", VECTOR),
    )


def _batch_norm(theirs: str, ours: str) -> tuple[Rule, ...]:
    leaves = (Rule(f"{theirs}.{old}", f"{ours}/{new}", VECTOR) for old, new in BATCH_NORM.items())
    return (*leaves, Rule(f"{theirs}.num_batches_tracked", None, reason=COUNTER))


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
    parts = string.Formatter().parse(template)
    return re.compile("".join(re.escape(text) + (f"(?P<{f}>{FIELDS[f]})" if f else "") for text, f, _, _ in parts))


def _fields(template: str, name: str) -> dict[str, str] | None:
    match = _pattern(template).fullmatch(name)
    return match and match.groupdict()


def matching_rules(theirs: str) -> list[Rule]:
    """Every rule that LoFTR's name (without wrappers' prefixes) meets: one, for a LoFTR tensor."""
    return [rule for rule in RULES if _fields(rule.theirs, theirs) is not None]


def rule_of(ours: str) -> Rule | None:
    """The rule that gives our array `ours`; None if that is no name of ours."""
    return next((rule for rule in RULES if rule.ours and _fields(rule.ours, ours) is not None), None)


def source_name(ours: str) -> str | None:
    """LoFTR's name of our array `ours`; None if that is no name of ours."""
    rule = rule_of(ours)
    return rule and rule.theirs.format_map(_fields(rule.ours, ours))


def counter_of(ours: str) -> str | None:
    """LoFTR's name of the counter that PyTorch keeps beside a normalisation's mean; None for other arrays."""
    return source_name(ours).replace("running_mean", "num_batches_tracked") if ours.endswith("/mean") else None


def group_of(ours: str) -> str:
    """The part of the network that our array belongs to, one of `GROUPS`."""
    if ours.startswith("backbone/"):
        return "backbone"
    return "fine" if ours.startswith("fine_") else "transformer"


def layer_kind(i: int) -> str:
    """The kind of LoFTR's transformer layer `i`: 'self' for even ones, 'cross' for odd ones."""
    return "cross" if i % 2 else "self"


def model_path(ours: str) -> tuple[str, ...]:
    """The place of our array in the model's variables, such as ('params', 'transformer', 'layers_0', …)."""
    *modules, leaf = ours.split("/")
    if group_of(ours) == "transformer":
        modules.insert(0, "transformer")
    collection = "batch_stats" if leaf in ("mean", "var") else "params"
    return (collection, *(re.sub(r"^(layers\.\d+)\.0$", r"\1", m).replace(".", "_") for m in modules), leaf)


def array_name(path: tuple[str, ...]) -> str | None:
    """Our name of the array at a place in the model's variables, the inverse of `model_path`; None if it has none."""
    modules = [re.sub(r"_(\d+)$", r".\1", module) for module in path[1:-1]]
    modules = [f"{module}.0" if re.match(r"layers\.\d+$", module) else module for module in modules]
    ours = "/".join([*(modules[1:] if modules[:1] == ["transformer"] else modules), path[-1]])
    return ours if rule_of(ours) and model_path(ours) == path else None
