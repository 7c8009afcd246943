from dataclasses import replace

import pytest

from ifvit.config import Parts, Source, build
from ifvit.databases import splits
from ifvit.databases.sources import part_records
from ifvit.databases.splits import TEST, TRAIN, UNUSED, VALIDATE, Split, read_split, split_of
from ifvit.errors import DataError
from ifvit.launch import compose_tree
from tests.helpers import database_trees as trees
from tests.helpers.database_trees import part


@pytest.fixture(scope="module")
def data():
    return build(compose_tree(["data=folder", "data.root=/none"])).data


def sources_of(**parts):
    return {name: part_records(p).records for name, p in parts.items()}


def configured(data, parts, **changes):
    return replace(data, source=Source.mixture, mixture=Parts(parts), **changes)


def subjects(split, records, part_name):
    return {records[k].subject for k in split.indices(records, part_name)}


def test_a_split_is_by_subject_with_all_of_its_fingers(tmp_path, data):
    parts = {"b": part(Source.sd302b, trees.sd302b(tmp_path, range(2302, 2306)), val_fingers=3)}
    sources = sources_of(**parts)
    split = split_of(configured(data, parts), sources)
    assert subjects(split, sources["b"], VALIDATE) == {"SD302/00002305"}  # ten fingers, at least three
    assert subjects(split, sources["b"], TRAIN) == {f"SD302/0000230{k}" for k in (2, 3, 4)}


def test_two_databases_of_the_same_people_never_lend_each_other_subjects(tmp_path, data):
    parts = {
        "a": part(Source.sd302a, trees.sd302a(tmp_path / "a", range(2302, 2312), "AB"), val_fingers=20),
        "b": part(Source.sd302b, trees.sd302b(tmp_path / "b", range(2306, 2316)), val_fingers=20),
    }
    sources = sources_of(**parts)
    split = split_of(configured(data, parts), sources)
    everyone = [*sources["a"], *sources["b"]]
    trained, validated = (subjects(split, everyone, part_name) for part_name in (TRAIN, VALIDATE))
    assert validated == {f"SD302/{k:08d}" for k in (2310, 2311, 2314, 2315)}
    assert not trained & validated and len(trained | validated) == 14


@pytest.mark.parametrize(
    "val_fingers, unseen",
    [(1, {"DB1_B/110", "DB2_B/110"}), (("102",), {"DB1_B/102", "DB2_B/102"}), (("DB2_B/101",), {"DB2_B/101"})],
)
def test_fvcs_fingers_by_number_and_by_name(tmp_path, data, val_fingers, unseen):
    parts = {"fvc": part(Source.fvc, trees.fvc(tmp_path, databases=("DB1_B", "DB2_B")), val_fingers=val_fingers)}
    sources = sources_of(**parts)
    split = split_of(configured(data, parts), sources)
    assert subjects(split, sources["fvc"], VALIDATE) == {f"FVC2002/{name}" for name in unseen}


def test_splits_that_cannot_be(tmp_path, data):
    root = trees.fvc(tmp_path)
    for val_fingers, message in (
        (10, "leaves no finger to train on"),
        (("101", "999"), "data.mixture.fvc.val_fingers: no finger 999; there are FVC2002/DB1_B/"),
    ):
        parts = {"fvc": part(Source.fvc, root, val_fingers=val_fingers)}
        with pytest.raises(DataError, match=message):
            split_of(configured(data, parts), sources_of(**parts))


def test_a_frozen_split_is_read_as_it_was(tmp_path, data):
    parts = {"fvc": part(Source.fvc, trees.fvc(tmp_path, databases=("DB1_B",)))}
    sources = sources_of(**parts)
    split = split_of(configured(data, parts), sources)
    path = tmp_path / "split.csv"
    path.write_text(split.text())
    assert read_split(path) == split and read_split(path).digest() == split.digest()
    # Now other fingers would be held out by number, but the table decides.
    parts = {"fvc": replace(parts["fvc"], val_fingers=5)}
    again = split_of(configured(data, parts, split=str(path)), sources)
    assert again.digest() == split.digest()
    more = sources_of(fvc=part(Source.fvc, trees.fvc(tmp_path / "more", databases=("DB1_B", "DB2_B"))))
    with pytest.raises(DataError, match="says nothing of 10 subjects .FVC2002/DB2_B/101"):
        split_of(configured(data, parts, split=str(path)), more)


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "not a split's table"),
        ("who,what\na,train\n", "columns must be subject, part"),
        ("subject,part\na\n", "not a split's table"),
        ("subject,part\na,learn\n", "row 1: expected train, validate, test, unused, got 'learn'"),
        ("subject,part\na,train\nb,test\na,validate\n", "row 3: a is in two parts, train and validate"),
        ('subject,part\n"a,train\n', "not a CSV table"),
        (b"\xff\xfe\x00", "not a CSV table"),
    ],
)
def test_a_split_that_leaks_or_is_none_is_refused(tmp_path, text, message):
    path = tmp_path / "split.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=message):
        read_split(path)
    for path, message in ((tmp_path / "none.csv", "is not there"), (tmp_path, "a run's split is .*split.csv")):
        with pytest.raises(DataError, match=message):
            read_split(path)


def test_a_test_on_trained_subjects_is_refused(tmp_path, data):
    parts = {"a": part(Source.sd302a, trees.sd302a(tmp_path / "a", range(2302, 2306), "A"))}
    split = split_of(configured(data, parts), sources_of(**parts))
    test = part_records(part(Source.sd302b, trees.sd302b(tmp_path / "b", range(2304, 2310)))).records
    with pytest.raises(
        DataError, match="2 of its subjects were trained or validated on .SD302/00002304, SD302/00002305"
    ):
        split.refuse_seen(test, "SD302b")
    split.refuse_seen([record for record in test if record.subject > "SD302/00002305"], "SD302b")


@pytest.fixture(scope="module")
def paper_trees(tmp_path_factory):
    root = tmp_path_factory.mktemp("paper")
    trees.fvc(root, 2002, ("DB1_A", "DB4_A"))
    trees.fvc(root, 2004, ("DB1_A",))
    trees.sd302a(root / "sd302a", devices="AB")
    trees.sd4(root / "sd4", 20)
    return root


def test_the_papers_split_as_far_as_its_databases_are_there(paper_trees, data, capsys):
    parts = {
        "fvc2002": part(Source.fvc, paper_trees / "FVC2002"),
        "fvc2004": part(Source.fvc, paper_trees / "FVC2004"),
        "sd302a": part(Source.sd302a, paper_trees / "sd302a"),
        "sd4": part(Source.sd4, paper_trees / "sd4"),
    }
    sources = sources_of(**parts)
    split = split_of(configured(data, parts, split="paper"), sources)
    everyone = [record for records in sources.values() for record in records]
    by_part = {part_name: subjects(split, everyone, part_name) for part_name in splits.PARTS}
    assert sum(map(len, by_part.values())) == len({record.subject for record in everyone})
    assert {name.split("/")[0] for name in by_part[TRAIN]} == {"FVC2002", "SD302"}
    assert {name.rpartition("/")[0] for name in by_part[UNUSED]} == {"FVC2002/DB4_A"}
    assert {name.split("/")[0] for name in by_part[TEST]} == {"FVC2004", "SD302", "SD4"}
    fingers = {
        c: len({r.identity for r in sources["sd302a"] if r.subject in by_part[c]}) for c in (TEST, VALIDATE, TRAIN)
    }
    assert fingers == {TEST: 200, VALIDATE: 160, TRAIN: 1640}  # 20, 16 and 164 people
    message = capsys.readouterr().err
    assert (
        "missing to train on: FVC2002/DB2_A, FVC2002/DB3_A, SD301a, MOLF; to test on: FVC2004/DB2_A, FVC2004" in message
    )
    assert f"{len(split.indices(everyone, TRAIN))} of its 25090 training images" in message


def test_the_papers_split_of_sd302a_depends_on_nothing_else(paper_trees, data):
    alone = sources_of(sd302a=part(Source.sd302a, paper_trees / "sd302a"))["sd302a"]
    of_device_b = sources_of(sd302a=part(Source.sd302a, paper_trees / "sd302a", databases=("B",)))["sd302a"]
    split, other = splits.paper_split(alone), splits.paper_split(list(reversed(of_device_b)))
    assert split.part == other.part
    few = splits.paper_split([record for record in alone if record.subject > "SD302/00002450"])
    assert few.part == {subject: part for subject, part in split.part.items() if subject > "SD302/00002450"}


def test_the_papers_split_without_its_training_data_is_refused(paper_trees, data):
    parts = {"sd4": part(Source.sd4, paper_trees / "sd4")}
    with pytest.raises(DataError, match="no subject is left to train on .the paper trains on FVC2002/DB1_A"):
        split_of(configured(data, parts, split="paper"), sources_of(**parts))


def test_the_digest_is_the_splits_and_not_its_orders():
    split = Split({"a": TRAIN, "b": VALIDATE})
    assert Split({**split.part, "c": TEST}).digest() == split.digest()  # tests may be added
    assert Split({"b": VALIDATE, "a": TRAIN}).digest() == split.digest() != Split({"a": VALIDATE, "b": TRAIN}).digest()
