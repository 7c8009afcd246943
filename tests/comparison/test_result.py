"""What a comparison answers at an FMR, and what it says for people and programs."""

import dataclasses
import io
import json

import numpy as np
import pytest
from PIL import Image

from ifvit.calibration import calibration
from ifvit.comparison.matcher_print import MatcherPrint
from ifvit.comparison.result import SMALL_PRINT
from ifvit.comparison.run_calibration import Score
from ifvit.image import Canvas, PpiFrom
from ifvit.pictures.picture_files import NOTEBOOK
from tests.helpers.comparisons import SHIFT, TO_A, TURN, comparison, found, guess, module2_result, prints
from tests.helpers.ridge_prints import homography

MATES = found()
OTHERS = found(mean=0.3, paired=2, alone=14)


def small(result):
    """The same where A shows nothing."""
    shown = result.print_a.of_ridges
    empty = shown._replace(ridges=np.zeros_like(shown.ridges))
    return dataclasses.replace(result, print_a=result.print_a._replace(of_ridges=empty))


def of_run(compared=MATES, **changes):
    """As with a run, whose canvases are at 250 ppi and begin 3 px to the left of the images."""
    canvas = Canvas(np.zeros((160, 160), np.uint8), np.ones((160, 160), bool), 0, 500.0, PpiFrom.given, left=-3)
    both = [shown._replace(of_networks=MatcherPrint(canvas, canvas.grey)) for shown in prints()]
    compared = compared._replace(module2_result=module2_result(), guess=guess())
    result = comparison(compared, network_ppi=250.0, **changes)
    return dataclasses.replace(result, print_a=both[0], print_b=both[1])


def test_without_a_run_synthetic_impostors_decide():
    mate, other = comparison(MATES), comparison(OTHERS)
    assert mate.score > 2 > 0 > other.score
    assert mate.decision() == "same finger" and mate.decided and mate.reason is None
    assert other.decision() == "not the same finger, as far as these prints show" and other.decided
    assert mate.fmr < 0.001 and other.fmr > 0.01
    tree = other.to_dict(0.02)
    assert (tree["decision"], tree["decided_at_fmr"]) == (other.decision(0.02), 0.02)
    assert [result.to_dict()["same_finger"] for result in (mate, other, small(other))] == [True, False, None]
    assert tree["decided_by"] == "4950 impostor pairs of synthetic fingers (protocol fvc)"
    assert tree["fmr"] == other.fmr and tree["calibration"]["impostors"] == 4950
    assert (
        f"score as high in at most {100 * mate.fmr:.3g} % of cases\ndecided by 4950 impostor pairs of synthetic"
        in mate.text()
    )


def test_a_print_too_small_for_no_may_be_enough_for_yes():
    assert small(comparison(MATES)).decision() == "same finger"
    none = small(comparison(OTHERS))
    assert not none.decided and none.cannot_say(0.5)
    assert none.decision().startswith(f"cannot say: A shows 0 mm2 of ridges; {SMALL_PRINT:.0f} are needed")
    assert none.decision().endswith(
        "the best of 7 guesses (flow 3, minutiae 4) leaves ridges agreeing at 0.30 over 81 mm2, as those of different "
        "fingers do"
    )
    assert none.to_dict()["cause"] == "small_print" and none.to_dict()["reason"] == none.reason


def test_what_module_1_guessed_is_counted():
    assert "the best of 8 guesses (flow 3, minutiae 4, Module 1 1)" in of_run().guesses_text()


def test_a_calibration_decides_where_it_can_tell():
    score = comparison(MATES).score

    def calibrated(scores, **changes):
        return comparison(MATES, calibration=calibration(np.asarray(scores)), **changes)

    below = calibrated(np.linspace(score - 5, score - 1, 1000))
    assert below.decision(0.01) == "same finger" and below.to_dict(0.01)["fmr"] == pytest.approx(0.003)
    assert below.to_dict(0.001)["calibration"]["impostors"] == 4950  # 1000 cannot tell so small a rate
    above = calibrated(np.full(1000, score + 0.1))  # different fingers of these prints score higher
    assert above.decision(0.01) == "not the same finger, as far as these prints show"
    # 50 pairs do not tell an FMR of 1 %, so that synthetic fingers decide, unless the 50 contradict.
    few = calibrated(np.full(50, score - 0.1))
    assert few.decision(0.01) == "same finger" and few.to_dict()["calibration"]["impostors"] == 4950
    contradicted = calibrated(np.full(50, score + 0.1))
    assert contradicted.decision(0.01) != "same finger" and contradicted.decision(0.1) != "same finger"
    assert contradicted.to_dict()["decided_by"] == "the run's own 50 impostor pairs"


def test_cosines_are_decided_by_calibration_alone():
    bare = of_run(score_of=Score.cosines)
    assert bare.score == pytest.approx(0.72)
    assert bare.decision() == (
        "undecided: this score is not calibrated (python -m ifvit evaluate RUN_DIR --score cosines calibrates it)"
    )
    assert "Module 2's cosines" in bare.headline() and "cosines" in bare.to_dict()["score_is"]
    fused = dataclasses.replace(bare, score_of=Score.fused)
    assert f"by all evidence, without --score cosines: same finger, score {fused.score:.2f}" in bare.text()
    few = of_run(score_of=Score.cosines, calibration=calibration(np.full(50, 0.1)))
    assert few.decision(0.01) == (
        "undecided: no more of the run's own 50 impostor pairs score as high than an FMR of 1 % allows, and a yes "
        "takes 300"
    )
    assert few.to_dict()["decided_by"] is None
    assert few.decision(0.1) == "same finger" and few.decided
    reached = of_run(score_of=Score.cosines, calibration=calibration(np.linspace(0, 1, 50)))
    assert reached.decision(0.01) == "not the same finger, as far as these prints show"


def test_the_map_and_the_homography_are_in_the_images_pixels():
    result = comparison(MATES)
    tree = result.to_dict()
    assert json.loads(json.dumps(tree)) == tree and len(tree["map"]) > 30
    in_a, in_b = (np.array([point[side] for point in tree["map"]]) for side in "ab")
    np.testing.assert_allclose(TO_A(in_b), in_a, atol=0.02)
    np.testing.assert_allclose(tree["homography"], np.linalg.inv(homography(TURN, SHIFT)), atol=1e-2)
    for pair in tree["minutiae"]["paired"]:
        assert pair["kind_a"] in ("ending", "bifurcation") and len(pair["b"]) == 2
    assert len(tree["minutiae"]["paired"]) == 12 and len(tree["minutiae"]["only_a"]) == 4
    assert "matches" not in tree and "registration" not in tree


def test_a_narrow_overlap_tells_no_homography():
    agreement = MATES.alignment.agreement
    strip = np.zeros_like(agreement.cover)
    strip[:, 30:33] = 1
    narrow = MATES.alignment._replace(agreement=agreement._replace(cover=strip, local=strip))
    result = comparison(MATES._replace(alignment=narrow))
    assert result.homography is None and result.to_dict()["homography"] is None


def test_a_run_adds_its_networks():
    of = {"databases": ["DB1_A", "DB3_A"], "protocol": "fvc", "images": 1600, "genuine": 5600}
    table = calibration(np.linspace(-9, -8, 4000))._replace(of=of)
    result = of_run(calibration=table)
    tree = json.loads(json.dumps(result.to_dict()))
    assert (tree["score_global"], tree["score_local"], tree["score_cosines"]) == (0.8, 0.6, 0.72)
    assert tree["calibration"] == {"impostors": 4000, "least_fmr": 0.00075, "of": of} and tree["fmr"] == pytest.approx(
        0.00075
    )
    # A pixel of the canvas is two of the image, and stands between them.
    assert tree["matches"][0] == {"a": [114.5, 120.5], "b": [116.5, 122.5], "confidence": 0.9}
    assert [match["inlier"] for match in tree["registration"]] == [True, False, True]
    text = result.text()
    assert "cosines 0.800 (global) and 0.600 (local), together 0.720; 3 places correspond" in text
    pairs = "the run's own 4000 impostor pairs of DB1_A, DB3_A (protocol fvc)"
    assert f"in at most 0.075 % of cases\ndecided by {pairs}\n" in text


def test_text_and_picture(tmp_path):
    result = comparison(MATES)
    lines = result.text(0.001).split("\n")
    assert lines[0] == "same finger (at an FMR of 0.1 %)" and lines[1] == result.headline()
    assert "12 paired (12 of one kind), 4 without a partner" in lines[3] and "500 ppi, as given" in lines[-2]
    result.save(tmp_path / "new" / "pair.png")
    with Image.open(tmp_path / "new" / "pair.png") as picture:
        assert picture.width > 1000 and np.asarray(picture).std() > 10


def test_a_notebook_shows_the_picture():
    with Image.open(io.BytesIO(comparison(MATES)._repr_png_())) as picture:
        assert (picture.format, picture.width) == ("PNG", NOTEBOOK) and picture.height > NOTEBOOK


def test_what_is_extrapolated_says_so_in_text_and_json():
    result = comparison(MATES)
    cases = [(1e-4, 4.1), (1e-4, 3.9), (1e-5, 5.1), (1e-5, 4.3), (1e-9, 6.0)]
    for fmr, score in cases:
        result.__dict__["score"] = score
        answer = "same finger" if score >= -np.log10(fmr) else "not the same finger, as far as these prints show"
        text, tree = result.text(fmr), result.to_dict(fmr)
        at = f"at an FMR of {100 * fmr:g} %"
        assert text.startswith(f"{answer} ({at}, extrapolated beyond what pairs can tell)\n")
        by = (
            "the fit of the score on synthetic fingers, extrapolated: 4950 impostor pairs of synthetic fingers "
            "(protocol fvc) tell no FMR below 0.07 %"
        )
        assert f"\ndecided by {by}\n" in text and tree["decided_by"] == by
        assert (tree["extrapolated"], tree["decided_from"], tree["calibration"]["least_fmr"]) == (True, "fit", 0.0007)
        assert (
            "decided by 4950 impostor pairs of synthetic fingers (protocol fvc)\n" in result.text()
            and "extrapolated" not in result.text()
        )
        assert (result.to_dict()["extrapolated"], result.to_dict()["decided_from"]) == (False, "synthetic")


def test_the_source_is_named_though_it_switches_with_the_score():
    """45 pairs of a run are enough for a no, not for a yes."""
    own = calibration(np.full(45, -3.0))
    yes, no = (dataclasses.replace(comparison(MATES), calibration=own) for _ in range(2))
    no.__dict__["score"] = -4.0
    assert yes.to_dict()["decided_from"] == "synthetic" and no.to_dict()["decided_from"] == "run"
    assert (
        "of cases\ndecided by 4950 impostor pairs of synthetic fingers (protocol fvc)\n"
        "no more of the run's own 45 impostor pairs score as high than an FMR of 0.1 % allows, and a yes takes 3,000, "
        "so they do not decide\n"
    ) in yes.text()
    assert "of cases\ndecided by the run's own 45 impostor pairs, few but enough for a no\n" in no.text()


def test_nothing_decided_where_nothing_can_be_said():
    none = small(comparison(OTHERS))
    assert "decided by" not in none.text() and none.to_dict()["decided_by"] is none.to_dict()["decided_from"] is None


def test_an_assumed_ppi_names_its_remedy():
    result = comparison(MATES)
    shown = result.print_a.of_ridges._replace(ppi_from=PpiFrom.assumed)
    result = dataclasses.replace(result, print_a=result.print_a._replace(of_ridges=shown))
    assert "; 500 ppi, assumed, as nothing says it: --ppi N does\n" in result.text()


def test_a_resolution_that_the_ridges_contradict_is_doubted(monkeypatch):
    result = comparison(MATES)
    assert result.ppi_doubts == {} and result.to_dict()["ppi"]["a"]["doubt"] is None
    monkeypatch.setattr("ifvit.comparison.image_pair.ridge_period", lambda *_: 18.0)  # of an image of half the ppi
    result = comparison(MATES)
    doubt = "A: at 500 ppi its ridges are 0.91 mm apart, those of adults about 0.46; the image looks like 1000 ppi"
    assert f"\n{doubt}\n" in result.text() and result.to_dict()["ppi"]["a"]["doubt"] == doubt


def test_the_decision_is_a_truth_value_too():
    assert comparison(MATES).same_finger is True and comparison(OTHERS).same_finger is False
    assert small(comparison(OTHERS)).same_finger is None


def test_what_is_too_small_for_an_fmr_is_told_of_that_fmr():
    """Enough is seen for 'same finger' at 1 %, and not at the rate that is asked for."""
    result = small(comparison(MATES))
    strict = 10.0 ** -(result.score + 1)
    assert result.to_dict()["cause"] is None and result.to_dict(strict)["cause"] == "small_print"
    assert result.to_dict(strict)["decision"] == f"cannot say: {result.to_dict(strict)['reason']}"


@pytest.mark.parametrize(
    ("score", "meaning"),
    [
        (-3.705, "5,100 times more likely of two fingers than of one"),
        (0.3, "2.0 times more likely of one finger than of"),
    ],
)
def test_how_many_times_is_said_as_people_write_it(score, meaning):
    result = comparison()
    result.__dict__["score"] = score
    assert meaning in result.headline()


def test_it_is_a_line_in_a_list_and_a_key_in_a_dict():
    result, again = comparison(MATES), comparison(MATES)
    assert repr(result) == f"<Comparison of a.png and b.png: same finger at an FMR of 0.1 %, score {result.score:.2f}>"
    assert ": cannot say at" in repr(small(comparison(OTHERS)))
    hostile = repr(dataclasses.replace(result, name_a="a\n\x1b[2J.png"))
    assert hostile.startswith("<Comparison of a??[2J.png and b.png:")
    assert {result: 1, again: 2}[result] == 1 and result != again
