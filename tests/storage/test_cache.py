import os
import time

import numpy as np
import pytest

from ifvit.storage.cache import Cache

ARRAYS = {"a": np.arange(1000, dtype=np.int8), "b": np.ones((3, 4), np.float32)}


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "cache", "kind", 10**6)


def file_names(tmp_path):
    return sorted(path.name for path in (tmp_path / "cache").iterdir())


def test_what_was_written_is_read(cache, tmp_path):
    assert cache.read("x") is None
    cache.write("x", **ARRAYS)
    again = cache.read("x")
    assert set(again) == set(ARRAYS)
    for name, values in ARRAYS.items():
        np.testing.assert_array_equal(again[name], values)
        assert again[name].dtype == values.dtype
    assert file_names(tmp_path) == ["kind-x.npz"]


def test_no_flipped_bit_gets_through(cache, tmp_path, capsys):
    cache.write("x", a=np.arange(40, dtype=np.int8))
    path = tmp_path / "cache" / "kind-x.npz"
    content = bytearray(path.read_bytes())
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        arrays = cache.read("x")  # some bits of a zip mean nothing
        assert arrays is None or arrays["a"].tolist() == list(range(40)), place
    capsys.readouterr()


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-100], lambda b: b"", lambda b: b.replace(bytes([50, 51, 52]), bytes([50, 0, 52]), 1)]
)
def test_damage_counts_as_absent(cache, tmp_path, damage, capsys):
    cache.write("x", **ARRAYS)
    path = tmp_path / "cache" / "kind-x.npz"
    before = path.read_bytes()
    path.write_bytes(damage(before))
    assert path.read_bytes() != before
    assert cache.read("x") is None
    assert "damaged" in capsys.readouterr().err


def test_a_file_that_may_not_be_read_is_not_called_damaged(cache, tmp_path, monkeypatch, capsys):
    cache.write("x", **ARRAYS)

    def refused(path, **_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(np, "load", refused)
    assert cache.read("x") is None
    output = capsys.readouterr().err
    assert "kind-x.npz: cannot be read (Permission denied" in output and "damaged" not in output


def test_arrays_under_another_name_or_shape_are_damage(cache, tmp_path):
    """The digest covers what the bytes mean."""
    cache.write("x", a=np.arange(12, dtype=np.int8).reshape(3, 4))
    path = tmp_path / "cache" / "kind-x.npz"
    with np.load(path) as file:
        digest, values = file["digest"], file["a"]
    for changed in ({"c": values}, {"a": values.reshape(4, 3)}, {"a": values.view(np.uint8)}):
        np.savez(path, digest=digest, **changed)
        assert cache.read("x") is None


def test_a_pickle_is_not_opened(cache, tmp_path):
    cache.write("x", **ARRAYS)
    np.savez(tmp_path / "cache" / "kind-x.npz", digest="0", a=np.array([print], dtype=object))
    assert cache.read("x") is None


def test_a_folder_that_cannot_be_written_is_done_without(tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    cache = Cache(tmp_path / "file" / "cache", "kind", 10**6)
    cache.write("x", **ARRAYS)
    cache.write("y", **ARRAYS)
    assert capsys.readouterr().err.count("nothing is cached") == 1
    assert cache.read("x") is None


def test_it_is_bounded_and_what_was_used_last_stays(tmp_path):
    cache = Cache(tmp_path / "cache", "kind", 13_000)  # of a little over 4,000 bytes each, three
    values = np.random.default_rng(0).integers(0, 255, 3500).astype(np.uint8)
    for age, name in ((30, "old"), (20, "middle"), (10, "new")):
        cache.write(name, a=values)
        then = time.time() - age
        os.utime(tmp_path / "cache" / f"kind-{name}.npz", (then, then))
    assert cache.read("old") is not None  # used just now
    cache.write("latest", a=values)
    assert file_names(tmp_path) == ["kind-latest.npz", "kind-new.npz", "kind-old.npz"]


def test_it_looks_through_the_folder_only_now_and_then(tmp_path, monkeypatch):
    """Thousands of small files: at the first write, and each time that a 64th of the limit was written."""
    looks = []
    look = Cache._remove_oldest
    monkeypatch.setattr(Cache, "_remove_oldest", lambda cache: (looks.append(written), look(cache)))
    limit = 400_000  # of files of a little over 1,100 bytes: 6 are a 64th of it
    cache, values = Cache(tmp_path / "cache", "kind", limit), np.zeros(600, np.uint8)
    most = 0
    for written in range(400):
        cache.write(str(written), a=values)
        most = max(most, sum(path.stat().st_size for path in (tmp_path / "cache").iterdir()))
    assert looks[:2] in ([0, 5], [0, 6]) and len(looks) < 400 / 4
    assert 0.9 * limit < most <= limit  # and yet never more
    assert cache.read("399") is not None and cache.read("0") is None


def test_what_a_killed_run_left_is_removed_and_what_a_living_one_writes_is_not(cache, tmp_path):
    folder = tmp_path / "cache"
    folder.mkdir()
    for name, age in ((".kind-a.npz-1-ab.tmp", 7200), (".kind-b.npz-2-cd.tmp", 5)):
        (folder / name).write_text("half")
        os.utime(folder / name, (time.time() - age,) * 2)
    cache.write("x", **ARRAYS)
    assert file_names(tmp_path) == [".kind-b.npz-2-cd.tmp", "kind-x.npz"]


def test_other_files_are_left_alone(tmp_path):
    """data.cache_dir may be any folder, of weights too."""
    folder = tmp_path / "cache"
    folder.mkdir()
    strangers = ["loftr_transformer.npz", "notes.tmp", "other-x.npz"]
    for name in strangers:
        (folder / name).write_bytes(b"mine" * 1000)
        os.utime(folder / name, (1, 1))
    cache = Cache(folder, "kind", 10)
    cache.write("x", **ARRAYS)
    cache.write("y", **ARRAYS)
    assert file_names(tmp_path) == strangers and cache.read("x") is None
