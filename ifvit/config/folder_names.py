"""Names of folders made from the typed overrides: of a sweep's jobs, and of the run directory of `run_dir=auto`.

The same overrides give the same name in any order; other overrides give another name.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import PurePosixPath

from ifvit.config import SESSION_KEYS

AUTO = "auto"  # run_dir=auto
AUTO_PARENT = PurePosixPath("checkpoints/auto")
LONGEST_JOB = 150  # characters of a job's name without its hash; file systems take 255
LONGEST_AUTO = 60


def folder_name(overrides: Iterable[str], longest: int = LONGEST_JOB) -> str:
    """The overrides, sorted, as the name of a folder; '' without overrides.

    longest: characters of the name, without its hash. Where characters are replaced or cut off, a hash of the full text
    makes the name unique.
    """
    text = ",".join(sorted(overrides))
    name = re.sub(r"[^A-Za-z0-9_.,=+-]", "_", re.sub(r"['\\]", "", text))
    if name == text and len(name) <= longest and name not in (".", ".."):
        return name
    return f"{name[:longest]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def auto_run_dir(overrides: Iterable[str]) -> str:
    """The run directory of `run_dir=auto`, named by the typed overrides.

    overrides: as typed, like seed=1. Of a key that is typed twice, the last override counts.
    """
    by_key = {override.partition("=")[0]: override for override in (override.lstrip("+") for override in overrides)}
    hidden = [key for key in by_key if key in SESSION_KEYS or key.startswith("hydra")]
    differing = [override for key, override in by_key.items() if key not in hidden]
    return str(AUTO_PARENT / (folder_name(differing, LONGEST_AUTO) or "defaults"))
