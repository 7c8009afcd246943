"""Write a weights file completely or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from ifvit.storage import files
from ifvit.weights.errors import WeightsError


def write_atomically(path: str | os.PathLike[str], write: Callable[[BinaryIO], object]) -> None:
    """Create the file `path`, and its folder if it is missing, with the bytes that `write` writes to the open file.

    Raises:
        WeightsError: it cannot be written; then an earlier file stays, and no part of the new one remains.
    """
    path = Path(path)
    if not path.name:
        raise WeightsError(f"{str(path)!r} is no file name. Give the weights file a name, such as loftr.npz")
    try:
        files.write_whole(path, write)
    except OSError as err:
        raise WeightsError(
            f"{path}: cannot be written ({err.strerror or err}). Choose another place, or make room or rights there"
        ) from err
