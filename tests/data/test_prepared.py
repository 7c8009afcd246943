"""What was prepared read back, and believed only where it can be."""

import csv
import io
import json
import shutil

import numpy as np
import pytest

from ifvit.config import Enhancement
from ifvit.data import loader
from ifvit.data.prepared import Prepared
from ifvit.databases.prepared_table import HEADING, read_info, read_records
from ifvit.databases.sources import find
from ifvit.databases.splits import read_split, split_of
from ifvit.errors import DataError
from ifvit.storage.csv_text import table
from tests.helpers.aligned_prints import EACH, FINGERS, SIDE, config_of, sharding

pytestmark = pytest.mark.slow


COUNT = 2 * FINGERS * EACH


def test_the_records_are_a_source_like_others(folder):
    (records,) = find(config_of(folder).data).values()
    assert records == list(read_records(folder).values()) and len(records) == COUNT
    (part,) = find(config_of(folder, "data.databases=[DB2_B]").data).values()
    assert {record.database for record in part} == {"FVC2002/DB2_B"} and len(part) == COUNT // 2
    split = split_of(config_of(folder).data, {"prepared": records})
    assert split == read_split(folder / "split.csv")
    assert [subject for subject, part in split.part.items() if part == "validate"] == [
        f"FVC2002/DB{d}_B/{100 + FINGERS}" for d in (1, 2)
    ]
    with pytest.raises(DataError, match="4 of its subjects were trained or validated on"):
        split.refuse_seen([record for record in records if record.database == "FVC2002/DB1_B"], "the test")


def test_a_part_of_the_prints_has_its_own_pairs_only(folder, capsys):
    records = read_records(folder)
    all_prints = Prepared(folder, records.values())
    chosen = [record for record in records.values() if record.database == "FVC2002/DB2_B"]
    part = Prepared(folder, chosen[::-1])
    assert "12 prepared prints" in capsys.readouterr().err and part.nbytes * 2 == all_prints.nbytes
    position_of = {k: chosen[::-1].index(record) for k, record in enumerate(all_prints.records) if record in chosen}
    inside = [
        k
        for k in range(len(all_prints.first))
        if {int(all_prints.first[k]), int(all_prints.second[k])} <= position_of.keys()
    ]
    assert [position_of[k] for k in all_prints.first[inside].tolist()] == part.first.tolist()
    assert [position_of[k] for k in all_prints.second[inside].tolist()] == part.second.tolist()
    np.testing.assert_array_equal(all_prints.to_first[inside], part.to_first)
    np.testing.assert_array_equal(all_prints.to_second[inside], part.to_second)
    for k, other in position_of.items():
        for name in ("grey", "enhanced", "ridges", "background"):
            np.testing.assert_array_equal(getattr(all_prints, name)[k], getattr(part, name)[other])
        np.testing.assert_array_equal(all_prints.ridges_of(np.array([k])), part.ridges_of(np.array([other])))
    assert all_prints.fingerprint == part.fingerprint and all_prints.ridges_of(np.arange(2)).shape == (2, SIDE, SIDE)


# What may be wrong with a folder that comes from elsewhere.


def info_with(**changed):
    def change(folder):
        path = folder / "prepared.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changed))

    return change


def text(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def cell(column, value):
    def change(folder):
        rows = list(csv.reader(io.StringIO((folder / "prints.csv").read_text())))
        rows[3][HEADING.index(column)] = value
        (folder / "prints.csv").write_text(table(rows[0], rows[1:]))

    return change


def entry(name, array, index, value):
    """One entry of a block's array."""

    def change(folder):
        with np.load(folder / name) as block:
            arrays = dict(block)
        arrays[array][index] = value
        np.savez(folder / name, **arrays)

    return change


HOSTILE = {
    "prepared.json: damaged": text("prepared.json", b"{"),
    "prepared.json: damaged,": text("prepared.json", b"[" * 100_000),
    "prepared.json: damaged, ": text("prepared.json", b"\xff\xfe"),
    "prepared.json: larger": text("prepared.json", b" " * (2**20 + 1)),
    "prepared.json: of format 1, .* prepare the prints anew .*: python -m ifvit data prepare RUN": info_with(format=1),
    "prepared.json: damaged.* is no count": info_with(frame=[64, 1e9]),
    "prepared.json: prints of 99999": info_with(frame=[64, 99999]),
    "prepared.json: damaged.*nope": info_with(enhancement="nope"),
    "prepared.json: prints of 64x64 px at nan": info_with(ppi=float("nan")),
    "prepared.json: damaged.*-1 is no count": info_with(prints={"listed": -1}),
    "prepared.json: damaged.*True is no count": info_with(pairs={"listed": True}),
    "holds no pairs": info_with(pairs={"listed": 0}),
    "prints.csv: expected 25 rows": info_with(prints={"listed": 25}),
    "00000.npz: damaged.*expected": info_with(frame=[64, 32]),
    "prints.csv: not a CSV table": text("prints.csv", b"\xff\xff"),
    "prints.csv: expected 24 rows of path": text("prints.csv", b"name\n"),
    "row 3: subject: empty": cell("subject", ""),
    "row 3: subject: too long": cell("subject", "x" * 5000),
    "row 3: path: too long, or holds": cell("path", "\x1b[2J"),
    "row 3: finger: expected": cell("finger", "11"),
    "row 3: ppi: expected": cell("ppi", "nan"),
    "row 3: ppi: expected .*many": cell("ppi", "many"),
    "are both impression": cell("impression", "1"),
    "pairs/0000.*not what the table says": cell("subject", "somebody else"),
    "pairs/0000.*that are not there": cell("unusable", "it is"),
    "pairs/00001.npz: damaged .a pair of prints that": entry("pairs/00001.npz", "first", 2, 24),
    "pairs/00001.npz: damaged .a pair of prints ": entry("pairs/00001.npz", "second", 2, -1),
    "pairs/00001.npz: damaged .a pair that": entry("pairs/00001.npz", "genuine", 2, False),
    "pairs/00000.npz: damaged .a map": entry("pairs/00000.npz", "to_first", np.s_[:], 0.0),
    "pairs/00000.npz: damaged .a map t": entry("pairs/00000.npz", "to_second", np.s_[:], np.nan),
    "pairs/00000.npz: damaged .a map th": entry("pairs/00000.npz", "to_second", np.s_[:, 0, 2], 1e30),
    "prints/00003.npz: damaged": text("prints/00003.npz", b"no zip"),
    "prints/00003.npz: is not there": lambda folder: (folder / "prints" / "00003.npz").unlink(),
    "prints.csv: is not there": lambda folder: (folder / "prints.csv").unlink(),
    "data.root: .* is not complete": lambda folder: (folder / "prepared.json").unlink(),
    "is no folder that": lambda folder: [(folder / name).unlink() for name in ("prepared.json", "key.json")],
    "data.root: .* is not there": shutil.rmtree,
}


@pytest.mark.parametrize("message", HOSTILE)
def test_a_damaged_folder_is_refused_by_the_name_of_what_is(folder, tmp_path, message):
    bad = shutil.copytree(folder, tmp_path / "bad")
    HOSTILE[message](bad)
    with pytest.raises(DataError, match=message):
        loader.supply(config_of(bad), sharding())


def test_what_pyfing_drew_is_told_by_its_name(folder, tmp_path):
    bad = shutil.copytree(folder, tmp_path / "bad")
    info_with(enhancement="pyfing")(bad)
    assert read_info(bad).enhancement is Enhancement.pyfing
