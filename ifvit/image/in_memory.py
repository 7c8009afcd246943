"""Images in memory, NumPy arrays and Pillow's, to the pixels and the header that a file gives."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import numpy as np
from PIL import Image, ImageFile

from ifvit.image.errors import ImageError, check_size
from ifvit.image.exif import INCH, ORIENTATION, X_RESOLUTION, Exif, ppi_of, read_exif
from ifvit.image.headers import JFIF_INCH, Header

AS_THEY_LIE = ("1", "L", "RGB", "RGBA", "I", "F", "I;16", "I;16L", "I;16B", "I;16N")  # modes that become arrays so
WITH_ALPHA = ("P", "PA", "LA", "La", "RGBa")
NO_LIGHT = ("CMYK", "LAB")  # what they look like depends on inks or a profile; such files are refused too
WHITE_IS_ZERO = 262, 0  # TIFF's tag, and its value
DARK = 64  # of 255; no print is so dark, but the upper 8 bits are where 16 bits hold a sensor's 10 or 12
NO_CLAIMS = Header(0, 0)


def usual(pixels: Any) -> np.ndarray:
    """An array as `grey_of` takes it: (H, W), BGR or BGRA, of uint8, uint16, float32 or float64.

    pixels: grey, RGB or RGBA of any type and byte order.

    Raises:
        ImageError: of another shape, type or range (the message names no image).
    """
    if not isinstance(pixels, np.ndarray):
        raise ImageError(f"expected a path, an array or a Pillow image, got {type(pixels).__name__}")
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (1, 3, 4)):
        raise ImageError(f"an array of shape {pixels.shape}; expected (height, width), or with 3 or 4 channels")
    check_size(pixels.shape[1], pixels.shape[0])
    if np.ma.is_masked(pixels):
        raise ImageError("a masked array; fill its gaps first: array.filled(255) makes them white")
    pixels = _usual_type(np.asarray(pixels))
    if pixels.ndim == 3:  # OpenCV's order of colours
        pixels = pixels[..., [2, 1, 0, 3][: pixels.shape[2]]] if pixels.shape[2] > 1 else pixels[..., 0]
    return np.ascontiguousarray(pixels)


def _usual_type(pixels: np.ndarray) -> np.ndarray:
    """Of the types that files have, in this machine's byte order."""
    kind, size = pixels.dtype.kind, pixels.dtype.itemsize
    if kind == "b":
        return np.uint8(255) * pixels
    if kind == "f":
        return pixels.astype(np.float32 if size <= 4 else np.float64, copy=False)
    if kind not in "iu":
        raise ImageError(f"pixels of type {pixels.dtype}; expected numbers from 0 to 255 or 65535, or from 0 to 1")
    if kind == "u" and size <= 2:
        return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    low, high = int(pixels.min()), int(pixels.max())
    if low < 0 or high > 65535:
        raise ImageError(f"pixels from {low} to {high}: expected 0..255 or 0..65535")
    return pixels.astype(np.uint8 if high < 256 else np.uint16)


def decode_pillow(image: Image.Image) -> tuple[np.ndarray, Header]:
    """A Pillow image's pixels, as of `usual`, and what it says of itself.

    Raises:
        ImageError: damaged, closed, or of a mode that is not supported (the message names no image).
    """
    check_size(*image.size)
    pixels = usual(_loaded(image))
    return pixels, _header(image)


def _loaded(image: Image.Image) -> np.ndarray:
    """The pixels, which may only now be read from the file."""
    halved = _may_be_halved(image)
    try:
        _load(image)
    except Exception as error:  # whatever the reader of its format raises
        closed = getattr(image, "fp", None) is None or image.fp.closed
        why = "its file was closed before its pixels were read; call load() before that" if closed else error
        raise ImageError(f"cannot be decoded ({why})") from error
    if image.mode in NO_LIGHT:
        raise ImageError(f"a Pillow image of mode {image.mode}; convert it to grey or RGB")
    if "transparency" in image.info and image.mode not in WITH_ALPHA:  # such files are refused too
        raise ImageError("a Pillow image that makes one grey level or colour transparent; convert it to RGBA")
    if image.mode not in AS_THEY_LIE:
        try:
            straight = image.convert("LA") if image.mode == "La" else image  # Pillow knows no shorter way
            image = straight.convert("RGBA" if image.mode in WITH_ALPHA else "RGB")
        except ValueError as error:
            raise ImageError(f"a Pillow image of mode {image.mode}; convert it to grey") from error
    pixels = np.asarray(image)
    if halved and pixels.ndim == 3 and 0 < (brightest := int(pixels[..., :3].max())) < DARK:
        raise ImageError(
            f"its colours reach {brightest} of 255: of a file of 16 bits Pillow keeps the upper 8, which hold too "
            "little of so dark a print; give the path, or an array"
        )
    return pixels


def _may_be_halved(image: Image.Image) -> bool:
    """Whether its colours are, or may be, the upper 8 bits of 16.

    What is still to be read says how it lies in the file; once it is read, nobody knows.
    """
    if unread := getattr(image, "tile", None):
        return any("16" in str(part[3]) for part in unread)
    return image.format in ("PNG", "TIFF", "PPM")


def _load(image: Image.Image) -> None:
    """`image.load()`, but not by mapping a file into memory whose rows are columns.

    Pillow (11.0 to 13.0) maps an uncompressed TIFF by the size that it has once it is turned, so that every row begins
    at a wrong place. It maps what has a name. An image that was loaded before is torn already, and does not show it.
    """
    if getattr(image, "tag_v2", {}).get(ORIENTATION) not in (5, 6, 7, 8):
        image.load()
        return
    name, image.filename = image.filename, ""
    try:
        image.load()
    finally:
        image.filename = name


def _header(image: Image.Image) -> Header:
    """What a loaded image says of itself. The orientation of a TIFF is obeyed by Pillow itself."""
    opened = isinstance(image, ImageFile.ImageFile)
    block = image.info.get("exif")
    exif = read_exif(block) if isinstance(block, bytes) else Exif()
    tag, value = WHITE_IS_ZERO
    return Header(
        *image.size,
        ppi=ppi_of(_own_resolution(image), exif),
        full=65535 if image.format == "PPM" and image.mode.startswith("I") else None,  # whatever white the file names
        # Of samples beyond 8 bits; Pillow inverts the others itself.
        white_is_zero=image.mode.startswith(("I", "F")) and getattr(image, "tag_v2", {}).get(tag) == value,
        orientation=exif.orientation if opened and image.format != "TIFF" else 1,
    )


def _own_resolution(image: Image.Image) -> tuple[float, float] | None:
    """The resolution that the format's own tag gives, px per inch of both axes."""
    own = _pair(image.info.get("dpi"))
    if own is not None and not _copied_from_exif(image, *own):
        return own
    inch, density = JFIF_INCH.get(image.info.get("jfif_unit")), _pair(image.info.get("jfif_density"))
    return None if inch is None or density is None else (density[0] * inch, density[1] * inch)


def _copied_from_exif(image: Image.Image, x: float, y: float) -> bool:
    """Whether "dpi" is what Pillow puts there of a JPEG without one: of EXIF the number of the x axis, for both."""
    if x != y or "exif" not in image.info or image.format not in ("JPEG", "MPO", None):
        return False
    try:
        of_exif = float(image.getexif()[X_RESOLUTION])
    except Exception:  # whatever Pillow meets in a damaged block; then it has copied nothing
        return False
    return any(math.isclose(x, of_exif * inch) for inch in INCH.values())


def _pair(numbers: Any) -> tuple[float, float] | None:
    """Two numbers, whatever stands in an image's `info`."""
    try:
        x, y = (float(number) if isinstance(number, Real) else math.nan for number in numbers)
    except (TypeError, ValueError, ArithmeticError):
        return None
    return x, y
