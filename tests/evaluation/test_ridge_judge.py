"""A database evaluated without any run."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from ifvit import cli
from tests.recognition.ridge_prints import disc, drawn, finger, laid


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two fingers, two impressions each, in FVC naming; and an image of nothing."""
    folder = tmp_path_factory.mktemp("set")
    (folder / "DB1_B").mkdir()
    for number, seed in ((1, 3), (2, 5)):
        first, second = drawn(finger(seed)), drawn(finger(seed), laid(20.0, (5.0, 4.0)), disc(140, 148, 125))
        for impression, shown in ((1, first), (2, second)):
            Image.fromarray(shown.grey).save(folder / "DB1_B" / f"{number}_{impression}.tif")
    Image.fromarray(np.full((120, 120), 255, np.uint8)).save(folder / "DB1_B" / "1_3.tif")
    return folder


def test_a_set_is_evaluated_without_a_run(root, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = ["data=fvc", f"data.root={root}", "data.file_ppi=500", f"data.cache_dir={tmp_path / 'cache'}"]
    cli.main(["evaluate", *data, "--protocol", "all"])
    text = capsys.readouterr().out
    assert "EER" in text and "ms a pair" in text and "look at  evaluation/report.html" in text
    results = json.loads((tmp_path / "evaluation" / "results.json").read_text())
    assert results["run"] == "none: ridges and minutiae alone" and results["images"] == 5
    assert len(results["unusable"]) == 1 and "1_3.tif: blank" in results["unusable"][0]
    with open(tmp_path / "evaluation" / "pairs.csv") as file:
        rows = list(csv.DictReader(file))
    scores = {kind: [float(r["score"]) for r in rows if r["genuine"] == kind and r["failed"] == "0"] for kind in "01"}
    assert len(rows) == 10 and len(scores["0"]) == 4 and len(scores["1"]) == 2
    assert min(scores["1"]) > 2 > 0 > max(scores["0"])


def test_a_run_that_is_not_there_is_no_override(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["evaluate", "nowhere", "data=fvc", "data.root=x"])
    assert ended.value.code == 2 and "nowhere" in capsys.readouterr().err
