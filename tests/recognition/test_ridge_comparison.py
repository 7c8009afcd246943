"""Two images in, an answer with its reasons out, without anything trained."""

import json

import numpy as np
import pytest
from PIL import Image

import ifvit
from ifvit import cli
from ifvit.image import ImageError
from ifvit.recognition.ridge_comparison import SMALL_PRINT, RidgeComparison
from tests.recognition.ridge_prints import disc, drawn, finger, laid

TO_A = laid(40.0, (6.0, -8.0), bend=2.0)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Images of one finger, twice, of another one, and of a part of the first."""
    folder = tmp_path_factory.mktemp("prints")
    prints = {
        "a": drawn(finger(3)), "b": drawn(finger(3), TO_A, disc(140, 148, 125)), "other": drawn(finger(5)),
        "part": drawn(finger(3), None, disc(150, 150, 55)),
    }  # fmt: skip
    for name, shown in prints.items():
        Image.fromarray(shown.grey).save(folder / f"{name}.png", dpi=(500, 500))
    return {name: folder / f"{name}.png" for name in prints}


@pytest.fixture(scope="module")
def matcher(tmp_path_factory):
    return ifvit.load(cache_dir=str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module")
def found(matcher, files):
    return {name: matcher.compare(files["a"], files[name]) for name in ("b", "other")}


def test_mates_and_others_are_told_apart(found):
    mate, other = found["b"], found["other"]
    assert mate.decision() == "same finger" and mate.score > 2 > 0 > other.score
    assert other.decision() == "not the same finger, as far as these prints show" and other.decided
    assert mate.evidence.mean > 0.85 and mate.evidence.paired > 5 and mate.reason is None


def test_the_answer_does_not_depend_on_the_order(matcher, files, found):
    turned = matcher.compare(files["b"], files["a"])
    assert turned.score == found["b"].score and turned.evidence == found["b"].evidence
    paired, other_way = found["b"].alignment.paired, turned.alignment.paired
    np.testing.assert_array_equal(paired.first, other_way.second)


def test_the_map_is_told_in_the_files_pixels(found):
    tree = found["b"].to_dict()
    assert json.loads(json.dumps(tree)) == tree and len(tree["map"]) > 30
    in_a, in_b = (np.array([point[side] for point in tree["map"]]) for side in "ab")
    assert np.median(np.linalg.norm(TO_A(in_b) - in_a, axis=-1)) < 1.5
    for pair in tree["minutiae"]["paired"]:
        assert np.linalg.norm(TO_A(np.array(pair["b"])) - pair["a"]) < 14


def test_a_part_too_small_for_no_may_still_be_enough_for_yes(matcher, files):
    inside, outside = (matcher.compare(files["part"], files[name]) for name in ("a", "other"))
    assert inside.print_a.area < 2 * SMALL_PRINT
    small = RidgeComparison(
        "A", "B", outside.print_a._replace(ridges=np.zeros_like(outside.print_a.ridges)), outside.print_b,
        outside.alignment, 0.0,
    )  # fmt: skip
    assert small.decision().startswith("cannot say: A shows 0 mm2 of ridges; 50 are needed") and not small.decided


def test_many_pairs_are_as_one(matcher, files, found):
    pairs = [(files["a"], files["b"]), (files["a"], files["other"]), (files["a"], "missing.png")]
    first, second, missing = matcher.compare_many(pairs)
    assert first.score == pytest.approx(found["b"].score, abs=1e-3) and first.decision() == found["b"].decision()
    assert second.score == pytest.approx(found["other"].score, abs=1e-3)
    assert isinstance(missing, ImageError) and "missing.png" in str(missing)


@pytest.mark.parametrize("name", ["b", "other"])
def test_the_command_answers_draws_and_ends_with_0(name, files, found, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(ifvit, "load", lambda run_dir: _Matcher(found[name]))
    cli.main(["compare", str(files["a"]), str(files[name]), "--picture", str(tmp_path / "pair.png")])
    shown = capsys.readouterr().out
    assert shown.startswith(found[name].decision()) and f"look at  {tmp_path / 'pair.png'}" in shown
    with Image.open(tmp_path / "pair.png") as picture:
        assert picture.width > 1000 and picture.height > 1000
    cli.main(["compare", str(files["a"]), str(files[name]), "--json", "--fmr", "0.001"])
    tree = json.loads(capsys.readouterr().out)
    assert tree["decided_at_fmr"] == 0.001 and tree["score"] == round(found[name].score, 4)


class _Matcher:
    def __init__(self, comparison):
        self.compare = lambda a, b, ppi: comparison


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (np.full((90, 90), 200, np.uint8), "blank"),
        (np.zeros((5, 5), np.uint8), "too small"),
        (np.tile(np.linspace(0, 255, 300).astype(np.uint8), (300, 1)), "no ridges found"),
    ],
)
def test_what_is_no_print_is_refused_in_words(matcher, files, content, line):
    with pytest.raises(ImageError, match=line):
        matcher.compare(content, files["a"])
