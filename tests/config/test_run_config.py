"""The config of a run directory."""

import json

import pytest

from ifvit.config import Enhancement, StageName, build, to_dict
from ifvit.config.run_config import open_run, stored_run
from ifvit.errors import CheckpointError
from ifvit.launch import compose_tree


def written(folder, config, **more):
    (folder / "config.json").write_text(json.dumps({"config": config, **more}))
    return folder


@pytest.fixture
def tree():
    return to_dict(build(compose_tree(["data.image_size=[96,128]", "data.ppi=250", "data.ridge_mask=gabor"])))


def test_what_a_run_says_of_itself(tree, tmp_path):
    run = open_run(written(tmp_path, tree, weights="0123"))
    assert (run.stage, run.frame(), run.ppi(), run.ridge_mask()) == (StageName.dense, (96, 128), 250, Enhancement.gabor)
    assert run.dense() == build(tree).dense and run.matcher() == build(tree).matcher
    assert run.content["weights"] == "0123"


def test_a_config_of_an_earlier_version_is_read_under_the_names_of_today(tree, tmp_path):
    tree["data"]["enhancement"] = tree["data"].pop("ridge_mask")
    assert open_run(written(tmp_path, tree)).ridge_mask() is Enhancement.gabor


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "{",
        "[]",
        "{}",
        '{"config": 3}',
        '{"config": {"stage": "other"}}',
        '{"config": {"stage": "dense", "data": {}}}',
        '{"config": {"stage": "dense", "dense": {}, "data": {"image_size": [], "ppi": 1}}}',
        "[" * 100_000,
    ],
)
def test_what_is_no_run_is_refused_by_name(text, tmp_path):
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=f"{tmp_path}: no run directory .*give the run_dir of a training run"):
        open_run(tmp_path)


def test_a_run_that_has_not_begun_has_no_config(tree, tmp_path):
    assert stored_run(tmp_path) is None
    assert stored_run(written(tmp_path, tree)).tree == tree


def test_a_module_1_that_is_none_is_refused(tree, tmp_path):
    tree["dense"]["d_model"] = "wide"
    with pytest.raises(CheckpointError, match="d_model"):
        open_run(written(tmp_path, tree)).dense()
