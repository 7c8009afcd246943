"""What every test may ask for."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder with the golden files and real prints: $IFVIT_SHARED, or `shared/` beside the checkout."""
    folder = Path(os.environ.get("IFVIT_SHARED", REPOSITORY.parent / "shared"))
    if not (folder / "golden").is_dir():
        pytest.skip(f"golden files and real prints are not at {folder} (set IFVIT_SHARED to their folder)")
    return folder
