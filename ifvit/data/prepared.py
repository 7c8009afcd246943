"""Real prints that were aligned beforehand (`data.preparing`), read back to train Module 2 on.

    DIR/key.json         what the work is, written first
    DIR/prints.csv       an impression a row: who it is, and why it cannot be used where it cannot
    DIR/prints/00000.npz of PRINTS impressions, in the table's order: grey, enhanced uint8 (n, H, W), ridges uint8
                         (n, H W / 8) packed, background uint8, ppi (the file's) and assumed (nobody said it)
    DIR/pairs/00000.npz  of PAIRS pairs: first, second int32 (rows of the table, from 0), genuine, failed, cause (why it
                         failed), to_first, to_second float32 (n, R, C, 2): where in the other print's frame, px, each
                         MAP_STEP-th pixel of the second, or of the first, lies; the last ones beyond the frame's end
    DIR/split.csv        who trained and who validated when it was prepared
    DIR/prepared.json    what it is and how much; written last, so that its presence says that all is there

Such a folder may come from elsewhere: no array, name or number of it is believed before it is checked.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ifvit.databases.prepared_table import content, read_records, read_told
from ifvit.databases.records import Record
from ifvit.databases.yearless import nameless
from ifvit.errors import DataError
from ifvit.storage.blocks import ArraySpec, Blocks

PRINTS, PAIRS = 64, 256  # of a block; what a kill costs
REASON = 300  # characters of why an image cannot be used
MAP_STEP = 8  # px of the frame between the points of a map; at 250 ppi the finest blocks that the ridges follow
FARTHEST = 1e5  # px, of a map's points
AREAS = (0.2, 5.0)  # of skin on average, as a share of what it was


def print_blocks(folder: Path, frame: tuple[int, int]) -> Blocks:
    """The blocks of the prints of a frame (height, width)."""
    packed = (-(-frame[0] * frame[1] // 8),)
    kinds = {"grey": ArraySpec("|u1", frame), "enhanced": ArraySpec("|u1", frame), "ridges": ArraySpec("|u1", packed),
             "background": ArraySpec("|u1"), "ppi": ArraySpec("<f8"), "assumed": ArraySpec("?"),
             "unusable": ArraySpec(f"<U{REASON}")}  # fmt: skip
    return Blocks(folder / "prints", kinds, PRINTS)


def map_points(frame: tuple[int, int]) -> np.ndarray:
    """The points (R, C, 2) px of a frame (height, width) that a map tells of."""
    along = (MAP_STEP * np.arange(-(-(side - 1) // MAP_STEP) + 1.0) for side in frame)
    y, x = np.meshgrid(*along, indexing="ij")
    return np.stack([x, y], axis=-1)


def pair_blocks(folder: Path, frame: tuple[int, int]) -> Blocks:
    """The blocks of the pairs of prints of a frame (height, width)."""
    shape = map_points(frame).shape
    kinds = {
        "first": ArraySpec("<i4"),
        "second": ArraySpec("<i4"),
        "genuine": ArraySpec("?"),
        "failed": ArraySpec("?"),
        "cause": ArraySpec("<U24"),
        "to_first": ArraySpec("<f4", shape),
        "to_second": ArraySpec("<f4", shape),
    }
    return Blocks(folder / "pairs", kinds, PAIRS)


class Prepared:
    """N prints of a prepared folder and the P pairs among them, all in memory: 34 KB a print of 128 px.

    records: of the prints; identity: int (N,), equal for one finger; grey, enhanced: uint8 (N, H, W); ridges: uint8
    (N, H W / 8), packed; background: uint8 (N,). first, second: int32 (P,), prints; genuine, failed: bool (P,);
    to_first, to_second: float32 (P, R, C, 2), the maps between the frames at `map_points`: of points of the second into
    the first, and back. fingerprint: what the whole folder is, wherever it lies.

    records: those wanted, of the folder's own.

    Raises:
        DataError: as `read_records`; a block is missing or damaged.
    """

    def __init__(self, folder: Path, records: Sequence[Record]):
        self.told, self.records = read_told(folder), list(records)
        named = read_records(folder)
        row_of = {_key(record): row for row, record in named.items()}
        rows = np.array([row_of[_key(record)] for record in self.records], np.int64)
        number: dict[str, int] = {}
        self.identity = np.array([number.setdefault(r.identity, len(number)) for r in self.records], np.int64)
        digest = hashlib.sha256(content(folder / "prepared.json"))
        who = (f"{row} {tuple(map(nameless, _key(record)))!r}" for row, record in named.items())
        digest.update("\n".join(who).encode())
        self._read_prints(folder, rows, digest)
        self._read_pairs(folder, rows, named, digest)
        self.fingerprint = f"{len(named)} prepared prints, {self.told.pairs} pairs, {digest.hexdigest()[:16]}"
        print(
            f"{len(self)} prepared prints and {len(self.first)} pairs in memory, {self.nbytes / 2**20:.0f} MB",
            file=sys.stderr,
        )

    def __len__(self) -> int:
        return len(self.records)

    @property
    def nbytes(self) -> int:
        """Bytes that the prints take."""
        return sum(array.nbytes for array in (self.grey, self.enhanced, self.ridges, self.background))

    def ridges_of(self, prints: np.ndarray) -> np.ndarray:
        """Where the prints (B,) show ridges, bool (B, H, W)."""
        height, width = self.told.frame
        return np.unpackbits(self.ridges[prints], axis=1, count=height * width).astype(bool).reshape(-1, height, width)

    def _read_prints(self, folder: Path, rows: np.ndarray, digest: Any) -> None:
        height, width = self.told.frame
        self.grey, self.enhanced = (np.empty((len(rows), height, width), np.uint8) for _ in range(2))
        self.ridges = np.empty((len(rows), -(-height * width // 8)), np.uint8)
        self.background = np.empty(len(rows), np.uint8)
        start = 0
        for block in print_blocks(folder, self.told.frame).read_all(self.told.prints, digest):
            here = np.flatnonzero((rows >= start) & (rows < start + len(block["grey"])))
            for name in ("grey", "enhanced", "ridges", "background"):
                getattr(self, name)[here] = block[name][rows[here] - start]
            start += len(block["grey"])

    def _read_pairs(self, folder: Path, rows: np.ndarray, named: dict[int, Record], digest: Any) -> None:
        identity = np.full(self.told.prints, -1, np.int64)
        number: dict[str, int] = {}
        for row, record in named.items():
            identity[row] = number.setdefault(record.identity, len(number))
        place = np.full(self.told.prints, -1, np.int32)
        place[rows] = np.arange(len(rows))
        blocks, kept = pair_blocks(folder, self.told.frame), []
        for k, block in enumerate(blocks.read_all(self.told.pairs, digest)):
            if wrong := _wrong(block, identity):
                raise DataError(f"{blocks.path(k)}: damaged ({wrong})")
            sides = place[block["first"]], place[block["second"]]
            here = (sides[0] >= 0) & (sides[1] >= 0)
            values = (*sides, *(block[name] for name in ("genuine", "failed", "to_first", "to_second")))
            kept.append([value[here] for value in values])
        if not kept:
            raise DataError(f"{folder}: holds no pairs")
        self.first, self.second, self.genuine, self.failed, self.to_first, self.to_second = map(
            np.concatenate, zip(*kept, strict=True)
        )


def _key(record: Record) -> tuple[str, str, str]:
    return record.database, record.identity, record.impression


def _wrong(block: Any, identity: np.ndarray) -> str | None:
    """What cannot be in a block of pairs; identity: of every row of the table, -1 where it cannot be used."""
    sides = np.stack([block["first"], block["second"]])
    if (sides < 0).any() or (sides >= len(identity)).any() or (identity[sides] < 0).any():
        return "a pair of prints that are not there"
    if (sides[0] == sides[1]).any() or ((identity[sides[0]] == identity[sides[1]]) != block["genuine"]).any():
        return "a pair that is not what the table says of its fingers"
    if any(_no_map(block[name][~block["failed"]]) for name in ("to_first", "to_second")):
        return "a map that is none"
    return None


def _no_map(maps: np.ndarray) -> bool:
    """Whether one of some maps (n, R, C, 2) takes skin nowhere, or leaves hardly anything of it."""
    if not (np.abs(maps) < FARTHEST).all():  # nor NaN
        return True
    along_x, along_y = (np.diff(maps.astype(np.float64), axis=axis) / MAP_STEP for axis in (2, 1))
    along_x, along_y = along_x[:, :-1], along_y[:, :, :-1]
    area = (along_x[..., 0] * along_y[..., 1] - along_x[..., 1] * along_y[..., 0]).mean((1, 2))
    return not ((area > AREAS[0]) & (area < AREAS[1])).all()
