"""A file to grey levels: PNG, TIFF, BMP, JPEG, PGM and, with the extra `wsq`, WSQ.

The steps: check that it is an ordinary file and not too large -> read its bytes -> check its header -> decode -> check
that it is not blank -> find out whether it is inverted. In this order a damaged or hostile file does no harm.
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
from ifvit.image.in_memory import EMPTY_HEADER, decode_pillow, usual
from ifvit.image.polarity import is_inverted
from ifvit.image.tiff import tiff
from ifvit.image.wsq_file import decode_wsq


class Scan(NamedTuple):
    """A file's image, with dark ridges on a light ground."""

    grey: np.ndarray  # uint8 (H, W)
    ppi: float | None  # from the file's tags; None if they are missing or not believable
    inverted: bool  # in the file the ridges are light


def read(path: Path) -> Scan:
    """A file's image, inverted if its ridges are light. Only the first page is read.

    Raises:
        ImageError: the file is missing, not an ordinary file, unreadable, damaged, unsupported, too small, too large or
            blank; the message names it.
    """
    try:
        return _scan(_content(path))
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error


def read_grey(path: Path) -> np.ndarray:
    """`read(path).grey`: uint8 (H, W)."""
    return read(path).grey


def _content(path: Path) -> bytes:
    """The bytes of an ordinary file. A pipe or device is refused before anything is read: it may have no end.

    Raises:
        ImageError: the file is empty, too large, not an ordinary file, or cannot be read (the message names no file).
    """
    try:
        with open(path, "rb", opener=_open_without_waiting) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ImageError("a pipe or device, not a plain file")
            if status.st_size > MAX_BYTES:
                raise ImageError(f"{status.st_size >> 20} MB is too large, {MAX_BYTES >> 20} MB are the most")
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


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # without it the open of a pipe waits for its writer


def _scan(content: bytes) -> Scan:
    """The scan of a file's bytes. Raises as `read`, but the message names no file."""
    kind = kind_of(content)
    header = tiff(content) if kind == "tiff" else READERS[kind](content)
    check_size(header.width, header.height)
    pixels = decode_wsq(content, header) if kind == "wsq" else decode(content, kind, header)
    check_size(pixels.shape[1], pixels.shape[0])
    if kind == "pnm":
        header = header._replace(full=np.iinfo(pixels.dtype).max)
    return _upright(grey_of(pixels, header), header.ppi)


def scan_of(image: np.ndarray | Image.Image) -> Scan:
    """The scan of an image in memory. It is the same as that of its file (`read`), if both can be read.

    An array is grey (H, W), RGB (H, W, 3) or RGBA (H, W, 4). Its type is bool, floating point, or whole numbers of any
    type and byte order from 0 to 65535. It has no tags: it is upright, and its ppi is None.

    A Pillow image has the pixels that are in memory; its file is not read again. The tags come from its `info`, which
    Pillow copies to each image that is derived from it:

    - ppi: `info["dpi"]`, or the resolution of `info["exif"]` if that one is not believable. Pillow keeps both when an
      image is resized, which cannot be detected: pass the ppi of such an image.
    - orientation: the tag is applied to an image that comes from `Image.open`. It is not applied to an image that was
      derived from one (by `crop`, `convert`, `rotate`, `ImageOps.exif_transpose`, ...).
    - white: Pillow keeps the upper 8 bits of 16-bit colours, and so does `read`.

    Raises:
        ImageError: another shape or type, too small, too large or blank (the message names no image).
    """
    if isinstance(image, Image.Image):
        pixels, header = decode_pillow(image)
    else:
        pixels, header = usual(image), EMPTY_HEADER
    return _upright(grey_of(pixels, header), header.ppi)


def _upright(grey: np.ndarray, ppi: float | None) -> Scan:
    """The scan of grey levels, inverted if the ridges are light.

    Raises:
        ImageError: all pixels are equal.
    """
    if grey.min() == grey.max():
        raise ImageError(f"blank, every pixel is {grey.min()}")
    inverted = is_inverted(grey)
    return Scan(255 - grey if inverted else grey, ppi, inverted)
