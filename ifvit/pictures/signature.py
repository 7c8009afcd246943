"""The signature in every picture that this program draws, so that none of them is read as a print."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

SIGNATURE = b"Software\0IFViT picture"  # the body of a PNG's text chunk
_PNG, _PNG_END = b"\x89PNG\r\n\x1a\n", 12  # a PNG's first bytes; length of its last chunk
_TAIL = 64  # bytes at the end of a file that include the signature


def signed(content: bytes) -> bytes:
    """An encoded picture with the signature at its end.

    In a PNG it is a text chunk, in other formats bytes behind the picture, which decoders do not read.
    """
    if not content.startswith(_PNG):
        return content + SIGNATURE
    body = b"tEXt" + SIGNATURE
    chunk = len(SIGNATURE).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    return content[:-_PNG_END] + chunk + content[-_PNG_END:]


def is_signed(path: Path) -> bool:
    """Whether a file is a picture of this program; False where it cannot be read."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
            return SIGNATURE in file.read(_TAIL)
    except OSError:
        return False
