"""From a run and a database to figures and a report: every pair once, and what was compared is kept."""

import csv
import errno
import html
import json
import os
import shlex
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ifvit.cli import main as cli
from ifvit.comparison.synthetic_calibration import synthetic_calibration
from ifvit.config import StageName, build
from ifvit.config.run_config import open_run
from ifvit.databases.protocols import Protocol, protocol_pairs
from ifvit.databases.records import Record
from ifvit.errors import DataError
from ifvit.evaluation import comparisons as module
from ifvit.evaluation import evaluate as run_module
from ifvit.evaluation.comparisons import Comparisons, compare_all, worst_pairs
from ifvit.evaluation.pair_score import PairScore
from ifvit.evaluation.scorers import Gallery, Scorer
from ifvit.evaluation.task import plan
from ifvit.image import ImageError
from ifvit.launch import compose_tree
from ifvit.storage import files
from ifvit.storage.files import WriteError

pytestmark = pytest.mark.slow


FINGERS, EACH = 4, 3


@pytest.fixture
def records():
    return [Record(Path(f"{f}_{i}.png"), "db", f"db/{f}", None, str(i)) for f in range(FINGERS) for i in range(EACH)]


class Stub:
    """Prints of one finger score 4.5, others 0.5; print 5 fails with all, and one image is damaged."""

    def __init__(self):
        self.asked = 0

    def prints(self, records):
        for record in records:
            if record.path.name == "3_2.png":
                yield ImageError("3_2.png: damaged")
                continue
            finger, number = (int(part) for part in record.path.stem.split("_"))
            yield SimpleNamespace(finger=finger, number=EACH * finger + number)

    def content(self, shown):
        return bytes([shown.number])

    def compare(self, pairs):
        for a, b in pairs:
            self.asked += 1
            failed = 5 in (a.number, b.number)
            score = 4.5 if a.finger == b.finger else 0.5
            yield PairScore(0.0 if failed else score, failed, 1, 10, 0.0 if failed else 0.8)


@pytest.fixture
def gallery(records):
    return Gallery(Stub(), records)


def test_every_pair_is_compared_once_and_kept(records, gallery, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 7)
    pairs, scorer = protocol_pairs(records, Protocol.all), Stub()
    comparisons = compare_all(scorer, gallery, pairs, tmp_path, {"state": "x"})
    usable = 11 * 10 // 2  # of 12 impressions one cannot be used
    assert scorer.asked == usable and len(comparisons.score) == 66
    ok = ~comparisons.failed
    np.testing.assert_allclose(comparisons.score[ok & pairs.genuine], 4.5)
    np.testing.assert_allclose(comparisons.score[ok & ~pairs.genuine], 0.5)
    assert comparisons.failed.sum() == 11 + 11 - 1 and (comparisons.score[~ok] == 0).all()
    assert (comparisons.overlap[ok] == 0.8).all()
    assert gallery.unusable == {11: "3_2.png: damaged"}
    # Typed again, nothing is compared again, but for a block that is missing or damaged.
    (tmp_path / "00002.npz").unlink()
    (tmp_path / "00004.npz").write_bytes(b"damaged")
    again = Stub()
    repeated = compare_all(again, gallery, pairs, tmp_path, {"state": "x"})
    for value, other in list(zip(comparisons, repeated, strict=True))[:-1]:  # but for the time it took
        np.testing.assert_array_equal(value, other)
    assert 0 < again.asked <= 14
    with pytest.raises(DataError, match="holds another evaluation .state differ.; name another --out"):
        compare_all(scorer, gallery, pairs, tmp_path, {"state": "y"})


def test_prints_of_which_none_can_be_used(records):
    scorer = SimpleNamespace(
        prints=lambda records: (ImageError(f"{record.path}: damaged") for record in records), content=None
    )
    with pytest.raises(DataError, match="none of 12 images can be used: 0_0.png: damaged"):
        Gallery(scorer, records)


def test_the_worst_are_low_genuine_and_high_impostor_pairs(records):
    pairs = protocol_pairs(records, Protocol.fvc)
    score = np.arange(len(pairs), dtype=float)
    genuine, impostor = np.flatnonzero(pairs.genuine), np.flatnonzero(~pairs.genuine)
    failed = np.arange(len(pairs)) == impostor[-1]  # below every score, though it bears the highest
    order = list(worst_pairs(pairs, Comparisons(score, failed, *[None] * 6), 2))
    assert order == [
        ("genuine", genuine[0]),
        ("genuine", genuine[1]),
        ("impostor", impostor[-2]),
        ("impostor", impostor[-3]),
    ]


@pytest.fixture(scope="module")
def run_dir(finished, tmp_path_factory):
    run_dir = shutil.copytree(finished[0], tmp_path_factory.mktemp("evaluated") / "run")
    (run_dir / "split.csv").rename(run_dir / "kept.csv")  # most tests here evaluate it on its training prints
    return run_dir


@pytest.fixture
def chosen(prints):
    return ["data=folder", f"data.root={prints}", "data.file_ppi=250"]


def test_what_an_evaluation_leaves(run_dir, chosen, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run_module, "WORST", 2)
    cli.main(["evaluate", str(run_dir), *chosen, "--out", str(tmp_path / "out")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == [
        f"run      {run_dir}",
        "data     folder: 8 images of 4 fingers",
        "pairs    4 genuine pairs and 24 impostor pairs (protocol all)",
        f"writes   {tmp_path / 'out'}",
    ]
    assert f"look at  {tmp_path / 'out' / 'report.html'}" in lines
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["protocol"] == "all" and results["databases"]["folder"]["pairs"]["genuine"] == 4
    typed = shlex.split(results["command"])
    assert typed[:5] == ["python", "-m", "ifvit", "evaluate", str(run_dir)]
    assert typed[5:] == [*chosen, "--out", str(tmp_path / "out")]
    rows = list(csv.DictReader((tmp_path / "out" / "pairs.csv").open()))
    assert len(rows) == 28 and sum(row["genuine"] == "1" for row in rows) == 4
    table = synthetic_calibration(open_run(run_dir).stage is StageName.matcher)
    accepted = [row["genuine"] for row in rows if table.fmr_at(float(row["score"])) <= 0.001 and row["failed"] == "0"]
    refused, wrong = 4 - accepted.count("1"), accepted.count("0")
    verdicts = f"{refused} of 4 genuine pairs are not accepted, {wrong} of 24 impostor pairs are"
    assert f"compare's verdict at an FMR of 0.1 %, by synthetic fingers: {verdicts}" in lines
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 2 and page.count("data:image/jpeg;base64,") == 4
    assert 'src="http' not in page and results["command"] in html.unescape(page) and results["date"] in page
    assert len(list((tmp_path / "out" / "worst").iterdir())) == 4 and (tmp_path / "out" / "det.png").exists()
    assert len(page) < 3_000_000


def test_what_is_finished_is_told_without_loading_anything(run_dir, chosen, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run_module, "WORST", 1)
    command = ["evaluate", str(run_dir), *chosen, "--out", str(tmp_path / "out")]
    cli.main(command)
    first = capsys.readouterr().out
    with monkeypatch.context() as patched:
        patched.setattr(run_module, "evaluate", None)
        cli.main(command)
    note = f"finished before; to do it again, remove {tmp_path / 'out' / 'finished.json'}\n"
    assert capsys.readouterr().out == first + note
    # Whatever the report follows from: another calibration by then, and a report that is gone.
    for spoil in (run_dir / "calibration.json", tmp_path / "out" / "report.html"):
        spoil.unlink()
        cli.main(command)
        assert "finished before" not in capsys.readouterr().out and spoil.exists()
    cli.main([*command, "--no-calibration"])
    assert "finished before" not in capsys.readouterr().out
    (tmp_path / "out" / "finished.json").write_text("[")
    cli.main(command)
    assert "finished before" not in capsys.readouterr().out


def test_a_read_only_run_is_finished_without_a_calibration(run_dir, chosen, tmp_path, monkeypatch, capsys):
    """Once it can be written, the same command calibrates it."""

    def refused(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(run_module, "WORST", 1)
    (run_dir / "calibration.json").unlink(missing_ok=True)
    command = ["evaluate", str(run_dir), *chosen, "--out", str(tmp_path / "out")]
    with monkeypatch.context() as patched:
        patched.setattr("ifvit.evaluation.finished.obstacle", lambda path: "cannot be written")
        patched.setattr("ifvit.evaluation.calibrating.write_json", refused)
        cli.main(command)
        first = capsys.readouterr().out
        assert "not calibrated: " in first
        patched.setattr(run_module, "evaluate", None)
        cli.main(command)
        again = capsys.readouterr().out
        assert again.startswith(first) and "finished before" in again
    cli.main(command)
    assert "calibrated with" in capsys.readouterr().out and (run_dir / "calibration.json").exists()


def test_a_run_may_be_left_out(capsys):
    with pytest.raises(SystemExit):
        cli.main(["evaluate", "--help"])
    assert "[RUN_DIR] [KEY=VALUE ...]" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.main(["evaluate"])
    assert "data: name the prints, like data=fvc data.root=FOLDER" in capsys.readouterr().err


def test_an_evaluation_that_found_nothing_is_a_sentence(run_dir, chosen, tmp_path, monkeypatch, capsys):
    """And calibrates nothing."""
    (run_dir / "calibration.json").unlink(missing_ok=True)
    monkeypatch.setattr(Scorer, "compare", lambda self, pairs: (PairScore(0.0, True, 0, 0, 0.0) for _ in pairs))
    monkeypatch.setattr(run_module, "WORST", 1)
    cli.main(["evaluate", str(run_dir), *chosen, "--out", str(tmp_path / "out")])
    shown = capsys.readouterr().out
    assert "no pair could be compared, so that there are no rates" in shown and "EER" not in shown
    assert "not calibrated: no impostor pair could be compared" in shown
    assert not (run_dir / "calibration.json").exists() and not (tmp_path / "out" / "finished.json").exists()
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<td>-</td>" in page and "no pair could be compared" in page


def test_progress_does_not_wait_for_a_block(records, gallery, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("ifvit.progress.EVERY_S", 0.0)
    compare_all(Stub(), gallery, protocol_pairs(records, Protocol.all), tmp_path, {"state": "x"})
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("comparing pairs: ")]
    assert lines[0].startswith("comparing pairs: 11/66") and len(lines) == 8  # the unusable ones, then 55 by eights
    assert "left" in lines[2] and lines[-1].startswith("comparing pairs: 66/66")


def test_people_whom_the_run_has_seen_are_refused(run_dir, chosen):
    data = build(compose_tree(chosen)).data
    (run_dir / "split.csv").write_bytes((run_dir / "kept.csv").read_bytes())
    try:
        with pytest.raises(DataError, match="4 of its subjects were trained or validated on"):
            plan(run_dir, data, None, None)
    finally:
        (run_dir / "split.csv").unlink()


@pytest.mark.parametrize(
    "more, message",
    [
        (["dense=loftr"], "the model comes from the run"),
        (["data=synthetic"], "synthetic fingers are evaluated as a set"),
        (["data=folder", "data.root=/nowhere"], "is not there"),
    ],
)
def test_refusals(run_dir, more, message, tmp_path, capsys):
    with pytest.raises(SystemExit) as status:
        cli.main(["evaluate", str(run_dir), *more, "--out", str(tmp_path)])
    assert status.value.code == 2 and message in capsys.readouterr().err


def test_a_full_disk_costs_the_report_and_not_the_figures(run_dir, chosen, tmp_path, monkeypatch, capsys):
    def full(*_):
        raise WriteError(tmp_path / "out" / "pairs.csv", OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))

    command = ["evaluate", str(run_dir), *chosen, "--out", str(tmp_path / "out")]
    with monkeypatch.context() as patched:
        patched.setattr(run_module, "write_pairs", full)
        with pytest.raises(SystemExit) as ended:
            cli.main(command)
    shown = capsys.readouterr()
    assert ended.value.code == 1 and "EER" in shown.out and "24 impostor pairs" in shown.out
    assert "pairs.csv: not written (No space left on device)" in shown.err
    assert "type the same command again, and it goes on" in shown.err
    monkeypatch.setattr(run_module, "WORST", 1)
    monkeypatch.setattr(Scorer, "compare", None)  # what was compared is not compared again
    cli.main(command)
    assert "report.html" in capsys.readouterr().out


def test_a_folder_that_cannot_be_written_is_refused_at_once(chosen, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(files.os, "access", lambda *_: False)  # a read-only file system; root may write elsewhere
    with pytest.raises(SystemExit) as ended:
        cli.main(["evaluate", str(tmp_path), *chosen])
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("error: "))
    assert ended.value.code == 2 and line.startswith(f"error: --out DIR: {tmp_path / 'evaluation'}")
    assert f"the folder {tmp_path} cannot be written; name another place" in line


def test_ctrl_c_ends_an_evaluation_with_a_sentence(run_dir, chosen, tmp_path, monkeypatch, capsys):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(run_module, "compare_all", stopped)
    with pytest.raises(SystemExit) as ended:
        cli.main(["evaluate", str(run_dir), *chosen, "--out", str(tmp_path / "out")])
    assert ended.value.code == 75
    assert capsys.readouterr().err.splitlines()[-1] == "stopped; the same command goes on where it was"


def test_one_impostor_pair_is_told_wherever_a_figure_is_shown(run_dir, chosen, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run_module, "WORST", 1)
    out = tmp_path / "out"
    cli.main(["evaluate", str(run_dir), *chosen, "--out", str(out), "--impostors", "1", "--robustness", "1"])
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    for name in ("EER ", "FMR100 ", "FMR1000 ", "ZeroFMR ", "TAR "):
        shown = [line for line in lines if line.startswith(name)]
        assert shown and all("means little" in line and "[" not in line for line in shown), name
    assert any("threshold of FMR 1 %, which means little: it takes 300 impostor pairs" in line for line in lines)
    results = json.loads((out / "results.json").read_text())
    figures = results["databases"]["folder"]
    assert not any(figures["enough"].values()) and figures["least_fmr"] == 1 and figures["least_fnmr"] == 0.75
    assert results["robustness"]["impostors"] == 1
    page = (out / "report.html").read_text()
    row = page[page.index('<tr><th scope="row">folder</th>') :].split("</tr>")[0]
    assert row.count("*</td>") == 5 and "[" not in row and "* means little: the pairs are too few" in page
