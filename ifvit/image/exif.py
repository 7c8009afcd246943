"""The tags that tell ppi and orientation: those of a TIFF's first directory, and EXIF, which is such a directory.

Later directories, the further pages, are never visited, so that a loop of them loops nobody.
"""

from __future__ import annotations

import math
import struct
from typing import NamedTuple

import numpy as np

from ifvit.image.errors import ImageError

ORIENTATION, X_RESOLUTION, Y_RESOLUTION, UNIT = 274, 282, 283, 296
INCH = {2: 1.0, 3: 2.54}  # by the tag UNIT: inch, centimetre; 1 is no unit
MOST_VALUES = 2**20  # of one entry: strips of one row each
NUMBERS = {3: "H", 4: "I", 5: "II", 8: "h", 9: "i", 10: "ii", 11: "f", 12: "d"}  # struct's names of TIFF's types
PPI_RANGE = 200.0, 2500.0  # what scanners and sensors have; 72, 96 and the like are what software writes by default
EXIF_START = b"Exif\0\0"


class Directory:
    """The entries of the first directory of a TIFF or of an EXIF block, read within bounds."""

    def __init__(self, content: bytes) -> None:
        self.content, self.order = content, "<" if content[:2] == b"II" else ">"
        at = self._number(4, 4)
        count = self._number(at, 2)
        if not count or at + 2 + 12 * count > len(content):
            raise ImageError("the TIFF is truncated")
        places = range(at + 2, at + 2 + 12 * count, 12)
        self.entries: dict[int, int] = {}
        for place in places:  # the first of a tag counts, as for libtiff
            self.entries.setdefault(self._number(place, 2), place)

    def _number(self, at: int, size: int) -> int:
        return int.from_bytes(self.content[at : at + size], "little" if self.order == "<" else "big")

    def _part(self, place: int, size: int) -> bytes:
        """The `size` bytes of an entry's values; they lie in the entry itself where they fit into it."""
        start = place + 8 if size <= 4 else self._number(place + 8, 4)
        part = self.content[start : start + size]
        if len(part) < size:
            raise ImageError("the TIFF is truncated")
        return part

    def values(self, tag: int) -> np.ndarray:
        """uint64 (n,), n = 0 where the tag is missing or holds no whole numbers."""
        if (place := self.entries.get(tag)) is None:
            return np.zeros(0, np.uint64)
        kind, count = self._number(place + 2, 2), self._number(place + 4, 4)
        size = {1: 1, 3: 2, 4: 4}.get(kind, 0)
        if count > MOST_VALUES:
            raise ImageError(f"the TIFF's tag {tag} has {count} values")
        return np.frombuffer(self._part(place, size * count), f"{self.order}u{size or 1}").astype(np.uint64)

    def first(self, tag: int, default: int) -> int:
        values = self.values(tag)
        return int(values[0]) if values.size else default

    def real(self, tag: int) -> float | None:
        """The first value of a tag of any kind of number; None where there is none, or it is divided by zero."""
        place = self.entries.get(tag)
        form = None if place is None else NUMBERS.get(self._number(place + 2, 2))
        if form is None or not self._number(place + 4, 4):
            return None
        size = struct.calcsize("<" + form) * self._number(place + 4, 4)
        number, *below = struct.unpack_from(self.order + form, self._part(place, size))
        if not below:
            return float(number)
        return number / below[0] if below[0] else None


class Exif(NamedTuple):
    """What a directory tells of the image.

    orientation: 1 to 8, EXIF's own numbers; 1 is upright as it lies.
    x, y: px per unit, None where the tag is missing.
    unit: a key of INCH; of any other number nothing is known.
    """

    orientation: int = 1
    x: float | None = None
    y: float | None = None
    unit: float = 2

    @property
    def resolution(self) -> tuple[float, float] | None:
        """Px per inch of both axes."""
        if self.x is None or self.y is None or self.unit not in INCH:
            return None
        return self.x * INCH[self.unit], self.y * INCH[self.unit]


def exif_of(directory: Directory) -> Exif:
    """The tags of a directory. Raises ImageError where they lead out of it."""
    orientation, unit = directory.real(ORIENTATION), directory.real(UNIT)
    return Exif(
        int(orientation) if orientation in range(1, 9) else 1,
        directory.real(X_RESOLUTION),
        directory.real(Y_RESOLUTION),
        2 if unit is None else unit,
    )


def read_exif(block: bytes) -> Exif:
    """The tags of an EXIF block; of a damaged one, nothing: the image beside it may be whole."""
    content = block.removeprefix(EXIF_START)
    if content[:4] not in (b"II*\0", b"MM\0*"):
        return Exif()
    try:
        return exif_of(Directory(content))
    except ImageError:
        return Exif()


def believable(x: float, y: float) -> float | None:
    """The ppi of both axes as one, where both agree within 2 % and an instrument may have had it; else None."""
    if not (math.isfinite(x) and math.isfinite(y)):
        return None
    low, high = PPI_RANGE
    # Whole px per metre or cm cannot say 500 exactly: 499.999 is meant to be 500.
    return round(x, 1) if low <= round(x, 1) <= high and abs(x - y) <= 0.02 * x else None


def ppi_of(own: tuple[float, float] | None, exif: Exif) -> float | None:
    """The ppi of an image: by the format's own tag, or by EXIF where that tag says nothing believable.

    own: px per inch of both axes.
    """
    for pair in (own, exif.resolution):
        if pair is not None and (ppi := believable(*pair)) is not None:
            return ppi
    return None
