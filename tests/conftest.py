"""What every test may ask for."""

import os
import tempfile
from pathlib import Path

import pytest

# Read by JAX when it is imported, here and in the processes that tests start. Most of a small run's time is
# compilation; what one test compiled, the next one finds.
_compiled = tempfile.TemporaryDirectory(prefix="ifvit-tests-")
os.environ |= {
    "JAX_PLATFORMS": "cpu",
    "JAX_COMPILATION_CACHE_DIR": _compiled.name,
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder with the golden files and real prints: $IFVIT_SHARED, or `shared/` beside the checkout."""
    folder = Path(os.environ.get("IFVIT_SHARED", REPOSITORY.parent / "shared"))
    if not (folder / "golden").is_dir():
        pytest.skip(f"golden files and real prints are not at {folder} (set IFVIT_SHARED to their folder)")
    return folder
