"""A JSON file is complete or not changed, and reading one needs neither JAX nor Orbax."""

import subprocess
import sys

import pytest

from ifvit.errors import CheckpointError
from ifvit.storage.json_files import read_json, write_json
from tests.helpers.places import REPOSITORY


def test_a_file_is_complete_or_not_changed(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert read_json(path) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_damaged_file_is_an_error_and_a_missing_one_is_none(tmp_path):
    path = tmp_path / "a.json"
    assert read_json(path) is None
    path.write_text('{"a":')
    with pytest.raises(CheckpointError, match="a.json: not valid JSON"):
        read_json(path)


def test_neither_jax_nor_orbax_is_loaded():
    code = "import ifvit.storage.json_files, sys; sys.exit(bool({'jax', 'orbax'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY).returncode == 0
