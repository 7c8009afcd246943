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

from ifvit.image.decoding import decode
from ifvit.image.errors import MAX_BYTES, ImageError, check_size
from ifvit.image.headers import READERS, kind_of
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
    grey = decode_wsq(content, header) if kind == "wsq" else decode(content, kind, header)
    check_size(grey.shape[1], grey.shape[0])
    if grey.min() == grey.max():
        raise ImageError(f"blank, every pixel is {grey.min()}")
    inverted = is_inverted(grey)
    return Scan(255 - grey if inverted else grey, header.ppi, inverted)
