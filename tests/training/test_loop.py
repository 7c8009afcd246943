import json
import os
import shutil
import stat

import orbax.checkpoint
import pytest

from ifvit.data import finger_pool
from ifvit.errors import CheckpointError, DataError
from ifvit.storage import checkpoint
from ifvit.training import loop
from ifvit.training.log import NotFiniteError
from ifvit.training.loop import train
from ifvit.training.run_dir import RunDirError
from tests.helpers.runs import FINE
from tests.helpers.states import arrays_of, same_bits

pytestmark = pytest.mark.slow


def test_what_a_run_leaves(finished):
    run_dir, outcome = finished
    assert outcome.stopped is None
    assert {p.name for p in run_dir.iterdir()} >= {
        "config.json",
        "metrics.json",
        "matches.png",
        "placements.png",
        "split.csv",
        "states",
        "best",
        "tb",
    }
    metrics = json.loads((run_dir / "metrics.json").read_text())
    assert metrics["step"] == 4 and metrics["exact"] == pytest.approx(outcome.value, abs=1e-6)
    assert {"exact", "within_one", "pck_3", "end_point_error", "precision", "recall", "loss"} <= metrics.keys()
    assert {"coarse_median", "coarse_pck_1"} <= metrics.keys() and "fine_median" not in metrics
    assert metrics["untrained"].keys() >= {"exact", "within_one"} and metrics["best"]["step"] == 4
    assert checkpoint.saved_steps(run_dir / "states") == [2, 4]
    assert checkpoint.saved_steps(run_dir / "best") == [4]


def test_step_n_holds_n_updates(finished):
    assert arrays_of(finished[0], 2)["['step']"] == 2


def test_two_steps_then_resumed_to_four_are_four_steps(finished, tiny, tmp_path):
    stopped = train(tiny(tmp_path / "run", "trainer.max_hours=1e-9"))
    assert stopped.stopped.startswith("trainer.max_hours=1e-09 reached: stopped after step 1 of 4")
    assert checkpoint.saved_steps(tmp_path / "run" / "states") == [1]
    outcome = train(tiny(tmp_path / "run", "data.threads=0"))
    assert outcome.value == finished[1].value
    assert same_bits(arrays_of(tmp_path / "run", 4), arrays_of(finished[0], 4))
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["untrained"]["exact"] is not None


def test_each_function_compiles_once(tiny, tmp_path):
    run = loop.begin(tiny(tmp_path / "run"), started=0.0)
    run.train()
    assert run.step._cache_size() == 1 and run.evaluate._cache_size() == 1


def test_another_seed_is_another_run(finished, tiny, tmp_path):
    train(tiny(tmp_path / "run", "seed=1"))
    assert not same_bits(arrays_of(tmp_path / "run", 4), arrays_of(finished[0], 4))


def test_batch_statistics_move_and_are_kept(finished):
    """Dropped once: a restored network then normalised with means of nothing."""
    two, four = (arrays_of(finished[0], step) for step in (2, 4))
    means = [name for name in two if name.endswith("['mean']")]
    assert means and all((two[name] != four[name]).any() for name in means)


def test_a_run_of_another_config_is_refused_and_left_alone(finished, tiny):
    run_dir = finished[0]
    before = sorted((p, p.stat().st_mtime_ns) for p in run_dir.rglob("*") if p.name != ".lock" and p.is_file())
    with pytest.raises(RunDirError, match=r"another config \(optimizer.lr: 0.001 -> 0.5\)"):
        train(tiny(run_dir, "optimizer.lr=0.5"))
    assert before == sorted((p, p.stat().st_mtime_ns) for p in run_dir.rglob("*") if p.name != ".lock" and p.is_file())


def test_fewer_steps_than_were_made_are_refused(finished, tiny):
    with pytest.raises(RunDirError, match="already holds step 4, beyond trainer.max_steps=3"):
        train(tiny(finished[0], "trainer.max_steps=3"))


def test_other_data_is_refused(finished, tiny, prints, tmp_path):
    shutil.copytree(prints, tmp_path / "prints")
    shutil.rmtree(tmp_path / "prints" / "finger0")
    with pytest.raises(RunDirError, match="trained on other data"):
        train(tiny(finished[0], f"data.root={tmp_path / 'prints'}"))


def test_a_folder_of_something_else_is_refused(tiny, tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(RunDirError, match="something else than a run .thesis.tex."):
        train(tiny(tmp_path))
    with pytest.raises(RunDirError, match="is a file"):
        train(tiny(tmp_path / "thesis.tex"))


def test_resume_from_a_read_only_run(finished, tiny, tmp_path):
    source, target = tmp_path / "input", tmp_path / "working"
    shutil.copytree(finished[0], source)
    shutil.rmtree(source / "states" / "4")
    for path in [*source.rglob("*"), source]:
        path.chmod(stat.S_IREAD | stat.S_IEXEC)
    try:
        train(tiny(target, f"init.resume_from={source}"))
    finally:
        for path in [source, *source.rglob("*")]:
            os.chmod(path, 0o755)
    assert same_bits(arrays_of(target, 4), arrays_of(finished[0], 4))


def test_resume_from_nothing_is_refused(tiny, tmp_path):
    with pytest.raises(RunDirError, match="init.resume_from: .* is not there"):
        train(tiny(tmp_path / "run", f"init.resume_from={tmp_path / 'none'}"))


def test_a_refused_run_leaves_nothing(tiny, tmp_path):
    with pytest.raises(DataError, match="is not there"):
        train(tiny(tmp_path / "run", f"data.root={tmp_path / 'none'}"))
    assert list(tmp_path.iterdir()) == []


def test_a_loss_that_is_no_number_stops_the_run_and_is_not_saved(tiny, tmp_path):
    with pytest.raises(NotFiniteError, match=r"step [1-4]: (loss|grad_norm) is (nan|inf)"):
        train(tiny(tmp_path / "run", "optimizer.lr=1e30", "trainer.log_every=100", "trainer.checkpoint_every=3"))
    assert checkpoint.saved_steps(tmp_path / "run" / "states") == []


def test_a_state_that_cannot_be_written_is_said(tiny, tmp_path, monkeypatch):
    def save_to_full_disk(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(loop.Checkpoints, "save_best", lambda *_: None)
    monkeypatch.setattr(orbax.checkpoint.CheckpointManager, "save", save_to_full_disk)
    with pytest.raises(CheckpointError, match="state of step 2 was not saved .*No space left.*make room"):
        train(tiny(tmp_path / "run"))


def test_a_fine_stage_resumes_bit_for_bit(tiny, tmp_path, capsys):
    """What its teacher draws depends on the step alone."""
    train(tiny(tmp_path / "whole", *FINE))
    train(tiny(tmp_path / "parts", *FINE, "trainer.max_hours=1e-9"))  # stops after its first step
    train(tiny(tmp_path / "parts", *FINE))
    assert "resumed after step 1" in capsys.readouterr().out
    assert same_bits(arrays_of(tmp_path / "parts", 4), arrays_of(tmp_path / "whole", 4))
    metrics = json.loads((tmp_path / "whole" / "metrics.json").read_text())
    assert {"fine", "fine_median", "fine_pck_3", "coarse_median"} <= metrics.keys()


def test_synthetic_fingers_that_are_renewed_resume_bit_for_bit(tiny, tmp_path, monkeypatch, capsys):
    """The pool at a step is a function of the step: nothing is replayed. Also from an empty cache."""
    monkeypatch.setattr(finger_pool, "BLOCK", 4)

    def run(name, *more):
        grown = ("data=synthetic", "data.fingers=4", "data.renew=2", f"data.cache_dir={tmp_path / name}-cache")
        return train(tiny(tmp_path / name, *grown, "data.root=null", "data.file_ppi=null", *more))

    run("whole")
    run("cut", "trainer.max_hours=1e-9")
    shutil.rmtree(tmp_path / "cut-cache")
    run("cut")
    output = capsys.readouterr().out
    assert "resumed after step 1" in output and "2 fingers to train, 2 fingers unseen to validate" in output
    assert "2 new ones every step" in output
    assert same_bits(arrays_of(tmp_path / "cut", 4), arrays_of(tmp_path / "whole", 4))


def test_a_mixture_resumes_bit_for_bit_with_other_threads_and_from_disk(tiny, prints, tmp_path, monkeypatch, capsys):
    """Real and synthetic fingers in every batch; the resumed part reads every image again, by more threads."""
    monkeypatch.setattr(finger_pool, "BLOCK", 4)
    sources = (
        "data=mixture", "data.root=null", "data.file_ppi=null", "data.fingers=4", f"data.cache_dir={tmp_path / 'c'}",
        "data.mixture.synthetic.val_fingers=2", f"data.mixture.folder.root={prints}",
        "data.mixture.folder.file_ppi=250",
    )  # fmt: skip
    train(tiny(tmp_path / "whole", *sources, "data.threads=1"))
    train(tiny(tmp_path / "parts", *sources, "data.threads=1", "trainer.max_hours=1e-9"))
    train(tiny(tmp_path / "parts", *sources, "data.threads=3", "data.memory_gb=0"))
    output = capsys.readouterr().out
    assert "resumed after step 1" in output and "synthetic (grown here): 2 fingers to train, 2 fingers unseen" in output
    assert f"folder ({prints}): 4 impressions of 2 fingers to train, 4 impressions of 2 fingers unseen" in output
    assert same_bits(arrays_of(tmp_path / "parts", 4), arrays_of(tmp_path / "whole", 4))
    metrics = json.loads((tmp_path / "parts" / "metrics.json").read_text())
    assert metrics["sources"].keys() == {"synthetic", "folder"} and "folder: exact " in output
    source_exact = [means["exact"] for means in metrics["sources"].values() if means["exact"] is not None]
    assert source_exact and min(source_exact) <= metrics["exact"] <= max(source_exact)
    with pytest.raises(RunDirError, match="another config .data.mixture.synthetic: in use -> not in use"):
        train(tiny(tmp_path / "parts", *sources, "data.mixture.synthetic.weight=0"))
