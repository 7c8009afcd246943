"""A file stands in its place whole or not at all; and what a failed read says of it."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

# What the system, not the file's content, is to blame for.
_OF_THE_SYSTEM = {
    errno.EACCES, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.EPERM,
    errno.ESTALE, errno.ETIMEDOUT,
}  # fmt: skip


def outside_cause(error: BaseException) -> str | None:
    """Why reading failed where the file may well be whole: no right to read it, no memory, a disk that fails.

    None where its content is to blame, or it is not there. TensorStore raises a ValueError that begins with the status.
    """
    text = str(error)
    if isinstance(error, MemoryError) or text.startswith("RESOURCE_EXHAUSTED"):
        return "memory ran out"
    if isinstance(error, OSError) and error.errno in _OF_THE_SYSTEM:
        return f"{error.strerror}: {error.filename}" if error.filename else str(error.strerror)
    if text.startswith("PERMISSION_DENIED"):
        return "Permission denied"
    return None


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Make the file `path`, and its folder if need be, of what `write` writes.

    It is written beside its place under another name that ends in .tmp, forced to disk, and renamed: a kill, a full
    disk or another process that writes the same file leaves no half one, and an earlier file stays.

    Raises:
        OSError: it cannot be written; nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}-{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with open(part, "xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
