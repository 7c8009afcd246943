"""Real prints that were aligned beforehand (`data.prepare`), read to train Module 2.

    DIR/key.json         the inputs and settings of the preparation; written first
    DIR/prints.csv       one impression per row: its identity, and the reason if it cannot be used
    DIR/prints/00000.npz PRINTS impressions, in the order of the table: grey, enhanced uint8 (n, H, W), ridges uint8
                         (n, H W / 8) packed, background uint8, ppi (of the file), assumed (whether this ppi is a
                         default), unusable (the reason, or empty)
    DIR/pairs/00000.npz  PAIRS pairs: first, second int32 (rows of the table, from 0), genuine, failed, cause (why it
                         failed), to_first, to_second float32 (n, R, C, 2) px: the points of the first print's frame at
                         each MAP_STEP-th pixel of the second, and the reverse; the last ones are beyond the frame
    DIR/split.csv        the split into training and validation at the time of preparation
    DIR/prepared.json    settings and counts; written last, so it exists only if the folder is complete

The folder may come from other people: every array, name and number is checked before it is used.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ifvit.databases.prepared_table import content, read_info, read_records
from ifvit.databases.records import Record
from ifvit.databases.yearless import nameless
from ifvit.errors import DataError
from ifvit.storage.blocks import ArraySpec, Blocks

PRINTS, PAIRS = 64, 256  # in a block; at most so many are lost when the work is killed
REASON_LENGTH = 300  # characters of the reason why an image cannot be used
MAP_STEP = 8  # px of the frame between the points of a map; at 250 ppi the size of the finest registration blocks
MAX_COORDINATE = 1e5  # px, of the points of a map
AREA_RANGE = (0.2, 5.0)  # mean area of the mapped skin, as a multiple of the original area


def print_blocks(folder: Path, frame: tuple[int, int]) -> Blocks:
    """The blocks of prints with a frame (height, width) px."""
    packed = (-(-frame[0] * frame[1] // 8),)
    kinds = {"grey": ArraySpec("|u1", frame), "enhanced": ArraySpec("|u1", frame), "ridges": ArraySpec("|u1", packed),
             "background": ArraySpec("|u1"), "ppi": ArraySpec("<f8"), "assumed": ArraySpec("?"),
             "unusable": ArraySpec(f"<U{REASON_LENGTH}")}  # fmt: skip
    return Blocks(folder / "prints", kinds, PRINTS)


def map_points(frame: tuple[int, int]) -> np.ndarray:
    """The points (R, C, 2) px of a frame (height, width) at which a map has values."""
    coordinates = (MAP_STEP * np.arange(-(-(side - 1) // MAP_STEP) + 1.0) for side in frame)
    y, x = np.meshgrid(*coordinates, indexing="ij")
    return np.stack([x, y], axis=-1)


def pair_blocks(folder: Path, frame: tuple[int, int]) -> Blocks:
    """The blocks of pairs of prints with a frame (height, width) px."""
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
    """N prints of a prepared folder and the P pairs among them, in memory (34 KB for a print of 128 px).

    info: the content of prepared.json.
    records: of the prints.
    identity: (N,) int, equal for prints of one finger.
    grey, enhanced: (N, H, W) uint8.
    ridges: (N, H W / 8) uint8, packed bits.
    background: (N,) uint8.
    first, second: (P,) int32, the prints of the pairs.
    genuine, failed: (P,) bool.
    to_first, to_second: (P, R, C, 2) float32, the maps at `map_points`: from the second frame to the first, and back.
    fingerprint: identifies the content of the folder, without its path.

    Args:
        records: the prints to read, some of the folder's records.

    Raises:
        DataError: as of `read_records`, or a block is missing or damaged.
    """

    def __init__(self, folder: Path, records: Sequence[Record]):
        self.info, self.records = read_info(folder), list(records)
        table = read_records(folder)
        row_of = {_key(record): row for row, record in table.items()}
        rows = np.array([row_of[_key(record)] for record in self.records], np.int64)
        number_of: dict[str, int] = {}
        self.identity = np.array([number_of.setdefault(r.identity, len(number_of)) for r in self.records], np.int64)
        digest = hashlib.sha256(content(folder / "prepared.json"))
        identities = (f"{row} {tuple(map(nameless, _key(record)))!r}" for row, record in table.items())
        digest.update("\n".join(identities).encode())
        self._read_prints(folder, rows, digest)
        self._read_pairs(folder, rows, table, digest)
        self.fingerprint = f"{len(table)} prepared prints, {self.info.pairs} pairs, {digest.hexdigest()[:16]}"
        print(
            f"{len(self)} prepared prints and {len(self.first)} pairs in memory, {self.nbytes / 2**20:.0f} MB",
            file=sys.stderr,
        )

    def __len__(self) -> int:
        return len(self.records)

    @property
    def nbytes(self) -> int:
        """The memory of the prints in bytes."""
        return sum(array.nbytes for array in (self.grey, self.enhanced, self.ridges, self.background))

    def ridges_of(self, prints: np.ndarray) -> np.ndarray:
        """Where the prints (B,) show ridges, (B, H, W) bool."""
        height, width = self.info.frame
        return np.unpackbits(self.ridges[prints], axis=1, count=height * width).astype(bool).reshape(-1, height, width)

    def _read_prints(self, folder: Path, rows: np.ndarray, digest: Any) -> None:
        """Read the prints in `rows` of the table. All blocks are digested."""
        height, width = self.info.frame
        self.grey, self.enhanced = (np.empty((len(rows), height, width), np.uint8) for _ in range(2))
        self.ridges = np.empty((len(rows), -(-height * width // 8)), np.uint8)
        self.background = np.empty(len(rows), np.uint8)
        start = 0
        for block in print_blocks(folder, self.info.frame).read_all(self.info.prints, digest):
            inside = np.flatnonzero((rows >= start) & (rows < start + len(block["grey"])))
            for name in ("grey", "enhanced", "ridges", "background"):
                getattr(self, name)[inside] = block[name][rows[inside] - start]
            start += len(block["grey"])

    def _read_pairs(self, folder: Path, rows: np.ndarray, table: dict[int, Record], digest: Any) -> None:
        """Read the pairs whose prints are both in `rows` of the table. All blocks are checked and digested."""
        identity = np.full(self.info.prints, -1, np.int64)
        number_of: dict[str, int] = {}
        for row, record in table.items():
            identity[row] = number_of.setdefault(record.identity, len(number_of))
        position_of = np.full(self.info.prints, -1, np.int32)
        position_of[rows] = np.arange(len(rows))
        blocks, chosen_blocks = pair_blocks(folder, self.info.frame), []
        for k, block in enumerate(blocks.read_all(self.info.pairs, digest)):
            if problem := _block_problem(block, identity):
                raise DataError(f"{blocks.path(k)}: damaged ({problem})")
            sides = position_of[block["first"]], position_of[block["second"]]
            inside = (sides[0] >= 0) & (sides[1] >= 0)
            values = (*sides, *(block[name] for name in ("genuine", "failed", "to_first", "to_second")))
            chosen_blocks.append([value[inside] for value in values])
        if not chosen_blocks:
            raise DataError(f"{folder}: holds no pairs")
        self.first, self.second, self.genuine, self.failed, self.to_first, self.to_second = map(
            np.concatenate, zip(*chosen_blocks, strict=True)
        )


def _key(record: Record) -> tuple[str, str, str]:
    """What identifies a record in the table."""
    return record.database, record.identity, record.impression


def _block_problem(block: Any, identity: np.ndarray) -> str | None:
    """The problem of a block of pairs; None if it is valid.

    identity: (rows of the table,) int, equal for one finger, -1 if the print cannot be used.
    """
    sides = np.stack([block["first"], block["second"]])
    if (sides < 0).any() or (sides >= len(identity)).any() or (identity[sides] < 0).any():
        return "a pair of prints that are not there"
    if (sides[0] == sides[1]).any() or ((identity[sides[0]] == identity[sides[1]]) != block["genuine"]).any():
        return "a pair that is not what the table says of its fingers"
    if any(_has_invalid_map(block[name][~block["failed"]]) for name in ("to_first", "to_second")):
        return "a map that is none"
    return None


def _has_invalid_map(maps: np.ndarray) -> bool:
    """Whether one of the maps (n, R, C, 2) is not finite, or its mean area is out of range."""
    if not (np.abs(maps) < MAX_COORDINATE).all():  # also of NaN
        return True
    along_x, along_y = (np.diff(maps.astype(np.float64), axis=axis) / MAP_STEP for axis in (2, 1))
    along_x, along_y = along_x[:, :-1], along_y[:, :, :-1]
    area = (along_x[..., 0] * along_y[..., 1] - along_x[..., 1] * along_y[..., 0]).mean((1, 2))
    return not ((area > AREA_RANGE[0]) & (area < AREA_RANGE[1])).all()
