"""IFViT: interpretable fingerprint matching with a vision transformer, in JAX.

Public names:

load                a Matcher, of a trained run or without one
Matcher             compares and registers images: compare, compare_many, register
Comparison          the result of compare: score, decision(), text(), to_dict(), picture(), save()
Registration        the result of register: registered, text(), to_dict(), picture(), save()
ImageError          an image cannot be used
CheckpointError     a run directory is no run, has no state yet, or is damaged
EnhancementError    an enhancement is not installed
ScoreError          a run does not have the requested score
BackendError        JAX has no device
PictureError        a picture cannot be written under this name

They are imported at their first use: `import ifvit` alone loads neither JAX nor OpenCV.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # for type checkers and editors alone
    from ifvit.backend import BackendError
    from ifvit.comparison.matcher import Matcher
    from ifvit.comparison.registration_result import Registration
    from ifvit.comparison.result import Comparison
    from ifvit.comparison.run_calibration import ScoreError
    from ifvit.enhancement.errors import EnhancementError
    from ifvit.errors import CheckpointError
    from ifvit.image import ImageError
    from ifvit.pictures.picture_files import PictureError

__all__ = [
    "BackendError",
    "CheckpointError",
    "Comparison",
    "EnhancementError",
    "ImageError",
    "Matcher",
    "PictureError",
    "Registration",
    "ScoreError",
    "__version__",
    "load",
]
__version__ = "0.1.0"

# OpenCV reads these once, when it is loaded, and several packages load it. So they are set here, before any of them.
# The first is a second limit behind the check of sizes in `image`. The second silences OpenCV and libtiff: the
# ImageError of a damaged file names the file, their own lines do not.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(2**26))
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")

_MODULE_OF = {
    "BackendError": "ifvit.backend",
    "CheckpointError": "ifvit.errors",
    "Comparison": "ifvit.comparison.result",
    "EnhancementError": "ifvit.enhancement.errors",
    "ImageError": "ifvit.image",
    "Matcher": "ifvit.comparison.matcher",
    "PictureError": "ifvit.pictures.picture_files",
    "Registration": "ifvit.comparison.registration_result",
    "ScoreError": "ifvit.comparison.run_calibration",
}


def __getattr__(name: str) -> object:
    """A public name, imported at its first use."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'ifvit' has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def load(
    run_dir: str | os.PathLike | None = None,
    cache_dir: str | None = None,
    score: Literal["fused", "cosines"] = "fused",
) -> Matcher:
    """A matcher: `load().compare("a.png", "b.png")`, `.register(...)`, `.compare_many(...)`.

    run_dir: of a trained run, whose networks take part; None compares the ridges alone, which needs no training.
    cache_dir: folder for enhanced prints; None takes the user's cache folder.
    score: "fused", the log-likelihood ratio of all evidence, or "cosines", of a run's Module 2 alone.

    Raises:
        CheckpointError: the run_dir is no run, has no state yet, or is damaged.
        EnhancementError: the run's enhancement is not installed.
        ScoreError: the run has no such score.
        BackendError: JAX has no device.
    """
    from ifvit.comparison.matcher import load

    return load(run_dir, cache_dir, score)
