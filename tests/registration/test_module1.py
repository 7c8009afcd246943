"""What a run directory says of its Module 1."""

import json
import shutil

import jax
import numpy as np
import pytest

from ifvit.config import Enhancement
from ifvit.errors import CheckpointError
from ifvit.registration.module1 import load_dense


@pytest.fixture(scope="module")
def run_dir(finished):
    return finished[0]


def test_everything_comes_from_the_run(run_dir):
    trained = load_dense(run_dir)
    assert (trained.which, trained.step, trained.frame, trained.ppi) == ("best", 4, (64, 64), 250)
    assert trained.enhancement is Enhancement.none and trained.dense.d_model == 8
    assert trained.variables["params"] and trained.variables["batch_stats"]
    assert trained.registrar().tolerance > 0


def test_a_copy_of_a_run_is_the_same_module_1_and_another_state_is_not(run_dir, tmp_path):
    trained = load_dense(run_dir)
    assert trained.digest() == load_dense(shutil.copytree(run_dir, tmp_path / "copy")).digest()
    other = jax.tree.map(np.copy, trained.variables)
    leaf = jax.tree.leaves(other["batch_stats"])[-1]
    leaf.ravel()[-1] += 1e-6
    assert trained._replace(variables=other).digest() != trained.digest()


def test_an_earlier_versions_run_too(run_dir, tmp_path):
    old = shutil.copytree(run_dir, tmp_path / "old")
    stored = json.loads((old / "config.json").read_text())
    del stored["config"]["data"]["ridge_mask"], stored["config"]["dense"]["fine"]
    (old / "config.json").write_text(json.dumps(stored))
    assert load_dense(old).dense == load_dense(run_dir).dense


@pytest.mark.parametrize(
    "text", [None, "{}", "[1]", '{"config": {"dense": {}}}', '{"config": {"data": {}, "dense": 3}}']
)
def test_what_is_no_run_is_refused(tmp_path, text):
    if text:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match="no run directory"):
        load_dense(tmp_path)
