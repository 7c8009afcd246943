"""The real impressions of a run: every file read and checked once at the start, and canvases from then on.

What is damaged is known before training begins, and no step waits for a disk while `data.memory_gb` holds all canvases
(grey and mask take 128 KB at 128 px, so 4 GB are 32,000 images). What is beyond is decoded again, in the threads of
the loader, whenever a batch needs it. Either way a canvas is a function of its file alone.
"""

from __future__ import annotations

import hashlib
import io
import sys
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from ifvit import image, program
from ifvit.config import DataConfig, Enhancement
from ifvit.data.warped_pairs import CANVAS
from ifvit.databases.records import Record
from ifvit.databases.sources import find
from ifvit.databases.yearless import nameless
from ifvit.enhancement.enhancer import Enhancer, misfit
from ifvit.errors import DataError
from ifvit.progress import Progress

AT_ONCE = 256  # images read before any of them is put away
CANVAS_RECIPE = 2  # raise it when a file becomes another canvas: runs trained on the old ones are then not gone on with


def load(data: DataConfig) -> Impressions:
    """The impressions of the configured sources.

    Raises:
        DataError: nothing found, or more than `data.max_damaged` files cannot be used.
    """
    return Impressions(find(data), data)


class Checked(NamedTuple):
    """What reading a file gave: its canvas, or why there is none, and its content's checksum."""

    record: Record
    canvas: image.Canvas | image.ImageError
    crc: int


class Impressions:
    """N impressions.

    records: of all that can be used; part: (N,) the name of the source of each; identity: int (N,), equal for one
    finger; names: the identities' names; fingerprint: what the data is, for comparison on resume.

    Raises:
        DataError: more than `data.max_damaged` files cannot be used, or none can; one image bears the names of two
            fingers.
    """

    def __init__(self, sources: Mapping[str, Sequence[Record]], data: DataConfig):
        self._data = data
        self._frame = tuple(CANVAS * side for side in data.frame)
        self._enhancer = Enhancer(data.ridge_mask, data.cache_dir)
        self._kept: dict[int, image.Canvas] = {}
        self.records: list[Record] = []
        self._digests: list[bytes] = []
        listing, damaged, part = [], [], []
        total = sum(map(len, sources.values()))
        self._progress = Progress("reading images", total)
        room = int(data.memory_gb * 2**30)
        for name, checked in self._survey(sources):
            if isinstance(checked.canvas, image.ImageError):
                damaged.append(checked.canvas)
                continue
            size = checked.canvas.grey.nbytes + checked.canvas.ridges.nbytes
            if room >= size:
                self._kept[len(self.records)] = checked.canvas
                room -= size
            self.records.append(checked.record._replace(ppi=checked.canvas.ppi))
            self._digests.append(_digest(checked.canvas))
            part.append(name)
            listing.append(_line(name, checked, data))
        report_damaged(damaged, total, data.max_damaged)
        self.part = np.array(part)
        self.names = tuple(dict.fromkeys(record.identity for record in self.records))
        number = {name: k for k, name in enumerate(self.names)}
        self.identity = np.array([number[record.identity] for record in self.records])
        refuse_copies(self.records, self._digests)
        content = hashlib.sha256("\n".join([f"canvas {CANVAS_RECIPE}", *listing]).encode()).hexdigest()
        self.fingerprint = f"{len(listing)} images, {content[:16]}"

    def __len__(self) -> int:
        return len(self.records)

    @property
    def in_memory(self) -> int:
        """How many canvases are kept ready."""
        return len(self._kept)

    def canvas(self, k: int) -> image.Canvas:
        """Impression k in a frame CANVAS times the network's; safe in several threads.

        Raises:
            ImageError: its file has changed since it was checked.
        """
        if k in self._kept:
            return self._kept[k]
        made = next(self._canvases([self.records[k]], map))
        if isinstance(made, image.ImageError):
            raise made
        if _digest(made) != self._digests[k]:
            raise image.ImageError(f"{self.records[k].path}: has changed since it was checked")
        return made

    def _survey(self, sources: Mapping[str, Sequence[Record]]) -> Iterator[tuple[str, Checked]]:
        """Every file, read in parallel; a bounded number of canvases is on its way at any time."""
        said: defaultdict[str, int] = defaultdict(int)
        with ThreadPoolExecutor() as pool:
            for name, records in sources.items():
                for start in range(0, len(records), AT_ONCE):
                    some = records[start : start + AT_ONCE]
                    sums = pool.map(_crc, some)
                    for record, canvas, crc in zip(some, self._canvases(some, pool.map), sums, strict=True):
                        self._progress.step()
                        if isinstance(canvas, image.Canvas):
                            said["assumed"] += canvas.ppi_from is image.PpiFrom.assumed
                            said["inverted"] += canvas.inverted
                        yield name, Checked(record, canvas, crc)
        report_assumed(said["assumed"], len(self))
        if said["inverted"]:
            print(f"{said['inverted']} images with light ridges on a dark ground were turned over", file=sys.stderr)

    def _canvases(self, records: Sequence[Record], apply) -> Iterator[image.Canvas | image.ImageError]:
        """The canvases of some records, or why there is none; `apply` is map, or a pool's."""
        if self._data.ridge_mask is Enhancement.none:
            return iter(apply(self._loaded, records))
        scans = [_unless_misfit(record, scan) for record, scan in zip(records, apply(scan_of, records), strict=True)]
        good = [k for k, scan in enumerate(scans) if isinstance(scan, image.Scan)]
        ppis = [image.choose_ppi(scans[k], records[k].ppi)[0] for k in good]
        masks = self._enhancer.ridges_many([scans[k].grey for k in good], ppis)
        ridges = dict(zip(good, masks, strict=True))
        return iter(apply(lambda k: self._placed(records[k], scans[k], ridges.get(k)), range(len(records))))

    def _loaded(self, record: Record) -> image.Canvas | image.ImageError:
        try:
            return image.load_canvas(record.path, record.ppi, self._data.ppi, *self._frame)
        except image.ImageError as error:
            return error

    def _placed(self, record: Record, scan: image.Scan, ridges) -> image.Canvas | image.ImageError:
        if isinstance(scan, image.ImageError):
            return scan
        try:
            return image.canvas_of(scan, ridges, record.ppi, self._data.ppi, *self._frame)
        except image.ImageError as error:
            return image.ImageError(f"{record.path}: {error}")


def scan_of(record: Record) -> image.Scan | image.ImageError:
    """A record's image, or why there is none; the reason names the file."""
    try:
        return image.read(record.path)
    except image.ImageError as error:
        return error


def _unless_misfit(record: Record, scan: image.Scan | image.ImageError) -> image.Scan | image.ImageError:
    """The scan, where enhancement can take it; a wrong ppi would ask for more memory than there is."""
    if isinstance(scan, image.ImageError):
        return scan
    why = misfit(scan.grey, image.choose_ppi(scan, record.ppi)[0])
    return scan if why is None else image.ImageError(f"{record.path}: {why}")


def _crc(record: Record) -> int:
    """The checksum of a file's content."""
    crc = 0
    try:
        with open(record.path, "rb") if record.path.is_file() else io.BytesIO() as file:
            while piece := file.read(2**20):  # whatever its size, it takes no more memory
                crc = zlib.crc32(piece, crc)
    except OSError:
        pass  # what reading it says is said by the image's own reading
    return crc


def _digest(canvas: image.Canvas) -> bytes:
    return digest_of(canvas.grey, np.packbits(canvas.ridges))


def digest_of(grey: np.ndarray, packed: np.ndarray) -> bytes:
    """Of what a canvas shows, its grey and its packed ridges: the same for the same pixels in whatever file."""
    digest = hashlib.blake2b(grey.tobytes(), digest_size=16)
    digest.update(packed.tobytes())
    return digest.digest()


def refuse_copies(records: Sequence[Record], digests: Sequence[bytes]) -> None:
    """One image under two fingers is a genuine pair called an impostor one, and may be trained and validated on.

    Raises:
        DataError: naming both files.
    """
    first: dict[bytes, Record] = {}
    for record, digest in zip(records, digests, strict=True):
        held = first.setdefault(digest, record)
        if held.identity != record.identity:
            raise DataError(
                f"data: {held.path} and {record.path} are one image, of {held.identity} and of {record.identity}; "
                f"remove one of them ({program.command('data check')} finds all)"
            )


def _line(name: str, checked: Checked, data: DataConfig) -> str:
    """An impression in the listing that the fingerprint is of: who it is and what, but not where it lies."""
    record = checked.record
    # The files' content rather than the canvases': another release of OpenCV may resample to other bits.
    who = f"{nameless(record.database)} {nameless(record.identity)} {record.impression}"
    line = f"{who} {checked.crc} {checked.canvas.ppi}"
    return line if len(data.parts) == 1 else f"{name}/{line}"


def report_assumed(count: int, total: int) -> None:
    """Say how many of `total` images have no resolution but the assumed one."""
    if count:
        print(
            f"{count} of {total} images say nowhere what their resolution is: {image.DEFAULT_PPI:g} ppi are assumed "
            "(file_ppi sets it)",
            file=sys.stderr,
        )


def report_damaged(damaged: Sequence[object], total: int, max_damaged: int) -> None:
    """Say which of `total` images cannot be used, each with its reason.

    Raises:
        DataError: they are more than `max_damaged`, or all.
    """
    lines = [f"  {error}" for error in damaged[:20]]
    if len(damaged) > 20:
        lines.append(f"  and {len(damaged) - 20} more")
    if len(damaged) > max_damaged or len(damaged) == total:
        raise DataError(
            f"data: {len(damaged)} of {total} images cannot be used; data.max_damaged={max_damaged} allows fewer "
            f"(data.max_damaged={len(damaged)} would leave them out):\n" + "\n".join(lines)
        )
    if damaged:
        print(
            f"{len(damaged)} of {total} images cannot be used and are left out:",
            *lines,
            sep="\n",
            file=sys.stderr,
        )
