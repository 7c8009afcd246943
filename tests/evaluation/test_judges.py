"""An evaluation by Module 2: what it leaves, the calibration it stores, and whom it refuses."""

import csv
import json
import shutil

import numpy as np
import pytest

from ifvit import cli
from ifvit.config import build
from ifvit.data.records import DataError, Record
from ifvit.evaluation import calibrating, run
from ifvit.evaluation.judges import DenseJudge, MatcherJudge, judge_of, refuse_seen
from ifvit.image import ImageError
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
        assert f"calibrated with 24 impostor pairs of folder (protocol all): {stored}" in capsys.readouterr().out
        calibration = load_comparer(runs / "matcher").calibration
        assert calibration.impostors == 24
        assert calibration.of == {"databases": ["folder"], "protocol": "all", "images": 8, "genuine": 4}
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
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run, "refuse_seen", lambda *_: None)
    monkeypatch.setattr(calibrating, "write_json", full)
    cli.main(["evaluate", str(runs / "matcher"), *chosen, "--out", str(tmp_path / "out")])
    shown = capsys.readouterr().out
    assert "not calibrated: " in shown and "calibration.json cannot be written (No space left on device)" in shown
    assert "evaluate a copy of the run" in shown
    assert np.isfinite(json.loads((tmp_path / "out" / "results.json").read_text())["ms a pair"])


def test_a_calibration_by_fewer_impostors_replaces_none_by_more(runs, chosen, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run, "refuse_seen", lambda *_: None)
    stored = runs / "matcher" / "calibration.json"

    def evaluated(name, *more):
        cli.main(["evaluate", str(runs / "matcher"), *chosen, "--out", str(tmp_path / name), *more])
        return capsys.readouterr().out, json.loads(stored.read_text())["table"]["impostors"]

    try:
        assert evaluated("few", "--impostors", "3")[1] == 3
        assert evaluated("many")[1] == 24
        shown, impostors = evaluated("few", "--impostors", "3")
        assert impostors == 24
        whose = "impostor pairs of folder (protocol all)"
        assert f"{stored} stays: it rests on 24 {whose}, this on 3 {whose} (--calibrate replaces it)" in shown
        assert evaluated("few", "--impostors", "3", "--calibrate")[1] == 3
        assert evaluated("many", "--no-calibration")[1] == 3
        # One of another state is worth nothing here.
        stored.write_text(json.dumps(json.loads(stored.read_text()) | {"state": "another"}))
        assert evaluated("few", "--impostors", "3")[1] == 3
    finally:
        stored.unlink(missing_ok=True)


def test_what_a_module_1_enhances_is_kept_where_the_data_say(runs, prints, tmp_path, monkeypatch):
    dense = shutil.copytree(runs / "dense", tmp_path / "dense")
    held = json.loads((dense / "config.json").read_text())
    held["config"]["data"]["enhancement"] = "gabor"
    (dense / "config.json").write_text(json.dumps(held))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "users"))
    records = [Record(path, "db", "db/1", "1", str(k)) for k, path in enumerate(sorted(prints.rglob("*.png")))]
    judge = judge_of(dense, str(tmp_path / "cache"))
    assert not any(isinstance(shown, ImageError) for shown in judge.prints(records))
    assert len(list((tmp_path / "cache").glob("ridges-gabor-*.npz"))) == len(records) == 8
    assert not (tmp_path / "users").exists()
