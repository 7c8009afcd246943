"""The first directory of a TIFF (Adobe's TIFF 6.0): size, ppi, whether all its pixels are there.

Later directories, the further pages, are never visited, so that a loop of them loops nobody.
"""

from __future__ import annotations

import numpy as np

from ifvit.image.errors import MAX_PIXELS, ImageError, check_size
from ifvit.image.headers import Header, believable

WIDTH, HEIGHT, BITS, PHOTOMETRIC, SAMPLES, FORMAT = 256, 257, 258, 262, 277, 339
X_RESOLUTION, Y_RESOLUTION, UNIT = 282, 283, 296
STARTS, SIZES = (273, 324), (279, 325)  # of strips, of tiles
TILE_WIDTH, TILE_HEIGHT = 322, 323
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, YCBCR = 0, 1, 2, 3, 6
CHANNELS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, YCBCR: 3}
UNSIGNED, FLOAT = 1, 3
MOST_VALUES = 2**20  # of one entry: strips of one row each


class _Directory:
    """The entries of the first directory, read within bounds."""

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

    def values(self, tag: int) -> np.ndarray:
        """uint64 (n,), n = 0 where the tag is missing or holds no whole numbers; of n rationals, (2 n,)."""
        if (at := self.entries.get(tag)) is None:
            return np.zeros(0, np.uint64)
        kind, count = self._number(at + 2, 2), self._number(at + 4, 4)
        size = {1: 1, 3: 2, 4: 4, 5: 8}.get(kind, 0)
        if count > MOST_VALUES:
            raise ImageError(f"the TIFF's tag {tag} has {count} values")
        start = at + 8 if size * count <= 4 else self._number(at + 8, 4)
        part = self.content[start : start + size * count]
        if len(part) < size * count:
            raise ImageError("the TIFF is truncated")
        return np.frombuffer(part, f"{self.order}u{min(size, 4) or 1}").astype(np.uint64)

    def first(self, tag: int, default: int) -> int:
        values = self.values(tag)
        return int(values[0]) if values.size else default


def tiff(content: bytes) -> Header:
    """What the first image of a TIFF claims.

    Raises:
        ImageError: truncated, or of a kind that no decoder here gets right (the message names no file).
    """
    directory = _Directory(content)
    width, height = directory.first(WIDTH, 0), directory.first(HEIGHT, 0)
    check_size(width, height)
    bits = _check_samples(directory)
    if directory.first(TILE_WIDTH, 0) * directory.first(TILE_HEIGHT, 0) > MAX_PIXELS:
        raise ImageError("the TIFF's tiles are too large")
    _check_whole(directory, len(content))
    # The decoder turns such samples itself where it goes through 8-bit colour.
    white_is_zero = directory.first(PHOTOMETRIC, BLACK_IS_ZERO) == WHITE_IS_ZERO and bits > 8
    return Header(width, height, _ppi(directory), white_is_zero=white_is_zero)


def _check_samples(directory: _Directory) -> int:
    """The bits of a sample, all of one depth and of a kind that comes out right."""
    photometric, samples = directory.first(PHOTOMETRIC, BLACK_IS_ZERO), directory.first(SAMPLES, 1)
    if photometric not in CHANNELS:
        raise ImageError(f"a TIFF of photometric kind {photometric} (CMYK, Lab, ...); save it in grey")
    if samples != CHANNELS[photometric]:
        raise ImageError(f"a TIFF of {samples} channels (transparency?); save it in grey, without transparency")
    depths = set(directory.values(BITS).tolist()) or {1}
    kinds = set(directory.values(FORMAT).tolist()) or {UNSIGNED}
    if len(depths) > 1 or len(kinds) > 1:
        raise ImageError("a TIFF whose channels differ in depth")
    bits, kind = int(depths.pop()), int(kinds.pop())
    if bits not in ({UNSIGNED: (1, 8, 10, 12, 14, 16), FLOAT: (32, 64)}.get(kind, ())) and photometric != PALETTE:
        names = {UNSIGNED: "unsigned", 2: "signed", FLOAT: "floating-point"}
        raise ImageError(f"a TIFF of {bits}-bit {names.get(kind, 'strange')} samples; save it in 8 or 16 bits")
    return bits


def _check_whole(directory: _Directory, length: int) -> None:
    for starts, sizes in zip(STARTS, SIZES, strict=True):
        start, size = directory.values(starts), directory.values(sizes)
        n = min(start.size, size.size)
        if n and int((start[:n] + size[:n]).max()) > length:
            raise ImageError("the TIFF is truncated")


def _ppi(directory: _Directory) -> float | None:
    x, y = directory.values(X_RESOLUTION), directory.values(Y_RESOLUTION)
    inch = {2: 1.0, 3: 2.54}.get(directory.first(UNIT, 2))
    if inch is None or x.size != 2 or y.size != 2 or not x[1] or not y[1]:
        return None
    return believable(int(x[0]) / int(x[1]) * inch, int(y[0]) / int(y[1]) * inch)
