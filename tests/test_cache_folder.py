from ifvit.cache_folder import cache_folder


def test_where_it_lies(monkeypatch, tmp_path):
    assert str(cache_folder("here")) == "here"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder(None) == tmp_path / "ifvit"
