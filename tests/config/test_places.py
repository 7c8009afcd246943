import pytest

from ifvit import launch
from ifvit.config import ConfigError


@pytest.fixture
def refused(tmp_path, monkeypatch):
    """The lines with which an experiment's text is refused; it lies in conf/experiment/mine.yaml."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf" / "experiment").mkdir(parents=True)

    def compose(text, *overrides):
        (tmp_path / "conf" / "experiment" / "mine.yaml").write_text(text)
        with pytest.raises(ConfigError) as caught:
            launch.validated_config(["experiment=mine", *overrides], launch.Configs(added=tmp_path / "conf"))
        return caught.value.problems

    return compose


HEAD = "# @package _global_\n"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("dense:\n  temprature: 1\n", "dense.temprature: unknown key; did you mean dense.temperature? (@, line 3)"),
        ("seed: 0\nlr: 1\n", "lr: unknown key; did you mean optimizer.lr? (@, line 3)"),
        (
            "optimizer.lr: 1\n",
            "optimizer.lr: unknown key; in a YAML file write optimizer: and below it, indented, lr: (@, line 2)",
        ),
        ("seed: one\n", "seed: expected a whole number, got 'one' (@, line 2)"),
        ("\nseed: -1\n", "seed: expected 0 or more, got -1 (@, line 3)"),
        (
            "defaults: [quickstart, _self_]\ndata: {image_size: 100}\n",
            "data.image_size: 100 is not a multiple of 16, the stride of resnet18; the nearest that is: 96 (@, line 3)",
        ),
    ],
)
def test_a_wrong_key_is_named_with_its_file_and_line(refused, text, line):
    assert refused(HEAD + text) == [line.replace("@", "conf/experiment/mine.yaml")]


def test_what_was_typed_or_is_ours_stands_in_no_file(refused):
    assert refused(f"{HEAD}seed: 7\n", "seed=-1") == ["seed: expected 0 or more, got -1"]
    assert refused(f"{HEAD}defaults:\n  - override /data: fvc\n") == [
        "data.root: data=fvc needs the folder of the images: data.root=FOLDER"
    ]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("seed: 4\n", "seed is read as experiment.seed"),
        ("defaults:\n  - quickstart\n  - _self_\nseed: 4\n", "seed is read as experiment.seed"),
        ("# My own.\noptimizer:\n  lr: 1\n", "optimizer is read as experiment.optimizer"),
    ],
)
def test_an_experiment_without_its_first_line_is_told_so(refused, text, meant):
    assert refused(text) == [
        f"conf/experiment/mine.yaml: its first line must be '# @package _global_'; without it {meant}"
    ]


def test_a_file_of_a_group_has_the_keys_of_its_group(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "lab.yaml").write_text("defaults:\n  - folder\n  - _self_\nrot: /x\nroot: /x\n")
    with pytest.raises(ConfigError) as caught:
        launch.validated_config(["data=lab"], launch.Configs(added=tmp_path))
    assert caught.value.problems == ["data.rot: unknown key; did you mean data.root? (data/lab.yaml, line 4)"]
