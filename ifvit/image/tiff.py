"""The first directory of a TIFF (Adobe's TIFF 6.0): size, ppi, and a check that no pixels are missing."""

from __future__ import annotations

from ifvit.image.errors import MAX_PIXELS, ImageError, check_size
from ifvit.image.exif import Directory, exif_of, ppi_of
from ifvit.image.headers import Header

WIDTH, HEIGHT, BITS, PHOTOMETRIC, SAMPLES, FORMAT = 256, 257, 258, 262, 277, 339
COMPRESSION, NO_COMPRESSION = 259, 1
ROWS_PER_STRIP = 278
STARTS, SIZES = (273, 324), (279, 325)  # of strips and of tiles
TILE_WIDTH, TILE_HEIGHT = 322, 323
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, YCBCR = 0, 1, 2, 3, 6
CHANNELS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, YCBCR: 3}
UNSIGNED, FLOAT = 1, 3


def tiff(content: bytes) -> Header:
    """The header of the first image of a TIFF.

    Raises:
        ImageError: truncated, or of a kind that the decoder does not read correctly (the message names no file).
    """
    directory = Directory(content)
    width, height = directory.first(WIDTH, 0), directory.first(HEIGHT, 0)
    check_size(width, height)
    bits = _check_samples(directory)
    if directory.first(TILE_WIDTH, 0) * directory.first(TILE_HEIGHT, 0) > MAX_PIXELS:
        raise ImageError("the TIFF's tiles are too large")
    _check_complete(directory, bits, len(content))
    exif = exif_of(directory)
    # The decoder itself inverts samples of up to 8 bits, which it converts through 8-bit colour.
    white_is_zero = directory.first(PHOTOMETRIC, BLACK_IS_ZERO) == WHITE_IS_ZERO and bits > 8
    # It applies the orientation too.
    return Header(width, height, ppi_of(None, exif), white_is_zero=white_is_zero)


def _check_samples(directory: Directory) -> int:
    """The bits of a sample.

    Raises:
        ImageError: channels differ in depth, or the decoder does not read this kind correctly.
    """
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


def _check_complete(directory: Directory, bits: int, length: int) -> None:
    """Check that all rows are in a file of `length` bytes. For missing rows the decoder returns uninitialised memory.

    Raises:
        ImageError: rows are missing.
    """
    height = directory.first(HEIGHT, 0)
    subsampled = directory.first(PHOTOMETRIC, BLACK_IS_ZERO) == YCBCR  # there are fewer samples of the colours
    row_bytes = (directory.first(WIDTH, 0) * (1 if subsampled else directory.first(SAMPLES, 1)) * bits + 7) // 8
    rows, strips = directory.first(ROWS_PER_STRIP, height), directory.values(STARTS[0]).size
    missing = strips and (rows == 0 or strips < -(-height // rows))
    if missing or (directory.first(COMPRESSION, NO_COMPRESSION) == NO_COMPRESSION and row_bytes * height > length):
        raise ImageError("the TIFF is truncated")
    for starts, sizes in zip(STARTS, SIZES, strict=True):
        start, size = directory.values(starts), directory.values(sizes)
        n = min(start.size, size.size)
        if n and int((start[:n] + size[:n]).max()) > length:
            raise ImageError("the TIFF is truncated")
