"""`train --help`: short, in our words, and true to the YAML files."""

import errno
from pathlib import Path

import pytest
import yaml

from ifvit import program
from ifvit.cli.train import train_command
from ifvit.config import known_keys
from ifvit.config.yaml_files import all_keys, config_dir, groups
from ifvit.launch import compose_tree


@pytest.fixture
def helped(capsys):
    """The lines that `train --help` prints, or with which it is refused."""

    def run(*argv):
        try:
            train_command(["--help", *argv])
        except SystemExit as ended:
            assert ended.code == 2
        return "".join(capsys.readouterr())

    return run


def test_the_page_shows_usage_groups_examples_and_ones_own_experiment(helped, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    page = helped()
    lines = page.splitlines()
    assert len(lines) < 80 and max(map(len, lines)) <= 120
    assert "Hydra's own help" in page and "powered by" not in page
    for text in (
        "  python -m ifvit train [GROUP=CHOICE ...] [KEY=VALUE ...] [OPTION ...]",
        "  python -m ifvit train --config-dir conf experiment=mine",
        "    # @package _global_",
        "  seed=0",
        "  python -m ifvit train --help data                      # a group: its choices and its keys",
    ):
        assert text in lines
    for group, choices in groups([config_dir()]).items():
        assert any(line.startswith(f"  {group} ") for line in lines)
        assert all(choice in page for choice in choices)


def test_base_files_are_no_choices(helped):
    listed = helped("data")
    assert "\n  synthetic " in listed and "\n  base " not in listed
    assert "base" not in groups([config_dir()])["data"]
    assert helped("data=base").startswith("error: data=base: there is no such choice; known are folder, fpgan")


def test_every_key_is_there_with_its_value():
    """What is read of the YAML files as text is what YAML reads, and nothing is left out."""
    flat = {key.name: key.value for keys in all_keys().values() for key in keys if key.value}
    assert set(flat) == {key for key in known_keys() if ".NAME." not in key} | {"data.mixture"}
    tree = compose_tree([])
    for name, value in flat.items():
        if name not in ("run_dir", "data.source", "data.val_fingers"):  # which the group or Hydra fills in
            node = tree
            for part in name.split("."):
                node = node[part]
            assert yaml.safe_load(value) == node or float(value) == node, name


def test_comments_stand_beside_their_keys(helped, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    lines = helped("optimizer", "data.pairs", "seed").splitlines()
    assert "  optimizer.warmup_steps=100          at most half of the run" in lines
    assert "  data.pairs.elastic_px=2.5           largest skin distortion" in lines
    (start,) = [k for k, line in enumerate(lines) if line.startswith("  # A pair of real prints is an image")]
    assert lines[start + 1].startswith("  # fingers are two impressions, which are bent")
    assert lines[-1] == "  seed=0"
    assert helped("keys").count("\n  data.") > 30


def test_a_choice_is_told_by_its_file(helped, monkeypatch):
    monkeypatch.setattr(program, "_start", {"name": "ifvit", "train": "ifvit train"})
    text = helped("experiment=quickstart")
    assert text.startswith("experiment=quickstart  (") and "quickstart.yaml)" in text
    assert "\n    ifvit train experiment=quickstart\n" in text and "python" not in text
    assert "\n  dense.d_model=64\n" in text and "defaults" not in text
    assert "\n  dense.fine=loftr" in helped("dense=loftr_full")


def test_groups_and_files_of_ones_own_are_listed_and_tame(helped, tmp_path):
    for name, text in (
        ("experiment/mine.yaml", "# @package _global_\n# Mine: \x1b[31mred. Not listed.\nseed: 3  # \x07lucky\n"),
        ("experiment/base.yaml", ""),
        ("experiment/\x1b[31m.yaml", ""),
        ("extra/a.yaml", "x: 1\n"),
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    page = helped("--config-dir", str(tmp_path))
    assert "  extra       a group of your own: a" in page and "mine, paper_dense, quickstart" in " ".join(page.split())
    listed = helped("experiment", "experiment=mine", "--config-dir", str(tmp_path))
    assert "\n  mine               Mine: ?[31mred.\n" in listed and "?lucky" in listed
    assert "\x1b" not in page + listed and "\n  base" not in listed


@pytest.mark.parametrize(
    ("topic", "line"),
    [
        ("dta", "error: --help dta: there is nothing of this name; topics are keys, data, debug, dense, experiment"),
        ("optimizer.rate", "error: --help optimizer.rate: there is nothing of this name; did you mean optimizer.lr?"),
        ("dense=foo", "error: dense=foo: there is no such choice; known are dense, loftr, loftr_full"),
    ],
)
def test_a_topic_that_is_none_is_refused_in_a_line(helped, topic, line):
    text = helped(topic)
    assert text.startswith(line) and text.count("\n") == 1


def test_what_cannot_be_read_is_named(helped, monkeypatch):
    def denied(path, **_):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_text", denied)
    text = helped("experiment=quickstart")
    assert text.startswith("error: ") and text.endswith(".yaml: cannot be read (Permission denied)\n")
