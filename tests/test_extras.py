"""A config that asks for what is not installed is refused when it is read."""

import importlib.util
import json

import pytest

from ifvit.config import ConfigError
from ifvit.databases.sources import find
from ifvit.errors import DataError
from ifvit.launch import compose_tree, validated_config

FVC = ["data=fvc", "data.root=x"]
ENHANCE = "pyfing needs pyfing and keras: pip install 'ifvit[enhance]'"
PARQUET = "a Parquet file needs pyarrow: pip install 'ifvit[parquet]'"


@pytest.fixture(scope="module")
def dense_run(tmp_path_factory):
    """What a config inherits from of a trained Module 1."""
    folder = tmp_path_factory.mktemp("dense")
    (folder / "config.json").write_text(json.dumps({"config": compose_tree([])}))
    return str(folder)


@pytest.fixture
def bare(monkeypatch):
    """An environment without any extra."""
    there = importlib.util.find_spec
    absent = ("pyfing", "keras", "pyarrow", "wsq")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in absent else there(name))


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        ([*FVC, "data.ridge_mask=pyfing"], f"data.ridge_mask: {ENHANCE}"),
        (["data.ridge_mask=pyfing"], f"data.ridge_mask: {ENHANCE}"),
        (["data=manifest", "data.root=table.parquet"], f"data.root: {PARQUET}"),
        (["data=mixture", "data.mixture.manifest.root=t.PQ"], f"data.mixture.manifest.root: {PARQUET}"),
        (["stage=matcher", "init.dense=RUN", "matcher.enhancement=pyfing"], f"matcher.enhancement: {ENHANCE}"),
    ],
)
def test_a_missing_extra_is_named_with_its_key(bare, overrides, line, dense_run):
    overrides = [text.replace("RUN", dense_run) for text in overrides]
    with pytest.raises(ConfigError) as caught:
        validated_config(overrides)
    assert caught.value.problems == [line]


@pytest.mark.parametrize(
    "overrides",
    [
        [*FVC, "data.ridge_mask=gabor"],
        ["matcher.enhancement=pyfing"],  # of Module 2, which stage=dense does not train
        ["data=manifest", "data.root=table.csv"],
        ["stage=matcher", "init.dense=RUN", "data=prepared", "data.root=x", "matcher.enhancement=pyfing"],
    ],
)
def test_what_a_run_does_not_read_is_not_asked_for(bare, overrides, dense_run):
    validated_config([text.replace("RUN", dense_run) for text in overrides])


def test_where_it_is_installed_nothing_is_refused(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert validated_config([*FVC, "data.ridge_mask=pyfing"]).data.ridge_mask == "pyfing"


def test_images_that_need_an_extra_are_noticed_before_any_is_read(bare, tmp_path):
    for name in ("1/a.wsq", "1/b.png", "2/a.WSQ"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(DataError) as caught:
        find(validated_config(["data=folder", f"data.root={tmp_path}"]).data)
    line = "data.root: WSQ, the format of 2 of 3 images, needs wsq: pip install 'ifvit[wsq]'"
    assert str(caught.value) == line
