"""The picture of a pair: what is sure looks sure, what is not does not, and the same pair gives the same picture."""

import dataclasses
from datetime import date

import numpy as np
import pytest

from ifvit.comparison import marks as marks
from ifvit.comparison.matcher_print import MatcherPrint
from ifvit.comparison.picture import PLACES, aligned_images, bent_grid, heat_map, overlay, runs_of
from ifvit.comparison.registration_result import Registration
from ifvit.enhancement.minutiae import MinutiaKind
from ifvit.image import Canvas, PpiFrom
from ifvit.pictures import captions
from ifvit.registration.agreement import AGREES
from tests.helpers.comparisons import comparison, found, guess, module2_result, prints

DAY = date(2026, 11, 27)


def near(picture, colour):
    """How many pixels have a colour."""
    return int((np.abs(picture.astype(int) - colour).sum(-1) < 30).sum())


def pair_of(result):
    return aligned_images(result.print_a.of_ridges, result.print_b.of_ridges, result.alignment)


@pytest.fixture(scope="module")
def mates():
    return comparison(found(mean=0.9))


@pytest.fixture(scope="module")
def apart():
    """The same prints and minutiae, whose ridges do not agree."""
    return comparison(found(mean=AGREES - 0.2))


def test_the_page_is_the_same_for_the_same_day(mates):
    picture = mates.picture(day=DAY)
    assert picture.dtype == np.uint8 and picture.shape[1:] == (captions.PAGE, 3)
    np.testing.assert_array_equal(picture, mates.picture(day=DAY))
    assert (picture.shape != (other := mates.picture(day=date(2027, 1, 1))).shape) or (picture != other).any()


def text_of(result, monkeypatch, **asked):
    """All that stands on a picture."""
    written, paragraph = [], captions.paragraph

    def kept(text, *rest, **more):
        written.append(text)
        return paragraph(text, *rest, **more)

    monkeypatch.setattr(captions, "paragraph", kept)
    result.picture(day=DAY, **asked)
    return written


def test_the_legend_is_true_of_different_fingers_too(mates, apart, monkeypatch):
    legends = [{text for text in text_of(result, monkeypatch) if "meet" in text} for result in (mates, apart)]
    assert (
        legends[0]
        == legends[1]
        == {
            "minutiae that meet (same number)",
            "that meet where ridges do not agree: unsure",
            "of A, that meet none of B's",
            "of B, that meet none of A's",
        }
    )


def test_the_page_tells_answer_score_fmr_run_and_day(mates, monkeypatch):
    written = text_of(mates, monkeypatch, fmr=0.001)
    assert written[0] == "Same finger" and written[1] == "at an FMR of 0.1 %"
    assert set(mates.reasons()) <= set(written)
    assert any(line.startswith("a.png: ") for line in written) and "2026-11-27" in written
    assert any(line.startswith("ridges and minutiae alone, without a run; IFViT ") for line in written)
    assert "5 mm" in written


def test_a_picture_of_a_run_names_it(monkeypatch):
    run = comparison(found(guess=guess()), run="checkpoints/dense (best, step 300)")
    assert run.compared_by == "ridges, minutiae and Module 1 of checkpoints/dense (best, step 300)"
    assert any(line.startswith(run.compared_by) for line in text_of(run, monkeypatch))


def test_a_registration_is_drawn_with_its_reason(monkeypatch):
    refused = Registration(comparison(found(mean=0.31, paired=2, alone=14)))
    written = text_of(refused, monkeypatch)
    assert written[0] == "Not registered" and written[1] == refused.reason and "2026-11-27" in written
    assert written[2].startswith(f"score {refused.pair.compared.ridge_score:.2f} by ridges and minutiae; registered")


@pytest.mark.parametrize(("kind", "style"), [("mates", marks.PAIRED), ("apart", marks.DOUBTFUL)])
def test_a_paired_minutia_looks_sure_only_where_ridges_agree(kind, style, request, monkeypatch):
    result, styles = request.getfixturevalue(kind), []
    monkeypatch.setattr(marks.Sheet, "minutiae", lambda sheet, minutiae, which, each: styles.append(list(each)))
    monkeypatch.setattr(marks.Sheet, "numbers", lambda sheet, points, colour: None)
    result.picture(day=DAY)
    numbered = [each for each in styles if style in each]
    assert numbered == [[style] * 12] * 2  # in A and in B


def test_the_grid_is_dashed_where_ridges_do_not_agree(mates, apart):
    sure, unsure = (near(bent_grid(pair_of(result), 3.0), marks.ONLY_B) for result in (mates, apart))
    assert sure > 2 * unsure > 0


def test_the_overlay_is_pale_outside_the_overlap(mates):
    pair = pair_of(mates)
    inside = overlay(pair, 1.0)[pair.local != 0]
    nothing = overlay(pair._replace(local=np.zeros_like(pair.local)), 1.0)
    assert inside.min() < 60 and nothing.min() > 150


def of_module_2(off, count=40):
    """A pair whose places lie `off` px apart once A is laid on B."""
    pair = pair_of(comparison(found(mean=0.9)))
    y, x = np.divmod(np.arange(count), 8)
    in_b = np.stack([80.0 + 14 * x, 80.0 + 14 * y], axis=-1)
    return pair._replace(places=(pair.alignment.to_a(in_b + off), in_b))


def test_the_places_of_module_2_are_drawn_on_the_overlay(mates):
    bare = near(overlay(pair_of(mates), 2.0), marks.MODULE2)
    agreeing, apart = (overlay(of_module_2(off, 8), 2.0) for off in ((0.0, 0.0), (12.0, 0.0)))
    assert bare == 0 < near(agreeing, marks.MODULE2) < near(apart, marks.MODULE2) / 1.5
    dot, line = marks.drawing_points(np.array([80.0, 80.0]), 2.0), marks.drawing_points(np.array([86.0, 80.0]), 2.0)
    for x, y in np.round([dot, line]).astype(int):
        assert np.abs(apart[y, x].astype(int) - marks.MODULE2).max() < 30


def test_no_more_places_than_the_surest_are_drawn():
    zero = (0.0, 0.0)
    np.testing.assert_array_equal(overlay(of_module_2(zero, 40), 2.0), overlay(of_module_2(zero, PLACES), 2.0))
    assert (overlay(of_module_2(zero, PLACES), 2.0) != overlay(of_module_2(zero, PLACES - 1), 2.0)).any()


def test_the_legend_counts_the_places_and_is_silent_without_any(mates, monkeypatch):
    assert not any("Module 2" in line for line in text_of(mates, monkeypatch))
    canvas = Canvas(np.zeros((160, 160), np.uint8), np.ones((160, 160), bool), 0, 500.0, PpiFrom.given)
    both = [shown._replace(of_networks=MatcherPrint(canvas, canvas.grey)) for shown in prints()]
    seen = found(mean=0.9, guess=guess(), module2_result=module2_result())
    run = dataclasses.replace(comparison(seen, network_ppi=250.0), print_a=both[0], print_b=both[1])
    assert "Module 2's places of B, a line to A's where they lie apart (all 3)" in text_of(run, monkeypatch)


def test_agreement_is_coloured_from_violet_to_yellow(mates):
    pair = pair_of(mates)
    high, low = (
        heat_map(pair._replace(local=np.where(pair.local != 0, value, 0.0)), 1.0)[pair.local != 0].mean(0)
        for value in (1.0, 0.01)
    )
    assert high[0] > high[2] + 50 and low[2] > low[1] + 20


def test_what_is_not_sure_is_dashed():
    path = np.array([(5.0, 20.0), (295.0, 20.0)])
    solid, dashed = (np.full((40, 300, 3), 120, np.uint8) for _ in range(2))
    marks.stroke(solid, path, marks.GRID_SURE)
    marks.stroke(dashed, path, marks.GRID_DOUBTFUL)
    on_line = [(picture[20] == marks.ONLY_B).all(-1).mean() for picture in (solid, dashed)]
    assert on_line[0] > 0.9 and 0.2 < on_line[1] < 0.7


def test_endings_and_bifurcations_have_other_marks():
    assert (
        marks.minutia_mark(marks.PAIRED, MinutiaKind.ending)
        != marks.minutia_mark(marks.PAIRED, MinutiaKind.bifurcation)
    ).any()


def test_runs_of_a_line_touch_where_both_are_drawn():
    assert runs_of(np.array([0, 1, 1, 2, 2, 0, 0])) == [(0, 0, 1), (1, 1, 3), (2, 3, 4), (0, 5, 6)]
