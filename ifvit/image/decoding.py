"""Bytes to pixels by OpenCV, and pixels to grey levels: any depth to 8 bits, colour to grey, transparent to white."""

from __future__ import annotations

import cv2
import numpy as np

from ifvit.image.errors import ImageError
from ifvit.image.headers import Header

DEPTHS = tuple(2**bits - 1 for bits in (8, 10, 12, 14, 16))
OVERSHOOT = 0.05  # of the full scale: floating-point images exceed it by this after resampling


def decode(content: bytes, kind: str, header: Header) -> np.ndarray:
    """The pixels of a file, (H, W), BGR or BGRA, with the file's depth. Only the first page is read.

    OpenCV always applies the orientation tag of a TIFF; `grey_of` applies those of other formats.

    Raises:
        ImageError: the file is damaged, or its kind is not supported (the message names no file).
    """
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except (cv2.error, MemoryError) as error:
        raise ImageError(f"cannot be decoded ({getattr(error, 'err', '') or 'OpenCV refused it'})") from error
    if pixels is None:
        raise ImageError("cannot be decoded: damaged, or of a rare kind")
    return stretched(pixels, header.full) if kind == "pnm" and header.full else pixels


def stretched(pixels: np.ndarray, full: int) -> np.ndarray:
    """Samples of a PNM, whose white is `full`, scaled to the white of their type as Pillow does it: 65535 or 255."""
    white, dtype = (65535, np.uint16) if pixels.ndim == 2 and full > 255 else (255, np.uint8)
    levels = np.rint(np.arange(full + 1) / full * white).astype(dtype)
    return levels[np.minimum(pixels, full)]


def grey_of(pixels: np.ndarray, header: Header) -> np.ndarray:
    """Grey levels, uint8 (H, W), upright. The contrast is not changed; inverted is only what the header says.

    pixels: as from `decode`; uint8, uint16, float32 or float64.

    Raises:
        ImageError: the pixels have another type or range (the message names no image).
    """
    full = header.full or full_scale(pixels)
    if pixels.ndim == 3 and pixels.dtype == np.uint16:
        pixels, full = upper_8_bits(pixels, full), 255
    grey = to_8_bit(one_channel(pixels, full), full)
    return turned(255 - grey if header.white_is_zero else grey, header.orientation)


def turned(grey: np.ndarray, orientation: int) -> np.ndarray:
    """An image (H, W) turned and mirrored as its EXIF orientation (1 to 8) demands."""
    if orientation > 4:  # rows and columns are swapped
        grey = grey.T
    if orientation in (2, 3, 6, 7):
        grey = grey[:, ::-1]
    if orientation in (3, 4, 7, 8):
        grey = grey[::-1]
    return np.ascontiguousarray(grey)


def upper_8_bits(colours: np.ndarray, full: int) -> np.ndarray:
    """The upper 8 bits of 16-bit colours whose white is `full`, uint8: Pillow keeps only these."""
    return (colours >> (full.bit_length() - 8)).astype(np.uint8)


def full_scale(pixels: np.ndarray) -> int:
    """The value that stands for white.

    Files of 16 bits often have the values of an 8-, 10- or 12-bit sensor, without a tag for it. A print has a light
    ground, so its largest value is near white: the depth is the smallest one of `DEPTHS` that includes this value.
    White is that of the depth and not the largest value, so that two images of one sensor have the same scale. White
    of a floating-point image is 1 or that of one of these depths.

    Raises:
        ImageError: a value is not finite, negative or above 65535, or the type is none of these.
    """
    if pixels.dtype == np.uint8:
        return 255
    if pixels.dtype == np.uint16:
        return next(full for full in DEPTHS if pixels.max() <= full)
    if pixels.dtype not in (np.float32, np.float64):
        raise ImageError(f"samples of type {pixels.dtype}; save it in 8 or 16 bits")
    low, high = float(pixels.min()), float(pixels.max())
    if not (np.isfinite(low) and np.isfinite(high)):  # with a NaN the minimum and the maximum are NaN
        raise ImageError("has pixels that are not finite numbers")
    full = next((full for full in (1, *DEPTHS) if high <= full * (1 + OVERSHOOT)), 0)
    if low < -full * OVERSHOOT or not full:
        raise ImageError(f"pixels from {low:g} to {high:g}: neither 0..1 nor 0..65535")
    return full


def one_channel(pixels: np.ndarray, full: int) -> np.ndarray:
    """The pixels as (H, W) of the same depth (floating point as float32): luma of colours, on a white background.

    Raises:
        ImageError: the number of channels is not supported.
    """
    pixels = pixels.astype(np.float32) if pixels.dtype == np.float64 else pixels
    if pixels.ndim == 2:
        return pixels
    if pixels.shape[2] == 3:
        return cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
    if pixels.shape[2] != 4:
        raise ImageError(f"{pixels.shape[2]} channels; save it in grey")
    alpha = pixels[..., 3]
    grey = cv2.cvtColor(pixels, cv2.COLOR_BGRA2GRAY)
    # If all pixels are transparent, a program has left the alpha channel empty.
    if alpha.min() == full or not alpha.any():
        return grey
    share = alpha.astype(np.float32) / full
    return np.rint(full + share * (grey.astype(np.float32) - full)).astype(grey.dtype)


def to_8_bit(grey: np.ndarray, full: int) -> np.ndarray:
    """The image as uint8 (H, W), scaled so that `full` becomes 255."""
    if full == 255 and grey.dtype == np.uint8:
        return grey
    return np.rint(np.clip(grey.astype(np.float32) * (255 / full), 0, 255)).astype(np.uint8)
