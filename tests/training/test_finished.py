"""A finished run is known by its files; whatever is in doubt is left to training."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from ifvit import launch
from ifvit.config import StageName
from ifvit.training import finished as module
from ifvit.training.finished import aligned, finished, outcome
from tests.helpers.places import REPOSITORY


@pytest.fixture
def run_dir(finished, tmp_path):
    """A copy of the finished run, with its times."""
    shutil.copytree(finished[0], tmp_path / "run")
    return tmp_path / "run"


def test_a_finished_run_tells_what_came_out_without_data_and_without_training(
    run_dir, finished, tiny, prints, monkeypatch, capsys
):
    monkeypatch.setattr(launch, "_train", lambda *_: pytest.fail("it was trained again"))
    config = tiny(run_dir, "trainer.max_hours=3", "data.threads=2", "trainer.log_every=7")
    assert launch.run(config, "command") == pytest.approx(finished[1].value, abs=1e-6)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{run_dir}: this run is finished, all its 4 steps are made; nothing was done"
    assert lines[1].split() == ["untrained", "step", "4"] and lines[2].startswith("  cells exact")
    assert lines[-1].startswith("to train on, raise trainer.max_steps; to train anew")


def test_no_jax_is_loaded_for_it():
    code = "import sys, ifvit.launch, ifvit.training.finished; sys.exit(bool({'jax', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY).returncode == 0


@pytest.mark.parametrize(
    "override", ["seed=1", "trainer.max_steps=5", "trainer.val_pairs=8", "data.root=elsewhere", "data.max_damaged=9"]
)
def test_another_config_is_looked_into(run_dir, tiny, override):
    assert finished(tiny(run_dir)) and finished(tiny(run_dir, override)) is None


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metrics.json", None),
        ("metrics.json", "{"),
        ("metrics.json", "[]"),
        ("metrics.json", '{"step": 4, "exact": null}'),
        ("metrics.json", '{"step": 4, "exact": "0.5"}'),
        ("metrics.json", '{"step": 2, "exact": 0.5}'),
        ("metrics.json", '{"step": 4, "exact": 0.5, "best": 3}'),
        ("config.json", '{"config": 3}'),
        ("config.json", "[" * 100_000),
    ],
)
def test_files_that_are_missing_or_damaged_are_looked_into(run_dir, tiny, name, content):
    (run_dir / name).unlink() if content is None else (run_dir / name).write_text(content)
    assert finished(tiny(run_dir)) is None


def test_without_its_last_state_it_is_not_finished(run_dir, tiny):
    shutil.rmtree(run_dir / "states" / "4")
    assert finished(tiny(run_dir)) is None


def test_weights_that_are_newer_than_the_run_are_looked_into(run_dir, tiny, tmp_path, monkeypatch):
    state = tmp_path / "module_1" / "best" / "7"
    state.mkdir(parents=True)
    monkeypatch.setattr(module, "_weight_paths", lambda _: [str(tmp_path / "module_1"), str(tmp_path / "gone")])
    begun = (run_dir / "config.json").stat().st_mtime
    for time, known in ((begun - 1, True), (begun + 1, False)):
        os.utime(state, (time, time))
        assert (finished(tiny(run_dir)) is not None) is known
    monkeypatch.setattr(module, "_weight_paths", lambda _: [str(tmp_path / "loftr.npz")])
    (tmp_path / "loftr.npz").touch()
    os.utime(tmp_path / "loftr.npz", (begun + 1, begun + 1))
    assert finished(tiny(run_dir)) is None


def test_the_table_marks_the_best_and_leaves_out_what_is_not_known():
    metrics = {"step": 6, "auc": 0.91234, "eer": 0.125, "untrained": {"auc": 0.5, "eer": None},
               "best": {"step": 4, "auc": 0.95, "eer": 0.1}}  # fmt: skip
    assert outcome(StageName.matcher, json.loads(json.dumps(metrics))) == [
        "       untrained  step 6  best, step 4",
        "  AUC     0.5000  0.9123        0.9500",
        "  EER          -  12.50%        10.00%",
    ]
    assert "best" not in outcome(StageName.matcher, metrics | {"best": {"step": 6, "auc": 0.91, "eer": 0.1}})[0]
    assert aligned([["a", "1"], ["bb", "22"]]) == ["  a    1", "  bb  22"]
