"""Files that are complete or absent, and the causes of failed reads."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

# Error numbers whose cause is the system, not the file's content.
_SYSTEM_ERRORS = {
    errno.EACCES, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.EPERM,
    errno.ESTALE, errno.ETIMEDOUT,
}  # fmt: skip


def outside_cause(error: BaseException) -> str | None:
    """Why a read failed, if the file itself may be good: no permission, no memory, or a failing disk.

    None if the content is the cause, or the file does not exist. TensorStore raises a ValueError whose message begins
    with a status such as PERMISSION_DENIED.
    """
    text = str(error)
    if isinstance(error, MemoryError) or text.startswith("RESOURCE_EXHAUSTED"):
        return "memory ran out"
    if isinstance(error, OSError) and error.errno in _SYSTEM_ERRORS:
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
    """Write the file `path`, and make its folder if it is missing. The file is complete, or it is not changed.

    write: gets the open file and writes its content.

    The content goes to a file beside it, whose name ends in .tmp, is forced to disk, and gets its name by a rename. So
    a kill, a full disk or another process that writes the same file leave no incomplete file. A link stays a link. A
    path that is not an ordinary file, such as a pipe or /dev/null, is not replaced: the content is written into it.

    Raises:
        WriteError: the file cannot be written; no temporary file stays.
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
    """Write a temporary file beside `path` and rename it to `path`."""
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
    """Why no file can be written at `path`, as far as this is known without writing; None if there is no obstacle.

    A command that computes for a long time checks this first.
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
