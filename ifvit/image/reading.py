"""One file to grey levels, whoever made it: PNG, TIFF, BMP, JPEG, PGM and, with the extra `wsq`, WSQ.

The order is what keeps strange files harmless: is it a plain file and not too large -> its bytes -> what its header
claims -> decode -> is there an image -> which way round.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from ifvit.image.decoding import decode, grey_of
from ifvit.image.errors import MAX_BYTES, ImageError, check_size
from ifvit.image.headers import READERS, kind_of
from ifvit.image.in_memory import NO_CLAIMS, decode_pillow, usual
from ifvit.image.polarity import is_inverted
from ifvit.image.tiff import tiff
from ifvit.image.wsq_file import decode_wsq


class Scan(NamedTuple):
    """A file's image.

    grey: uint8 (H, W), dark ridges on a light ground; ppi: by the file's own tags, None where they say nothing
    believable; inverted: it lay in the file the other way round.
    """

    grey: np.ndarray
    ppi: float | None
    inverted: bool


def read(path: Path) -> Scan:
    """A file's image, turned over where its ridges are light. Of several pages the first.

    Raises:
        ImageError: missing, no plain file, unreadable, damaged, unsupported, too small, too large or blank; names it.
    """
    try:
        return _scan(_content(path))
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error


def read_grey(path: Path) -> np.ndarray:
    """`read(path).grey`: uint8 (H, W)."""
    return read(path).grey


def _content(path: Path) -> bytes:
    """All of a plain file. A pipe or device is refused before a byte is asked of it: it may have no end."""
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise ImageError("a pipe or device, not a plain file")
            if found.st_size > MAX_BYTES:
                raise ImageError(f"{found.st_size >> 20} MB is too large, {MAX_BYTES >> 20} MB are the most")
            content = file.read(MAX_BYTES)
    except OSError as error:
        raise ImageError(f"cannot be read ({error.strerror})") from error
    except ValueError as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"cannot be read ({error})") from error  # a zero byte in the name
    if not content:
        raise ImageError("the file is empty")
    return content


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # to open a pipe would wait for its writer


def _scan(content: bytes) -> Scan:
    kind = kind_of(content)
    header = tiff(content) if kind == "tiff" else READERS[kind](content)
    check_size(header.width, header.height)
    pixels = decode_wsq(content, header) if kind == "wsq" else decode(content, kind, header)
    check_size(pixels.shape[1], pixels.shape[0])
    if kind == "pnm":
        header = header._replace(full=np.iinfo(pixels.dtype).max)
    return _upright(grey_of(pixels, header), header.ppi)


def scan_of(image: np.ndarray | Image.Image) -> Scan:
    """The scan of an image in memory: the one that `read` gives of its file, where both can read it.

    An array is grey (H, W), RGB (H, W, 3) or RGBA (H, W, 4), bool, floating point, or whole numbers of any type and
    byte order from 0 to 65535. It has no tags: it is upright, and nobody says its ppi.

    A Pillow image is its pixels as they are in memory; its file is never read again. What it says of itself is its
    `info`, which Pillow copies to every image that is made of it:

    - ppi: `info["dpi"]`, or the resolution of `info["exif"]` where that says nothing believable. Pillow keeps both when
      an image is resized, and nobody can tell: give the ppi of such an image yourself.
    - orientation: the tag is obeyed in an image as `Image.open` gives it. An image made of that one (by `crop`,
      `convert`, `rotate`, `ImageOps.exif_transpose`, ...) lies as its pixels lie.
    - white: of 16-bit colours Pillow keeps the upper 8 bits, and so does `read`.

    Raises:
        ImageError: of another shape or type, too small, too large or blank (the message names no image).
    """
    if isinstance(image, Image.Image):
        pixels, header = decode_pillow(image)
    else:
        pixels, header = usual(image), NO_CLAIMS
    return _upright(grey_of(pixels, header), header.ppi)


def _upright(grey: np.ndarray, ppi: float | None) -> Scan:
    """The scan of grey levels, turned over where its ridges are light.

    Raises:
        ImageError: there is nothing in them.
    """
    if grey.min() == grey.max():
        raise ImageError(f"blank, every pixel is {grey.min()}")
    inverted = is_inverted(grey)
    return Scan(255 - grey if inverted else grey, ppi, inverted)
