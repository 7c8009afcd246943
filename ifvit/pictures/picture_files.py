"""A picture as a file: its ending says the format, and it stands in its place whole or not at all."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from ifvit.errors import UserError
from ifvit.pictures.signature import signed
from ifvit.program import EXIT_FAILED
from ifvit.storage import files

# By ending: Pillow's name of the format, and how it keeps thin lines sharp.
_FORMATS = {
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
    """A picture cannot be made under this name; the message says what to name."""

    exit_status = EXIT_FAILED


def obstacle(path: Path) -> str | None:
    """Why no picture can be written to `path`, as far as that is seen before it is drawn; None where nothing is."""
    return files.obstacle(path) or (None if _ending(path) in _FORMATS else _no_format(path))


def encoded(picture: np.ndarray, path: Path = Path("picture.png")) -> bytes:
    """A picture, uint8 RGB (H, W, 3), as the content of a file named `path`.

    Raises:
        PictureError: the ending is no format's, or the format cannot hold so large a picture.
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
    """A picture, uint8 RGB (H, W, 3), as a PNG that is no wider than a notebook's page."""
    shown = Image.fromarray(picture)
    shown.thumbnail((NOTEBOOK, shown.height))
    return encoded(np.asarray(shown))


def save(path: Path, picture: np.ndarray) -> None:
    """Write a picture, uint8 RGB (H, W, 3), in the format that the ending of `path` names, signed, so that it is never
    taken for a print.

    Raises:
        PictureError: as of `encoded`.
        WriteError: it cannot be written.
    """
    content = signed(encoded(picture, path))
    files.write_whole(path, lambda file: file.write(content))


def _ending(path: Path) -> str:
    return path.suffix.lower()


def _no_format(path: Path) -> str:
    return f"{path}: a picture's name ends in one of {', '.join(_FORMATS)}, which says its format"
