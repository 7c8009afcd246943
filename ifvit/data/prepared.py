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

import csv
import hashlib
import io
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ifvit import program
from ifvit.config import Enhancement
from ifvit.data.blocks import KEY, Blocks, Kind
from ifvit.data.records import FINGERS, DataError, Record
from ifvit.data.yearless import nameless

FORMAT = 2  # raise it when a folder is read otherwise
PRINTS, PAIRS = 64, 256  # of a block; what a kill costs
REASON = 300  # characters of why an image cannot be used
HEADING = ("path", "database", "subject", "finger", "impression", "device", "capture", "ppi", "unusable")
LARGEST = {"prepared.json": 2**20, "prints.csv": 2**30}  # bytes
LONGEST = 4096  # characters of a name
MOST = 10**8  # prints or pairs
PPI = (50.0, 10000.0)
MAP_STEP = 8  # px of the frame between the points of a map; at 250 ppi the finest blocks that the ridges follow
FARTHEST = 1e5  # px, of a map's points
AREAS = (0.2, 5.0)  # of skin on average, as a share of what it was


class Told(NamedTuple):
    """What a folder says of itself. module1: the digest of the Module 1 that took part in aligning it; frame: (height,
    width) px; prints: rows of the table, pairs: how many there are.
    """

    module1: str
    frame: tuple[int, int]
    ppi: float
    enhancement: Enhancement
    prints: int
    pairs: int


def print_blocks(folder: Path, frame: tuple[int, int]) -> Blocks:
    """The blocks of the prints of a frame (height, width)."""
    packed = (-(-frame[0] * frame[1] // 8),)
    kinds = {"grey": Kind("|u1", frame), "enhanced": Kind("|u1", frame), "ridges": Kind("|u1", packed),
             "background": Kind("|u1"), "ppi": Kind("<f8"), "assumed": Kind("?"),
             "unusable": Kind(f"<U{REASON}")}  # fmt: skip
    return Blocks(folder / "prints", kinds, PRINTS)


def map_points(frame: tuple[int, int]) -> np.ndarray:
    """The points (R, C, 2) px of a frame (height, width) that a map tells of."""
    along = (MAP_STEP * np.arange(-(-(side - 1) // MAP_STEP) + 1.0) for side in frame)
    y, x = np.meshgrid(*along, indexing="ij")
    return np.stack([x, y], axis=-1)


def pair_blocks(folder: Path, frame: tuple[int, int]) -> Blocks:
    """The blocks of the pairs of prints of a frame (height, width)."""
    shape = map_points(frame).shape
    kinds = {"first": Kind("<i4"), "second": Kind("<i4"), "genuine": Kind("?"), "failed": Kind("?"),
             "cause": Kind("<U24"), "to_first": Kind("<f4", shape), "to_second": Kind("<f4", shape)}  # fmt: skip
    return Blocks(folder / "pairs", kinds, PAIRS)


def read_told(folder: Path) -> Told:
    """What a prepared folder says of itself.

    Raises:
        DataError: it is none, is not complete, or its prepared.json is damaged.
    """
    path, command = folder / "prepared.json", program.command("data prepare")
    if not path.is_file():
        if (folder / KEY).is_file():
            raise DataError(f"{folder} is not complete: type the same command ({command}) again")
        there = f"is no folder that `{command}` wrote" if folder.exists() else "is not there"
        raise DataError(f"{folder} {there}")
    try:
        held = json.loads(_content(path))
        if held["format"] != FORMAT:
            raise DataError(
                f"{path}: of format {held['format']!r}, this version reads {FORMAT}; prepare the prints anew into "
                f"another folder: {command} RUN_DIR data=... --out DIR"
            )
        height, width = (_count(side) for side in held["frame"])
        told = Told(str(held["module1"]), (height, width), float(held["ppi"]), Enhancement(held["enhancement"]),
                    _count(held["prints"]["listed"]), _count(held["pairs"]["listed"]))  # fmt: skip
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: damaged, or not what `data prepare` wrote ({error!r})") from error
    if not (0 < height <= 2**14 and 0 < width <= 2**14 and PPI[0] <= told.ppi <= PPI[1]):
        raise DataError(f"{path}: prints of {width}x{height} px at {told.ppi:g} ppi are none")
    return told


def _content(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            content = file.read(LARGEST[path.name] + 1)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    if len(content) > LARGEST[path.name]:
        raise DataError(f"{path}: larger than {LARGEST[path.name] >> 20} MB")
    return content


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= MOST:
        raise ValueError(f"{value!r} is no count")
    return value


def read_records(folder: Path) -> dict[int, Record]:
    """The impressions that can be used, by their row of the table, counted from 0.

    Raises:
        DataError: as `read_told`; the table is damaged, or a cell is wrong.
    """
    told, path = read_told(folder), folder / "prints.csv"
    if not path.is_file():
        raise DataError(f"{path}: is not there")
    try:
        rows = list(csv.reader(io.StringIO(_content(path).decode()), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a CSV table ({error})") from error
    if not rows or tuple(rows[0]) != HEADING or len(rows) != told.prints + 1:
        raise DataError(f"{path}: expected {told.prints} rows of {', '.join(HEADING)}")
    found = {}
    for number, row in enumerate(rows[1:]):
        try:
            record = _record(row)
        except ValueError as error:
            raise DataError(f"{path}, row {number + 1}: {error}") from error
        if not row[-1]:
            found[number] = record
    return found


def _record(row: Sequence[str]) -> Record:
    """A row's record.

    Raises:
        ValueError: a cell is wrong.
    """
    if len(row) != len(HEADING):
        raise ValueError(f"expected {len(HEADING)} cells, got {len(row)}")
    cells = dict(zip(HEADING, row, strict=True))
    for name, text in cells.items():
        if len(text) > LONGEST or not text.isprintable():
            raise ValueError(f"{name}: too long, or holds characters that cannot be printed")
        if not text and name in ("path", "database", "subject", "impression"):
            raise ValueError(f"{name}: empty")
    finger, ppi = cells["finger"], cells["ppi"]
    if finger and not (finger.isdecimal() and int(finger) in FINGERS):
        raise ValueError(f"finger: expected 1 to 10 or nothing, got {finger!r}")
    if ppi and not (re.fullmatch(r"\d+(\.\d+)?", ppi, re.ASCII) and PPI[0] <= float(ppi) <= PPI[1]):
        raise ValueError(f"ppi: expected {PPI[0]:g} to {PPI[1]:g} or nothing, got {ppi!r}")
    return Record(
        path=Path(cells["path"]),
        database=cells["database"],
        subject=cells["subject"],
        finger=int(finger) if finger else None,
        impression=cells["impression"],
        device=cells["device"] or None,
        capture=cells["capture"] or None,
        ppi=float(ppi) if ppi else None,
    )


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
        digest = hashlib.sha256(_content(folder / "prepared.json"))
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
        for block in print_blocks(folder, self.told.frame).held(self.told.prints, digest):
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
        for k, block in enumerate(blocks.held(self.told.pairs, digest)):
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
