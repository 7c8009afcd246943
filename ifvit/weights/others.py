"""What weights are that are not LoFTR's, in few words, by the names of their tensors."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable

from ifvit.weights.errors import listed

EXPECTED = "loftr_coarse.layers.0.q_proj.weight or backbone.conv1.weight"
# Patterns that are all found among the names of one architecture only.
ARCHITECTURES = {
    "EfficientLoFTR's": (r"\brbr_dense\.", r"\bloftr_coarse\."),
    "SuperGlue's": (r"\bkenc\.encoder\.", r"\bgnn\.layers\.\d+\.attn\."),
    "LightGlue's": (r"\blog_assignment\.\d+\.matchability\.",),
    "SuperPoint's": (r"\bconvPa\.weight$", r"\bconvDa\.weight$"),
    "a ResNet classifier's": (r"\blayer4\.0\.conv1\.weight$", r"\bfc\.weight$"),
    "a vision transformer's": (r"\bcls_token$", r"\bblocks\.0\.attn\.qkv\.weight$"),
}


def likeness(names: Iterable[str]) -> str:
    """How many tensors there are, whose they are where that is sure, what most are named like; what was expected."""
    names = list(names)
    guess = architecture(names)
    whose = f", by their names {guess}" if guess else ""
    parts = [name.split(".") for name in names]
    above = len(os.path.commonprefix(parts)) if len(parts) > 1 else 0
    kinds = Counter(".".join(name[above : above + 2]) for name in parts).most_common()
    common = listed((f"{kind[:40]} ({count})" for kind, count in kinds), 3)
    return f"{len(names)} tensors{whose}, named like {common}. Expected are names like {EXPECTED}"


def architecture(names: Iterable[str]) -> str | None:
    """Whose tensors of such names are; None where that is not sure."""
    names = list(names)
    for owner, patterns in ARCHITECTURES.items():
        if all(any(re.search(pattern, name) for name in names) for pattern in patterns):
            return owner
    return None
