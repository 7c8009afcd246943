import json
import shutil

import cv2
import numpy as np
import pytest

from ifvit.cli import main as cli
from ifvit.config import Source
from ifvit.databases import doctor
from ifvit.databases.doctor import examine
from ifvit.databases.sample_sheet import sample_sheet
from ifvit.databases.splits import TRAIN, Split
from ifvit.errors import DataError
from tests.helpers import database_trees as trees

pytestmark = pytest.mark.slow


def draw(path, seed, period=9.0):
    """A print-like picture: whorl-like ridges in an ellipse."""
    y, x = np.mgrid[:200, :180]
    rng = np.random.default_rng(seed)
    radius = np.hypot(x - 90 + 20 * rng.random(), y - 100)
    ridges = 128 + 90 * np.cos(2 * np.pi * radius / period + 0.3 * seed)
    grey = np.where(((x - 90) / 75) ** 2 + ((y - 100) / 85) ** 2 < 1, ridges, 235) + rng.normal(0, 4, x.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.clip(grey, 0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    """FVC2002 DB1_B as it should be: 10 fingers, 8 impressions."""
    root = tmp_path_factory.mktemp("whole")
    for finger in range(101, 111):
        for impression in range(1, 9):
            draw(root / "FVC2002" / "DB1_B" / f"{finger}_{impression}.tif", 8 * finger + impression)
    return root / "FVC2002"


@pytest.fixture
def copy(complete, tmp_path):
    return shutil.copytree(complete, tmp_path / "FVC2002") / "DB1_B"


def problems(report):
    return [(finding.kind, finding.text) for finding in report.findings if finding.problem]


def test_a_whole_database_is_healthy(complete):
    report, records = examine([complete])
    assert report.healthy and len(records) == 80
    (database,) = report.databases
    assert (database.name, database.fingers, database.images, database.impressions) == ("FVC2002/DB1_B", 10, 80, "8")
    assert database.ridge_period_px == pytest.approx(9, rel=0.05) and database.ridge_ppi == pytest.approx(500, rel=0.05)
    assert "no problems" in report.text() and "FVC2002/DB1_B" in report.text()


FAULTS = {}


def planted(kind):
    def keep(plant):
        FAULTS[plant.__name__] = kind, plant
        return plant

    return keep


@planted("unreadable")
def truncated(folder):
    path = folder / "103_4.tif"
    path.write_bytes(path.read_bytes()[:9000])
    return "103_4.tif"


@planted("unreadable")
def no_image(folder):
    (folder / "103_4.tif").write_bytes(b"<html>not found</html>")
    return "103_4.tif"


@planted("duplicate")
def duplicate(folder):
    # Of the same pixels, in another file format.
    (folder / "104_2.tif").unlink()
    cv2.imwrite(str(folder / "104_2.png"), cv2.imread(str(folder / "107_1.tif"), cv2.IMREAD_GRAYSCALE))
    return "104_2.png"


@planted("blank")
def blank(folder):
    cv2.imwrite(str(folder / "105_5.tif"), np.full((200, 180), 255, np.uint8))
    return "105_5.tif"


@planted("blank")
def an_empty_sensor(folder):
    noise = np.random.default_rng(0).normal(200, 1.5, (200, 180))
    cv2.imwrite(str(folder / "105_5.tif"), noise.astype(np.uint8))
    return "105_5.tif"


@planted("ppi")
def wrong_ppi(folder):
    draw(folder / "106_6.tif", 1, period=18.0)
    return "106_6.tif"


@planted("stranger")
def stranger(folder):
    draw(folder / "IMG_2931.tif", 1)
    return "IMG_2931.tif"


@planted("count")
def a_finger_too_many(folder):
    for impression in range(1, 9):
        draw(folder / f"111_{impression}.tif", 2000 + impression)
    return "11 fingers, published are 10"


@planted("impressions")
def a_missing_impression(folder):
    (folder / "101_8.tif").unlink()
    return "FVC2002/DB1_B/101 has 7"


@planted("same impression")
def two_files_for_one_impression(folder):
    draw(folder / "101_1.png", 3000)
    return "impression 1 of FVC2002/DB1_B/101"


@planted("left out")
def link(folder):
    outside = folder.parent.parent / "outside.tif"
    draw(outside, 1)
    (folder / "112_1.tif").symlink_to(outside)
    return "1 links that lead out of the root"


@pytest.mark.parametrize("name", FAULTS)
def test_each_planted_fault_is_found(copy, name):
    kind, plant = FAULTS[name]
    expected = plant(copy)
    report, _ = examine([copy.parent])
    assert not report.healthy
    assert any(finding_kind == kind and expected in text for finding_kind, text in problems(report)), problems(report)
    assert f"PROBLEM  {kind}" in report.text()


def test_a_database_at_another_resolution_than_its_name_says(tmp_path):
    for finger in range(101, 104):
        for impression in (1, 2):
            draw(tmp_path / "FVC2006/DB2_B" / f"{finger}_{impression}.bmp", finger + impression, period=4.5)
    report, _ = examine([tmp_path])
    (expected,) = [text for kind, text in problems(report) if kind == "ppi"]
    assert "the images look like 2" in expected and report.databases[0].ppi == "569"


def test_notes_are_no_problems(complete, tmp_path):
    root = shutil.copytree(complete, tmp_path / "FVC2002")
    (root / "README.txt").write_text("who")
    picture = cv2.imread(str(root / "DB1_B/101_1.tif"), cv2.IMREAD_GRAYSCALE)
    cv2.imwrite(str(root / "DB1_B/101_1.tif"), 255 - picture)
    report, _ = examine([root])
    notes = {finding.kind: finding.text for finding in report.findings if not finding.problem}
    assert report.healthy and "README.txt" in notes["other files"]
    assert "turned over: 1 image, " in notes["inverted"] and "101_1.tif" in notes["inverted"]


def test_people_shared_between_databases_and_slaps(tmp_path):
    people = range(2302, 2304)
    trees.sd302a(tmp_path / "a", people, "A")
    trees.sd302b(tmp_path / "b", people, "U", (500,))
    report, _ = examine([tmp_path])
    notes = {finding.kind: finding.text for finding in report.findings if not finding.problem}
    assert "2 subjects are in all of SD302a, SD302b" in notes["shared subjects"]
    assert "6 slaps, palms" in notes["left out"]
    assert dict(problems(report))["count"] == "2 subjects, published are 200"


def test_a_trained_subject_among_the_tests_is_a_problem(complete):
    report, _ = examine([complete], split=Split({"FVC2002/DB1_B/104": TRAIN}))
    assert dict(problems(report))["leakage"].startswith("the data: 1 of its subjects were trained")
    report, _ = examine([complete], split=Split({"else": TRAIN}))
    assert "knows 0 of the data's 10 subjects" in dict(problems(report))["split"]


def test_an_unknown_layout_is_a_folder_for_each_finger(tmp_path):
    for seed, name in enumerate(("anna/1.png", "anna/2.png", "bert/1.png")):
        draw(tmp_path / name, seed)
    report, records = examine([tmp_path])
    assert {finding.kind for finding in report.findings} == {"unknown layout", "no mate", "ppi assumed"}
    assert len(records) == 3 and report.databases[0].fingers == 2
    assert "which makes 2. If that is right, say --source folder" in dict(problems(report))["unknown layout"]
    assert examine([tmp_path], Source.folder)[0].healthy  # somebody says so
    # Given as a table, it is known.
    (tmp_path / "t.csv").write_text("path,subject,ppi\nanna/1.png,anna,500\nanna/2.png,anna,500\n")
    report, records = examine([tmp_path / "t.csv"])
    assert report.healthy and not report.findings and len(records) == 2


def test_names_from_strangers_do_not_act_on_the_terminal(tmp_path):
    for name in ("anna\x1b[2J", "bert"):
        draw(tmp_path / name / "1.png", 1)
    report, records = examine([tmp_path], Source.folder)
    assert dict(problems(report))["left out"].endswith("1 names that cannot be printed") and len(records) == 1
    assert "\x1b" not in report.text()


def test_nothing_there(tmp_path):
    for root, expected in ((tmp_path / "none", "is not there"), (tmp_path, "holds no images")):
        with pytest.raises(DataError, match=expected):
            examine([root])


def test_a_root_twice(complete):
    for other in (complete, complete / "DB1_B"):
        with pytest.raises(DataError, match="hold the same files; name each folder once"):
            examine([complete, other])


def test_a_copied_database_is_one_finding(complete, tmp_path):
    shutil.copytree(complete, tmp_path / "copy" / "FVC2004")
    report, _ = examine([complete, tmp_path / "copy"])
    (expected,) = [text for kind, text in problems(report) if kind == "duplicate"]
    assert (
        "also in FVC2004/DB1_B, 80 images under two names, of different fingers" in expected
        and "and 74 more" in expected
    )


def test_a_resolution_that_is_given_is_known(complete, tmp_path):
    root = shutil.copytree(complete, tmp_path / "prints")
    assert dict(problems(examine([root])[0]))["unknown year"]
    assert "unknown year" not in dict(problems(examine([root], ppi=500)[0]))


def test_samples_of_each_database(complete):
    _, records = examine([complete])
    sheet = sample_sheet(records)
    assert sheet.ndim == 3 and sheet.std() > 10


def test_the_command(copy, tmp_path, capsys):
    cli.main(
        ["data", "check", str(copy.parent), "--json", str(tmp_path / "r.json"), "--sheet", str(tmp_path / "s.png")]
    )
    assert "no problems" in capsys.readouterr().out and (tmp_path / "s.png").stat().st_size > 1000
    assert json.loads((tmp_path / "r.json").read_text())["healthy"] is True
    truncated(copy)
    with pytest.raises(SystemExit) as status:
        cli.main(["data", "check", str(copy.parent), "--json", str(tmp_path / "r.json")])
    assert status.value.code == 1
    assert json.loads((tmp_path / "r.json").read_text())["databases"][0]["findings"] == {"unreadable": 1}
    for arguments in ([str(tmp_path / "none")], [str(copy), "--json", str(tmp_path)], [str(copy), "--source", "fcv"]):
        with pytest.raises(SystemExit) as status:
            cli.main(["data", "check", *arguments])
        assert status.value.code == 2


def test_interrupted_it_ends_in_a_line(copy, monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "_image_facts", interrupt)
    with pytest.raises(SystemExit) as status:
        cli.main(["data", "check", str(copy.parent)])
    assert status.value.code == 75 and capsys.readouterr().err.startswith("stopped before it was finished")


def test_the_pairs_command(copy, tmp_path, capsys):
    cli.main(["data", "pairs", str(copy.parent), "--protocol", "fvc", "--out", str(tmp_path / "p.csv")])
    assert "280 genuine and 45 impostor pairs of 80" in capsys.readouterr().out
    assert len((tmp_path / "p.csv").read_text().splitlines()) == 326
    with pytest.raises(SystemExit) as status:
        cli.main(["data", "pairs", str(copy.parent), "--protocol", "sd4", "--out", str(tmp_path / "p.csv")])
    assert status.value.code == 2 and "lack their f or their s" in capsys.readouterr().err


def test_no_pairs_of_what_is_not_recognised(complete, tmp_path, capsys):
    """A database in a folder of another name would be one finger with 80 impressions."""
    root = shutil.copytree(complete / "DB1_B", tmp_path / "DB1_B_orig")
    command = ["data", "pairs", str(root), "--protocol", "all", "--out", str(tmp_path / "p.csv")]
    with pytest.raises(SystemExit) as status:
        cli.main(command)
    assert status.value.code == 2 and "which makes 80" in capsys.readouterr().err
    stranger(shutil.copytree(complete, tmp_path / "FVC2002") / "DB1_B")
    command[2] = str(tmp_path / "FVC2002")
    with pytest.raises(SystemExit) as status:
        cli.main(command)
    assert status.value.code == 2 and "IMG_2931.tif" in capsys.readouterr().err
    assert not (tmp_path / "p.csv").exists()


def test_real_prints_are_healthy_and_planted_faults_are_found(shared_dir, tmp_path):
    root = shutil.copytree(shared_dir / "data" / "fvc2002", tmp_path / "fvc2002", copy_function=shutil.copy)
    report, records = examine([root])
    assert report.healthy and len(records) == 320, report.text()
    for path in root.rglob("*"):
        path.chmod(0o755)
    folder = root / "DB1_B"
    expected = [truncated(folder), duplicate(folder), blank(folder), stranger(folder)]
    small = cv2.imread(str(folder / "108_1.tif"), cv2.IMREAD_GRAYSCALE)
    cv2.imwrite(str(folder / "108_1.tif"), cv2.resize(small, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    report, _ = examine([root])
    kinds = dict(problems(report))
    for kind, name in zip(
        ("unreadable", "duplicate", "blank", "stranger", "ppi"), [*expected, "108_1.tif"], strict=True
    ):
        assert name in kinds[kind]
