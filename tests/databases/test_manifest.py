import importlib.util
import random

import pytest

from ifvit.databases.layouts import OTHER_PARTS
from ifvit.databases.manifest import read_manifest
from ifvit.databases.records import by_identity
from ifvit.errors import DataError
from ifvit.storage.csv_text import table
from tests.helpers.database_trees import touch

GOOD = """path,subject,finger,impression,ppi
a/1.png,anna,1,1,500
a/2.png,anna,11,1,1000
a/3.png,anna,6,roll,
"b, c/4.png",bert,,,
a/5.png,bert,13,1,500
"""


def written(folder, text, name="prints.csv"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_table_becomes_records(tmp_path):
    records, left_out = read_manifest(written(tmp_path, GOOD), name="m")
    assert [record.identity for record in records] == [
        "m/anna finger 1",
        "m/anna finger 1",
        "m/anna finger 6",
        "m/bert",
    ]
    assert [record.impression for record in records] == [
        "1",
        "1-11",
        "roll",
        "b, c/4.png",
    ]  # a plain thumb is another one
    assert [record.ppi for record in records] == [500, 1000, None, None]
    assert records[3].path == tmp_path / "b, c" / "4.png"
    assert dict(left_out) == {OTHER_PARTS: 1}
    assert {record.ppi for record in read_manifest(tmp_path / "prints.csv", 300.0)[0]} == {300}


def test_two_columns_are_enough_and_others_are_ignored(tmp_path):
    text = "\ufeffPath , SUBJECT,note,database,device\n1.png,7,=1+1,DBX,S\n2.png,8,,,\n"
    records, _ = read_manifest(written(tmp_path, text))
    assert list(by_identity(records)) == ["DBX/7", "manifest/8"] and records[0].device == "S"


WRONG = [
    ("", "lacks the column path, subject"),
    ("a,b\n1,2\n", "lacks the column path, subject.*found: a, b"),
    ("path,subject,subject\n1.png,a,b\n", "has the column subject twice"),
    ("path;subject\n1.png;a\n", "lacks the column"),
    ("path,subject,fingr\n1.png,a,1\n", "has a column 'fingr'; did you mean finger"),
    ("path,subject\n", "names no impression"),
    ("path,subject\n1.png\n", "line 2 has another number of cells"),
    ("path,subject\n1.png,a,b\n", "line 2 has another number of cells"),
    ("path,subject\n,a\n", "row 1: path: empty"),
    ("path,subject\n1.png,\n", "row 1: subject: empty"),
    ("path,subject\n../1.png,a\n", "row 1: path: '../1.png' leads out"),
    ("path,subject\n/etc/passwd,a\n", "row 1: path: '/etc/passwd' leads out"),
    ("path,subject\nin/../../1.png,a\n", "leads out of the table's folder; put the table above its images"),
    ("path,subject\nlink/1.png,a\n", "leads out of the table's folder; it is linked: `cp -rL .* COPY` makes files"),
    ("path,subject\n1.png,\"=cmd|' /C calc'!A0\"\n", "begins like a spreadsheet's formula"),
    ("path,subject\n1.png,@SUM(1+1)\n", "formula"),
    ("path,subject\n1.png,+1\n", "formula"),
    ("path,subject\n=1.png,a\n", "formula"),
    ("path,subject\n1.png,a/1\n", "subject: 'a/1' may hold no '/'"),
    ("path,subject\n1.png,a finger 1\n", "not end like ' finger 1'"),
    ("path,subject,finger\n1.png,a,1\n2.png,a,\n", "some rows of a subject name a finger and some do not: manifest/a"),
    ("path,subject\n" + ",a\n" * 9, "row 6: path: empty and 3 more rows"),
    ('path,subject\n1.png,"a\nb"\n', "cannot be printed"),
    ("path,subject\n1.png,a\x1b[31m\n", "cannot be printed"),
    ("path,subject\n1.png," + "a" * 300 + "\n", "longer than 200"),
    ("path,subject,finger\n1.png,a,nan\n", "finger: expected a number or nothing, got 'nan'"),
    ("path,subject,finger\n1.png,a,thumb\n", "finger: expected a number"),
    ("path,subject,finger\n1.png,a,1.5\n", "finger: expected a finger position code"),
    ("path,subject,finger\n1.png,a,0\n", "finger: expected a finger position code"),
    ("path,subject,finger\n1.png,a,-1\n", "finger: expected a finger position code"),
    ("path,subject,ppi\n1.png,a,NaN\n", "ppi: expected a number"),
    ("path,subject,ppi\n1.png,a,inf\n", "ppi: expected a number"),
    ("path,subject,ppi\n1.png,a,-500\n", "ppi: expected 50 to 10000"),
    ("path,subject,ppi\n1.png,a,0\n", "ppi: expected 50 to 10000"),
    ("path,subject,ppi\n1.png,a,1e308\n", "ppi: expected 50 to 10000"),
    ('path,subject\n"1.png,a\n', "not a CSV table"),
    ("path,subject\n1.png," + "a" * 200000 + "\n", "not a CSV table|longer"),
    ("path,subject\n1.png,a\x00b\n", "not a CSV table|cannot be printed"),
    (b"path,subject\n1.png,\xff\xfe\n", "not UTF-8"),
    (b"\x89PNG\r\n\x1a\n\0\0\0", "not UTF-8|lacks"),
]


@pytest.mark.parametrize("text, message", WRONG, ids=range(len(WRONG)))
def test_a_wrong_table_is_refused_by_file_and_row(tmp_path, text, message):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "link").symlink_to(tmp_path)
    path = written(tmp_path / "data", text)
    with pytest.raises(DataError, match=message) as error:
        read_manifest(path)
    assert str(path) in str(error.value) and len(str(error.value)) < 2000


def test_a_table_that_is_not_there_or_a_folder(tmp_path):
    for path in (tmp_path, tmp_path / "none.csv", tmp_path / "none.parquet"):
        with pytest.raises(DataError, match="not a file|pyarrow"):
            read_manifest(path)


def test_flipped_bytes_give_records_or_a_refusal(tmp_path):
    rng = random.Random(0)
    for _ in range(200):
        text = bytearray(GOOD.encode())
        for _ in range(rng.randint(1, 8)):
            text[rng.randrange(len(text))] = rng.randrange(256)
        try:
            records, _ = read_manifest(written(tmp_path, bytes(text)))
        except DataError:
            continue
        assert records and all(record.path.resolve().is_relative_to(tmp_path) for record in records)


@pytest.mark.skipif(importlib.util.find_spec("pyarrow") is not None, reason="pyarrow is installed")
def test_parquet_without_pyarrow_says_what_to_install(tmp_path):
    touch(tmp_path / "a.parquet")
    with pytest.raises(DataError, match="ifvit.parquet"):
        read_manifest(tmp_path / "a.parquet")


def test_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "prints.parquet"
    columns = {"path": ["1.png", "2.png"], "subject": [7, 8], "finger": [1.0, None], "ppi": [500, None]}
    parquet.write_table(pyarrow.table(columns), path)
    records, _ = read_manifest(path)
    assert [record.identity for record in records] == ["manifest/7 finger 1", "manifest/8"] and records[0].ppi == 500
    parquet.write_table(pyarrow.table({"path": ["1.png"], "subject": [float("nan")]}), path)
    with pytest.raises(DataError, match="row 1: subject"):
        read_manifest(path)
    parquet.write_table(pyarrow.table({"path": ["1.png"]}), path)
    with pytest.raises(DataError, match="lacks the column subject"):
        read_manifest(path)
    content = (parquet.write_table(pyarrow.table(columns), path), path.read_bytes())[1]
    rng = random.Random(0)
    for _ in range(100):
        damaged = bytearray(content)
        for _ in range(rng.randint(1, 8)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path.write_bytes(damaged[: rng.randrange(len(damaged)) if rng.random() < 0.3 else None])
        try:
            read_manifest(path)
        except DataError as error:
            assert str(path) in str(error)


def test_a_table_is_written_as_it_is_read(tmp_path):
    text = table(("path", "subject"), [("a, b.png", 'say "so"')])
    records, _ = read_manifest(written(tmp_path, text))
    assert records[0].path.name == "a, b.png" and records[0].subject == 'manifest/say "so"'


def test_a_table_may_name_the_people_of_a_database(tmp_path):
    """So that they are never split from those whom its files show."""
    text = "path,subject,finger,database\n1.png,00002302,1,SD302b\n"
    records, _ = read_manifest(written(tmp_path, text))
    assert records[0].identity == "SD302/00002302 finger 1" and records[0].database == "SD302b"


def test_images_of_one_name_in_two_folders_are_two_impressions(tmp_path):
    records, _ = read_manifest(written(tmp_path, "path,subject\ns1/1.png,a\ns2/1.png,a\n"))
    assert len({record.impression for record in records}) == 2
