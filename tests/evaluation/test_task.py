"""What is to be evaluated, before anything is loaded: whose data, which folder."""

from dataclasses import replace
from pathlib import Path

import pytest

from ifvit.config import Enhancement, build, to_dict
from ifvit.databases.protocols import Protocol
from ifvit.databases.sources import find
from ifvit.databases.splits import TRAIN, Split
from ifvit.databases.yearless import contents
from ifvit.errors import CheckpointError, DataError
from ifvit.evaluation.task import LONGEST, joined_name, plan
from ifvit.launch import compose_tree
from ifvit.storage.json_files import write_json


@pytest.fixture
def data(prints):
    return build(compose_tree(["data=folder", f"data.root={prints}", "data.file_ppi=250"])).data


def test_databases_as_one_name():
    assert joined_name(["FVC2002/DB4_B"]) == "FVC2002_DB4_B"
    assert joined_name(["FVC2002/DB1_B", "FVC2002/DB2_B"]) == "FVC2002_DB1_B+DB2_B"
    assert joined_name(["FVC2002/DB1_B", "FVC2004/DB1_B", "SD302a"]) == "FVC2002_DB1_B+FVC2004_DB1_B+SD302a"


def test_many_databases_are_one_short_name():
    names = [f"collection/database_{k}" for k in range(20)]
    many, fewer = joined_name(names), joined_name(names[:-1])
    assert many.startswith("collection_database_0+19_more-") and len(many) <= LONGEST and many != fewer


def test_a_strangers_name_is_no_path():
    for name in ("../../etc", "..", "/", "a b\n", ".hidden", "-rf", "x" * 300, ""):
        folder = joined_name([name])
        assert folder and "/" not in folder and folder[0] not in ".-" and folder.isprintable()
        assert len(folder) <= LONGEST


def test_a_folder_of_the_data_and_of_what_differs_from_the_usual(data, prints):
    usual = plan(None, data, None, None)
    assert usual.folder() == prints.name
    assert plan(None, data, Protocol.all, None).folder() == prints.name
    assert plan(None, data, Protocol.fvc, 5).folder() == f"{prints.name}-fvc-5_impostors"
    assert usual._replace(score="cosines").folder() == f"{prints.name}-cosines"
    assert usual._replace(data=replace(data, ridge_mask=Enhancement.pyfing)).folder() == f"{prints.name}-pyfing"


def test_the_heading_tells_whom_what_and_how_much(data):
    assert plan(None, data, None, None).heading() == [
        "run      none: ridges and minutiae alone",
        "data     folder: 8 images of 4 fingers",
        "pairs    4 genuine pairs and 24 impostor pairs (protocol all)",
    ]


def test_what_is_no_run_is_refused_before_its_data_are_read(data, tmp_path):
    with pytest.raises(CheckpointError, match="no run directory"):
        plan(tmp_path, replace(data, root="/nowhere"), None, None)
    assert not list(Path(tmp_path).iterdir())


def test_people_whom_a_run_has_seen_are_refused_under_any_folders_name(tmp_path):
    def data_of(name):
        return build(compose_tree(["data=fvc", f"data.root={tmp_path / name}", "data.file_ppi=500"])).data

    for name, more in (("fingers", b""), ("others", b"other")):
        (tmp_path / name / "DB1_A").mkdir(parents=True)
        for finger, impression in ((1, 1), (1, 2), (2, 1), (2, 2)):
            (tmp_path / name / "DB1_A" / f"{finger}_{impression}.png").write_bytes(
                b"%d%d" % (finger, impression) + more
            )
    (records,) = find(data_of("fingers")).values()
    run = tmp_path / "run"
    config = to_dict(build(compose_tree([])))
    write_json(run / "config.json", {"config": config, "databases": contents(records)})
    (run / "split.csv").write_text(Split({record.subject: TRAIN for record in records}).text())
    assert plan(run, data_of("others"), None, None).folder() == "others_DB1_A"
    (tmp_path / "fingers").rename(tmp_path / "renamed")
    with pytest.raises(DataError, match="2 of its subjects were trained or validated on .fingers/DB1_A/1, "):
        plan(run, data_of("renamed"), None, None)
    # The table of an earlier version may be of anybody's, and says so.
    (run / "split.csv").write_text(Split({f"FVC/DB1_A/{k}": TRAIN for k in (1, 2)}).text())
    with pytest.raises(DataError, match="calls a folder whose FVC year is not known FVC, as earlier versions did"):
        plan(run, data_of("others"), None, None)
    write_json(run / "config.json", [])
    with pytest.raises(CheckpointError, match="no run directory"):
        plan(run, data_of("renamed"), None, None)
