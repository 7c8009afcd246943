"""IFViT: interpretable fingerprint matching with a vision transformer, in JAX."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # for type checkers and editors alone
    from ifvit.comparison.matcher import Matcher
    from ifvit.image import ImageError

__all__ = ["ImageError", "Matcher", "__version__", "load"]
__version__ = "0.1.0"

# OpenCV reads these once, when it loads, and several rooms load it: so here, before any of them. The first is a second
# guard behind `image`'s own check of sizes. The second: a damaged file is told by one ImageError, and OpenCV's and
# libtiff's own lines would tell it again without the file's name.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(2**26))
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")

_PLACES = {"ImageError": "ifvit.image", "Matcher": "ifvit.comparison.matcher"}


def __getattr__(name: str) -> object:
    """What is imported when it is asked for: `import ifvit` alone loads neither JAX nor OpenCV."""
    if name not in _PLACES:
        raise AttributeError(f"module 'ifvit' has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def load(
    run_dir: str | os.PathLike | None = None,
    cache_dir: str | None = None,
    score: Literal["fused", "cosines"] = "fused",
) -> Matcher:
    """What compares prints, ready to use: `load().compare("a.png", "b.png")`, `.register(...)`, `.compare_many(...)`.

    run_dir: of a trained run, whose networks take part; None compares by the ridges alone, which needs no training.
    cache_dir: for enhanced prints; None takes the user's cache folder.
    score: "fused", the log-likelihood ratio of all evidence, or "cosines", those of a run's Module 2 alone.

    Raises:
        CheckpointError: it is no run, holds no state yet, or is damaged.
        EnhancementError: the run's enhancement is not installed.
        ScoreError: the run has no such score.
        BackendError: JAX has no device.
    """
    from ifvit.comparison.matcher import load

    return load(run_dir, cache_dir, score)
