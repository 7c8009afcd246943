"""What is listed under a root, and whether the advice about what is not listed works."""

import shlex
import subprocess

import pytest

from ifvit.config import Source
from ifvit.databases.doctor import examine
from ifvit.databases.listing import list_files
from ifvit.databases.sources import part_records
from ifvit.errors import DataError
from tests.helpers.database_trees import part


def hub(folder, revisions=("r1",), database="DB1_B/"):
    """A hub's cache: blobs without endings, and in each snapshot links to them."""
    (folder / "blobs").mkdir(parents=True)
    for k in range(1, 4):
        (folder / "blobs" / f"hash{k}").write_bytes(b"%d" % k)
        for revision in revisions:
            link = folder / "snapshots" / revision / f"{database}10{k}_1.png"
            link.parent.mkdir(parents=True, exist_ok=True)
            up = "../" * (2 + database.count("/"))
            link.symlink_to(f"{up}blobs/hash{k}")
    return folder / "snapshots" / revisions[0]


def copied(text, tmp_path):
    """What the command in the message makes."""
    command = text.partition("`")[2].partition("`")[0]
    subprocess.run([*shlex.split(command)[:-1], tmp_path / "copy"], check=True)
    return tmp_path / "copy"


def test_a_hubs_cache_is_refused_with_two_ways_that_work(tmp_path):
    root = hub(tmp_path / "my hub" / "FVC2002")
    with pytest.raises(DataError, match="3 links that lead out of the root") as caught:
        part_records(part(Source.fvc, root))
    both = tmp_path / "my hub" / "FVC2002"
    assert f"or name {both}, which holds the links and their files" in str(caught.value)
    records = part_records(part(Source.fvc, both)).records
    assert [record.identity for record in records] == [f"FVC2002/DB1_B/10{k}" for k in (1, 2, 3)]
    assert records[0].path.read_bytes() == b"1" and records[0].ppi == 500
    again = part_records(part(Source.fvc, copied(str(caught.value), tmp_path), fvc_year=2002)).records
    assert [record.identity for record in again] == [record.identity for record in records]


def test_of_a_folder_only_the_copy_keeps_the_fingers(tmp_path):
    root = hub(tmp_path / "hub", database="")
    with pytest.raises(DataError, match="links that lead out of the root") as caught:
        part_records(part(Source.folder, root))
    # There all three were one finger, named like the snapshot.
    assert str(tmp_path / "hub, which") not in str(caught.value) and "or name" not in str(caught.value)
    assert len({r.subject for r in part_records(part(Source.folder, tmp_path / "hub")).records}) == 1
    records = part_records(part(Source.folder, copied(str(caught.value), tmp_path))).records
    assert [record.subject for record in records] == [f"folder/10{k}_1.png" for k in (1, 2, 3)]


def test_two_snapshots_hold_every_image_twice_and_the_copy_of_one_once(tmp_path):
    root = hub(tmp_path / "FVC2002", ("r1", "r2"))
    (reason,) = list_files(root, names_identify=True).left_out
    assert "if it holds each image once" in reason
    with pytest.raises(DataError, match="are both impression 1 of"):
        part_records(part(Source.fvc, tmp_path / "FVC2002"))
    assert len(part_records(part(Source.fvc, copied(reason, tmp_path), fvc_year=2002)).records) == 3


def test_no_folder_above_the_users_own_is_named(tmp_path, monkeypatch):
    root = hub(tmp_path / "hub")
    monkeypatch.setenv("HOME", str(tmp_path / "hub" / "me"))
    (reason,) = list_files(root, names_identify=True).left_out
    assert "COPY" in reason and "or name" not in reason


def test_the_doctor_calls_them_a_problem(tmp_path):
    root = hub(tmp_path / "FVC2002")
    (root / "DB1_B" / "104_1.png").write_bytes(b"")
    (root / "DB1_B" / "dead.png").symlink_to("nowhere")
    report, _ = examine([root])
    found = [finding.text for finding in report.findings if finding.kind == "left out" and finding.problem]
    assert f"{root}: 3 links that lead out of the root: `cp -rL {root} COPY`" in found[0]
    assert found[1] == f"{root}: 1 links that lead nowhere, like DB1_B/dead.png: fetch what they name, or remove them"


def test_links_to_folders_loops_and_a_root_that_is_a_link(tmp_path):
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    (root / "a" / "1.png").touch()
    (root / "a" / "loop").symlink_to("..")
    (root / "b").symlink_to("a")
    (root / "itself.png").symlink_to("itself.png")
    (tmp_path / "linked").symlink_to(root)
    for place in (root, tmp_path / "linked"):
        listing = list_files(place)
        assert list(map(str, listing.files)) == ["a/1.png"]
        assert sorted(listing.left_out.values()) == [1, 2]
        assert {reason.partition(",")[0] for reason in listing.left_out} == {
            "links to folders of the root", "links that lead nowhere",
        }  # fmt: skip
