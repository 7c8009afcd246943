"""Which of LoFTR's official files weights come from, and so which position code they need."""

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
from ifvit.weights.errors import naming
from ifvit.weights.names import BIN_SCORE, group_of

MAX_TEXT = 2000  # characters of a provenance as text
_MAX_SOURCE = 120  # of its source


class Official(NamedTuple):
    """One of LoFTR's files: its name, and the `dense.temp_bug_fix` that it was trained with."""

    name: str
    temp_bug_fix: bool


# By git blob id, as `git hash-object FILE` prints it.
OFFICIAL = {
    "a8c45b0ab725f933c45f001effae25f22a4574dd": Official("outdoor_ds.ckpt", False),
    "e7cb02c2c629d50e24ec9ecacf4981904979907b": Official("indoor_ds_new.ckpt", True),
}


@dataclass(frozen=True)
class Provenance:
    """Where weights were first read from: `source`, a file's or a run's name; the file's git blob id, None for a run;
    the `dense.temp_bug_fix` they were trained with, None where that is not known.
    """

    source: str
    blob: str | None = None
    temp_bug_fix: bool | None = None

    @property
    def hint(self) -> bool | None:
        """The `dense.temp_bug_fix` that official files of such a name need; None where the name says nothing."""
        name = self.source.lower()
        if re.search(r"indoor_(ds_)?new", name):
            return True
        return False if re.search(r"(outdoor|indoor)(?![a-z])", name) else None

    def to_text(self) -> str:
        """This provenance as ASCII text to keep within a converted file."""
        return json.dumps(asdict(self) | {"source": printable(self.source[:_MAX_SOURCE])})

    @classmethod
    def from_text(cls, text: str | bytes | None) -> Provenance | None:
        """The provenance that `to_text` gave; None for anything else, since a stranger may have written the file."""
        if not text or len(text) > MAX_TEXT:
            return None
        try:
            held = json.loads(text)
            source, blob, fix = held["source"], held["blob"], held["temp_bug_fix"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        good_blob = blob is None or (isinstance(blob, str) and re.fullmatch("[0-9a-f]{40}", blob))
        if not isinstance(source, str) or not good_blob or not isinstance(fix, bool | None):
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
    """The provenance of a file that holds none. Raises `WeightsError`, naming the file, when it cannot be read."""
    with naming(path):
        blob = blob_id(path)
    known = OFFICIAL.get(blob)
    return Provenance(path.name, blob, known and known.temp_bug_fix)


def describe(file: str, origin: Provenance, names: Iterable[str], dropped: Mapping[str, str]) -> str:
    """Two lines for people about the file of that name: which it is and the position code it needs, what it holds.

    names: our names of its arrays; dropped: LoFTR's name -> reason of what was not read.
    """
    known = OFFICIAL.get(origin.blob)
    if known:
        line = f"LoFTR's official {known.name}, byte for byte (git blob id {origin.blob})"
    elif origin.blob:
        line = f"not byte for byte one of the official files known here (git blob id {origin.blob})"
    else:
        line = "trained here"
    whose = file if file == origin.source else f"{file}, made from {origin.source}"
    return f"{whose}: {line}; {_need(origin)}\n  holds {', '.join(_contents(names, dropped))}"


def warnings(
    origin: Provenance, names: Collection[str], *, temp_bug_fix: bool, num_layers: int, backbone: str, fine: str
) -> tuple[str, ...]:
    """What of the model's config, given by its keys under `dense`, does not suit the file whose arrays are `names`."""
    found = []
    groups = {group_of(name) for name in names}
    needed = origin.hint if origin.temp_bug_fix is None else origin.temp_bug_fix
    if "transformer" in groups and needed is not None and needed != temp_bug_fix:
        have = str(temp_bug_fix).lower()
        found.append(f"{origin.source} {_need(origin)}; the config has {have}, another position code")
    more, layers, kind = [], layer_count(names), backbone_kind(names)
    if layers > num_layers:
        more.append(f"{layers} layers (dense.num_layers={num_layers})")
    if kind and kind != backbone:
        more.append(f"the backbone {kind} (dense.backbone={backbone})")
    if "fine" in groups and fine == "none":
        more.append("the fine stage (dense.fine=none)")
    if more:
        found.append(f"the file has more than the model uses: {', '.join(more)}")
    return tuple(found)


def _need(origin: Provenance) -> str:
    """Which `dense.temp_bug_fix` goes with the weights, and how that is known."""
    if origin.temp_bug_fix is not None:
        return f"needs dense.temp_bug_fix={str(origin.temp_bug_fix).lower()}"
    if origin.hint is not None:
        return f"needs dense.temp_bug_fix={str(origin.hint).lower()}, going by the name {origin.source} alone"
    return "may need dense.temp_bug_fix=false (as outdoor_ds and indoor_ds do) or true (as indoor_ds_new does)"


def _contents(names: Iterable[str], dropped: Mapping[str, str]) -> list[str]:
    names = list(names)
    held = []
    if layers := layer_count(names):
        held.append(f"{layers} transformer layers")
    if kind := backbone_kind(names):
        held.append(f"the backbone {kind}{' with its fine map' if top_down_names(names) else ''}")
    if any(group_of(name) == "fine" for name in names):
        held.append("the fine stage")
    if BIN_SCORE in dropped.values():
        held.append("coarse_matching.bin_score, that is, it was trained with optimal transport (an _ot file)")
    return held
