"""What is to be evaluated, before anything is loaded: whose data, which folder."""

from dataclasses import replace
from pathlib import Path

import pytest

from ifvit.checkpoint import CheckpointError
from ifvit.config import Enhancement, build
from ifvit.data.protocols import Protocol
from ifvit.evaluation.task import LONGEST, joined, plan
from ifvit.launch import compose_tree


@pytest.fixture
def data(prints):
    return build(compose_tree(["data=folder", f"data.root={prints}", "data.file_ppi=250"])).data


def test_databases_as_one_name():
    assert joined(["FVC2002/DB4_B"]) == "FVC2002_DB4_B"
    assert joined(["FVC2002/DB1_B", "FVC2002/DB2_B"]) == "FVC2002_DB1_B+DB2_B"
    assert joined(["FVC2002/DB1_B", "FVC2004/DB1_B", "SD302a"]) == "FVC2002_DB1_B+FVC2004_DB1_B+SD302a"


def test_many_databases_are_one_short_name():
    names = [f"collection/database_{k}" for k in range(20)]
    many, fewer = joined(names), joined(names[:-1])
    assert many.startswith("collection_database_0+19_more-") and len(many) <= LONGEST and many != fewer


def test_a_strangers_name_is_no_path():
    for name in ("../../etc", "..", "/", "a b\n", ".hidden", "-rf", "x" * 300, ""):
        folder = joined([name])
        assert folder and "/" not in folder and folder[0] not in ".-" and folder.isprintable()
        assert len(folder) <= LONGEST


def test_a_folder_of_the_data_and_of_what_differs_from_the_usual(data, prints):
    usual = plan(None, data, None, None)
    assert usual.folder() == prints.name
    assert plan(None, data, Protocol.all, None).folder() == prints.name
    assert plan(None, data, Protocol.fvc, 5).folder() == f"{prints.name}-fvc-5_impostors"
    assert usual._replace(score="cosines").folder() == f"{prints.name}-cosines"
    assert usual._replace(data=replace(data, enhancement=Enhancement.pyfing)).folder() == f"{prints.name}-pyfing"


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
