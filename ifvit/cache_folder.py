"""The folder of caches on disk: enhanced prints, synthetic fingers, compiled programs."""

from __future__ import annotations

import os
from pathlib import Path

from ifvit.errors import UserError


class CacheError(UserError):
    """There is no folder for the cache; the message says what to set."""


def cache_folder(cache_dir: str | None) -> Path:
    """`cache_dir`, or by default the user's cache folder ($XDG_CACHE_HOME/ifvit, else ~/.cache/ifvit).

    Raises:
        CacheError: the user has no home folder.
    """
    if cache_dir:
        return Path(cache_dir)
    if chosen := os.environ.get("XDG_CACHE_HOME"):
        return Path(chosen) / "ifvit"
    try:
        return Path.home() / ".cache" / "ifvit"
    except RuntimeError as error:
        raise CacheError("data.cache_dir: this user has no home folder; set data.cache_dir=FOLDER") from error
