"""A folder of prepared prints, for those who read it."""

import pytest

from ifvit.data import prepared as module
from tests.helpers.aligned_prints import data_of, fvc_tree, module1, prepare


@pytest.fixture(scope="module")
def small_blocks():
    """Of 5 prints and 7 pairs, so that there are several."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "PRINTS", 5)
        patched.setattr(module, "PAIRS", 7)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory, small_blocks):
    root = tmp_path_factory.mktemp("prepared")
    with pytest.MonkeyPatch.context() as patched:
        prepare(patched, root / "out", module1(), data_of(fvc_tree(root / "fvc")))
    return root / "out"
