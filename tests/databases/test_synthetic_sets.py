"""Synthetic data are recognised, whatever source they come from."""

from dataclasses import replace

import pytest

from ifvit.config import build
from ifvit.databases.records import Record
from ifvit.databases.synthetic_sets import DATABASE, SET, any_synthetic, has_synthetic
from ifvit.evaluation.task import plan
from ifvit.launch import compose_tree


@pytest.fixture
def record(tmp_path):
    (tmp_path / DATABASE).mkdir()
    return Record(tmp_path / DATABASE / "1_1.png", "FVC/DB1_A", "1", None, "1")


def test_an_impression_of_a_set(record, tmp_path):
    assert not any_synthetic([record])
    (tmp_path / SET).write_text("{}")
    assert any_synthetic([record, record]) and not any_synthetic([])
    assert not any_synthetic([record._replace(path=tmp_path / "DB2_A" / "1_1.png")])


def test_data_of_a_config(record, tmp_path, monkeypatch):
    assert has_synthetic(build(compose_tree(["data=synthetic"])).data)
    fvc = build(compose_tree(["data=fvc", f"data.root={tmp_path}", "data.file_ppi=500"])).data
    assert not has_synthetic(fvc)
    (tmp_path / SET).write_text("{}")
    assert has_synthetic(fvc) and has_synthetic(replace(fvc, root=str(tmp_path / DATABASE)))
    prepared = build(compose_tree(["data=prepared", "data.root=/prepared", "stage=matcher", "init.dense=x"])).data
    monkeypatch.setattr("ifvit.databases.prepared_table.read_records", lambda _: {0: record})
    assert has_synthetic(prepared)
    (tmp_path / SET).unlink()
    assert not has_synthetic(prepared)


def test_an_evaluation_says_so(prints, monkeypatch):
    data = build(compose_tree(["data=folder", f"data.root={prints}", "data.file_ppi=250"])).data
    task = plan(None, data, None, None)
    line = "         synthetic fingers: real prints are harder"
    assert line not in task.heading()
    monkeypatch.setattr("ifvit.evaluation.task.any_synthetic", lambda _: True)
    assert line in task.heading()
