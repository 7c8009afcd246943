"""The tags for ppi and orientation: of a TIFF's first directory, and of an EXIF block, which is such a directory.

Later directories (further pages) are not read, so directories that point at each other in a circle do no harm.
"""

from __future__ import annotations

import math
import struct
from typing import NamedTuple

import numpy as np

from ifvit.image.errors import ImageError

ORIENTATION, X_RESOLUTION, Y_RESOLUTION, UNIT = 274, 282, 283, 296
UNITS_PER_INCH: dict[float, float] = {2: 1.0, 3: 2.54}  # by the tag UNIT: inch, centimetre; 1 is no unit
MOST_VALUES = 2**20  # of one entry: enough for strips of one row each
NUMBER_FORMATS = {3: "H", 4: "I", 5: "II", 8: "h", 9: "i", 10: "ii", 11: "f", 12: "d"}  # struct's names of TIFF's types
PPI_RANGE = 200.0, 2500.0  # of scanners and sensors; software writes 72, 96 and similar values by default
EXIF_START = b"Exif\0\0"


class Directory:
    """The entries of the first directory of a TIFF or of an EXIF block. Nothing outside the content is read.

    entries: from the tag to the position of its entry in `content`, bytes. order: the byte order, as struct names it.

    Raises:
        ImageError: the content is truncated.
    """

    def __init__(self, content: bytes) -> None:
        self.content, self.order = content, "<" if content[:2] == b"II" else ">"
        start = self._number(4, 4)
        count = self._number(start, 2)
        if not count or start + 2 + 12 * count > len(content):
            raise ImageError("the TIFF is truncated")
        offsets = range(start + 2, start + 2 + 12 * count, 12)
        self.entries: dict[int, int] = {}
        for offset in offsets:  # the first entry of a tag counts, as in libtiff
            self.entries.setdefault(self._number(offset, 2), offset)

    def _number(self, start: int, size: int) -> int:
        """The unsigned number in `size` bytes from `start` on."""
        return int.from_bytes(self.content[start : start + size], "little" if self.order == "<" else "big")

    def _part(self, offset: int, size: int) -> bytes:
        """The `size` bytes of an entry's values; up to 4 bytes are in the entry itself.

        Raises:
            ImageError: the content is truncated.
        """
        start = offset + 8 if size <= 4 else self._number(offset + 8, 4)
        part = self.content[start : start + size]
        if len(part) < size:
            raise ImageError("the TIFF is truncated")
        return part

    def values(self, tag: int) -> np.ndarray:
        """The whole numbers of a tag, uint64 (n,); n = 0 if the tag is missing or has another type.

        Raises:
            ImageError: there are too many values, or the content is truncated.
        """
        if (offset := self.entries.get(tag)) is None:
            return np.zeros(0, np.uint64)
        kind, count = self._number(offset + 2, 2), self._number(offset + 4, 4)
        size = {1: 1, 3: 2, 4: 4}.get(kind, 0)
        if count > MOST_VALUES:
            raise ImageError(f"the TIFF's tag {tag} has {count} values")
        return np.frombuffer(self._part(offset, size * count), f"{self.order}u{size or 1}").astype(np.uint64)

    def first(self, tag: int, default: int) -> int:
        """The first whole number of a tag, or `default`. Raises as `values`."""
        values = self.values(tag)
        return int(values[0]) if values.size else default

    def real(self, tag: int) -> float | None:
        """The first value of a tag of any number type; None if it is missing or its denominator is 0.

        Raises:
            ImageError: the content is truncated.
        """
        offset = self.entries.get(tag)
        if offset is None:
            return None
        form = NUMBER_FORMATS.get(self._number(offset + 2, 2))
        if form is None or not self._number(offset + 4, 4):
            return None
        size = struct.calcsize("<" + form) * self._number(offset + 4, 4)
        number, *denominator = struct.unpack_from(self.order + form, self._part(offset, size))
        if not denominator:
            return float(number)
        return number / denominator[0] if denominator[0] else None


class Exif(NamedTuple):
    """The tags of a directory that describe the image."""

    orientation: int = 1  # 1 to 8, EXIF's numbers; 1 is upright as stored
    x: float | None = None  # px per unit; None if the tag is missing
    y: float | None = None  # px per unit; None if the tag is missing
    unit: float = 2  # a key of `UNITS_PER_INCH`; another number means an unknown unit

    @property
    def resolution(self) -> tuple[float, float] | None:
        """Px per inch of both axes; None if it is not known."""
        if self.x is None or self.y is None or self.unit not in UNITS_PER_INCH:
            return None
        return self.x * UNITS_PER_INCH[self.unit], self.y * UNITS_PER_INCH[self.unit]


def exif_of(directory: Directory) -> Exif:
    """The tags of a directory.

    Raises:
        ImageError: a tag points outside the content.
    """
    orientation, unit = directory.real(ORIENTATION), directory.real(UNIT)
    return Exif(
        int(orientation) if orientation is not None and orientation in range(1, 9) else 1,
        directory.real(X_RESOLUTION),
        directory.real(Y_RESOLUTION),
        2 if unit is None else unit,
    )


def read_exif(block: bytes) -> Exif:
    """The tags of an EXIF block; the default values if the block is damaged, since the image itself may be good."""
    content = block.removeprefix(EXIF_START)
    if content[:4] not in (b"II*\0", b"MM\0*"):
        return Exif()
    try:
        return exif_of(Directory(content))
    except ImageError:
        return Exif()


def believable(x: float, y: float) -> float | None:
    """The ppi of an image from that of both axes; None if they differ by more than 2 % or are not in `PPI_RANGE`."""
    if not (math.isfinite(x) and math.isfinite(y)):
        return None
    low, high = PPI_RANGE
    # 500 ppi is no whole number of px per metre or cm: 499.999 stands for 500.
    return round(x, 1) if low <= round(x, 1) <= high and abs(x - y) <= 0.02 * x else None


def ppi_of(own: tuple[float, float] | None, exif: Exif) -> float | None:
    """The ppi of an image: of the format's own tag if it is `believable`, else of EXIF; None if neither is.

    own: px per inch of both axes, from the format's own tag.
    """
    for pair in (own, exif.resolution):
        if pair is not None and (ppi := believable(*pair)) is not None:
            return ppi
    return None
