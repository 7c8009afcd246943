"""IFViT: interpretable fingerprint matching with a vision transformer, in JAX."""

import os
from typing import Any

__version__ = "0.1.0"

# OpenCV reads these once, when it loads, and several rooms load it: so here, before any of them. The first is a second
# guard behind `image`'s own check of sizes. The second: a damaged file is told by one ImageError, and OpenCV's and
# libtiff's own lines would tell it again without the file's name.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(2**26))
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")


def load(run_dir: Any = None, cache_dir: str | None = None, score: str = "fused") -> Any:
    """What compares prints, ready to use: `load().compare("a.png", "b.png")`.

    run_dir: of a trained run, whose networks take part; None compares by the ridges alone, which needs no training.
    cache_dir: for enhanced prints; None takes the user's cache folder.
    score: "fused", the log-likelihood ratio of all evidence, or "cosines", those of a run's Module 2 alone.

    See `ifvit.recognition.image_matcher` and `ifvit.recognition.comparison`, which are imported only now: `import
    ifvit` alone loads neither JAX nor OpenCV.
    """
    from ifvit.recognition.image_matcher import load

    return load(run_dir, cache_dir, score)
