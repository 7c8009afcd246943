"""Names of folders that tell what was typed: of a sweep's jobs, and of the run directory of `run_dir=auto`.

The same words give the same name, in whatever order they are typed; other words give another one.
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
    """The overrides, sorted, as the name of one folder; '' of none.

    Where characters are replaced or cut off, a hash of the true text keeps two names apart.
    """
    true = ",".join(sorted(overrides))
    name = re.sub(r"[^A-Za-z0-9_.,=+-]", "_", re.sub(r"['\\]", "", true))
    if name == true and len(name) <= longest and name not in (".", ".."):
        return name
    return f"{name[:longest]}-{hashlib.sha256(true.encode()).hexdigest()[:8]}"


def auto_run_dir(overrides: Iterable[str]) -> str:
    """The run directory that `run_dir=auto` stands for: what was typed differently from the defaults.

    overrides: as they were typed, like seed=1. Of a key typed twice the last counts.
    """
    last = {override.partition("=")[0]: override for override in (override.lstrip("+") for override in overrides)}
    typed = [override for key, override in last.items() if key not in SESSION_KEYS and not key.startswith("hydra")]
    return str(AUTO_PARENT / (folder_name(typed, LONGEST_AUTO) or "defaults"))
