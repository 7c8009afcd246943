"""A picture as a file: the ending of its name sets the format; the file is written completely or not at all."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ifvit.errors import UserError
from ifvit.pictures.signature import signed
from ifvit.program import EXIT_FAILED
from ifvit.storage import files

# By ending: Pillow's name of the format, and the settings that keep thin lines sharp.
_FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    ".png": ("PNG", {"compress_level": 3}),
    ".jpg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".tif": ("TIFF", {"compression": "tiff_lzw"}),
    ".tiff": ("TIFF", {"compression": "tiff_lzw"}),
    ".webp": ("WEBP", {"lossless": True}),
    ".bmp": ("BMP", {}),
    ".pdf": ("PDF", {"quality": 95, "subsampling": 0, "resolution": 300}),
}
NOTEBOOK = 1000  # px


class PictureError(UserError, ValueError):
    """A picture cannot be written under this name; the message says which names are possible."""

    exit_status = EXIT_FAILED


def obstacle(path: Path) -> str | None:
    """Why no picture can be written to `path`, checked before it is drawn; None where nothing prevents it."""
    return files.obstacle(path) or (None if _ending(path) in _FORMATS else _no_format(path))


def encoded(picture: np.ndarray, path: Path = Path("picture.png")) -> bytes:
    """A picture, uint8 RGB (H, W, 3), as the content of a file named `path`.

    Raises:
        PictureError: the ending names no format, or the format cannot hold so large a picture.
    """
    if _ending(path) not in _FORMATS:
        raise PictureError(_no_format(path))
    name, settings = _FORMATS[_ending(path)]
    content = io.BytesIO()
    try:
        Image.fromarray(picture).save(content, name, **settings)
    except (OSError, ValueError) as error:  # JPEG and WebP have a largest side; WebP can be missing in Pillow
        height, width = picture.shape[:2]
        raise PictureError(f"{path}: {name} cannot hold this picture of {width}x{height} px ({error})") from error
    return content.getvalue()


def for_notebook(picture: np.ndarray) -> bytes:
    """A picture, uint8 RGB (H, W, 3), as a PNG at most `NOTEBOOK` px wide."""
    image = Image.fromarray(picture)
    image.thumbnail((NOTEBOOK, image.height))
    return encoded(np.asarray(image))


def save(path: Path, picture: np.ndarray) -> None:
    """Write a picture, uint8 RGB (H, W, 3), in the format that the ending of `path` names.

    It is signed, so that it is never read as a print.

    Raises:
        PictureError: as of `encoded`.
        WriteError: the file cannot be written.
    """
    content = signed(encoded(picture, path))
    files.write_whole(path, lambda file: file.write(content))


def _ending(path: Path) -> str:
    return path.suffix.lower()


def _no_format(path: Path) -> str:
    return f"{path}: a picture's name ends in one of {', '.join(_FORMATS)}, which says its format"
