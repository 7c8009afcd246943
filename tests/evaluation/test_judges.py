"""An evaluation by Module 2: what it leaves, the calibration it stores, and whom it refuses."""

import csv
import json

import numpy as np
import pytest

from ifvit import cli
from ifvit.config import build
from ifvit.data.records import DataError
from ifvit.evaluation.judges import DenseJudge, MatcherJudge, judge_of, refuse_seen
from ifvit.launch import compose_tree
from ifvit.recognition.comparer import load_comparer


@pytest.fixture
def chosen(prints):
    return ["data=folder", f"data.root={prints}", "data.file_ppi=250"]


def test_each_kind_of_run_has_its_judge(runs):
    assert isinstance(judge_of(runs / "matcher"), MatcherJudge) and isinstance(judge_of(runs / "dense"), DenseJudge)


def test_what_an_evaluation_by_module_2_leaves(runs, chosen, tmp_path, capsys):
    command = ["evaluate", str(runs / "matcher"), *chosen, "--out", str(tmp_path / "out")]
    stored = runs / "matcher" / "calibration.json"
    table = runs / "matcher" / "dense" / "split.csv"
    table.rename(table.with_name("kept.csv"))  # Module 1 was trained on these prints
    try:
        cli.main([*command, "--no-calibration"])
        assert not stored.exists() and "ms a pair" in capsys.readouterr().out
        cli.main(command)  # goes on from what was compared
        assert "calibrated with 24 impostor pairs" in capsys.readouterr().out
        assert load_comparer(runs / "matcher").calibration.impostors == 24
        told = json.loads((tmp_path / "out" / "results.json").read_text())
        assert "x cosine of the global" in told["score"] and told["databases"]["folder"]["pairs"]["impostor"] == 24
        rows = list(csv.DictReader((tmp_path / "out" / "pairs.csv").open()))
        for row in rows:
            if row["failed"] == "0":
                fused = 0.6 * float(row["global"]) + 0.4 * float(row["local"])
                assert float(row["score"]) == pytest.approx(fused, abs=1e-5)
            else:
                assert row["global"] == "" and float(row["score"]) == 0
    finally:
        stored.unlink(missing_ok=True)
        table.with_name("kept.csv").rename(table)


def test_people_whom_its_module_1_has_seen_are_refused(runs, chosen):
    from ifvit.data.sources import find

    records = [record for some in find(build(compose_tree(chosen)).data).values() for record in some]
    with pytest.raises(DataError, match="4 of its subjects were trained or validated on"):
        refuse_seen(runs / "matcher", records)


def test_a_folder_that_cannot_be_written_is_told(runs, chosen, tmp_path, monkeypatch, capsys):
    from ifvit.evaluation import run as module

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "refuse_seen", lambda *_: None)
    monkeypatch.setattr(module, "write_json", full)
    cli.main(["evaluate", str(runs / "matcher"), *chosen, "--out", str(tmp_path / "out")])
    said = capsys.readouterr()
    assert "not calibrated: the run's folder cannot be written" in said.out and "No space left" in said.err
    assert np.isfinite(json.loads((tmp_path / "out" / "results.json").read_text())["ms a pair"])
