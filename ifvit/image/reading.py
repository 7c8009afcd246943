"""One file to grey levels, whoever made it: PNG, TIFF, BMP, JPEG, PGM and, with the extra `wsq`, WSQ.

The order is what keeps strange files harmless: is it a plain file and not too large -> its bytes -> what its header
claims -> decode -> is there an image -> which way round.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ifvit.image.decoding import decode, full_scale, one_channel, to_8_bit
from ifvit.image.errors import MAX_BYTES, ImageError, check_size
from ifvit.image.headers import PPI_RANGE, READERS, kind_of
from ifvit.image.polarity import is_inverted
from ifvit.image.tiff import tiff
from ifvit.image.wsq_file import decode_wsq

PLAIN_MODES = ("L", "RGB", "RGBA", "1", "I", "F", "I;16")  # of Pillow's, that become arrays as they are
OTHER_MODES = {"P": "RGBA", "PA": "RGBA", "LA": "RGBA", "La": "RGBA", "RGBa": "RGBA"}


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
    return _upright(grey, header.ppi)


def scan_of(pixels: Any) -> Scan:
    """The scan of an image in memory, as `read` gives that of a file.

    pixels: an array, grey (H, W), RGB (H, W, 3) or RGBA (H, W, 4) of uint8, uint16 (or other whole numbers within
    these), bool or floating point; or a Pillow image, whose `dpi` is its tag.

    Raises:
        ImageError: of another shape or type, too small, too large or blank (the message names no image).
    """
    ppi = None
    if hasattr(pixels, "mode") and hasattr(pixels, "convert"):  # Pillow's
        check_size(*pixels.size)
        ppi = _tagged(pixels)
        pixels = _decoded(pixels)
    if not isinstance(pixels, np.ndarray):
        raise ImageError(f"expected a path, an array or a Pillow image, got {type(pixels).__name__}")
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (1, 3, 4)):
        raise ImageError(f"an array of shape {pixels.shape}; expected (height, width), or with 3 or 4 channels")
    check_size(pixels.shape[1], pixels.shape[0])
    pixels = np.ascontiguousarray(_usual_type(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels))
    if pixels.ndim == 3:  # OpenCV's order of colours
        pixels = np.ascontiguousarray(pixels[..., [2, 1, 0, 3][: pixels.shape[2]]])
    full = full_scale(pixels)
    return _upright(to_8_bit(one_channel(pixels, full), full), ppi)


def _decoded(image: Any) -> np.ndarray:
    """A Pillow image's pixels, which may only now be read from its file."""
    try:
        return np.asarray(image if image.mode in PLAIN_MODES else image.convert(OTHER_MODES.get(image.mode, "RGB")))
    except (OSError, ValueError, SyntaxError) as error:  # damaged, closed, or of a rare mode
        raise ImageError(f"cannot be decoded ({error})") from error


def _usual_type(pixels: np.ndarray) -> np.ndarray:
    """Of the types that files have."""
    if pixels.dtype == bool:
        return np.uint8(255) * pixels
    if pixels.dtype.kind in "iu" and pixels.dtype not in (np.uint8, np.uint16):
        low, high = int(pixels.min()), int(pixels.max())
        if low < 0 or high > 65535:
            raise ImageError(f"pixels from {low} to {high}: expected 0..255 or 0..65535")
        return pixels.astype(np.uint8 if high < 256 else np.uint16)
    return pixels.astype(np.float32) if pixels.dtype == np.float16 else pixels


def _tagged(image: Any) -> float | None:
    """The ppi that a Pillow image tells, where it is believable."""
    try:
        ppi = float(image.info["dpi"][0])
    except (KeyError, TypeError, ValueError, IndexError, ZeroDivisionError):
        return None
    return ppi if PPI_RANGE[0] <= ppi <= PPI_RANGE[1] else None


def _upright(grey: np.ndarray, ppi: float | None) -> Scan:
    """The scan of grey levels as they lie in the file.

    Raises:
        ImageError: there is nothing in them.
    """
    if grey.min() == grey.max():
        raise ImageError(f"blank, every pixel is {grey.min()}")
    inverted = is_inverted(grey)
    return Scan(255 - grey if inverted else grey, ppi, inverted)
