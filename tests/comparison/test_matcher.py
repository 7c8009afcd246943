"""Images in, comparisons out: files, arrays and Pillow's images, one by one or many, and as a command."""

import dataclasses
import errno
import json
import os

import cv2
import numpy as np
import pytest
from PIL import Image

import ifvit
from ifvit.cli import main as cli
from ifvit.comparison import matcher as image_matcher
from ifvit.comparison.matcher import Matcher
from ifvit.image import ImageError, scan_of
from tests.helpers.comparisons import comparison, found
from tests.helpers.image_cases import CASES, GREY

pytestmark = pytest.mark.slow


class Quick(Matcher):
    """Finds the same of every pair, at once; counts the pairs of each batch."""

    def __init__(self, cache_dir):
        super().__init__(cache_dir=cache_dir)
        self.batches = []

    def compare_prints(self, pairs, use_module2=True):
        self.batches.append((len(pairs), use_module2))
        return [found() for _ in pairs]

    def by(self, at_once, frame=None):
        return self


@pytest.fixture
def matcher(tmp_path):
    return Quick(str(tmp_path / "cache"))


@pytest.fixture
def files(prints):
    return [prints / f"finger{k}" / "0.png" for k in (0, 1)]


def test_many_are_compared_in_batches_each_image_read_once(matcher, files, tmp_path, monkeypatch):
    monkeypatch.setattr(image_matcher, "AT_ONCE", 2)
    read, real = [], matcher.print_of
    monkeypatch.setattr(matcher, "print_of", lambda scan, ppi: read.append(ppi) or real(scan, ppi))
    (tmp_path / "damaged.png").write_bytes(b"damaged")
    grey = cv2.imread(str(files[0]), 0)
    pairs = [(files[0], files[1]), (files[0], files[0]), (tmp_path / "damaged.png", files[0]), (grey, files[1])]
    results = list(matcher.compare_many(pairs, (250, 260)))
    assert (
        matcher.batches == [(2, True), (1, True)]
        and isinstance(results[2], ImageError)
        and "damaged.png" in str(results[2])
    )
    assert (results[0].name_a, results[3].name_a) == (str(files[0]), "A") and results[0].print_b.of_ridges.ppi == 260
    assert read == [250, 260, 260, 260, 250, 260]


def test_a_ppi_is_a_number_above_0(matcher, files):
    with pytest.raises(ValueError, match="ppi is a number above 0, got -1"):
        matcher.compare(*files, ppi=-1)


def test_a_run_is_loaded_and_one_that_is_none_is_refused(runs):
    from ifvit.errors import CheckpointError

    matcher, dense = ifvit.load(runs / "matcher"), ifvit.load(str(runs / "dense"))
    assert matcher.networks.module2 is not None and matcher.run == f"{runs / 'matcher'} (best, step 4)"
    assert dense.networks.module2 is None and dense.run == f"{runs / 'dense'} (best, step 4)"
    assert ifvit.load().networks is None and ifvit.load().run is None
    with pytest.raises(CheckpointError, match="no run directory"):
        ifvit.load(runs)


def test_every_kind_of_image_gives_the_same_scan(files):
    grey = cv2.imread(str(files[0]), 0)
    as_read = scan_of(grey)
    colour = np.stack([grey] * 3, -1)
    alpha = np.dstack([colour, np.full_like(grey, 255)])
    for other in (
        colour, alpha, grey[..., None], grey.astype(np.uint16) * 257, grey.astype(np.int64), grey / 255,
        (grey / 255).astype(np.float16), Image.fromarray(grey), Image.fromarray(colour),
        Image.fromarray(grey).convert("P"), Image.fromarray(alpha), Image.fromarray(grey).convert("LA"),
    ):  # fmt: skip
        scan = scan_of(other)
        assert scan.grey.shape == grey.shape and np.abs(scan.grey.astype(int) - as_read.grey).max() <= 1
    assert set(np.unique(scan_of(grey > 128).grey)) == {0, 255}
    tagged = Image.fromarray(grey)
    tagged.info["dpi"] = (1000, 1000)
    assert scan_of(tagged).ppi == 1000 and as_read.ppi is None
    tagged.info["dpi"] = (72, 72)
    assert scan_of(tagged).ppi is None
    red = np.zeros((64, 64, 3), np.uint8)
    red[:32, :, 0] = 200  # RGB, so luma .3
    assert scan_of(red).grey.max() == pytest.approx(60, abs=1)


@pytest.mark.parametrize("name", ["tiff MM 16 of 1023", "jpeg orientation 6", "jpeg ppi of EXIF", "tiff 16 white is 0"])
def test_a_pillow_image_is_compared_as_its_file(matcher, tmp_path, name):
    """The kinds that once came in otherwise; tests/image/test_doors.py has all."""
    (tmp_path / "a").write_bytes(CASES[name].content)
    by_path = matcher.compare(tmp_path / "a", GREY)
    with Image.open(tmp_path / "a") as picture:
        by_pillow = matcher.compare(picture, GREY)
    shown, other = by_path.print_a.of_ridges, by_pillow.print_a.of_ridges
    assert (shown.ppi, shown.ppi_from, shown.inverted) == (other.ppi, other.ppi_from, other.inverted)
    assert np.abs(shown.grey.astype(int) - other.grey).max() <= CASES[name].off


@pytest.mark.parametrize(
    "pixels, message",
    [
        (np.full((64, 64), 7, np.uint8), "blank"),
        (np.zeros((4, 4), np.uint8), "too small"),
        (np.zeros((64, 64, 7), np.uint8), "shape"),
        (np.zeros(64, np.uint8), "shape"),
        (np.full((64, 64), np.nan), "not finite"),
        (np.arange(64 * 64).reshape(64, 64) * 100, "expected 0..255 or 0..65535"),
        ("text", "expected a path, an array or a Pillow image"),
        (np.broadcast_to(np.uint8(1), (20000, 20000)), "too large"),
    ],
)
def test_what_is_no_image_is_refused(matcher, files, pixels, message):
    with pytest.raises(ImageError, match=message):
        scan_of(pixels)
    if not isinstance(pixels, str):
        with pytest.raises(ImageError, match=f"image B: .*{message}"):
            matcher.compare(files[0], pixels)


class Answers:
    """In place of a loaded matcher."""

    def __init__(self, result):
        self.compare = lambda a, b, ppi: result


def status_of(*argv):
    try:
        cli.main([str(word) for word in argv])
    except SystemExit as ended:
        return ended.code
    return 0


@pytest.mark.parametrize("mean", [0.9, 0.3])
def test_the_command_answers_draws_and_ends_with_0(mean, files, tmp_path, capsys, monkeypatch):
    result = comparison(found(mean, paired=2 if mean < 0.5 else 12, alone=8))
    asked = []
    monkeypatch.setattr(ifvit, "load", lambda run_dir, score: asked.append((run_dir, score)) or Answers(result))
    picture = tmp_path / "pair.png"
    assert status_of("compare", *files, "--picture", picture) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(result.decision()) and f"look at  {picture}" in shown and picture.exists()
    assert status_of("compare", *files, "--json", "--fmr", "0.001", "--run", "x", "--score", "cosines") == 0
    tree = json.loads(capsys.readouterr().out)
    assert tree["decided_at_fmr"] == 0.001 and tree["score"] == round(result.score, 4)
    assert [(str(run), score) for run, score in asked] == [("None", "fused"), ("x", "cosines")]


def test_a_name_that_is_no_text_is_printed_all_the_same(files, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(ifvit, "load", lambda run_dir, score: Answers(comparison()))
    picture = tmp_path / os.fsdecode(b"\xff\x1b[2J.png")
    assert status_of("compare", *files, "--picture", picture) == 0 and picture.exists()
    assert f"look at  {tmp_path}/??[2J.png" in capsys.readouterr().out


def test_the_picture_answers_at_the_fmr_that_was_asked_for(files, tmp_path, monkeypatch):
    result, drawn = comparison(found(0.9)), []

    class Kept(type(result)):
        def picture(self, fmr=0.01, day=None):
            drawn.append((fmr, day))
            return np.zeros((8, 8, 3), np.uint8)

    kept = Kept(**{field.name: getattr(result, field.name) for field in dataclasses.fields(result)})
    monkeypatch.setattr(ifvit, "load", lambda run_dir, score: Answers(kept))
    assert status_of("compare", *files, "--fmr", "0.001", "--picture", tmp_path / "pair.png") == 0
    assert drawn == [(0.001, None)]


def test_where_too_little_is_seen_the_status_is_1(files, capsys, monkeypatch):
    result = comparison(found(0.3, paired=2, alone=14))
    ridges = result.print_a.of_ridges
    empty = result.print_a._replace(of_ridges=ridges._replace(ridges=np.zeros_like(ridges.ridges)))
    monkeypatch.setattr(ifvit, "load", lambda run_dir, score: Answers(dataclasses.replace(result, print_a=empty)))
    assert status_of("compare", *files) == 1 and capsys.readouterr().out.startswith("cannot say: A shows 0 mm2")


def test_what_the_command_refuses(runs, files, tmp_path, capsys):
    for wrong, message in (
        (["compare", "no\n\x1b[2Jwhere.png", files[0]], "error: no??[2Jwhere.png: cannot be read"),
        (["compare", *files, "--run", tmp_path], "no run directory"),
        (["compare", *files, "--score", "cosines"], "--score cosines: these are cosines of Module 2's vectors, and"),
        (["compare", *files, "--run", runs / "dense", "--score", "cosines"], "the run has Module 1 alone"),
        (["compare", *files, "--score", "other"], "invalid choice"),
        (["compare", *files, "--picture", tmp_path], "is a folder"),
        (["compare", *files, "--fmr", "2"], "expected a rate"),
    ):
        assert status_of(*wrong) == 2 and message in capsys.readouterr().err


@pytest.fixture
def full_disk(monkeypatch):
    """Every file that is forced to disk finds it full."""

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)


def test_a_full_disk_costs_the_picture_and_not_the_answer(files, tmp_path, capsys, full_disk, monkeypatch):
    monkeypatch.setattr(ifvit, "load", lambda run_dir, score: Answers(comparison()))
    picture = tmp_path / "pair.png"
    command = ["compare", *map(str, files), "--ppi", "250", "--picture", str(picture)]
    problem = f"error: {picture}: not written (No space left on device); make room or rights there, or name another"
    for more in ([], ["--json"]):
        with pytest.raises(SystemExit) as ended:
            cli.main([*command, *more])
        shown = capsys.readouterr()
        assert ended.value.code == 1 and problem in shown.err and os.listdir(tmp_path) == []
        if more:
            answer = json.loads(shown.out)
            assert answer["picture"] is None and "score" in answer and "decision" in answer
        else:
            assert "500 ppi, as given" in shown.out and "look at" not in shown.out


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("pair.svg", "a picture's name ends in one of .png, .jpg"),
        ("pair", "a picture's name ends in one of .png, .jpg"),
        ("file/pair.png", "is a file, not a folder"),
        ("file", "is one of the two prints"),
    ],
)
def test_a_picture_that_cannot_be_is_refused_before_anything_is_computed(name, reason, files, tmp_path, capsys):
    print_ = tmp_path / "file"
    print_.write_bytes(files[0].read_bytes())
    path = print_.rename(tmp_path / "file.png") if name == "file" else tmp_path / name
    prints = [str(path if name == "file" else files[0]), str(files[1])]
    with pytest.raises(SystemExit) as ended:  # there is no run: nobody has looked for it
        cli.main(["compare", *prints, "--run", str(tmp_path / "none"), "--picture", str(path)])
    line = capsys.readouterr().err
    assert ended.value.code == 2 and line.startswith(f"error: --picture: {path}") and reason in line


def test_ctrl_c_ends_a_comparison_with_a_sentence(files, monkeypatch, capsys):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("ifvit.comparison.matcher.load", stopped)
    assert status_of("compare", *files) == 75
    assert capsys.readouterr().err == "stopped before it was finished; the same command begins again\n"


def test_a_matcher_tells_what_it_is(matcher, files, runs):
    assert repr(matcher) == "<Matcher by ridges and minutiae; enhancement gabor, score fused>"
    text = repr(ifvit.load(runs / "matcher", score="cosines"))
    assert f"Modules 1 and 2 of {runs / 'matcher'} (" in text and text.endswith("score cosines>")


def test_prints_are_registered_without_module_2(matcher, files):
    registration = matcher.register(*files)
    assert matcher.batches == [(1, False)]
    assert repr(registration) == f"<Registration of {files[0]} and {files[1]}: registered>"
    assert registration.pair.name_a == str(files[0])
    with pytest.raises(ImageError, match="nowhere.png"):
        matcher.register(files[0], "nowhere.png")
