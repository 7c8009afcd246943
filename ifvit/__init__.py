"""IFViT: interpretable fingerprint matching with a vision transformer, in JAX."""

import os
from typing import Any

__version__ = "0.1.0"

# OpenCV reads these once, when it loads, and several rooms load it: so here, before any of them. The first is a second
# guard behind `image`'s own check of sizes. The second: a damaged file is told by one ImageError, and OpenCV's and
# libtiff's own lines would tell it again without the file's name.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(2**26))
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")


def load(run_dir: Any, cache_dir: str | None = None) -> Any:
    """A trained run, ready to compare prints: `load(RUN_DIR).compare("a.png", "b.png")`.

    See `ifvit.recognition.comparison`, which is imported only now: `import ifvit` alone loads neither JAX nor OpenCV.
    """
    from ifvit.recognition.comparison import load as load_run

    return load_run(run_dir, cache_dir)
