import pytest

from ifvit.config import SESSION_KEYS, known_keys
from ifvit.config.folder_names import LONGEST_AUTO, auto_run_dir, folder_name
from ifvit.launch import compose_tree


def test_auto_names_what_was_typed_in_whatever_order():
    name = auto_run_dir(["experiment=quickstart", "seed=3", "run_dir=auto"])
    assert name == "checkpoints/auto/experiment=quickstart,seed=3"
    assert auto_run_dir(["seed=3", "run_dir=auto", "experiment=quickstart"]) == name
    assert auto_run_dir(["seed=1", "+seed=3", "experiment=quickstart"]) == name  # the last counts
    assert auto_run_dir(["run_dir=auto"]) == "checkpoints/auto/defaults"


def test_auto_is_the_same_run_in_another_session():
    assert set(known_keys()) >= SESSION_KEYS
    session = [f"{key}=1" for key in SESSION_KEYS]
    assert auto_run_dir(["seed=3", *session]) == auto_run_dir(["seed=3"])


def test_auto_keeps_apart_what_is_learned_otherwise():
    names = [auto_run_dir([typed]) for typed in ("data.root=/a/b", "data.root=/a_b", "init.dense=x", "init.dense=y")]
    assert len(set(names)) == 4


@pytest.mark.parametrize(
    "typed",
    ["data.root=/../../etc", "init.dense='; rm -rf ~'", "data.root=a\nb", "data.root=\u202eü", "x=" + "y" * 900],
)
def test_names_are_safe_and_short(typed):
    name = auto_run_dir([typed]).removeprefix("checkpoints/auto/")
    assert len(name) <= LONGEST_AUTO + 9 and set(name) <= set("-,.=_+") | {
        c for c in name if c.isascii() and c.isalnum()
    }
    assert name not in (".", "..") and folder_name([typed]) != folder_name([typed + "."])


def test_auto_is_resolved_when_the_config_is_read(tmp_path):
    assert compose_tree(["run_dir=auto", "seed=1"])["run_dir"] == "checkpoints/auto/seed=1"
    assert compose_tree(["run_dir=./auto"])["run_dir"] == "./auto"  # a folder of that name
