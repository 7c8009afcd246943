"""Where real impressions come from: FVC folders, or a folder of images.

Every source ends in `Impressions`: all canvases in memory (grey and mask take 128 KB at 128 px, so 25,000 take 3.3 GB),
read, resampled and segmented once, so that no step ever waits for a disk.
"""

from __future__ import annotations

import hashlib
import re
import sys
import zlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ifvit import image
from ifvit.config import DataConfig, Source
from ifvit.data.pairs import CANVAS
from ifvit.progress import Progress

IMAGE_ENDINGS = {".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".tif", ".tiff"}
DEFAULT_PPI = 500.0
# ppi of databases 1-4 of each competition (the FVC sites' tables; 2006 is to be checked by ridge period).
FVC_PPI = {
    2000: (500, 500, 500, 500),
    2002: (500, 569, 500, 500),
    2004: (500, 500, 512, 500),
    2006: (250, 569, 500, 500),
}
FVC_FOLDER = re.compile(r"db([1-4])_?([ab])", re.IGNORECASE)
FVC_FILE = re.compile(r"(\d+)_(\d+)\.(tif|tiff|bmp|png)", re.IGNORECASE)


class DataError(ValueError):
    """The data cannot be used; the message says what was looked for, where, and what to do."""


class Record(NamedTuple):
    """One impression before it is read. `finger` is unique within `database`; ppi is the file's."""

    path: Path
    database: str
    finger: str
    ppi: float


@dataclass(frozen=True)
class Impressions:
    """N impressions in memory.

    grey: uint8 (N, Hc, Wc); ridges: bool (N, Hc, Wc); background: uint8 (N,); identity: int (N,), equal for one finger;
    finger: the identities' names, as 'database/finger'; fingerprint: what the data is, for comparison on resume.
    """

    grey: np.ndarray
    ridges: np.ndarray
    background: np.ndarray
    identity: np.ndarray
    finger: tuple[str, ...]
    fingerprint: str

    def __len__(self) -> int:
        return len(self.identity)

    def of(self, fingers: Iterable[int]) -> np.ndarray:
        """Indices of the impressions of these identities."""
        return np.flatnonzero(np.isin(self.identity, list(fingers)))


def load(data: DataConfig) -> Impressions:
    """All impressions of the configured source.

    Raises:
        DataError: nothing found, or more than `data.max_damaged` files unusable.
    """
    height, width = (CANVAS * side for side in data.frame)
    root = Path(data.root)
    if not root.is_dir():
        raise DataError(f"data.root: {root} is not a folder")
    records = fvc_records(root, data) if data.source is Source.fvc else folder_records(root, data)
    return read_all(root, records, data.ppi, height, width, data.max_damaged)


def natural(text: str) -> list[tuple[int, int | str]]:
    """A sorting key by which 9 comes before 10."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", text) if part]


def fvc_records(root: Path, data: DataConfig) -> list[Record]:
    """The impressions under `root` in FVC naming: `[Dbs/]DB1_B/101_1.tif`, any letter case."""
    folders = {}
    for folder in sorted([root, *root.glob("*/"), *root.glob("*/*/")]):
        name = FVC_FOLDER.fullmatch(folder.name)
        if name and folder.is_dir():
            known = folders.setdefault(f"DB{name[1]}_{name[2].upper()}", folder)
            if known.resolve() != folder.resolve():
                raise DataError(
                    f"data.root: {known} and {folder} are both a {name[0]}; point data.root at one of their folders"
                )
    wanted = [name.upper() for name in data.databases] if data.databases else sorted(folders)
    missing = [name for name in wanted if name not in folders]
    if missing or not wanted:
        raise DataError(
            f"data.root: {root} has no folder {', '.join(missing) or 'DB1_A, DB1_B, ...'} (FVC naming, also under "
            f"Dbs/); found: {', '.join(sorted(folders)) or 'none'}"
        )
    return [record for name in wanted for record in _fvc_database(folders[name], name, data)]


def _fvc_database(folder: Path, name: str, data: DataConfig) -> list[Record]:
    ppi = data.file_ppi or FVC_PPI[_fvc_year(folder, data)][int(name[2]) - 1]
    records = [
        Record(path, name, found[1], ppi)
        for path in sorted(folder.iterdir(), key=lambda p: natural(p.name))
        if (found := FVC_FILE.fullmatch(path.name))
    ]
    if not records:
        raise DataError(f"data.root: {folder} has no images named FINGER_IMPRESSION.tif, like 101_1.tif")
    return records


def _fvc_year(folder: Path, data: DataConfig) -> int:
    if data.fvc_year:
        return data.fvc_year
    years = re.findall(r"fvc[ _-]?(20\d\d)", str(folder.resolve()), re.IGNORECASE)
    if not years or int(years[-1]) not in FVC_PPI:
        raise DataError(
            f"data.fvc_year: the images' ppi depends on the competition and the path {folder} does not say which; "
            "set data.fvc_year to 2000, 2002, 2004 or 2006 (or data.file_ppi)"
        )
    return int(years[-1])


def folder_records(root: Path, data: DataConfig) -> list[Record]:
    """All images under `root`: a subfolder is a finger; an image directly in `root` is a finger of its own."""
    records = []
    for path in sorted(root.rglob("*"), key=lambda p: natural(str(p.relative_to(root)))):
        if path.suffix.lower() in IMAGE_ENDINGS and path.is_file():
            finger = path.stem if path.parent == root else str(path.parent.relative_to(root))
            records.append(Record(path, root.name, finger, data.file_ppi or DEFAULT_PPI))
    if not records:
        raise DataError(f"data.root: {root} holds no images ({', '.join(sorted(IMAGE_ENDINGS))})")
    return records


def read_all(
    root: Path, records: Sequence[Record], ppi: float, height: int, width: int, max_damaged: int
) -> Impressions:
    """The records' canvases. Unusable files are named and left out, up to `max_damaged` of them.

    Raises:
        DataError: more are unusable.
    """
    progress = Progress("reading images", len(records))

    def read(record: Record) -> image.Canvas | image.ImageError:
        try:
            return image.load_canvas(record.path, record.ppi, ppi, height, width)
        except image.ImageError as error:
            return error

    canvases = []
    with ThreadPoolExecutor() as pool:
        for canvas in pool.map(read, records):
            progress.step()
            canvases.append(canvas)
    damaged = [c for c in canvases if isinstance(c, image.ImageError)]
    _report_damaged(damaged, len(records), max_damaged)
    kept = [(r, c) for r, c in zip(records, canvases, strict=True) if isinstance(c, image.Canvas)]
    names = tuple(dict.fromkeys(f"{r.database}/{r.finger}" for r, _ in kept))
    number = {name: k for k, name in enumerate(names)}
    # The files' content rather than the canvases': another release of OpenCV may resample to other bits.
    with ThreadPoolExecutor() as pool:
        sums = pool.map(lambda pair: zlib.crc32(pair[0].path.read_bytes()), kept)
        listing = "\n".join(f"{r.path.relative_to(root)} {s} {r.ppi}" for (r, _), s in zip(kept, sums, strict=True))
    return Impressions(
        grey=np.stack([c.grey for _, c in kept]),
        ridges=np.stack([c.ridges for _, c in kept]),
        background=np.array([c.background for _, c in kept], np.uint8),
        identity=np.array([number[f"{r.database}/{r.finger}"] for r, _ in kept]),
        finger=names,
        fingerprint=f"{len(kept)} images, {hashlib.sha256(listing.encode()).hexdigest()[:16]}",
    )


def _report_damaged(damaged: Sequence[image.ImageError], total: int, max_damaged: int) -> None:
    lines = [f"  {error}" for error in damaged[:20]]
    if len(damaged) > 20:
        lines.append(f"  and {len(damaged) - 20} more")
    if len(damaged) > max_damaged or len(damaged) == total:
        raise DataError(
            f"data: {len(damaged)} of {total} images cannot be used, data.max_damaged={max_damaged} allows fewer:\n"
            + "\n".join(lines)
        )
    if damaged:
        print(
            f"{len(damaged)} of {total} images cannot be used and are left out:",
            *lines,
            sep="\n",
            file=sys.stderr,
        )


def split(impressions: Impressions, val_fingers: int | Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the impressions to train on and to validate on; no finger is in both.

    val_fingers: a number holds out that many, the last, of every database; names hold out those fingers of every
    database ('109' or 'DB1_B/109').

    Raises:
        DataError: an unknown name, or nobody left to train on.
    """
    databases: dict[str, list[int]] = {}
    for k, name in enumerate(impressions.finger):
        databases.setdefault(name.partition("/")[0], []).append(k)
    if isinstance(val_fingers, int):
        held = {k for fingers in databases.values() for k in fingers[-val_fingers:]}
    else:
        held = _named(impressions.finger, val_fingers)
    rest = set(range(len(impressions.finger))) - held
    if not rest:
        raise DataError(
            f"data.val_fingers: holding out {val_fingers} of {_count(databases)} leaves no finger to train on"
        )
    return impressions.of(rest), impressions.of(held)


def _named(fingers: Sequence[str], wanted: Sequence[str]) -> set[int]:
    def holds(name: str) -> Callable[[str], bool]:
        return lambda finger: name in (finger, finger.partition("/")[2])

    held = {name: {k for k, finger in enumerate(fingers) if holds(name)(finger)} for name in wanted}
    unknown = [name for name, found in held.items() if not found]
    if unknown:
        raise DataError(f"data.val_fingers: no finger {', '.join(unknown)}; there are {', '.join(fingers[:8])}, ...")
    return set().union(*held.values())


def _count(databases: dict[str, list[int]]) -> str:
    return ", ".join(f"{len(fingers)} fingers in {name}" for name, fingers in databases.items())
