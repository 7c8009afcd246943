"""Two prints in, a score with its reasons out: the same in either order, for files, arrays and Pillow's images."""

import dataclasses
import errno
import json
import os

import cv2
import numpy as np
import pytest
from PIL import Image

import ifvit
from ifvit import cli
from ifvit.calibration import calibration
from ifvit.checkpoint import CheckpointError, write_json
from ifvit.image import ImageError, scan_of
from ifvit.recognition.comparer import calibration_key, load_comparer
from ifvit.recognition.registration import lay
from ifvit.recognition.trained import load_dense
from tests.image.test_doors import CASES, GREY


@pytest.fixture(scope="module")
def matcher(runs):
    return ifvit.load(runs / "matcher")


@pytest.fixture
def files(prints):
    return [prints / f"finger{k}" / "0.png" for k in (0, 1)]


def same(files):
    """A print and itself moved by some px, which any network lays on one another."""
    grey = cv2.imread(str(files[0]), 0)
    return grey, np.roll(grey, 3, axis=1)


def test_the_module_1_of_a_matchers_run(runs):
    own, begun = load_dense(runs / "matcher"), load_dense(runs / "dense")
    assert own.digest() == begun.digest() and own.dense == begun.dense
    assert own.frame == (64, 64)


def test_a_module_1_alone_does_not_compare(runs):
    with pytest.raises(CheckpointError, match="a run of stage=dense, which registers .* stage=matcher init.dense="):
        ifvit.load(runs / "dense")
    with pytest.raises(CheckpointError, match="no run directory"):
        ifvit.load(runs)


def test_the_order_changes_nothing(matcher, files):
    for a, b in (same(files), files):
        one, other = matcher.compare(a, b, 250), matcher.compare(b, a, 250)
        assert one.score == other.score and one.score_local == other.score_local and one.overlap == other.overlap
        assert (one.reason is None) == (one.score is not None)
        if one.homography is not None:
            both = one.homography @ other.homography
            np.testing.assert_allclose(both / both[2, 2], np.eye(3), atol=1e-6)
            order = np.lexsort(one.matches.points_a.T), np.lexsort(other.matches.points_b.T)
            np.testing.assert_allclose(one.matches.points_a[order[0]], other.matches.points_b[order[1]], atol=1e-6)


def test_many_are_compared_as_one_is(matcher, files, tmp_path):
    (tmp_path / "damaged.png").write_bytes(b"damaged")
    pairs = [same(files), tuple(files), (tmp_path / "damaged.png", files[0]), same(files)[::-1]]
    found = list(matcher.compare_many(pairs, 250))
    assert isinstance(found[2], ImageError) and "damaged.png" in str(found[2])
    for pair, many in zip((pairs[0], pairs[1], pairs[3]), (found[0], found[1], found[3]), strict=True):
        alone = matcher.compare(*pair, 250)
        assert (many.score is None) == (alone.score is None)
        assert many.score is None or many.score == pytest.approx(alone.score, abs=1e-5)


def test_what_a_comparison_tells(matcher, files, tmp_path):
    for a, b in (same(files), files):
        made = matcher.compare(a, b, (250, 260))
        told = json.loads(json.dumps(made.to_dict()))
        assert told["registered"] == (told["score"] is not None) and told["ppi"]["b"]["value"] == 260
        assert (told["reason"] is None) == told["registered"]
        assert made.headline() in made.text()
        made.save(tmp_path / "new" / "pair.png")
        picture = cv2.imread(str(tmp_path / "new" / "pair.png"))
        assert picture.shape == made.picture().shape and picture.std() > 10


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
    canvas, other = by_path.print_a.canvas, by_pillow.print_a.canvas
    assert (canvas.ppi, canvas.ppi_from, canvas.inverted) == (other.ppi, other.ppi_from, other.inverted)
    assert np.abs(canvas.grey.astype(int) - other.grey).max() <= CASES[name].off
    assert by_path.score == by_pillow.score or CASES[name].off


@pytest.mark.parametrize(
    "pixels, said",
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
def test_what_is_no_image_is_refused(matcher, files, pixels, said):
    with pytest.raises(ImageError, match=said):
        scan_of(pixels)
    if not isinstance(pixels, str):
        with pytest.raises(ImageError, match=f"image B: .*{said}"):
            matcher.compare(files[0], pixels)


def test_pictures_that_are_no_prints_are_answered(matcher, files):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:120, :120]
    strange = [rng.integers(0, 256, (120, 120), np.uint8), (x + y).astype(np.uint8), np.uint8(255 * (x > 60))]
    for pixels in strange:
        try:
            made = matcher.compare(files[0], pixels, 250)
        except ImageError as error:
            assert "image B" in str(error)
        else:
            assert made.score is not None or made.reason


def test_the_decision_at_an_fmr(matcher, files):
    made = matcher.compare(*same(files), 250)
    # Whatever this tiny network found: a pair that was laid and scored .7.
    made = dataclasses.replace(made, scored=made.scored._replace(score=0.7))
    assert "not calibrated" in made.decision() and made.fmr is None

    def calibrated(scores):
        return dataclasses.replace(made, calibration=calibration(np.asarray(scores)))

    far_below = calibrated(np.linspace(made.score - 1, made.score - 0.5, 1000))
    assert far_below.decision(0.01) == "same finger" and far_below.fmr == pytest.approx(0.003)
    assert calibrated(np.full(1000, made.score + 0.1)).decision(0.01) == "not shown to be the same finger"
    few = calibrated(np.full(50, made.score - 0.5))
    assert few.decision(0.01) == (
        "undecided: the model was calibrated with 50 impostor pairs, too few to tell an FMR of 1 %: it takes 300"
    )
    assert few.decision(0.1) == "same finger"  # which 50 do tell


def test_whose_pairs_calibrated_it_is_told(matcher, files):
    made = matcher.compare(*same(files), 250)
    assert made.to_dict()["calibration"] is None
    # As if this tiny network had laid the pair.
    laid = lay(made.print_a.canvas, made.print_b.canvas, np.eye(3))
    registered = made.scored.registered._replace(homography=np.eye(3), aligned=laid, refusal=None)
    made = dataclasses.replace(made, scored=made.scored._replace(score=0.7, registered=registered))
    of = {"databases": ["DB1_A", "DB3_A"], "protocol": "fvc", "images": 1600, "genuine": 5600}
    table = calibration(np.linspace(-1, 0, 1000))
    made = dataclasses.replace(made, calibration=table._replace(of=of))
    assert "in at most 0.3 % of cases, by 1000 impostor pairs of DB1_A, DB3_A (protocol fvc)" in made.text()
    assert made.to_dict()["calibration"] == {"impostors": 1000, "of": of}
    unknown = dataclasses.replace(made, calibration=table)
    assert "of cases, by 1000 impostor pairs\n" in unknown.text()


def test_a_calibration_is_of_one_state_and_one_score(runs):
    comparer = load_comparer(runs / "matcher")
    key, path = calibration_key(comparer.digest, comparer.config), runs / "matcher" / "calibration.json"
    table = calibration(np.linspace(0, 1, 400)).tree()
    try:
        write_json(path, {**key, "table": table})
        old = load_comparer(runs / "matcher").calibration  # as it was written before it named its pairs
        assert old.impostors == 400 and old.of is None
        whose = {"databases": ["DB1_A"], "protocol": "fvc", "images": 800}
        for of, loaded in (
            (whose | {"genuine": 2800}, whose | {"genuine": 2800}),
            (whose, whose),
            (whose | {"images": float("nan"), "more": 1}, {"databases": ["DB1_A"], "protocol": "fvc"}),
            (whose | {"databases": ["\x1b[2J"]}, None),
            (whose | {"protocol": 3}, None),
            ([1], None),
        ):
            write_json(path, {**key, "of": of, "table": table})
            assert load_comparer(runs / "matcher").calibration.of == loaded
        for other in ({"state": "another"}, {"global_weight": 0.5}):
            write_json(path, {**key, **other, "table": table})
            assert load_comparer(runs / "matcher").calibration is None
        write_json(path, {**key, "table": {"above": []}})
        with pytest.raises(CheckpointError, match="not a calibration"):
            load_comparer(runs / "matcher")
    finally:
        path.unlink()


def test_the_command(runs, files, tmp_path, capsys):
    command = ["compare", str(files[0]), str(files[0]), "--run", str(runs / "matcher"), "--ppi", "250"]
    picture = tmp_path / "pair.png"
    status = 0
    try:
        cli.main([*command, "--json", "--picture", str(picture)])
    except SystemExit as ended:
        status = ended.code
    told = json.loads(capsys.readouterr().out)
    assert status == (0 if told["registered"] else 1) and told["picture"] == str(picture) and picture.exists()
    assert told["decided_at_fmr"] == 0.01 and told["a"] == str(files[0])
    for wrong, said in (
        (["compare", "nowhere.png", *command[2:]], "nowhere.png"),
        ([*command[:4], str(runs / "dense")], "which registers prints"),
        ([*command, "--picture", str(tmp_path)], "is a folder"),
        ([*command, "--fmr", "2"], "expected a rate"),
    ):
        with pytest.raises(SystemExit) as ended:
            cli.main(wrong)
        assert ended.value.code == 2 and said in capsys.readouterr().err


@pytest.fixture
def full_disk(monkeypatch):
    """Every file that is forced to disk finds it full."""

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)


def test_a_full_disk_costs_the_picture_and_not_the_answer(runs, files, tmp_path, capsys, full_disk):
    picture = tmp_path / "pair.png"
    command = ["compare", *map(str, files), "--run", str(runs / "matcher"), "--ppi", "250", "--picture", str(picture)]
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
            assert "A: 250 ppi" in shown.out and "look at" not in shown.out


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


def test_ctrl_c_ends_a_comparison_with_a_sentence(runs, files, monkeypatch, capsys):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("ifvit.recognition.comparison.load", stopped)
    with pytest.raises(SystemExit) as ended:
        cli.main(["compare", *map(str, files), "--run", str(runs / "matcher")])
    assert ended.value.code == 75
    assert capsys.readouterr().err == "stopped before it was finished; the same command begins again\n"
