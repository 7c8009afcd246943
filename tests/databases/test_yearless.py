"""FVC folders without a year: each is a database of its own, and the same one wherever it lies."""

import shutil
from pathlib import PurePath

import pytest

from ifvit.config import Source, build
from ifvit.data.impressions import load
from ifvit.data.loader import supply
from ifvit.data.prepare import _inputs_digest
from ifvit.databases.records import Record
from ifvit.databases.sources import part_records
from ifvit.databases.splits import TRAIN, VALIDATE, Split, split_of
from ifvit.databases.yearless import as_known, collection_of, contents, is_yearless, nameless
from ifvit.errors import DataError
from ifvit.launch import compose_tree
from tests.data.test_loader import mesh_sharding
from tests.helpers.database_trees import part, touch


@pytest.fixture
def fingers(prints, tmp_path):
    """The drawn fingers as `synthesize` lays a set out."""
    for path in prints.rglob("*.png"):
        finger, impression = int(path.parent.name[-1]) + 1, int(path.stem) + 1
        target = tmp_path / "fingers" / "DB1_A" / f"{finger}_{impression}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    return tmp_path / "fingers"


def config_of(root, *more):
    typed = ["data=fvc", f"data.root={root}", "data.file_ppi=250", "data.image_size=64", "data.pairs.elastic_px=1"]
    return build(compose_tree([*typed, "trainer.batch_size=2", *more]))


def records_of(root, **changes):
    return part_records(part(Source.fvc, root, file_ppi=500.0, **changes)).records


@pytest.mark.parametrize(
    "folder, name",
    [
        ("/data/fingers/DB1_A", "fingers"),
        ("/data/my prints/Dbs/DB1_A", "my_prints"),
        ("/data/=cmd()/DB1_A", "cmd_"),
        ("/data/\x1b[2J\u202e/DB1_A", "2J_"),
        ("/DB1_A", "FVC"),
        ("/..-/DB1_A", "FVC"),
    ],
)
def test_the_folder_above_names_a_database(folder, name):
    assert collection_of(PurePath(folder)) == name


def test_two_sets_are_two_databases_by_whatever_root(tmp_path):
    for name in ("one", "two"):
        touch(tmp_path / name / "DB1_A" / "1_1.tif")
    both = records_of(tmp_path)
    assert [(r.database, r.subject) for r in both] == [("one/DB1_A", "one/DB1_A/1"), ("two/DB1_A", "two/DB1_A/1")]
    for root in (tmp_path / "one", tmp_path / "one" / "DB1_A"):
        assert [r.subject for r in records_of(root)] == ["one/DB1_A/1"]
    assert records_of(tmp_path, databases=("DB1_A",)) == both
    assert records_of(tmp_path, databases=("two/DB1_A",)) == both[1:]
    (tmp_path / "link").symlink_to(tmp_path / "one")
    assert records_of(tmp_path / "link")[0].subject == "one/DB1_A/1"


def test_only_they_lose_a_name():
    assert nameless("fingers/DB1_A/7") == nameless("FVC/DB1_A/7") == "FVC/DB1_A/7"
    for name in ("FVC2002/DB1_A/7", "SD302/00002302 finger 1", "folder/DB1_A/7", "DB1_A/7", "a/b/DB1_A"):
        assert nameless(name) == name and not is_yearless(name)


def test_what_is_compared_on_resume_holds_no_folders_name(fingers, tmp_path):
    """So runs go on whose set was moved, and those of earlier versions, which called every set FVC."""

    def compared_on_resume(root):
        data = config_of(root).data
        records = records_of(root)
        return load(data).fingerprint, split_of(data, {"fvc": records}).digest(), _inputs_digest(records)

    before = compared_on_resume(fingers)
    assert compared_on_resume(fingers.rename(tmp_path / "moved")) == before
    assert compared_on_resume((tmp_path / "moved").rename(tmp_path / "FVC")) == before


def test_the_split_of_an_earlier_version_is_known(fingers):
    records = records_of(fingers)
    old = Split({f"FVC/DB1_A/{k}": VALIDATE if k == 4 else TRAIN for k in (1, 2, 3, 4)})
    new = old.named_as(records)
    assert new.part == {f"fingers/DB1_A/{k}": VALIDATE if k == 4 else TRAIN for k in (1, 2, 3, 4)}
    assert new.digest() == old.digest() and new.named_as(records) == new
    with pytest.raises(
        DataError, match="4 of its subjects .* put the name of the folder trained on in the place of FVC in "
    ):
        old.refuse_seen(records, "the data")
    with pytest.raises(DataError) as refused:
        new.refuse_seen(records, "the data")
    assert "in the place of FVC" not in str(refused.value)


def test_a_database_is_known_by_what_it_holds(fingers, tmp_path):
    known = contents(records_of(fingers))
    assert known.keys() == {"fingers/DB1_A"}
    assert supply(config_of(fingers), mesh_sharding()).contents == known
    moved = records_of(fingers.rename(tmp_path / "moved"))
    assert contents(moved) == {"moved/DB1_A": known["fingers/DB1_A"]}
    other = Record(tmp_path / "x.png", "SD302a", "SD302/00002302", 1, "A")
    named = as_known([*moved, other], known)
    assert {r.subject for r in named[:-1]} == {f"fingers/DB1_A/{k}" for k in (1, 2, 3, 4)} and named[-1] == other
    for strange in (None, [], {"fingers/DB1_A": 3}, {"fingers/DB1_A": "another"}):
        assert as_known(moved, strange) == moved
    shutil.copyfile(moved[0].path, moved[2].path)
    assert contents(moved) != {"moved/DB1_A": known["fingers/DB1_A"]}
    moved[2].path.unlink()
    assert contents(moved) == {}
