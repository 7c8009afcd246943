"""The real impressions of a run. Every file is read and checked once at the start; then the run uses canvases.

So damaged files are known before training begins. No step waits for a disk as long as all canvases fit into
`data.memory_gb` (grey and mask take 128 KB at 128 px, so 4 GB are 32,000 images). The others are decoded again in the
threads of the loader when a batch needs them. In both cases a canvas depends on its file only.
"""

from __future__ import annotations

import hashlib
import io
import sys
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

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

BLOCK = 256  # images that are read together
CANVAS_RECIPE = 2  # raise it when a file gives another canvas: then runs on the old canvases are not resumed


def load(data: DataConfig) -> Impressions:
    """The impressions of the configured sources.

    Raises:
        DataError: no impression was found, or more than `data.max_damaged` files cannot be used.
    """
    return Impressions(find(data), data)


class ReadImpression(NamedTuple):
    """A file that was read."""

    record: Record
    canvas: image.Canvas | image.ImageError  # or the reason why there is none
    crc: int  # checksum of the file's content


class Impressions:
    """The N impressions of a run that can be used.

    records: of the impressions.
    part: (N,) str, the name of each impression's source.
    identity: (N,) int, equal for impressions of one finger.
    names: the identities' names.
    fingerprint: identifies the data, to compare them when a run is resumed.

    Raises:
        DataError: more than `data.max_damaged` files cannot be used, or none can; or one image has the names of two
            fingers.
    """

    def __init__(self, sources: Mapping[str, Sequence[Record]], data: DataConfig):
        self._data = data
        self._frame = tuple(CANVAS * side for side in data.frame)
        self._enhancer = Enhancer(data.ridge_mask, data.cache_dir)
        self._memory: dict[int, image.Canvas] = {}
        self.records: list[Record] = []
        self._digests: list[bytes] = []
        listing, damaged, parts = [], [], []
        total = sum(map(len, sources.values()))
        self._progress = Progress("reading images", total)
        free_bytes = int(data.memory_gb * 2**30)
        for name, impression in self._read_all(sources):
            if isinstance(impression.canvas, image.ImageError):
                damaged.append(impression.canvas)
                continue
            size = impression.canvas.grey.nbytes + impression.canvas.ridges.nbytes
            if free_bytes >= size:
                self._memory[len(self.records)] = impression.canvas
                free_bytes -= size
            self.records.append(impression.record._replace(ppi=impression.canvas.ppi))
            self._digests.append(_digest(impression.canvas))
            parts.append(name)
            listing.append(_listing_line(name, impression, data))
        report_damaged(damaged, total, data.max_damaged)
        self.part = np.array(parts)
        self.names = tuple(dict.fromkeys(record.identity for record in self.records))
        number_of = {name: k for k, name in enumerate(self.names)}
        self.identity = np.array([number_of[record.identity] for record in self.records])
        refuse_copies(self.records, self._digests)
        content = hashlib.sha256("\n".join([f"canvas {CANVAS_RECIPE}", *listing]).encode()).hexdigest()
        self.fingerprint = f"{len(listing)} images, {content[:16]}"

    def __len__(self) -> int:
        return len(self.records)

    @property
    def in_memory(self) -> int:
        """The number of canvases in memory."""
        return len(self._memory)

    def canvas(self, k: int) -> image.Canvas:
        """Impression k in a frame CANVAS times as large as the network's. Thread-safe.

        Raises:
            ImageError: its file has changed since it was checked.
        """
        if k in self._memory:
            return self._memory[k]
        canvas = image.usable(next(self._canvases([self.records[k]], map)))
        if _digest(canvas) != self._digests[k]:
            raise image.ImageError(f"{self.records[k].path}: has changed since it was checked")
        return canvas

    def _read_all(self, sources: Mapping[str, Sequence[Record]]) -> Iterator[tuple[str, ReadImpression]]:
        """Read all files in parallel, with their sources' names. At most BLOCK canvases are in memory here."""
        counts: defaultdict[str, int] = defaultdict(int)
        with ThreadPoolExecutor() as pool:
            for name, records in sources.items():
                for start in range(0, len(records), BLOCK):
                    block = records[start : start + BLOCK]
                    checksums = pool.map(_crc, block)
                    for record, canvas, crc in zip(block, self._canvases(block, pool.map), checksums, strict=True):
                        self._progress.step()
                        if isinstance(canvas, image.Canvas):
                            counts["assumed"] += canvas.ppi_from is image.PpiFrom.assumed
                            counts["inverted"] += canvas.inverted
                        yield name, ReadImpression(record, canvas, crc)
        report_assumed(counts["assumed"], len(self))
        if counts["inverted"]:
            print(f"{counts['inverted']} images with light ridges on a dark ground were turned over", file=sys.stderr)

    def _canvases(
        self, records: Sequence[Record], map_function: Callable[..., Iterable[Any]]
    ) -> Iterator[image.Canvas | image.ImageError]:
        """The canvases of some records, or the reasons why there is none.

        map_function: `map`, or the method of a thread pool.
        """
        if self._data.ridge_mask is Enhancement.none:
            return iter(map_function(self._load_canvas, records))
        paths, ppis = [record.path for record in records], [record.ppi for record in records]
        return image.from_files(paths, ppis, partial(self._place_canvases, map_function), map_function)

    def _load_canvas(self, record: Record) -> image.Canvas | image.ImageError:
        """The canvas of a file, or the reason why there is none."""
        return image.attempt(image.load_canvas, record.path, record.ppi, self._data.ppi, *self._frame)

    def _place_canvases(
        self,
        map_function: Callable[..., Iterable[Any]],
        scans: Sequence[image.Scan],
        ppis: Sequence[float | None],
    ) -> Iterable[image.Canvas | image.ImageError]:
        """The canvas of each scan with the ridges of the enhancement, or the reason why there is none."""
        used = [image.choose_ppi(scan, ppi)[0] for scan, ppi in zip(scans, ppis, strict=True)]
        problems = [misfit(scan.grey, ppi) for scan, ppi in zip(scans, used, strict=True)]
        fitting = [k for k, problem in enumerate(problems) if problem is None]  # a wrong ppi would take much memory
        masks = self._enhancer.ridges_many([scans[k].grey for k in fitting], [used[k] for k in fitting])
        ridges = dict(zip(fitting, masks, strict=True))

        def place_canvas(k: int) -> image.Canvas | image.ImageError:
            if k not in ridges:
                return image.ImageError(problems[k])
            return image.attempt(image.canvas_of, scans[k], ridges[k], ppis[k], self._data.ppi, *self._frame)

        return map_function(place_canvas, range(len(scans)))


def _crc(record: Record) -> int:
    """The checksum of a file's content."""
    crc = 0
    try:
        with open(record.path, "rb") if record.path.is_file() else io.BytesIO() as file:
            while chunk := file.read(2**20):  # in chunks, so that memory is bounded
                crc = zlib.crc32(chunk, crc)
    except OSError:
        pass  # reported when the image is read
    return crc


def _digest(canvas: image.Canvas) -> bytes:
    return digest_of(canvas.grey, np.packbits(canvas.ridges))


def digest_of(grey: np.ndarray, packed: np.ndarray) -> bytes:
    """The digest of a canvas's grey levels and packed ridges: equal for equal pixels, whatever their file."""
    digest = hashlib.blake2b(grey.tobytes(), digest_size=16)
    digest.update(packed.tobytes())
    return digest.digest()


def refuse_copies(records: Sequence[Record], digests: Sequence[bytes]) -> None:
    """Check that no image has the names of two fingers.

    Such a copy would be a genuine pair labelled as an impostor pair, and could be used for training and validation.

    Raises:
        DataError: there is one; the message names both files.
    """
    first: dict[bytes, Record] = {}
    for record, digest in zip(records, digests, strict=True):
        earlier = first.setdefault(digest, record)
        if earlier.identity != record.identity:
            raise DataError(
                f"data: {earlier.path} and {record.path} are one image, of {earlier.identity} and of "
                f"{record.identity}; remove one of them ({program.command('data check')} finds all)"
            )


def _listing_line(name: str, impression: ReadImpression, data: DataConfig) -> str:
    """The impression's line in the text of the fingerprint: its identity and content, but not its path."""
    record = impression.record
    # The content of the file, not of the canvas: another release of OpenCV may resample to other bits.
    identity = f"{nameless(record.database)} {nameless(record.identity)} {record.impression}"
    assert isinstance(impression.canvas, image.Canvas)
    line = f"{identity} {impression.crc} {impression.canvas.ppi}"
    return line if len(data.parts) == 1 else f"{name}/{line}"


def report_assumed(count: int, total: int) -> None:
    """Print how many of `total` images have no known resolution, so that one was assumed."""
    if count:
        print(
            f"{count} of {total} images say nowhere what their resolution is: {image.DEFAULT_PPI:g} ppi are assumed "
            "(file_ppi sets it)",
            file=sys.stderr,
        )


def report_damaged(damaged: Sequence[object], total: int, max_damaged: int) -> None:
    """Print which of `total` images cannot be used, each with its reason.

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
