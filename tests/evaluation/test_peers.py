"""The baseline of NIST's matcher: told in words where it is missing, sane where it is there."""

from pathlib import Path

import cv2
import jax
import numpy as np
import pytest

from ifvit.config import build
from ifvit.data.fingerset import draw_impressions, show
from ifvit.data.pool import finger_keys
from ifvit.data.protocols import Protocol, pairs
from ifvit.data.records import Record
from ifvit.evaluation import peers
from ifvit.launch import compose_tree
from ifvit.synthesis.ridges import grow_finger


def test_a_missing_package_is_told_in_words(monkeypatch, tmp_path):
    monkeypatch.setattr(peers.importlib.util, "find_spec", lambda name: None)
    assert "pip install 'ifvit[peers]'" in peers.unavailable()
    with pytest.raises(peers.PeerError, match="NBIS is not installed"):
        peers.baseline([], None, tmp_path)


def test_mates_score_above_others_and_nothing_is_computed_twice(tmp_path, monkeypatch):
    if reason := peers.unavailable():
        pytest.skip(reason)
    records = []
    settings = build(compose_tree([])).data.impression
    for finger in range(2):
        master = grow_finger(finger_keys(3, np.array([finger]))[0])
        for k, image in enumerate(np.asarray(show(master, draw_impressions(3, finger, 2, settings)).image)):
            path = tmp_path / f"{finger}_{k}.png"
            cv2.imwrite(str(path), image)
            records.append(Record(path, "db", str(finger), None, str(k), ppi=500.0))
    Path(tmp_path / "bad.png").write_bytes(b"damaged")
    records.append(Record(tmp_path / "bad.png", "db", "1", None, "2", ppi=500.0))
    listed = pairs(records, Protocol.all)
    found = peers.baseline(records, listed, tmp_path / "out")
    bad = (listed.first == 4) | (listed.second == 4)
    np.testing.assert_array_equal(found.failed, bad)
    good = ~found.failed
    assert found.score[good & listed.genuine].min() > found.score[good & ~listed.genuine].max()
    monkeypatch.setattr(peers.Nbis, "score", None)
    np.testing.assert_array_equal(peers.baseline(records, listed, tmp_path / "out").score, found.score)
    assert jax.default_backend() == "cpu"
