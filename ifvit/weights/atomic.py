"""Put a file in its place whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from ifvit.storage import files
from ifvit.weights.errors import WeightsError


def write_whole(path: str | os.PathLike[str], write: Callable[[BinaryIO], object]) -> None:
    """Make the file `path`, and its folder if need be, of what `write` writes.

    Raises `WeightsError` when it cannot be written; nothing is left behind then, and an earlier file stays.
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
