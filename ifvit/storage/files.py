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


class WriteError(OSError):
    """A file was not written; the message names it and says what to do."""

    def __init__(self, path: Path, error: OSError):
        super().__init__(error.errno, error.strerror or str(error), str(path))

    def __str__(self) -> str:
        return f"{self.filename}: not written ({self.strerror}); make room or rights there, or name another place"


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Make the file `path`, and its folder if need be, of what `write` writes.

    It is written beside its place under another name that ends in .tmp, forced to disk, and renamed: a kill, a full
    disk or another process that writes the same file leaves no half one, and an earlier file stays. A link stays a
    link. What is no ordinary file, like a pipe or /dev/null, must not be replaced and is written into.

    Raises:
        WriteError: it cannot be written; nothing is left behind.
    """
    try:
        if os.path.exists(path) and not os.path.isfile(path):
            with open(path, "wb") as stream:
                write(stream)
            return
        target = Path(os.path.realpath(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        _replace(target, write)
    except OSError as error:
        raise WriteError(path, error) from error


def _replace(path: Path, write: Callable[[BinaryIO], object]) -> None:
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


def obstacle(path: Path) -> str | None:
    """Why no file can be made at `path`, as far as that can be seen without writing; None where nothing is seen.

    A command that computes for long asks first.
    """
    if os.path.isdir(path):
        return f"{path} is a folder; name a file"
    if os.path.exists(path) and not os.path.isfile(path):
        return None if os.access(path, os.W_OK) else f"{path} cannot be written; name another file"
    folder = next(above for above in Path(os.path.realpath(path)).parents if os.path.exists(above))
    if not os.path.isdir(folder):
        return f"{path}: {folder} is a file, not a folder; name another place"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"{path}: the folder {folder} cannot be written; name another place"
    return None
