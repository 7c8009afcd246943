"""The provenance of weights: LoFTR's official file they come from, and the position code that it needs."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import NamedTuple

from ifvit.console import printable
from ifvit.weights.completeness import backbone_kind, layer_count, top_down_names
from ifvit.weights.errors import prefix_errors
from ifvit.weights.names import BIN_SCORE, group_of

MAX_TEXT = 2000  # characters of a provenance as text
_MAX_SOURCE = 120  # characters of its source


class Official(NamedTuple):
    """An official file of LoFTR's weights."""

    name: str
    temp_bug_fix: bool  # the `dense.temp_bug_fix` of its training


# Git blob id, as `git hash-object FILE` prints it -> file.
OFFICIAL = {
    "a8c45b0ab725f933c45f001effae25f22a4574dd": Official("outdoor_ds.ckpt", False),
    "e7cb02c2c629d50e24ec9ecacf4981904979907b": Official("indoor_ds_new.ckpt", True),
}


@dataclass(frozen=True)
class Provenance:
    """The first source of weights."""

    source: str  # the name of a file or a run
    blob: str | None = None  # the file's git blob id; None for a run
    temp_bug_fix: bool | None = None  # the `dense.temp_bug_fix` of their training; None where it is not known

    @property
    def hint(self) -> bool | None:
        """The `dense.temp_bug_fix` that official files of such a name need; None where the name gives no hint."""
        name = self.source.lower()
        if re.search(r"indoor_(ds_)?new", name):
            return True
        return False if re.search(r"(outdoor|indoor)(?![a-z])", name) else None

    def to_text(self) -> str:
        """This provenance as ASCII text, to be stored in a converted file."""
        return json.dumps(asdict(self) | {"source": printable(self.source[:_MAX_SOURCE])})

    @classmethod
    def from_text(cls, text: str | bytes | None) -> Provenance | None:
        """The provenance of a text from `to_text`; None for any other text, which a foreign file may contain."""
        if not text or len(text) > MAX_TEXT:
            return None
        try:
            tree = json.loads(text)
            source, blob, fix = tree["source"], tree["blob"], tree["temp_bug_fix"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        is_blob = blob is None or (isinstance(blob, str) and re.fullmatch("[0-9a-f]{40}", blob))
        if not isinstance(source, str) or not is_blob or not isinstance(fix, bool | None):
            return None
        return cls(printable(source[:_MAX_SOURCE]), blob, fix)


def blob_id(path: str | PathLike[str]) -> str:
    """The git blob id of a file: the SHA-1 of b'blob SIZE\\0' and its content."""
    digest = hashlib.sha1(b"blob %d\0" % os.path.getsize(path), usedforsecurity=False)
    with open(path, "rb") as file:
        while piece := file.read(2**20):
            digest.update(piece)
    return digest.hexdigest()


def provenance_of(path: Path) -> Provenance:
    """The provenance of a file in which none is stored, by its git blob id.

    Raises:
        WeightsError: the file cannot be read; the message names it.
    """
    with prefix_errors(path):
        blob = blob_id(path)
    official = OFFICIAL.get(blob)
    return Provenance(path.name, blob, official and official.temp_bug_fix)


def describe(file: str, origin: Provenance, names: Iterable[str], dropped: Mapping[str, str]) -> str:
    """Describe a weights file in two lines: its provenance with the position code that it needs, and its content.

    Args:
        file: its name.
        origin: its provenance.
        names: the array names of its arrays.
        dropped: LoFTR's name -> reason of the tensors that were not read.
    """
    official = OFFICIAL.get(origin.blob) if origin.blob else None
    if official:
        line = f"LoFTR's official {official.name}, byte for byte (git blob id {origin.blob})"
    elif origin.blob:
        line = f"not byte for byte one of the official files known here (git blob id {origin.blob})"
    else:
        line = "trained here"
    subject = file if file == origin.source else f"{file}, made from {origin.source}"
    return f"{subject}: {line}; {_position_code(origin)}\n  holds {', '.join(_contents(names, dropped))}"


def warnings(
    origin: Provenance, names: Collection[str], *, temp_bug_fix: bool, num_layers: int, backbone: str, fine: str
) -> tuple[str, ...]:
    """The values of the model's config, its keys under `dense`, that do not suit the file with the arrays `names`."""
    texts = []
    groups = {group_of(name) for name in names}
    required = origin.hint if origin.temp_bug_fix is None else origin.temp_bug_fix
    if "transformer" in groups and required is not None and required != temp_bug_fix:
        value = str(temp_bug_fix).lower()
        texts.append(f"{origin.source} {_position_code(origin)}; the config has {value}, another position code")
    unused, layers, kind = [], layer_count(names), backbone_kind(names)
    if layers > num_layers:
        unused.append(f"{layers} layers (dense.num_layers={num_layers})")
    if kind and kind != backbone:
        unused.append(f"the backbone {kind} (dense.backbone={backbone})")
    if "fine" in groups and fine == "none":
        unused.append("the fine stage (dense.fine=none)")
    if unused:
        texts.append(f"the file has more than the model uses: {', '.join(unused)}")
    return tuple(texts)


def _position_code(origin: Provenance) -> str:
    """The `dense.temp_bug_fix` that the weights need, in words, and its source."""
    if origin.temp_bug_fix is not None:
        return f"needs dense.temp_bug_fix={str(origin.temp_bug_fix).lower()}"
    if origin.hint is not None:
        return f"needs dense.temp_bug_fix={str(origin.hint).lower()}, going by the name {origin.source} alone"
    return "may need dense.temp_bug_fix=false (as outdoor_ds and indoor_ds do) or true (as indoor_ds_new does)"


def _contents(names: Iterable[str], dropped: Mapping[str, str]) -> list[str]:
    """The parts of the network in a file, in words."""
    names = list(names)
    parts = []
    if layers := layer_count(names):
        parts.append(f"{layers} transformer layers")
    if kind := backbone_kind(names):
        parts.append(f"the backbone {kind}{' with its fine map' if top_down_names(names) else ''}")
    if any(group_of(name) == "fine" for name in names):
        parts.append("the fine stage")
    if BIN_SCORE in dropped.values():
        parts.append("coarse_matching.bin_score, that is, it was trained with optimal transport (an _ot file)")
    return parts
