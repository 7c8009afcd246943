"""Pictures that this program drew are never data, and nothing else is taken for one."""

import json
import shutil

import cv2
import numpy as np
import pytest

from ifvit.config import Source
from ifvit.databases.doctor import examine
from ifvit.databases.sources import find, part_records
from ifvit.pictures import picture_files
from tests.helpers import database_trees as trees
from tests.helpers.database_trees import part, touch

pytestmark = pytest.mark.slow


PICTURE = np.full((40, 50, 3), 200, np.uint8)


def paths(root, source=Source.folder):
    found = part_records(part(source, root))
    return [str(record.path.relative_to(root)) for record in found.records], dict(found.left_out)


@pytest.mark.parametrize("versions", ["this", "before signatures"])
def test_a_run_directory_below_the_root_changes_nothing(prints, runs, tiny, tmp_path, versions):
    root = shutil.copytree(prints, tmp_path / "prints")
    data = tiny(tmp_path / "none", f"data.root={root}").data
    before = find(data)
    shutil.copytree(runs, root / "runs")
    drawn = sorted((root / "runs").rglob("*.png"))
    assert {path.name for path in drawn} == {"matches.png", "placements.png", "scores.png"}
    if versions == "before signatures":
        for path in drawn:
            cv2.imwrite(str(path), PICTURE)
    assert find(data) == before
    counts = [(root / "runs" / run).glob("*.png") for run in ("dense", "matcher")]
    dense, matcher = (len(list(found)) for found in counts)
    reason = f"pictures that this program drew ({dense} in runs/dense, {matcher} in runs/matcher)"
    assert paths(root)[1] == {reason: dense + matcher}


def test_an_evaluation_of_before_signatures(tmp_path):
    root = trees.folders(tmp_path, 2, 2)
    results = {"protocol": "fvc", "score": "cosine", "images": 4, "databases": {"FVC2002/DB1_B": {}}}
    (root / "out").mkdir()
    (root / "out" / "results.json").write_text(json.dumps(results))
    for name in ("det", "FVC2002_DB1_B", "worst/00", "worst/19", "mine"):
        touch(root / "out" / f"{name}.png")
    names, left_out = paths(root)
    assert "out/mine.png" in names and len(names) == 5
    assert left_out == {"pictures that this program drew (2 in out, 2 in out/worst)": 4}


@pytest.mark.parametrize("source, name", [("folder", "f/1.png"), ("fvc", "DB1_B/101_1.png"), ("sd4", "f0001_01.png")])
def test_a_picture_beside_the_images_whatever_its_name(tmp_path, source, name):
    root = tmp_path / "FVC2002"
    touch(root / name)
    drawn = (root / name).with_name(f"{name.rpartition('/')[2].replace('1.', '2.')}")
    picture_files.save(drawn, PICTURE)  # `compare --picture`, `data check --sheet`
    names, left_out = paths(root, Source(source))
    assert names == [name] and sum(left_out.values()) == 1


FOREIGN = [
    "{}", "[]", "null", "not JSON", "[" * 100_000, '{"config": []}', '{"config": {"run_dir": "x"}}',
    '{"databases": {}, "protocol": "x"}',
]  # fmt: skip


@pytest.mark.parametrize("text", FOREIGN)
@pytest.mark.parametrize("name", ["config.json", "results.json"])
def test_other_peoples_json_hides_nothing(tmp_path, name, text):
    for picture in ("matches", "scores", "det", "worst/00"):
        touch(tmp_path / f"{picture}.png")
    (tmp_path / name).write_text(text)
    names, left_out = paths(tmp_path)
    assert len(names) == 4 and left_out == {}


def test_a_run_directory_that_is_the_root_hides_no_print(runs, prints, tmp_path):
    root = shutil.copytree(prints, tmp_path / "prints")
    before, _ = paths(root)
    shutil.copytree(runs / "dense", root, dirs_exist_ok=True)
    names, left_out = paths(root)
    assert names == before and [reason.partition("(")[2] for reason in left_out] == ["2 in the root)"]


def test_the_doctor_says_what_it_left_out(prints, runs, tmp_path):
    root = shutil.copytree(prints, tmp_path / "prints")
    shutil.copytree(runs / "dense", root / "run")
    report, records = examine([root], Source.folder)
    notes = [finding.text for finding in report.findings if finding.kind == "left out" and not finding.problem]
    assert notes == [f"{root}: 2 pictures that this program drew (2 in run)"] and len(records) == 8
