"""Images in memory (NumPy arrays and Pillow images) as pixels and a header, the same as for files."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any, cast

import numpy as np
from PIL import Image, ImageFile

from ifvit.image.errors import ImageError, check_size
from ifvit.image.exif import ORIENTATION, UNITS_PER_INCH, X_RESOLUTION, Exif, ppi_of, read_exif
from ifvit.image.headers import JFIF_UNITS_PER_INCH, Header

DIRECT_MODES = ("1", "L", "RGB", "RGBA", "I", "F", "I;16", "I;16L", "I;16B", "I;16N")  # become arrays as they are
ALPHA_MODES = ("P", "PA", "LA", "La", "RGBa")
REFUSED_MODES = ("CMYK", "LAB")  # their look depends on inks or a profile; files of these modes are refused too
WHITE_IS_ZERO = 262, 0  # TIFF's tag, and its value
DARK = 64  # of 255; no print is so dark, but the upper 8 of 16 bits are if the values are those of 10 or 12 bits
EMPTY_HEADER = Header(0, 0)


def usual(pixels: Any) -> np.ndarray:
    """An array as `grey_of` needs it: (H, W), BGR or BGRA, of uint8, uint16, float32 or float64.

    pixels: grey, RGB or RGBA of any type and byte order.

    Raises:
        ImageError: the array has another shape, type or range (the message names no image).
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
    """The array with a type that files have, in this machine's byte order.

    Raises:
        ImageError: another type or range.
    """
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
    """A Pillow image's pixels, as from `usual`, and its header.

    Raises:
        ImageError: the image is damaged or closed, or its mode is not supported (the message names no image).
    """
    check_size(*image.size)
    pixels = usual(_loaded(image))
    return pixels, _header(image)


def _loaded(image: Image.Image) -> np.ndarray:
    """The pixels of a Pillow image; Pillow may read them from the file only now. Raises as `decode_pillow`."""
    halved = _may_be_halved(image)
    try:
        _load(image)
    except Exception as error:  # readers of the formats raise errors of many classes
        file = getattr(image, "fp", None)
        closed = file is None or file.closed
        reason = "its file was closed before its pixels were read; call load() before that" if closed else error
        raise ImageError(f"cannot be decoded ({reason})") from error
    if image.mode in REFUSED_MODES:
        raise ImageError(f"a Pillow image of mode {image.mode}; convert it to grey or RGB")
    if "transparency" in image.info and image.mode not in ALPHA_MODES:  # such files are refused too
        raise ImageError("a Pillow image that makes one grey level or colour transparent; convert it to RGBA")
    if image.mode not in DIRECT_MODES:
        try:
            straight = image.convert("LA") if image.mode == "La" else image  # Pillow has no direct conversion
            image = straight.convert("RGBA" if image.mode in ALPHA_MODES else "RGB")
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

    The depth in the file is known as long as the pixels are not read; afterwards only the format is known.
    """
    if tiles := getattr(image, "tile", None):
        return any("16" in str(tile[3]) for tile in tiles)
    return image.format in ("PNG", "TIFF", "PPM")


def _load(image: Image.Image) -> None:
    """`image.load()` without the memory map of a TIFF whose orientation swaps rows and columns.

    Pillow (11.0 to 13.0) maps an uncompressed TIFF with its size after the turn, so that every row starts at a wrong
    pixel. It maps only files that have a name, so the name is removed meanwhile. An image that was loaded before is
    wrong already; this cannot be detected.
    """
    if getattr(image, "tag_v2", {}).get(ORIENTATION) not in (5, 6, 7, 8):
        image.load()
        return
    tiff = cast(ImageFile.ImageFile, image)  # nothing else has `tag_v2`
    name, tiff.filename = tiff.filename, ""
    try:
        tiff.load()
    finally:
        tiff.filename = name


def _header(image: Image.Image) -> Header:
    """The header of a loaded image. Pillow itself applies the orientation of a TIFF."""
    opened = isinstance(image, ImageFile.ImageFile)
    block = image.info.get("exif")
    exif = read_exif(block) if isinstance(block, bytes) else Exif()
    tag, value = WHITE_IS_ZERO
    return Header(
        *image.size,
        ppi=ppi_of(_own_resolution(image), exif),
        full=65535 if image.format == "PPM" and image.mode.startswith("I") else None,  # Pillow scales to this white
        # Only for more than 8 bits; Pillow inverts 8-bit samples itself.
        white_is_zero=image.mode.startswith(("I", "F")) and getattr(image, "tag_v2", {}).get(tag) == value,
        orientation=exif.orientation if opened and image.format != "TIFF" else 1,
    )


def _own_resolution(image: Image.Image) -> tuple[float, float] | None:
    """The resolution by the format's own tag, px per inch of both axes; None if it is missing."""
    own = _pair(image.info.get("dpi"))
    if own is not None and not _copied_from_exif(image, *own):
        return own
    factor, density = JFIF_UNITS_PER_INCH.get(image.info.get("jfif_unit", 0)), _pair(image.info.get("jfif_density"))
    return None if factor is None or density is None else (density[0] * factor, density[1] * factor)


def _copied_from_exif(image: Image.Image, x: float, y: float) -> bool:
    """Whether "dpi" comes from EXIF: for a JPEG without a resolution Pillow copies EXIF's x resolution to both axes."""
    if x != y or "exif" not in image.info or image.format not in ("JPEG", "MPO", None):
        return False
    try:
        of_exif = float(image.getexif()[X_RESOLUTION])
    except Exception:  # Pillow raises errors of many classes on a damaged block, and then it has copied nothing
        return False
    return any(math.isclose(x, of_exif * factor) for factor in UNITS_PER_INCH.values())


def _pair(numbers: Any) -> tuple[float, float] | None:
    """Two numbers of an image's `info`; None if there is anything else."""
    try:
        x, y = (float(number) if isinstance(number, Real) else math.nan for number in numbers)
    except (TypeError, ValueError, ArithmeticError):
        return None
    return x, y
