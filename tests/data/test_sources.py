import cv2
import numpy as np
import pytest

from ifvit.config import DataConfig, PairsConfig, Source
from ifvit.data import sources
from ifvit.data.sources import DataError


def settings(root, source=Source.fvc, **changes):
    values = dict(
        source=source, root=str(root), databases=None, fvc_year=2002, file_ppi=None, fingers=4, renew=0, val_fingers=2,
        ppi=250.0, image_size=64, max_damaged=0, enhancement="none", threads=0, cache_dir=None,
        pairs=PairsConfig(60.0, 8.0, 1.0, 0.0, 0.25, 0.1, 0.1, 0.1), impression=None,
    )  # fmt: skip
    return DataConfig(**{**values, **changes})


def write_print(path, seed):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:160, :150]
    ridges = 128 + 90 * np.cos(2 * np.pi * (x + 0.3 * seed * y) / 9)
    grey = np.where(((x - 75) / 60) ** 2 + ((y - 80) / 65) ** 2 < 1, ridges, 235) + rng.normal(0, 3, x.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.clip(grey, 0, 255).astype(np.uint8))


def fvc_tree(root, databases=("DB1_B", "DB2_B"), ending="tif", fingers=range(101, 105)):
    for d, database in enumerate(databases):
        for finger in fingers:
            for impression in (1, 2):
                write_print(root / database / f"{finger}_{impression}.{ending}", finger + d)
    return root


def test_fvc_folders(tmp_path):
    held = sources.load(settings(fvc_tree(tmp_path)))
    assert len(held) == 16 and held.grey.shape == (16, 128, 128)
    assert held.finger[0] == "DB1_B/101" and len(held.finger) == 8
    assert np.bincount(held.identity).tolist() == [2] * 8  # finger 101 of another database is another finger


@pytest.mark.parametrize("layout", ["Dbs/Db1_a", "db1_b", "DB1_B"])
def test_fvc_in_any_case_and_under_dbs(tmp_path, layout):
    fvc_tree(tmp_path, databases=(layout,), ending="TIF" if layout.islower() else "bmp")
    records = sources.fvc_records(tmp_path, settings(tmp_path))
    assert len(records) == 8 and records[0].database in ("DB1_A", "DB1_B") and records[0].finger == "101"


def test_fingers_are_in_natural_order(tmp_path):
    fvc_tree(tmp_path, databases=("DB1_A",), fingers=(9, 10, 100))
    records = sources.fvc_records(tmp_path, settings(tmp_path))
    assert list(dict.fromkeys(r.finger for r in records)) == ["9", "10", "100"]


@pytest.mark.parametrize("year, ppis", [(2002, [500, 569]), (2004, [500, 500]), (2006, [250, 569])])
def test_fvc_ppi(tmp_path, year, ppis):
    fvc_tree(tmp_path)
    records = sources.fvc_records(tmp_path, settings(tmp_path, fvc_year=year))
    assert sorted({r.ppi for r in records}) == sorted(set(ppis))
    assert {r.ppi for r in sources.fvc_records(tmp_path, settings(tmp_path, file_ppi=1000.0))} == {1000}


def test_the_year_is_read_off_the_path_or_asked_for(tmp_path):
    root = fvc_tree(tmp_path / "FVC2004" / "set_b")
    assert sources.fvc_records(root, settings(root, fvc_year=None))
    with pytest.raises(DataError, match="data.fvc_year"):
        sources.fvc_records(fvc_tree(tmp_path / "mine"), settings(tmp_path, fvc_year=None))


def test_chosen_databases_and_one_that_is_not_there(tmp_path):
    fvc_tree(tmp_path)
    assert len(sources.fvc_records(tmp_path, settings(tmp_path, databases=("db2_b",)))) == 8
    with pytest.raises(DataError, match="no folder DB3_B.*found: DB1_B, DB2_B"):
        sources.fvc_records(tmp_path, settings(tmp_path, databases=("DB3_B",)))


def test_two_folders_of_one_name_are_not_chosen_between(tmp_path):
    for year in ("FVC2000", "FVC2002"):
        fvc_tree(tmp_path / year, databases=("DB1_B",))
    with pytest.raises(DataError, match="FVC2000/DB1_B and .*FVC2002/DB1_B are both a DB1_B"):
        sources.fvc_records(tmp_path, settings(tmp_path))


def test_an_empty_root_says_what_was_looked_for(tmp_path):
    for source, said in ((Source.fvc, "DB1_A"), (Source.folder, "no images")):
        with pytest.raises(DataError, match=said):
            sources.load(settings(tmp_path, source))
    with pytest.raises(DataError, match="is not a folder"):
        sources.load(settings(tmp_path / "none"))


def test_a_folder_per_finger_and_loose_images(tmp_path):
    for k, name in enumerate(("anna/left.png", "anna/right.png", "bert/x.png", "loose.png")):
        write_print(tmp_path / name, k)
    held = sources.load(settings(tmp_path, Source.folder))
    assert {f.partition("/")[2] for f in held.finger} == {"anna", "bert", "loose"}
    assert np.bincount(held.identity).tolist() == [2, 1, 1]


def test_damaged_images_are_named_counted_and_limited(tmp_path, capsys):
    fvc_tree(tmp_path)
    damaged = tmp_path / "DB1_B" / "102_1.tif"
    damaged.write_bytes(damaged.read_bytes()[:500])
    with pytest.raises(DataError, match="1 of 16 images cannot be used(.|\n)*102_1.tif"):
        sources.load(settings(tmp_path))
    held = sources.load(settings(tmp_path, max_damaged=1))
    assert len(held) == 15
    assert "102_1.tif" in capsys.readouterr().err


def test_only_damaged_images_is_an_error_whatever_is_allowed(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="1 of 1 images"):
        sources.load(settings(tmp_path, Source.folder, max_damaged=9))


def test_the_split_is_by_finger(tmp_path):
    held = sources.load(settings(fvc_tree(tmp_path)))
    for wanted, unseen in ((1, {"DB1_B/104", "DB2_B/104"}), (("102",), {"DB1_B/102", "DB2_B/102"}),
                           (("DB2_B/101",), {"DB2_B/101"})):  # fmt: skip
        trained, validated = sources.split(held, wanted)
        assert {held.finger[k] for k in held.identity[validated]} == unseen
        assert not set(held.identity[trained]) & set(held.identity[validated])
        assert len(trained) + len(validated) == len(held)


def test_a_split_that_cannot_be(tmp_path):
    held = sources.load(settings(fvc_tree(tmp_path)))
    with pytest.raises(DataError, match="leaves no finger to train on"):
        sources.split(held, 4)
    with pytest.raises(DataError, match="no finger 999"):
        sources.split(held, ("101", "999"))


def test_the_fingerprint_is_the_datas(tmp_path):
    first = sources.load(settings(fvc_tree(tmp_path / "a"))).fingerprint
    assert sources.load(settings(fvc_tree(tmp_path / "b"))).fingerprint == first
    changed = tmp_path / "a" / "DB1_B" / "101_1.tif"
    whole = changed.read_bytes()
    changed.write_bytes(whole[:20000] + bytes([whole[20000] ^ 1]) + whole[20001:])  # same name, same size
    assert sources.load(settings(tmp_path / "a")).fingerprint != first
    changed.unlink()
    assert sources.load(settings(tmp_path / "a")).fingerprint != first
