"""Configs of earlier versions, under the names of today."""

import pytest

from ifvit.config import ConfigError, build, differences, identity, leaves, to_dict
from ifvit.config.renamed import RENAMED, renamed_keys, upgraded
from ifvit.launch import compose_tree


@pytest.fixture(scope="module")
def today():
    return to_dict(build(compose_tree(["data.ridge_mask=gabor", "loss.matcher.arc_scale=32"])))


@pytest.fixture(scope="module")
def earlier(today):
    """The same config as an earlier version wrote it."""
    tree = {group: dict(keys) if isinstance(keys, dict) else keys for group, keys in today.items()}
    tree["loss"] = {key: value for key, value in tree["loss"].items() if key != "matcher"}
    tree["matcher"] |= today["loss"]["matcher"]
    tree["data"]["enhancement"] = tree["data"].pop("ridge_mask")
    pairs = dict(tree["data"]["pairs"])
    pairs |= {f"slip_{unit}": pairs.pop(f"registration_noise_{unit}") for unit in ("deg", "px")}
    tree["data"]["pairs"] = pairs
    return tree


def test_every_old_name_is_read_under_its_new_one(today, earlier):
    assert sorted(renamed_keys(earlier)) == sorted(RENAMED)
    assert upgraded(earlier) == today and build(upgraded(earlier)) == build(today)


def test_a_config_of_today_is_left_alone(today):
    assert renamed_keys(today) == [] and upgraded(today) is today


def test_the_tree_that_is_read_is_not_changed(earlier):
    before = leaves(earlier)
    upgraded(earlier)
    assert "enhancement" in earlier["data"] and leaves(earlier) == before


def test_an_earlier_run_is_the_same_run(today, earlier):
    assert differences(earlier, today) == [] and identity(earlier) == identity(today)
    other = {**earlier, "data": {**earlier["data"], "enhancement": "none"}}
    assert differences(other, today) == ["data.ridge_mask: none -> gabor"]


@pytest.mark.parametrize("old", RENAMED)
def test_an_old_name_that_is_typed_is_answered_with_the_new_one(old):
    with pytest.raises(ConfigError, match=f"{old}: unknown key; it is called {RENAMED[old]} now"):
        build(compose_tree([f"+{old}=1"]))


def test_the_earlier_name_of_the_plain_encoder_is_understood():
    assert build(compose_tree(["dense=dense"])).dense == build(compose_tree(["dense=plain"])).dense


def test_sources_of_a_mixture_have_all_keys():
    mixture = compose_tree(["data=mixture", "data.mixture.sd4.root=/data/sd4"])["data"]["mixture"]
    assert {tuple(sorted(part)) for part in mixture.values()} == {tuple(sorted(mixture["synthetic"]))}
    assert mixture["fvc2004"]["fvc_year"] == 2004 and mixture["sd4"]["fvc_year"] is None
    assert mixture["sd4"]["root"] == "/data/sd4" and mixture["sd300"]["root"] is None
