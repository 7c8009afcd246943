"""A value for each side of a pair."""

import subprocess
import sys

from ifvit.pair import Pair
from tests.helpers.places import REPOSITORY


def test_a_function_is_applied_to_both_sides():
    assert Pair(2, 3).map(str) == Pair("2", "3")


def test_it_needs_neither_jax_nor_numpy():
    code = "import sys, ifvit.pair; sys.exit(bool({'jax', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY).returncode == 0
