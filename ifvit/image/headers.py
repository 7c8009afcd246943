"""The header of an image file, read before the pixels are decoded: kind, size, ppi and orientation.

The file may be damaged or hostile. Each reader stays inside the bytes, reads a limited number of parts and allocates no
memory. A truncated, absurd or unsupported file is an ImageError (the message names no file). Decoders do not check
this: they fill the missing part of a truncated image with grey, without an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from ifvit.image.errors import ImageError, check_size
from ifvit.image.exif import EXIF_START, believable, ppi_of, read_exif

MOST_PARTS = 2**16  # chunks or segments of a file; a file with more is an attack
JFIF_UNITS_PER_INCH = {1: 1.0, 2: 2.54}  # by the unit of JFIF's density: inch, centimetre; 0 is no unit
MOST_SCANS = 100  # of a progressive JPEG; each scan is a pass over all pixels, and 10 are usual


class Header(NamedTuple):
    """The properties of an image by its header."""

    width: int  # px, as stored
    height: int  # px, as stored
    ppi: float | None = None  # from the file's tags; None if they are missing or not believable
    full: int | None = None  # the value that stands for white; None if the header does not contain it
    white_is_zero: bool = False  # the decoder returns inverted grey levels
    orientation: int = 1  # EXIF's, 1 to 8, if the decoder does not apply it


def kind_of(content: bytes) -> str:
    """'png', 'tiff', 'bmp', 'jpeg', 'pnm' or 'wsq', by the file's first bytes; its name does not count.

    Raises:
        ImageError: the file is of no known kind.
    """
    for kind, magic in MAGIC.items():
        if magic.match(content):
            return kind
    if content[:4] in (b"II+\0", b"MM\0+"):
        raise ImageError("BigTIFF is not supported; save it as TIFF or PNG")
    raise ImageError("not an image in a known format (PNG, TIFF, BMP, JPEG, PGM, WSQ)")


MAGIC = {
    "png": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "tiff": re.compile(rb"II\*\0|MM\0\*"),
    "bmp": re.compile(rb"BM"),
    "jpeg": re.compile(rb"\xff\xd8\xff"),
    "pnm": re.compile(rb"P[1-6]\s"),
    "wsq": re.compile(rb"\xff\xa0\xff"),
}


def png(content: bytes) -> Header:
    """The header of a PNG, by its chunks up to IEND."""
    at, width, height, colour, own, exif = 8, 0, 0, -1, None, b""
    for _ in range(MOST_PARTS):
        size, name = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8]
        data = content[at + 8 : at + 8 + (size if name == b"eXIf" else min(size, 32))]
        at += 12 + size
        if at > len(content) or len(name) < 4:
            raise ImageError("the PNG is truncated")
        if name == b"IHDR" and size == 13 and colour < 0:
            width, height, colour = int.from_bytes(data[:4], "big"), int.from_bytes(data[4:8], "big"), data[9]
        elif name == b"pHYs" and size == 9 and data[8] == 1:  # px per metre
            own = int.from_bytes(data[:4], "big") * 0.0254, int.from_bytes(data[4:8], "big") * 0.0254
        elif name == b"eXIf":
            exif = data
        elif name == b"tRNS" and colour in (0, 2):
            raise ImageError("a PNG that makes one grey level or colour transparent; save it without transparency")
        elif name == b"IEND":
            tags = read_exif(exif)
            return Header(width, height, ppi_of(own, tags), orientation=tags.orientation)
    raise ImageError(f"the PNG has more than {MOST_PARTS} chunks")


def bmp(content: bytes) -> Header:
    """The header of a BMP. The current header has 40 bytes or more; the older one of 12 bytes has no ppi."""

    def signed(at: int, size: int = 4) -> int:
        return int.from_bytes(content[at : at + size], "little", signed=True)

    if len(content) < 54:
        raise ImageError("the BMP is truncated")
    start, length = int.from_bytes(content[10:14], "little"), signed(14)
    if length == 12:
        width, height, bits, packing = signed(18, 2), signed(20, 2), signed(24, 2), 0
    else:
        width, height, bits, packing = signed(18), signed(22), signed(28, 2), signed(30)
    height = abs(height)  # negative if the rows are stored from the top down
    check_size(width, height)
    if bits not in (1, 4, 8, 16, 24, 32):
        raise ImageError(f"a BMP of {bits} bits per pixel")
    if packing in (0, 3) and start + (width * bits + 31) // 32 * 4 * height > len(content):
        raise ImageError("the BMP is truncated")
    inches_per_metre = 39.3701  # rounded as in Pillow
    ppi = believable(signed(38) / inches_per_metre, signed(42) / inches_per_metre) if length >= 40 else None
    return Header(width, height, ppi)


def _jfif_resolution(data: bytes) -> tuple[float, float] | None:
    """Px per inch by the first application segment of a JPEG; None if it is no JFIF or has no unit."""
    if data[:4] != b"JFIF" or len(data) < 12 or (factor := JFIF_UNITS_PER_INCH.get(data[7])) is None:
        return None
    return int.from_bytes(data[8:10], "big") * factor, int.from_bytes(data[10:12], "big") * factor


def jpeg(content: bytes) -> Header:
    """The header of a JPEG, by its segments up to the first scan."""
    if content.count(b"\xff\xda") > MOST_SCANS:
        raise ImageError(f"the JPEG has more than {MOST_SCANS} scans")
    at, frame, own, blocks = 2, None, None, []
    for _ in range(MOST_PARTS):
        while content[at : at + 2] == b"\xff\xff":  # padding before a marker
            at += 1
        marker, size = content[at : at + 2], int.from_bytes(content[at + 2 : at + 4], "big")
        data = content[at + 4 : at + 2 + size]
        if len(marker) < 2 or marker[0] != 0xFF or size < 2 or len(data) < size - 2:
            raise ImageError("the JPEG is truncated or damaged")
        if marker[1] in (0xC0, 0xC1, 0xC2) and size >= 8:
            frame = Header(int.from_bytes(data[3:5], "big"), int.from_bytes(data[1:3], "big"))
            if data[0] != 8 or data[5] not in (1, 3):
                raise ImageError(f"a JPEG of {data[5]} channels of {data[0]} bits; save it in 8-bit grey")
        elif marker[1] == 0xE0:
            own = _jfif_resolution(data) or own
        elif marker[1] == 0xE1 and data.startswith(EXIF_START):  # a long block continues in further segments
            blocks.append(data[len(EXIF_START) :])
        elif marker[1] == 0xDA:
            if frame is None:
                raise ImageError("the JPEG has no frame that can be decoded")
            if content.rfind(b"\xff\xd9", at) < 0:
                raise ImageError("the JPEG is truncated")
            tags = read_exif(b"".join(blocks))
            return frame._replace(ppi=ppi_of(own, tags), orientation=tags.orientation)
        at += 2 + size
    raise ImageError(f"the JPEG has more than {MOST_PARTS} segments")


PNM_HEAD = re.compile(rb"P([1-6])(?:\s|#[^\n]{0,200}\n)+(\d{1,9})(?:\s|#[^\n]{0,200}\n)+(\d{1,9})\s")


def pnm(content: bytes) -> Header:
    """The header of a binary PBM, PGM or PPM; it ends with one white space."""
    head = PNM_HEAD.match(content[:2048])
    if not head:
        raise ImageError("the PNM header is damaged")
    kind, width, height = (int(number) for number in head.groups())
    if kind < 4:
        raise ImageError("a PNM in text form; save it in binary form")
    full, end = 1, head.end()
    if kind > 4:
        depth = re.compile(rb"(?:\s|#[^\n]{0,200}\n)*(\d{1,5})\s").match(content[:4096], end)
        full = int(depth[1]) if depth else 0
        if not depth or not 1 <= full <= 65535:
            raise ImageError("the PNM header is damaged")
        end = depth.end()
    row = (width + 7) // 8 if kind == 4 else width * (3 if kind == 6 else 1) * (2 if full > 255 else 1)
    if end + row * height > len(content):
        raise ImageError("the PNM is truncated")
    return Header(width, height, full=full if kind > 4 else None)


def wsq(content: bytes) -> Header:
    """The header of a WSQ, by its segments up to the frame. The comment NISTCOM may contain the ppi."""
    at, ppi = 2, None
    for _ in range(MOST_PARTS):
        marker, size = content[at : at + 2], int.from_bytes(content[at + 2 : at + 4], "big")
        data = content[at + 4 : at + 2 + size]
        if not b"\xff\xa2" <= marker <= b"\xff\xa8" or len(marker) < 2 or size < 2 or len(data) < size - 2:
            raise ImageError("the WSQ is truncated or damaged")
        if marker == b"\xff\xa2" and size >= 8:
            return Header(int.from_bytes(data[4:6], "big"), int.from_bytes(data[2:4], "big"), ppi)
        if marker == b"\xff\xa8" and (tag := re.search(rb"^PPI (\d{1,5})\s*$", data, re.MULTILINE)):
            ppi = believable(int(tag[1]), int(tag[1]))
        at += 2 + size
    raise ImageError(f"the WSQ has more than {MOST_PARTS} segments")


READERS: dict[str, Callable[[bytes], Header]] = {"png": png, "bmp": bmp, "jpeg": jpeg, "pnm": pnm, "wsq": wsq}
