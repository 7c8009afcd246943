"""Runs of an earlier version, tests/fixtures/earlier_runs.tar.xz, written before keys and modules were renamed.

Two runs of four steps on synthetic fingers: dense (Module 1) and matcher (Module 2, which began from dense).
"""

import tarfile
from pathlib import Path

import jax
import numpy as np
import pytest

from ifvit.comparison.run_networks import load_networks
from ifvit.config import Enhancement, build
from ifvit.evaluation.run_files import read_run
from ifvit.evaluation.run_table import table
from ifvit.launch import compose_tree
from ifvit.training import run_dir
from ifvit.training.taken import taken

FIXTURE = Path(__file__).resolve().parents[1] / "fixtures" / "earlier_runs.tar.xz"
# As typed for the run `dense`, under the names of today.
TYPED = [
    "debug=smoke", "data=synthetic", "data.image_size=64", "data.ppi=250", "data.fingers=4", "data.val_fingers=2",
    "data.pairs.elastic_px=1", "dense.stem_width=4", "dense.stage_widths=[4,8,8]", "dense.d_model=8",
    "dense.num_heads=2", "dense.threshold=0", "trainer.val_pairs=4", "trainer.max_steps=4",
    "trainer.checkpoint_every=2", "trainer.validate_every=4", "trainer.log_every=1",
]  # fmt: skip


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    folder = tmp_path_factory.mktemp("earlier")
    with tarfile.open(FIXTURE) as archive:
        archive.extractall(folder, filter="data")
    return folder


def config_of(folder, *more):
    return build(compose_tree([*TYPED, f"run_dir={folder}", *more]))


def test_the_networks_of_an_earlier_run_load(earlier):
    dense, matcher = load_networks(earlier / "dense"), load_networks(earlier / "matcher")
    assert dense.module2 is None and matcher.module2.step == matcher.module1.step == 4
    assert dense.module1.digest() == matcher.module1.digest()
    assert dense.module1.frame == (64, 64) and dense.module1.enhancement is Enhancement.none
    shapes = jax.tree.map(np.shape, matcher.module2.variables["params"])
    assert set(shapes) == set(matcher.module2.model.names) and len(jax.tree.leaves(shapes)) > 50


def test_an_earlier_run_goes_on_and_says_what_is_called_otherwise(earlier, capsys):
    config = config_of(earlier / "dense", "trainer.max_steps=8")
    assert taken(config) is None
    run_dir.claim(config)
    printed = capsys.readouterr().err
    assert "the config of an earlier version; data.enhancement is called data.ridge_mask now" in printed
    assert "matcher.arc_scale is called loss.matcher.arc_scale now" in printed


def test_an_earlier_run_of_other_settings_is_not_gone_on_with(earlier):
    assert "data.ridge_mask: none -> gabor" in taken(config_of(earlier / "dense", "data.ridge_mask=gabor"))


def test_the_figures_of_earlier_runs_are_read(earlier):
    assert read_run(earlier / "dense").config["data.ridge_mask"] == "none"
    assert "0.125" in table([earlier / "dense"], "csv")
