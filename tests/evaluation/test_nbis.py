"""The baseline of NIST's matcher: a clear message where it is missing, plausible scores where it is installed.

An image that ends its process costs one image or one pair.
"""

from pathlib import Path

import cv2
import numpy as np
import pytest

from ifvit.config import build
from ifvit.data.finger_pool import finger_keys
from ifvit.data.finger_set import draw_impressions, render_finger
from ifvit.databases.protocols import Protocol, protocol_pairs
from ifvit.databases.records import Record
from ifvit.errors import DataError
from ifvit.evaluation import nbis, nbis_processes
from ifvit.launch import compose_tree
from ifvit.storage.blocks import Blocks
from ifvit.synthesis.master import grow_finger

pytestmark = pytest.mark.slow


SEED, FINGERS, EACH = 3, 2, 2
ENDS, HANGS, IS_REFUSED, HAS_NONE = 50, 52, 54, 56  # px at 500 ppi: widths, and what they do to the module below

# In place of the package: an image is known by its width, and two of one width score it.
STAND_IN = f"""
import os, signal, time

class NbisExtractorSettings:
    def __init__(self, **settings):
        assert settings["ppi"] == 500.0 and settings["min_quality"] == 0.0

class Minutiae:
    def __init__(self, width):
        self.width = width
    def get(self):
        return [] if self.width == {HAS_NONE} else [self]
    def to_iso_19794_2_2011(self):
        return b"%d" % self.width
    def compare(self, other):
        return self.width if self.width == other.width else 1

class Extractor:
    def extract_minutiae(self, content):
        assert content[:4] == b"\\x89PNG"
        width = int.from_bytes(content[16:20], "big")
        print("C code prints where it likes", flush=True)
        if width == {ENDS}:
            os.kill(os.getpid(), signal.SIGSEGV)
        if width == {HANGS}:
            time.sleep(60)
        if width == {IS_REFUSED}:
            raise ValueError("not a\\nfingerprint")
        return Minutiae(width)
    def load_iso_19794_2_2005(self, template):
        raise NotImplementedError
    def load_iso_19794_2_2011(self, template):
        return Minutiae(int(template))

def new_nbis_extractor(settings):
    return Extractor()
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Put source in the package's place."""

    def put(source):
        folder = tmp_path / "modules"
        folder.mkdir()
        (folder / "nbis.py").write_text(source)
        monkeypatch.syspath_prepend(folder)  # of this process, which looks for it
        monkeypatch.setenv("PYTHONPATH", str(folder))  # of the one that runs it
        monkeypatch.setattr(nbis, "version", lambda: "stand-in 1")

    return put


def drawn(folder, finger, impression, width):
    """An impression of 250 ppi, so wide at 500."""
    path = folder / f"{finger}_{impression}.png"
    grey = np.full((30, width // 2), 200, np.uint8)
    grey[10:20, 10:20] = 0
    cv2.imwrite(str(path), grey)
    return Record(path, "db", str(finger), None, str(impression), ppi=250.0)


def test_a_missing_package_is_told_in_words(monkeypatch, tmp_path):
    monkeypatch.setattr(nbis_processes.importlib.util, "find_spec", lambda name: None)
    assert "pip install 'ifvit[peers]'" in nbis.unavailable()
    with pytest.raises(nbis.NbisError, match="NBIS is not installed"):
        nbis.run_baseline([], None, tmp_path)


@pytest.mark.parametrize(
    "source, message",
    [
        ("raise OSError('libopencv_core.so.406: cannot open shared object file')", "libopencv_core.so.406: cannot"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "broke down"),
        ("import time; time.sleep(60)", "did not end within 3 s"),
    ],
)
def test_a_package_that_cannot_be_run_is_told_in_words(stand_in, monkeypatch, source, message):
    monkeypatch.setattr(nbis_processes, "TIME_LIMIT", 3.0)
    stand_in(source)
    reason = nbis.unavailable()
    assert message in reason and "pip install 'ifvit[peers]'" in reason and "\n" not in reason


def test_what_the_code_does_to_its_process_costs_one_image(stand_in, monkeypatch, tmp_path):
    stand_in(STAND_IN)
    monkeypatch.setattr(nbis_processes, "TIME_LIMIT", 3.0)
    widths = [(80, 80, ENDS), (90, 90, HANGS), (100, IS_REFUSED, HAS_NONE)]
    records = [drawn(tmp_path, f, i, width) for f, row in enumerate(widths) for i, width in enumerate(row)]
    (tmp_path / "0_1.png").write_bytes(b"damaged")
    pairs = protocol_pairs(records, Protocol.all)
    baseline = nbis.run_baseline(records, pairs, tmp_path / "out")
    assert {k: reason.partition(": ")[2] for k, reason in baseline.unusable.items()} == {
        1: reader_reason(records[1]), 2: "NBIS broke down over it", 5: "NBIS did not end within 3 s",
        7: "ValueError: not a fingerprint",
    }  # fmt: skip
    assert all(reason.startswith(str(records[k].path)) for k, reason in baseline.unusable.items())
    np.testing.assert_array_equal(
        baseline.failed, np.isin(pairs.first, [1, 2, 5, 7]) | np.isin(pairs.second, [1, 2, 5, 7])
    )
    # Of what is left only finger 1 has two impressions of one width; one image has no minutiae.
    scores = {(a, b): s for a, b, s in zip(pairs.first.tolist(), pairs.second.tolist(), baseline.score, strict=True)}
    assert scores[3, 4] == 90 and scores[0, 3] == 1 and scores[6, 8] == scores[0, 8] == scores[0, 1] == 0
    assert (baseline.name, baseline.version) == ("mindtct + bozorth3 (NBIS)", "stand-in 1")
    assert baseline.figures["db"].pairs.failed_genuine == baseline.failed[pairs.genuine].sum()


def reader_reason(record):
    """Why the reader refuses a file."""
    with pytest.raises(nbis.ImageError) as refused:
        nbis.image.read(record.path)
    return str(refused.value).partition(": ")[2]


def test_it_goes_on_where_it_was_stopped(stand_in, monkeypatch, tmp_path):
    stand_in(STAND_IN)
    monkeypatch.setattr(nbis, "IMAGES", 2)
    monkeypatch.setattr(nbis, "PAIRS", 4)
    records = [drawn(tmp_path, f, i, 80 + 10 * f) for f in range(3) for i in range(2)]
    records[5] = drawn(tmp_path, 2, 1, IS_REFUSED)
    pairs, out = protocol_pairs(records, Protocol.all), tmp_path / "out"
    asked = []
    ask = nbis.Nbis._ask
    monkeypatch.setattr(nbis.Nbis, "_ask", lambda matcher, *parts: asked.append(len(parts)) or ask(matcher, *parts))
    first = nbis.run_baseline(records, pairs, out)
    assert asked.count(1) == 6 and asked.count(2) == 10  # of 15 pairs 5 are with the image that is refused
    asked.clear()
    again = nbis.run_baseline(records, pairs, out)
    assert asked == [] and again.unusable == first.unusable
    Blocks(out / "peers" / "minutiae", {}, 2).path(1).unlink()
    Blocks(out / "peers" / "scores", {}, 4).path(3).write_bytes(b"damaged")
    third = nbis.run_baseline(records, pairs, out)
    assert asked.count(1) == 2 and asked.count(2) <= 3
    for other in (again, third):
        np.testing.assert_array_equal(other.score, first.score)
        np.testing.assert_array_equal(other.failed, first.failed)
    drawn(tmp_path, 0, 0, 60)
    with pytest.raises(DataError, match="another baseline .images differ.; name another --out"):
        nbis.run_baseline(records, pairs, out)


@pytest.fixture(scope="module")
def impressions(tmp_path_factory):
    if reason := nbis.unavailable():
        pytest.skip(reason)
    folder, records = tmp_path_factory.mktemp("impressions"), []
    settings = build(compose_tree([])).data.impression
    for finger in range(FINGERS):
        master = grow_finger(finger_keys(SEED, np.array([finger]))[0])
        for k, print_ in enumerate(
            np.asarray(render_finger(master, draw_impressions(SEED, finger, EACH, settings)).image)
        ):
            path = folder / f"{finger}_{k}.png"
            cv2.imwrite(str(path), print_)
            records.append(Record(path, "db", str(finger), None, str(k), ppi=500.0))
    return records


def test_mates_score_above_others_and_nothing_is_computed_twice(impressions, tmp_path, monkeypatch):
    Path(tmp_path / "bad.png").write_bytes(b"damaged")
    records = [*impressions, Record(tmp_path / "bad.png", "db", "1", None, "2", ppi=500.0)]
    pairs = protocol_pairs(records, Protocol.all)
    baseline = nbis.run_baseline(records, pairs, tmp_path / "out")
    np.testing.assert_array_equal(baseline.failed, (pairs.first == 4) | (pairs.second == 4))
    good = ~baseline.failed
    assert baseline.score[good & pairs.genuine].min() > baseline.score[good & ~pairs.genuine].max()
    monkeypatch.setattr(nbis.Nbis, "_ask", None)
    np.testing.assert_array_equal(nbis.run_baseline(records, pairs, tmp_path / "out").score, baseline.score)


def test_a_print_is_most_like_itself(impressions):
    with nbis.Nbis() as matcher:
        templates = [matcher.minutiae(nbis._grey(record)) for record in impressions]
        own, mate, other = (matcher.score(templates[0], templates[k]) for k in (0, 1, 2))
    assert own > 2 * mate and mate > other and other < 40  # NIST: above 40 it is a mate


def test_an_image_that_ends_the_real_one(impressions):
    rng = np.random.default_rng(0)
    with nbis.Nbis() as matcher:
        with pytest.raises(nbis.NbisFailure, match="broke down"):
            matcher.minutiae(rng.integers(0, 256, (8, 8)).astype(np.uint8))
        assert matcher.minutiae(np.full((64, 64), 255, np.uint8)) == b""
        assert matcher.score(b"", b"") == 0
