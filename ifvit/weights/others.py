"""Recognise the weights of other architectures by the names of their tensors, for error messages."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable

from ifvit.weights.errors import short_list

EXPECTED = "loftr_coarse.layers.0.q_proj.weight or backbone.conv1.weight"
# Architecture -> patterns. Only the names of this architecture match all of them.
ARCHITECTURES = {
    "EfficientLoFTR's": (r"\brbr_dense\.", r"\bloftr_coarse\."),
    "SuperGlue's": (r"\bkenc\.encoder\.", r"\bgnn\.layers\.\d+\.attn\."),
    "LightGlue's": (r"\blog_assignment\.\d+\.matchability\.",),
    "SuperPoint's": (r"\bconvPa\.weight$", r"\bconvDa\.weight$"),
    "a ResNet classifier's": (r"\blayer4\.0\.conv1\.weight$", r"\bfc\.weight$"),
    "a vision transformer's": (r"\bcls_token$", r"\bblocks\.0\.attn\.qkv\.weight$"),
}


def likeness(names: Iterable[str]) -> str:
    """The tensors in words: their number, their architecture where it is certain, the most frequent names.

    The text ends with the expected names.
    """
    names = list(names)
    owner = architecture(names)
    ownership = f", by their names {owner}" if owner else ""
    parts = [name.split(".") for name in names]
    above = len(os.path.commonprefix(parts)) if len(parts) > 1 else 0
    kinds = Counter(".".join(name[above : above + 2]) for name in parts).most_common()
    common = short_list((f"{kind[:40]} ({count})" for kind, count in kinds), 3)
    return f"{len(names)} tensors{ownership}, named like {common}. Expected are names like {EXPECTED}"


def architecture(names: Iterable[str]) -> str | None:
    """The architecture of tensors with such names, a key of ARCHITECTURES; None where it is not certain."""
    names = list(names)
    for owner, patterns in ARCHITECTURES.items():
        if all(any(re.search(pattern, name) for name in names) for pattern in patterns):
            return owner
    return None
