import numpy as np
import pytest

from ifvit.data import synthetic

PPI, SIDE = 125.0, 64  # low, so that growing is quick


def grown(folder, seed=0, count=2):
    return synthetic.grown_canvases(seed, count, PPI, SIDE, SIDE, str(folder))


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    return folder, grown(folder)


def test_canvases(first):
    grey, ridges, background = first[1]
    assert grey.shape == ridges.shape == (2, SIDE, SIDE) and (background == 255).all()
    assert ridges.mean() > 0.5 and grey[ridges].std() > 40
    assert not np.array_equal(grey[0], grey[1])


def test_the_second_time_nothing_grows(first, monkeypatch):
    folder, before = first
    monkeypatch.setattr(synthetic, "_grow", None)
    for one, other in zip(before, grown(folder), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("damage", [lambda b: b[:-100], lambda b: b"", lambda b: b[:300] + b"x" + b[301:]])
def test_a_damaged_cache_is_grown_anew(first, damage, capsys):
    folder, before = first
    (path,) = folder.glob("*.npz")
    path.write_bytes(damage(path.read_bytes()))
    np.testing.assert_array_equal(grown(folder)[0], before[0])
    assert "damaged" in capsys.readouterr().err
    assert [p.suffix for p in folder.iterdir()] == [".npz"]


def test_a_cache_that_cannot_be_written_is_done_without(first, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    np.testing.assert_array_equal(grown(tmp_path / "file")[0], first[1][0])
    assert "not cached" in capsys.readouterr().err
