"""A calibration is of one score of one run, and of nothing else."""

import json

import numpy as np
import pytest

import ifvit
from ifvit.calibration import calibration
from ifvit.comparison.run_calibration import FILES, Score, ScoreError, check_score, read_calibration, score_key
from ifvit.comparison.run_networks import load_networks
from ifvit.errors import CheckpointError
from ifvit.storage.json_files import write_json

pytestmark = pytest.mark.slow


TABLE = calibration(np.linspace(0, 1, 400)).to_dict()


@pytest.fixture
def networks(runs):
    return load_networks(runs / "matcher")


def key_of(networks, score):
    return score_key(networks, networks.ridge_enhancement, score)


@pytest.mark.parametrize("score", list(Score))
def test_it_is_read_for_what_it_was_made_for(networks, score, tmp_path):
    key = key_of(networks, score)
    assert read_calibration(tmp_path, key) is None
    write_json(tmp_path / FILES[score], {**key, "table": TABLE})
    assert read_calibration(tmp_path, key).impostors == 400
    (other,) = set(Score) - {score}
    assert read_calibration(tmp_path, key_of(networks, other)) is None
    for name, value in {"module_2": "x", "module_1": "x", "judge": "ridges 0", "enhancement": "pyfing"}.items():
        assert read_calibration(tmp_path, key | {name: value}) is None
    of_score = "weights" if score is Score.fused else "global_weight"
    assert read_calibration(tmp_path, key | {of_score: 0.5}) is None


def test_one_score_is_never_read_for_the_other(networks, tmp_path):
    """Even where somebody renames the files."""
    of_cosines = key_of(networks, Score.cosines)
    write_json(tmp_path / FILES[Score.fused], {**of_cosines, "table": TABLE})
    assert read_calibration(tmp_path, key_of(networks, Score.fused)) is None


def test_an_earlier_versions_counts_as_absent_and_is_said(networks, tmp_path, capsys):
    path = tmp_path / FILES[Score.fused]
    write_json(path, {"state": "x", "global_weight": 0.6, "local_weight": 0.4, "table": TABLE})
    assert read_calibration(tmp_path, key_of(networks, Score.fused)) is None
    assert f"{path}: of an earlier version" in capsys.readouterr().err


def test_whose_pairs_it_rests_on(networks, tmp_path):
    key = key_of(networks, Score.fused)
    whose = {"databases": ["DB1_A"], "protocol": "fvc", "images": 800}
    for of, loaded in (
        (whose | {"genuine": 2800}, whose | {"genuine": 2800}),
        (whose, whose),
        (whose | {"content": "x"}, whose | {"content": "x"}),
        (whose | {"content": 3}, whose),
        (whose | {"images": float("nan"), "more": 1}, {"databases": ["DB1_A"], "protocol": "fvc"}),
        (whose | {"databases": ["\x1b[2J"]}, None),
        (whose | {"protocol": 3}, None),
        ([1], None),
        (None, None),
    ):
        write_json(tmp_path / FILES[Score.fused], {**key, "of": of, "table": TABLE})
        assert read_calibration(tmp_path, key).of == loaded


@pytest.mark.parametrize("content", ['{"score": "fused", "table": {"above": []}}', "[1]", "3", '"score"'])
def test_what_is_none_is_refused(networks, tmp_path, content):
    key, path = key_of(networks, Score.fused), tmp_path / FILES[Score.fused]
    damaged = json.loads(content)
    path.write_text(json.dumps(key | damaged if isinstance(damaged, dict) else damaged))
    with pytest.raises(CheckpointError, match="not a calibration"):
        read_calibration(tmp_path, key)


def test_cosines_need_a_module_2(runs, networks):
    check_score(networks, Score.cosines)
    with pytest.raises(ScoreError, match="--score cosines: .* there is no run; give the run_dir of a run of stage=m"):
        ifvit.load(score="cosines")
    with pytest.raises(ScoreError, match="the run has Module 1 alone"):
        ifvit.load(runs / "dense", score="cosines")


def test_the_matcher_has_the_calibration_of_its_score(runs, networks):
    path = runs / "matcher" / FILES[Score.cosines]
    write_json(path, {**key_of(networks, Score.cosines), "table": TABLE})
    try:
        assert ifvit.load(runs / "matcher", score="cosines").calibration.impostors == 400
        assert ifvit.load(runs / "matcher").calibration is None
    finally:
        path.unlink()
