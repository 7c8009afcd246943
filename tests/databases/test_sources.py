import os
from collections import Counter

import pytest

from ifvit.config import Source
from ifvit.databases.layouts import OTHER_PARTS, published
from ifvit.databases.protocols import Protocol, protocol_pairs
from ifvit.databases.records import by_identity, finger_of
from ifvit.databases.sources import part_records
from ifvit.errors import DataError
from tests.helpers import database_trees as trees
from tests.helpers.database_trees import part, touch

pytestmark = pytest.mark.slow


def records(source, root, **changes):
    return part_records(part(source, root, **changes)).records


@pytest.mark.parametrize("year", [2000, 2002, 2004, 2006])
@pytest.mark.parametrize("database", ["DB1_A", "DB2_A", "DB3_B", "DB4_B"])
def test_fvc_has_its_published_counts_and_pairs(tmp_path, year, database):
    root = trees.fvc(tmp_path, year, (database,), "bmp" if year == 2006 else "tif")
    impressions = records(Source.fvc, root)
    complete = published(f"FVC{year}/{database}")
    assert len(impressions) == complete.images and len(by_identity(impressions)) == complete.fingers
    assert set(Counter(record.identity for record in impressions).values()) == {complete.impressions}
    pair_list = protocol_pairs(impressions, Protocol.fvc)
    expected = {
        ("A", False): (2800, 4950), ("B", False): (280, 45), ("A", True): (9240, 9730), ("B", True): (660, 45),
    }  # fmt: skip
    assert (pair_list.genuine.sum(), (~pair_list.genuine).sum()) == expected[database[-1], year == 2006]
    first = {record.identity: k for k, record in reversed(list(enumerate(impressions)))}
    impostors = set(pair_list.first[~pair_list.genuine]) | set(pair_list.second[~pair_list.genuine])
    assert impostors == set(first.values())
    ppi = {2000: (500,) * 4, 2002: (500, 569, 500, 500), 2004: (500, 500, 512, 500), 2006: (250, 569, 500, 500)}
    assert {record.ppi for record in impressions} == {ppi[year][int(database[2]) - 1]}


def test_every_two_impressions_of_sd4s_fingers_are_f_and_s(tmp_path):
    impressions = records(Source.sd4, trees.sd4(tmp_path / "sd04" / "png_txt"))
    assert len(impressions) == 4000 and len(by_identity(impressions)) == 2000
    pair_list = protocol_pairs(impressions, Protocol.sd4, impostors=1000)
    assert pair_list.genuine.sum() == 2000 and (~pair_list.genuine).sum() == 1000
    assert {
        (impressions[a].impression, impressions[b].impression)
        for a, b in zip(pair_list.first, pair_list.second, strict=True)
    } == {("f", "s")}
    assert {record.finger for record in impressions} == set(range(1, 11))


def test_sd4_all_its_impostors(tmp_path):
    pair_list = protocol_pairs(records(Source.sd4, trees.sd4(tmp_path, 50)), Protocol.sd4)
    assert (pair_list.genuine.sum(), (~pair_list.genuine).sum()) == (50, 50 * 49)


def test_a_subject_and_its_finger_are_the_identity_of_sd300(tmp_path):
    result = part_records(part(Source.sd300, trees.sd300(tmp_path)))
    impressions = result.records
    assert {record.ppi for record in impressions} == {500}
    assert len(impressions) == 5 * 20 and len(by_identity(impressions)) == 50  # ten fingers, rolled and plain
    assert all(len(mates) == 2 for mates in by_identity(impressions).values())
    assert sorted(result.left_out.values()) == [2 * 5 * 2, 5 * 20]  # slaps; at 1000 ppi again
    assert {record.capture for record in impressions} == {"roll", "plain"}
    thumb = [record for record in impressions if record.subject == "SD300/00001000" and record.finger == 1]
    assert [record.path.name for record in thumb] == ["00001000_plain_500_11.png", "00001000_roll_500_01.png"]


def test_of_several_resolutions_the_lowest_from_500_on(tmp_path):
    assert {r.ppi for r in records(Source.sd300, trees.sd300(tmp_path / "c", ppis=(1000, 2000)))} == {1000}
    assert {r.ppi for r in records(Source.sd300, trees.sd300(tmp_path / "d", ppis=(2000,)), file_ppi=1999.0)} == {1999}


def test_sd301a_without_slaps_and_palms(tmp_path):
    result = part_records(part(Source.sd301a, trees.sd301a(tmp_path)))
    assert len(result.records) == 4 * 20 and sum(result.left_out.values()) == 4 * 5
    assert {record.capture for record in result.records} == {"roll", "slap-segmented", "plain"}
    assert all(len(mates) == 2 for mates in by_identity(result.records).values())


def test_sd302_shares_its_people_and_devices_are_impressions(tmp_path):
    people = range(2302, 2306)
    a = records(Source.sd302a, trees.sd302a(tmp_path / "a", people))
    result = part_records(part(Source.sd302b, trees.sd302b(tmp_path / "b", people)))
    b = result.records
    assert len(a) == 4 * 10 * 8 and len(by_identity(a)) == 40
    assert len(b) == 4 * 10 * 4 and {record.ppi for record in b} == {500}
    assert result.left_out[OTHER_PARTS] == 2 * 4 * 3
    assert {record.identity for record in a} == {record.identity for record in b}
    assert {record.device for record in b} == set("RSUV")
    pair_list = protocol_pairs(a, Protocol.sd302)
    assert pair_list.genuine.sum() == 40 * 28
    assert (~pair_list.genuine).sum() == 320 * 319 // 2 - 40 * 28
    drawn = protocol_pairs(a, Protocol.sd302, impostors=500, seed=1)
    assert drawn.genuine.sum() == 40 * 28 and (~drawn.genuine).sum() == 500
    assert [r.device for r in records(Source.sd302a, tmp_path / "a", databases=("c", "H"))].count("C") == 40


def test_identity_folders(tmp_path):
    impressions = records(Source.fpgan, trees.fpgan(tmp_path / "fpgan"))
    assert len(by_identity(impressions)) == 20 and all(len(mates) == 4 for mates in by_identity(impressions).values())
    for source, name in ((Source.printsgan, "PrintsGAN"), (Source.molf, "MOLF"), (Source.folder, "folder")):
        impressions = records(source, trees.folders(tmp_path / "mine"))
        assert {record.database for record in impressions} == {name}
        assert len(by_identity(impressions)) == 12 and all(
            len(mates) == 5 for mates in by_identity(impressions).values()
        )
        pair_list = protocol_pairs(impressions, Protocol.all)
        assert (pair_list.genuine.sum(), (~pair_list.genuine).sum()) == (12 * 10, 60 * 59 // 2 - 120)


def test_a_folder_per_finger_and_loose_images(tmp_path):
    names = ("anna/left/1.png", "anna/left/2.WSQ", "anna/right/1.png", "loose.png", "loose.bmp", "note.txt", "._a.png")
    for name in (*names, "loose/x.png"):
        touch(tmp_path / "own" / name)
    impressions = records(Source.folder, tmp_path / "own")
    assert set(by_identity(impressions)) == {
        "folder/anna/left", "folder/anna/right", "folder/loose.png", "folder/loose.bmp", "folder/loose",
    }  # fmt: skip


def test_a_known_database_is_not_read_as_a_folder_for_each_finger(tmp_path):
    root = trees.fvc(tmp_path)
    with pytest.raises(DataError, match="named as FVC2000-2006 names them, like Dbs/DB1_B/101_1.tif: use fvc instead"):
        records(Source.folder, root)


def test_a_folder_of_sensors_is_one_of_fingers(tmp_path):
    """MOLF's databases show the same fingers: the innermost folder is the finger, the sensor an impression's."""
    for sensor in ("DB1", "DB2"):
        trees.folders(tmp_path / sensor, 3, 2)
    impressions = records(Source.molf, tmp_path)
    assert set(by_identity(impressions)) == {f"MOLF/{k:04d}" for k in range(3)} and len(impressions) == 12
    assert {record.device for record in impressions} == {"DB1", "DB2"}


def test_an_impression_at_one_resolution_only_is_kept(tmp_path):
    trees.sd302b(tmp_path, range(2302, 2304), "R", (500,))
    trees.sd302b(tmp_path, range(2304, 2306), "S", (1000,))
    trees.sd302b(tmp_path, range(2304, 2305), "R", (500, 1000))
    result = part_records(part(Source.sd302b, tmp_path))
    assert len({record.subject for record in result.records}) == 4 and len(result.records) == 50
    assert {record.ppi for record in result.records if record.device == "S"} == {1000}
    assert dict(result.left_out) == {"images that show an impression again at another resolution": 10}


@pytest.mark.parametrize(
    "layout", ["Dbs/Db1_a/9_1.tif", "db1_b/9_1.TIF", "my prints/fvc 2002 (1)/DB1_B/9_1.bmp", "DB1B/9_1.png"]
)
def test_any_case_and_any_folders_above(tmp_path, layout):
    touch(tmp_path / layout)
    (impressions,) = records(Source.fvc, tmp_path, fvc_year=2002)
    assert impressions.database in ("FVC2002/DB1_A", "FVC2002/DB1_B") and impressions.identity.endswith("/9")


def test_a_root_that_is_the_database_itself(tmp_path):
    """data.root=.../DB1_B: the folder's own name says which database it is."""
    root = trees.fvc(tmp_path) / "Dbs" / "DB1_B"
    assert len(records(Source.fvc, root)) == 80


def test_a_read_only_root(tmp_path):
    root = trees.sd302a(tmp_path / "sd302a", range(2302, 2303), "A")
    folders = [folder for folder, _, _ in os.walk(root)]
    for folder in folders:
        os.chmod(folder, 0o555)
    assert len(records(Source.sd302a, root)) == 10
    for folder in folders:
        os.chmod(folder, 0o755)


def test_fingers_are_in_natural_order(tmp_path):
    for finger in (9, 10, 100):
        touch(tmp_path / f"DB1_A/{finger}_1.tif")
    assert [r.subject for r in records(Source.fvc, tmp_path, fvc_year=2004)] == [
        f"FVC2004/DB1_A/{finger}" for finger in (9, 10, 100)
    ]


def test_the_year_is_read_off_the_path_or_asked_for(tmp_path):
    touch(tmp_path / "mine/DB3_A/1_1.tif")
    with pytest.raises(DataError, match="data.fvc_year.*DB3_A"):
        records(Source.fvc, tmp_path / "mine")
    assert records(Source.fvc, tmp_path / "mine", fvc_year=2004)[0].ppi == 512
    (own,) = records(Source.fvc, tmp_path / "mine", file_ppi=300.0)
    assert own.ppi == 300 and own.database == "mine/DB3_A"
    for year in (2000, 2004):
        touch(tmp_path / f"both/fvc{year}/DB3_A/1_1.tif")
    impressions = records(Source.fvc, tmp_path / "both")
    assert [(r.database, r.ppi) for r in impressions] == [("FVC2000/DB3_A", 500), ("FVC2004/DB3_A", 512)]
    assert [r.database for r in records(Source.fvc, tmp_path / "both", fvc_year=2004)] == ["FVC2004/DB3_A"]
    with pytest.raises(DataError, match="fvc_year: 2002 is asked for; those in .*both are of FVC2000, FVC2004"):
        records(Source.fvc, tmp_path / "both", fvc_year=2002)


def test_a_year_above_the_root_gives_way_to_the_one_asked_for(tmp_path):
    touch(tmp_path / "proj-fvc2004/mine/DB3_A/1_1.tif")
    assert records(Source.fvc, tmp_path / "proj-fvc2004/mine")[0].database == "FVC2004/DB3_A"
    assert records(Source.fvc, tmp_path / "proj-fvc2004/mine", fvc_year=2002)[0].database == "FVC2002/DB3_A"


def test_chosen_databases_and_one_that_is_not_there(tmp_path):
    root = trees.fvc(tmp_path, databases=("DB1_B", "DB2_B"))
    assert len(records(Source.fvc, root, databases=("db2_b",))) == 80
    assert len(records(Source.fvc, root, databases=("FVC2002/DB2_B", "DB1_B"))) == 160
    with pytest.raises(DataError, match="databases: there is no DB3_B; found: DB1_B, DB2_B"):
        records(Source.fvc, root, databases=("DB3_B",))
    with pytest.raises(DataError, match="an empty list"):
        records(Source.fvc, root, databases=())


def test_two_files_for_one_impression_are_not_chosen_between(tmp_path):
    for folder in ("one", "two"):
        touch(tmp_path / folder / "DB1_B" / "101_1.tif")
    with pytest.raises(DataError, match="one/DB1_B/101_1.tif and .*two/DB1_B/101_1.tif are both impression 1"):
        records(Source.fvc, tmp_path, fvc_year=2002)


EXPECTED = {
    Source.fvc: "DB1_A/101_1.tif", Source.sd4: "f0001_01.png", Source.sd300: "roll_500_01", Source.sd301a: "dryrun-A",
    Source.sd302a: "challengers", Source.sd302b: "baseline", Source.fpgan: "ID_0000001",
    Source.printsgan: "no images", Source.molf: "no images", Source.folder: "no images",
}  # fmt: skip


@pytest.mark.parametrize("source", EXPECTED, ids=str)
def test_an_absent_or_empty_root_says_what_was_looked_for(tmp_path, source):
    with pytest.raises(DataError, match="data.root: .*none is not there"):
        records(source, tmp_path / "none")
    touch(tmp_path / "table.csv")
    with pytest.raises(DataError, match="table.csv is not a folder; a table of images is data=manifest"):
        records(source, tmp_path / "table.csv")
    (tmp_path / "table.csv").unlink()
    with pytest.raises(DataError, match=EXPECTED[source]):
        records(source, tmp_path)
    touch(tmp_path / "README.md")
    with pytest.raises(DataError, match=EXPECTED[source]):
        records(source, tmp_path)


def test_links_out_of_the_root_are_counted_and_left_out(tmp_path):
    outside = trees.folders(tmp_path / "outside", 2, 2)
    root = trees.folders(tmp_path / "root", 2, 2)
    (root / "0000" / "link.png").symlink_to(outside / "0000" / "0.png")
    (root / "whole").symlink_to(outside)
    (root / "0001" / "same.png").symlink_to(root / "0000" / "0.png")
    (root / "loop").symlink_to(root)
    result = part_records(part(Source.folder, root))
    (root / "dead").symlink_to(root / "none")
    (root / "itself.png").symlink_to(root / "itself.png")
    result = part_records(part(Source.folder, root))
    reasons = {reason.partition(":")[0].partition(",")[0]: count for reason, count in result.left_out.items()}
    assert reasons == {
        "links that lead out of the root": 2, "links that lead nowhere": 2, "links to folders of the root": 1,
    }  # fmt: skip
    assert len(result.records) == 5
    (tmp_path / "linked").symlink_to(root)  # the root itself may be a link
    assert len(records(Source.folder, tmp_path / "linked")) == 5
    only = tmp_path / "only"
    only.mkdir()
    (only / "DB1_B").symlink_to(outside)
    with pytest.raises(DataError, match="1 links that lead out of the root: `cp -rL "):
        records(Source.fvc, only)


def test_names_that_no_table_could_hold_are_left_out(tmp_path):
    for name in (b"caf\xe9.png", b"a\nb.png", b"\x1b[2J.png", "\u00e9.png".encode()):
        with open(os.fsencode(tmp_path) + b"/" + name, "wb"):
            pass
    result = part_records(part(Source.folder, tmp_path))
    assert [record.path.name for record in result.records] == ["\u00e9.png"]
    assert dict(result.left_out) == {"names that cannot be printed": 3}


def test_images_of_other_names_are_counted(tmp_path):
    trees.sd302a(tmp_path, range(2302, 2303), "A")
    for name in ("00002302_A_roll_1.png", "x.png", "README.txt"):
        touch(tmp_path / name)
    result = part_records(part(Source.sd302a, tmp_path))
    assert [count for reason, count in result.left_out.items() if "not named like" in reason] == [2]


@pytest.mark.parametrize("code, finger", [(1, 1), (5, 5), (6, 6), (10, 10), (11, 1), (12, 6), (13, None), (15, None),
                                          (0, None), (21, None)])  # fmt: skip
def test_finger_position_codes(code, finger):
    assert finger_of(code) == finger
