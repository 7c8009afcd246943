"""A set on disk: what it holds fits together, it goes on where it stopped, and it harms no other folder."""

import csv
import dataclasses
import json

import cv2
import jax
import numpy as np
import pytest
from scipy import ndimage

from ifvit.config import build
from ifvit.data import finger_set
from ifvit.data.finger_pool import finger_keys
from ifvit.data.finger_set import STEP, draw_impressions, make_set, pattern_of, render_finger
from ifvit.data.impressions import load
from ifvit.errors import DataError
from ifvit.launch import compose_tree
from ifvit.synthesis.master import grow_finger

pytestmark = pytest.mark.slow


SETTINGS = build(compose_tree([])).data.impression
FINGERS, IMPRESSIONS, SEED = 2, 3, 5


@pytest.fixture(scope="module", autouse=True)
def few_at_once():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finger_set, "BATCH", 2)
        yield


@pytest.fixture(scope="module")
def folder_of_set(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets") / "set"
    make_set(folder, FINGERS, IMPRESSIONS, SEED, SETTINGS)
    return folder


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rows_of(path):
    return list(csv.DictReader(path.open()))


def test_every_file_is_there_and_named(folder_of_set):
    rows = rows_of(folder_of_set / "manifest.csv")
    assert [row["path"] for row in rows] == [f"DB1_A/{f}_{i}.png" for f in (1, 2) for i in (1, 2, 3)]
    assert [(row["subject"], row["finger"], row["impression"]) for row in rows[:4]] == [
        ("1", "1", "1"), ("1", "1", "2"), ("1", "1", "3"), ("2", "1", "1")
    ]  # fmt: skip
    assert {row["ppi"] for row in rows} == {"500"} and {row["sensor"] for row in rows} <= set(SETTINGS.sensors)
    patterns = [pattern_of(finger_keys(SEED, np.array([k]))[0]).item() for k in range(FINGERS)]
    assert [row["pattern"] for row in rows[::3]] == [finger_set.Pattern(p).name.lower() for p in patterns]
    assert sorted(contents(folder_of_set)) == sorted(
        ["README.txt", "manifest.csv", "set.json"]
        + [f"{kind}/{f}_{i}.{end}" for kind, end in (("DB1_A", "png"), ("minutiae", "csv"), ("maps", "npz"))
           for f in (1, 2) for i in (1, 2, 3)]
    )  # fmt: skip


def test_images_are_the_fingers_impressions(folder_of_set):
    master = grow_finger(finger_keys(SEED, np.array([1]))[0])
    shown = render_finger(master, draw_impressions(SEED, 1, 2, SETTINGS))  # of two, the same as of three
    for i in range(2):
        grey = cv2.imread(str(folder_of_set / f"DB1_A/2_{i + 1}.png"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(grey, shown.image[i])
        assert grey.shape == (480, 400) and grey.dtype == np.uint8 and grey.std() > 10


def interpolated(grid, points):
    """A map's values (N, 2) at points (..., 2) px, as its README says."""
    position = points[..., ::-1].reshape(-1, 2).T / STEP
    values = [ndimage.map_coordinates(grid[..., k], position, order=1, cval=np.nan) for k in (0, 1)]
    return np.stack(values, -1).reshape(points.shape)


def carried(folder_of_set, finger, source, target, points):
    """Points (N, 2) of impression `source`, mapped to `target` by the maps on disk alone."""
    with np.load(folder_of_set / f"maps/{finger}_{source}.npz") as maps:
        places_on_finger = interpolated(maps["to_finger"], points)
    with np.load(folder_of_set / f"maps/{finger}_{target}.npz") as maps:
        return interpolated(maps["from_finger"], places_on_finger)


def test_one_minutia_is_one_place_by_the_maps(folder_of_set):
    """Each minutia that two impressions show lies where the maps carry it, within what interpolation loses."""
    for finger in (1, 2):
        tables = [{row["id"]: row for row in rows_of(folder_of_set / f"minutiae/{finger}_{i}.csv")} for i in (1, 2)]
        both = sorted(set(tables[0]) & set(tables[1]))
        assert len(both) > 10
        places = [
            np.array([[float(table[k]["x"]), float(table[k]["y"])] for k in both], np.float32) for table in tables
        ]
        positions = carried(folder_of_set, finger, 1, 2, places[0])
        off = np.hypot(*(positions - places[1]).T)
        assert np.isfinite(off).mean() > 0.9 and np.nanmax(off) < 0.2
        assert all(tables[0][k]["kind"] == tables[1][k]["kind"] for k in both)


def test_a_minutia_under_a_crease_is_not_listed():
    """A deep crease over the whole finger hides all; pressed flat it hides none."""
    master = grow_finger(finger_keys(SEED, np.array([0]))[0])
    creased = master._replace(creases=np.full_like(master.creases, 255))
    draws = draw_impressions(SEED, 0, 1, SETTINGS)
    bare = draws._replace(creases=0 * draws.creases)
    assert not render_finger(creased, draws).visible.any()
    assert render_finger(creased, bare).visible.sum() > 10


def test_maps_undo_each_other(folder_of_set):
    with np.load(folder_of_set / "maps/1_1.npz") as maps:
        y, x = np.mgrid[0:480:STEP, 0:400:STEP]
        back = interpolated(maps["from_finger"], maps["to_finger"])
        off = np.hypot(back[..., 0] - x, back[..., 1] - y)[maps["shown"]]
        assert maps["to_finger"].shape == (120, 100, 2) and maps["from_finger"].shape == (184, 128, 2)
        assert maps["shown"].mean() > 0.1 and np.nanmax(off) < 0.1


def test_it_is_a_data_set_to_train_on(folder_of_set):
    data = build(
        compose_tree(["data=fvc", f"data.root={folder_of_set}", "data.databases=[DB1_A]", "data.file_ppi=500"])
    ).data
    impressions = load(data)
    assert len(impressions) == FINGERS * IMPRESSIONS
    assert impressions.names == (f"{folder_of_set.name}/DB1_A/1", f"{folder_of_set.name}/DB1_A/2")


@pytest.mark.parametrize("left", [0, 1, 2, 8])
def test_it_goes_on_where_it_stopped(folder_of_set, tmp_path, monkeypatch, left):
    folder, write = tmp_path / "set", finger_set.write_whole

    def until_the_disk_is_full(path, content):
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(28, "No space left on device", str(path))
        write(path, content)

    monkeypatch.setattr(finger_set, "write_whole", until_the_disk_is_full)
    with pytest.raises(OSError, match="No space"):
        make_set(folder, FINGERS, IMPRESSIONS, SEED, SETTINGS)
    assert len(contents(folder)) < len(contents(folder_of_set)) and not (folder / "manifest.csv").exists()
    folder.mkdir(exist_ok=True)
    (folder / ".set.json-1-ab.tmp").write_text("{")  # what a kill leaves
    monkeypatch.setattr(finger_set, "write_whole", write)
    make_set(folder, FINGERS, IMPRESSIONS, SEED, SETTINGS)
    assert contents(folder).keys() - contents(folder_of_set).keys() == {".set.json-1-ab.tmp"}
    for name, content in contents(folder_of_set).items():
        if not name.endswith(".npz"):  # a zip carries the time
            assert contents(folder)[name] == content, name


def test_a_larger_set_goes_on_from_a_smaller_one(tmp_path):
    make_set(tmp_path / "set", 1, 2, SEED, SETTINGS)
    before = contents(tmp_path / "set")
    make_set(tmp_path / "set", 2, 2, SEED, SETTINGS)
    after = contents(tmp_path / "set")
    assert all(after[name] == before[name] for name in before if name.startswith(("DB1_A", "maps")))
    assert json.loads(after["set.json"])["fingers"] == 2 and len(after["manifest.csv"].splitlines()) == 5
    with pytest.raises(DataError, match="holds 2 fingers, more than 1"):
        make_set(tmp_path / "set", 1, 2, SEED, SETTINGS)


@pytest.mark.parametrize("stranger", ["letter.txt", "DB1_A/1_1.png"])
def test_a_folder_of_something_else_is_refused(tmp_path, stranger):
    (tmp_path / stranger).parent.mkdir(exist_ok=True)
    (tmp_path / stranger).write_text("mine")
    with pytest.raises(DataError, match="holds something else"):
        make_set(tmp_path, 1, 1, SEED, SETTINGS)
    assert contents(tmp_path) == {stranger: b"mine"}


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"fingers": null}', '{"fingers": 1}', "\udcff"])
def test_a_foreign_set_json_is_refused(tmp_path, text):
    (tmp_path / "set.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match="not a synthetic set's"):
        make_set(tmp_path, 1, 1, SEED, SETTINGS)


def test_another_sets_folder_is_refused(folder_of_set):
    before = contents(folder_of_set)
    with pytest.raises(DataError, match="another set .seed 5 there, 6 asked"):
        make_set(folder_of_set, FINGERS, IMPRESSIONS, 6, SETTINGS)
    with pytest.raises(DataError, match="impressions 3 there, 4 asked"):
        make_set(folder_of_set, FINGERS, 4, SEED, SETTINGS)
    with pytest.raises(DataError, match=r"another set \(wear 1.0 there, 2.0 asked\)"):
        make_set(folder_of_set, FINGERS, IMPRESSIONS, SEED, dataclasses.replace(SETTINGS, wear=2.0))
    assert contents(folder_of_set) == before


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DataError, match="something else"):
        make_set(tmp_path / "file", 1, 1, SEED, SETTINGS)


def test_the_contact_sheet_has_a_row_for_each_class(monkeypatch):
    patterns_grown = []

    def quickly(key, pattern):
        patterns_grown.append(pattern)
        return jax.tree.map(lambda leaf: leaf, MASTER)

    MASTER = grow_finger(finger_keys(SEED, np.array([0]))[0])
    monkeypatch.setattr(finger_set, "grow_finger", quickly)
    sheet = finger_set.contact_sheet(SEED, 2, SETTINGS)
    assert patterns_grown == list(range(6)) and sheet.dtype == np.uint8 and sheet.shape[2] == 3
    assert sheet.shape[0] > 6 * 240 and 400 < sheet.shape[1] < 500
