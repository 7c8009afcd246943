"""The lines of a run: what a person reads while it trains."""

import time

import jax
import numpy as np
import pytest

from ifvit.launch import validated_config
from ifvit.training import log
from ifvit.training.dense_stage import DenseStage, figure_lines
from ifvit.training.log import TrainLog
from ifvit.training.loop import _rank
from ifvit.training.matcher_stage import figure_lines as matcher_lines
from ifvit.training.matcher_stage import summary
from ifvit.training.stage import ValidationResult

NAN = float("nan")
MEANS = {
    "loss": 1.25, "exact": 0.5, "within_one": 0.75, "end_point_error": 3.21, "matches": 12.0, "precision": 0.9,
    "recall": 0.4, **{f"{stage}pck_{px}": 0.5 for px in (1, 3, 5, 10) for stage in ("", "coarse_")},
    "coarse_mean": 2.5, "coarse_median": 2.0,
}  # fmt: skip
MATCHER_MEANS = {
    "loss": 1.25, "eer": 0.125, "auc": 0.95, "genuine_score": 0.7, "impostor_score": 0.2, "global_auc": 0.94,
    "local_auc": 0.9, "global_exact": 0.5, "local_exact": NAN,
}  # fmt: skip


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is set forward."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return lambda seconds: now.__setitem__(0, now[0] + seconds)


def step(train_log, number, waited_s=0.0):
    metrics = {"loss": 1.0, "grad_norm": 1.0, "labelled": 1.0}
    train_log.step(number, {name: jax.numpy.float32(value) for name, value in metrics.items()}, waited_s)


def test_the_time_left_counts_no_compilation(tiny, tmp_path, clock, capsys):
    train_log = TrainLog(tmp_path / "run", tiny(tmp_path / "run", "trainer.max_steps=10"), 0, lambda _: "…")
    clock(500)
    step(train_log, 1, waited_s=400)
    train_log.line(1)
    for number in (2, 3, 4):
        clock(2)
        step(train_log, number, waited_s=1)
    train_log.line(4)
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["step 1/10  …  compiled", "step 4/10  …  2 pairs/s  input wait 50%  0:12 left"]


def test_a_window_goes_over_the_end_of_a_session_without_its_compilation(tiny, tmp_path, clock, capsys):
    config = tiny(tmp_path / "run", "trainer.max_steps=10", "trainer.log_every=4")
    for start in (0, 2):
        train_log = TrainLog(tmp_path / "run", config, start, lambda _: "…")
        clock(500)
        step(train_log, start + 1)
        clock(2)
        step(train_log, start + 2)
        train_log.save_window(start + 2)
    train_log.line(4)
    assert "0:12 left" in capsys.readouterr().out


def test_windows_of_earlier_versions_are_read(tmp_path):
    (tmp_path / "windows.json").write_text('{"3": {"updates": 3, "seconds": 6, "waited_s": 1, "sums": {"loss": 2}}}')
    assert log._read_windows(tmp_path / "windows.json")[3].timed == 3


def test_a_validation_is_a_few_short_aligned_lines():
    assert figure_lines(MEANS) == [
        "  loss 1.250   cells exact 0.500   within one 0.750",
        "  matches 12.0 a pair   precision 0.90   recall 0.40",
        "  off by, px      mean  median  within 1  within 3  within 5  within 10",
        "  cells           3.21              0.50      0.50      0.50       0.50",
        "  coarse matches  2.50    2.00      0.50      0.50      0.50       0.50",
    ]
    assert matcher_lines(MATCHER_MEANS, "; few") == [
        "  loss 1.250   EER 12.50%; few",
        "  mean score of mates 0.70   of others 0.20",
        "             AUC  cells exact",
        "  score   0.9500",
        "  global  0.9400        0.500",
        "  local   0.9000            -",
    ]


def test_what_is_not_there_has_no_line():
    lines = figure_lines(MEANS | {"precision": NAN, "recall": NAN, "matches": 0.0, "coarse_median": NAN})
    assert lines[1] == "  no match found" and len(lines) == 4 and not any("nan" in line for line in lines)
    assert summary(MATCHER_MEANS).endswith("cells exact 0.50 and -")


@pytest.mark.parametrize(
    ("typed", "platform", "advised"),
    [
        ([], "cpu", True),
        (["dense=loftr"], "cpu", True),
        ([], "gpu", False),
        (["experiment=quickstart"], "cpu", False),
        (["experiment=small_dense"], "cpu", False),
        (["trainer.max_steps=10"], "cpu", False),
    ],
)
def test_a_cpu_that_begins_the_default_run_is_shown_a_smaller_one(typed, platform, advised):
    advice = DenseStage(validated_config(typed), np.float32).advice(platform)
    assert ("experiment=quickstart" in advice) is advised


def test_the_best_so_far_is_marked(tiny, tmp_path, capsys):
    stage = tiny(tmp_path / "run").stage

    def rank(step, best, untrained):
        best = best and {"step": best[0], "exact": best[1]}
        return _rank({"step": step, "best": best, "untrained": {"exact": untrained}}, stage)

    assert rank(0, None, 0.1) == "untrained"
    assert rank(4, (4, 0.5), 0.1) == rank(4, (4, 0.5), None) == "best so far"
    assert rank(4, (2, 0.5), 0.1) == "best is step 2, cells exact 0.500"
    for untrained in (0.5, 0.6):  # a tie is no improvement
        assert rank(4, (4, 0.5), untrained) == f"best is the untrained state, cells exact {untrained:.3f}"
    assert rank(4, None, None) == "none is the best yet"
    result = ValidationResult({"loss": 1.0}, 8, {"sd4": {"exact": 0.5, "within_one": NAN}}, {}, ["  a", "  b"])
    TrainLog(tmp_path / "run", tiny(tmp_path / "run"), 0, str).validation(4, result, "unseen fingers", "best so far")
    assert capsys.readouterr().out.splitlines() == [
        "validation after 4 steps, 8 pairs of unseen fingers: best so far", "  a", "  b",
        "  sd4: exact 0.500, within one -",
    ]  # fmt: skip
