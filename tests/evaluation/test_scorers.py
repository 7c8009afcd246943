"""An evaluation with and without a run: what it leaves, the calibration it stores, and whom it refuses."""

import csv
import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import ifvit
from ifvit.calibration import Calibration
from ifvit.cli import main as cli
from ifvit.comparison.matcher_print import Print
from ifvit.comparison.run_calibration import Score
from ifvit.config import build
from ifvit.databases.records import Record
from ifvit.errors import DataError
from ifvit.evaluation import calibrating
from ifvit.evaluation import evaluate as run
from ifvit.evaluation import task as task_module
from ifvit.evaluation.scorers import load_scorer
from ifvit.evaluation.task import refuse_seen
from ifvit.image import ImageError
from ifvit.launch import compose_tree
from tests.helpers.comparisons import comparison, found, module2_result
from tests.helpers.ridge_prints import disc, drawn, finger, map_to_a

pytestmark = pytest.mark.slow


MATES = comparison(found(module2_result=module2_result()))
OTHERS = comparison(found(mean=0.3, paired=2, alone=14, module2_result=module2_result(0.9, 0.9)))


def small(pair):
    """The same where A shows nothing."""
    shown = pair.print_a.of_ridges
    empty = shown._replace(ridges=np.zeros_like(shown.ridges))
    return replace(pair, print_a=pair.print_a._replace(of_ridges=empty))


@pytest.fixture(autouse=True)
def few_pictures(monkeypatch):
    """Drawing takes longer than all else."""
    monkeypatch.setattr(run, "WORST", 1)


@pytest.fixture
def chosen(prints):
    return ["data=folder", f"data.root={prints}", "data.file_ppi=250"]


def test_a_scorer_says_what_it_is(runs):
    alone, dense, both = load_scorer(None), load_scorer(runs / "dense"), load_scorer(runs / "matcher")
    assert alone.about == {"run": "none: ridges and minutiae alone", "enhancement": "gabor"}
    assert alone.key == {"judge": "ridges 1", "enhancement": "gabor"} and alone.calibration() is None
    assert dense.about["run"] == str(runs / "dense") and dense.about["input"] == "64x64 px at 250 ppi"
    assert "cosines" not in dense.score and "Module 2's cosines" in both.score
    cosines = load_scorer(runs / "matcher", score=Score.cosines)
    assert cosines.score == "0.6 x cosine of the global + 0.4 x of the local vectors"
    assert len({json.dumps(scorer.key) for scorer in (alone, dense, both, cosines)}) == 4


def test_for_either_score_the_same_pairs_fail(runs):
    """A pair of which too little is seen has failed, whatever its cosines are."""
    for score in Score:
        scorer = load_scorer(runs / "matcher", score=score)
        rows = [scorer._pair_score(replace(pair, score_of=score)) for pair in (MATES, small(MATES), small(OTHERS))]
        assert [row.failed for row in rows] == [False, False, True]
        assert rows[0].score == (MATES.score if score is Score.fused else MATES.score_cosines)
        assert (rows[0].global_cosine, rows[0].local_cosine) == (0.8, 0.6)
        assert (rows[0].paired, rows[0].minutiae) == (12, 16)
    alone = load_scorer(None)._pair_score(comparison())
    assert np.isnan(alone.global_cosine) and alone.overlap == pytest.approx(0.8)


def test_prints_that_outgrow_the_frame_of_all_get_a_larger_one():
    """As where they are turned (`robustness`)."""
    scorer, asked = load_scorer(None), []
    scorer._frame = (288, 192)
    scorer._matcher_of = lambda frame: asked.append(frame) or SimpleNamespace(compare_prints=lambda pairs: iter(()))
    tall, small_one = (MATES.print_a.of_ridges._replace(ridges=np.ones(shape, bool)) for shape in ((400, 90), (90, 90)))
    assert list(scorer.compare([])) == [] and asked == []
    scorer._compare_batch([(Print(small_one), Print(small_one))])
    scorer._compare_batch([(Print(small_one), Print(tall))])
    assert asked == [(288, 192), (480, 192)]


def test_what_an_evaluation_of_cosines_leaves(runs, chosen, tmp_path, capsys):
    command = ["evaluate", str(runs / "matcher"), *chosen, "--score", "cosines", "--out", str(tmp_path / "out")]
    stored = runs / "matcher" / "calibration_cosines.json"
    table = runs / "matcher" / "dense" / "split.csv"
    table.rename(table.with_name("kept.csv"))  # Module 1 was trained on these prints
    try:
        cli.main([*command, "--no-calibration"])
        assert not stored.exists() and "ms a pair" in capsys.readouterr().out
        cli.main(command)  # goes on from what was compared
        assert f"calibrated with 24 impostor pairs of folder (protocol all): {stored}" in capsys.readouterr().out
        calibration = ifvit.load(runs / "matcher", score="cosines").calibration
        assert ifvit.load(runs / "matcher").calibration is None
        assert calibration.impostors == 24
        content = json.loads((tmp_path / "out" / "comparisons" / "key.json").read_text())["images"]
        whose = {"databases": ["folder"], "protocol": "all", "images": 8, "genuine": 4, "content": content}
        assert calibration.of == whose
        results = json.loads((tmp_path / "out" / "results.json").read_text())
        assert "x cosine of the global" in results["score"]
        assert results["databases"]["folder"]["pairs"]["impostor"] == 24
        rows = list(csv.DictReader((tmp_path / "out" / "pairs.csv").open()))
        for row in rows:
            weighted = 0.6 * float(row["global"]) + 0.4 * float(row["local"])
            assert float(row["score"]) == pytest.approx(weighted, abs=1e-5)
    finally:
        stored.unlink(missing_ok=True)
        table.with_name("kept.csv").rename(table)


def test_people_whom_its_module_1_has_seen_are_refused(runs, chosen):
    from ifvit.databases.sources import find

    records = [record for group in find(build(compose_tree(chosen)).data).values() for record in group]
    with pytest.raises(DataError, match="4 of its subjects were trained or validated on"):
        refuse_seen(runs / "matcher", records)


def test_a_folder_that_cannot_be_written_is_told(runs, chosen, tmp_path, monkeypatch, capsys):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(task_module, "refuse_seen", lambda *_: None)
    monkeypatch.setattr(calibrating, "write_json", full)
    cli.main(["evaluate", str(runs / "matcher"), *chosen, "--out", str(tmp_path / "out")])
    shown = capsys.readouterr().out
    assert "not calibrated: " in shown and "calibration.json cannot be written (No space left on device)" in shown
    assert "evaluate a copy of the run" in shown
    assert np.isfinite(json.loads((tmp_path / "out" / "results.json").read_text())["ms a pair"])


def test_of_two_calibrations_of_one_size_the_first_stays(tmp_path):
    """Whichever database is evaluated last: `--calibrate` says which is wanted."""
    stored = []
    scorer = SimpleNamespace(run_dir=tmp_path, score_of=Score.fused, key={"score": "fused"})
    scorer.calibration = lambda: stored[-1] if stored else None

    def store(database, scores, replace=False, **more):
        of = {"databases": [database], "protocol": "fvc", **more}
        line = calibrating.store_calibration(scorer, np.array(scores), of, replace)
        tree = json.loads((tmp_path / "calibration.json").read_text())
        stored.append(Calibration.from_dict(tree["table"])._replace(of=tree["of"]))
        return line

    path = tmp_path / "calibration.json"
    first, second = "3 impostor pairs of DB1_B (protocol fvc)", "3 impostor pairs of DB2_B (protocol fvc)"
    assert store("DB1_B", [0.1, 0.2, 0.3]) == f"calibrated with {first}: {path}"
    line = f"{path} stays: it rests on {first}, this on {second} (--calibrate replaces it)"
    assert store("DB2_B", [0.1, 0.2, 0.3]) == line and stored[-1].of["databases"] == ["DB1_B"]
    assert store("DB1_B", [0.1, 0.2, 0.3]) == f"calibrated with {first}: {path}"  # the same data again
    assert store("DB2_B", [0.1, 0.2, 0.3], True) == f"calibrated with {second}, before with {first}: {path}"
    more = "4 impostor pairs of DB1_B (protocol fvc)"
    assert store("DB1_B", [0.1, 0.2, 0.3, 0.4]) == f"calibrated with {more}, before with {second}: {path}"
    # Earlier versions did not keep what the images were; from then on others of the same name are others.
    four = [0.1, 0.2, 0.3, 0.4]
    assert store("DB1_B", four, content="x") == f"calibrated with {more}: {path}"
    line = f"{path} stays: it rests on {more}, this on {more} of other images (--calibrate replaces it)"
    assert store("DB1_B", four, content="y") == line and stored[-1].of["content"] == "x"
    line = f"calibrated with {more}, before with {more} of other images: {path}"
    assert store("DB1_B", four, True, content="y") == line and stored[-1].of["content"] == "y"


def test_a_calibration_by_fewer_impostors_replaces_none_by_more(runs, chosen, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(task_module, "refuse_seen", lambda *_: None)
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
        stored.write_text(json.dumps(json.loads(stored.read_text()) | {"module_2": "another"}))
        assert evaluated("few", "--impostors", "3")[1] == 3
    finally:
        stored.unlink(missing_ok=True)


def test_what_a_module_1_enhances_is_kept_where_the_data_say(runs, prints, tmp_path, monkeypatch):
    dense = shutil.copytree(runs / "dense", tmp_path / "dense")
    tree = json.loads((dense / "config.json").read_text())
    tree["config"]["data"]["ridge_mask"] = "gabor"
    (dense / "config.json").write_text(json.dumps(tree))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "users"))
    records = [Record(path, "db", "db/1", "1", str(k)) for k, path in enumerate(sorted(prints.rglob("*.png")))]
    scorer = load_scorer(dense, str(tmp_path / "cache"))
    assert not any(isinstance(shown, ImageError) for shown in scorer.prints(records))
    assert len(list((tmp_path / "cache").glob("ridges-gabor-*.npz"))) == len(records) == 8
    assert list((tmp_path / "cache").glob("enhanced-gabor-*.npz"))
    assert not (tmp_path / "users").exists()


@pytest.fixture(scope="module")
def fvc(tmp_path_factory):
    """Two fingers, two impressions each, in FVC naming; and an image of nothing."""
    folder = tmp_path_factory.mktemp("set")
    (folder / "DB1_B").mkdir()
    for number, seed in ((1, 3), (2, 5)):
        first, second = drawn(finger(seed)), drawn(finger(seed), map_to_a(20.0, (5.0, 4.0)), disc(140, 148, 125))
        for impression, shown in ((1, first), (2, second)):
            Image.fromarray(shown.grey).save(folder / "DB1_B" / f"{number}_{impression}.tif")
    Image.fromarray(np.full((120, 120), 255, np.uint8)).save(folder / "DB1_B" / "1_3.tif")
    return folder


def test_a_set_is_evaluated_without_a_run(fvc, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = ["data=fvc", f"data.root={fvc}", "data.file_ppi=500", f"data.cache_dir={tmp_path / 'cache'}"]
    cli.main(["evaluate", *data, "--protocol", "all"])
    text, folder = capsys.readouterr().out, f"evaluation/{fvc.name}_DB1_B-all"
    assert "EER" in text and "ms a pair" in text and f"look at  {folder}/report.html" in text
    results = json.loads((tmp_path / folder / "results.json").read_text())
    assert results["run"] == "none: ridges and minutiae alone" and results["images"] == 5
    assert len(results["unusable"]) == 1 and "1_3.tif: blank" in results["unusable"][0]
    with open(tmp_path / folder / "pairs.csv") as file:
        rows = list(csv.DictReader(file))
    scores = {kind: [float(r["score"]) for r in rows if r["genuine"] == kind and r["failed"] == "0"] for kind in "01"}
    assert len(rows) == 10 and len(scores["0"]) == 4 and len(scores["1"]) == 2
    assert min(scores["1"]) > 2 > 0 > max(scores["0"])


def test_a_run_that_is_not_there_is_no_override(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["evaluate", "nowhere", "data=fvc", "data.root=x"])
    assert ended.value.code == 2 and "nowhere" in capsys.readouterr().err
