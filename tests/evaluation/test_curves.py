import numpy as np
import pytest

from ifvit.evaluation import curves
from ifvit.evaluation.curves import COLOURS, FINE, LEFT, Field, _fine, _round_values, _visible, draw_det, draw_histogram
from ifvit.evaluation.verification import figures
from ifvit.plots import INK, MARGIN, PAPER, RIGHT, WRONG
from tests.evaluation.test_verification import simulated


@pytest.fixture(scope="module")
def two():
    return {"better": figures(*simulated(30, 4, 4, seed=0)), "worse": figures(*simulated(30, 4, 2, seed=0))}


def like(picture, colour, reach=40):
    return np.abs(picture.astype(int) - colour).sum(-1) < reach


def test_a_place_in_the_field():
    field = Field((-2, 0), (0, 5), 200, 100)
    assert field.at([-2, 0], [0, 5]).tolist() == [[LEFT, MARGIN + 100], [LEFT + 200, MARGIN]]
    assert _fine(np.array([1.5, 2.03])).tolist() == [1.5 * FINE, 32]


def test_the_better_curve_lies_below(two):
    picture = draw_det(two, [])
    assert picture.dtype == np.uint8 and picture.shape[2] == 3
    plot = picture[: MARGIN + 560 + MARGIN]
    rows = [np.nonzero(like(plot, colour))[0].mean() for colour in COLOURS[:2]]
    assert rows[0] > rows[1] + 50
    alone = draw_det({"worse": two["worse"]}, [])
    assert like(alone, COLOURS[0]).sum() > 500 and not like(alone, COLOURS[1]).any()


def test_the_curve_goes_through_the_equal_error(two):
    rate = two["worse"].eer  # the diagonal is where the rates are equal
    picture = draw_det({"worse": two["worse"]}, [])[MARGIN:]
    x, y = np.round(Field((-3, 0), (-3, 0), 560, 560).at(np.log10(rate), np.log10(rate))).astype(int)
    assert like(picture[y - 12 : y + 13, x - 12 : x + 13], COLOURS[0]).any()


def test_the_dot_is_at_zero_fmr(two):
    place = Field((-3, 0), (-3, 0), 560, 560).at(-3, np.log10(two["better"].zero_fmr))
    x, y = np.round(place).astype(int)
    picture = draw_det({"better": two["better"]}, [])[MARGIN:]
    assert like(picture[y - 1 : y + 2, x - 1 : x + 2], COLOURS[0]).all()


def test_the_path_starts_and_ends_at_the_edges():
    det = np.array([[1, 0], [0.5, 0], [0.5, 0.2], [0.1, 0.2], [0, 0.4], [0, 1]])
    path = _visible(det)
    assert path[0].tolist() == [0.5, 0] and path[-1].tolist() == [0, 0.4]
    assert (np.diff(path[:, 0]) <= 0).all() and (np.diff(path[:, 1]) >= 0).all()
    on_the_last = path[3:]
    np.testing.assert_allclose(on_the_last[:, 1], 0.2 + 2 * (0.1 - on_the_last[:, 0]), atol=1e-12)
    assert len(on_the_last) > 50


@pytest.mark.parametrize("kind", ["separable", "inverted", "constant"])
def test_extremes_are_drawn(kind):
    _, genuine, first, second = simulated(5, 3, 0, seed=0)
    scores = {"separable": genuine, "inverted": ~genuine, "constant": 0 * genuine}[kind]
    got = figures(scores.astype(float) / 3, genuine, first, second)
    assert like(draw_det({kind: got}, [kind]), COLOURS[0]).sum() > 30
    assert (draw_histogram(got, [kind]) != PAPER).any()


def test_figures_of_too_few_pairs_are_marked(monkeypatch):
    legends = []
    drawn = curves._assembled
    monkeypatch.setattr(curves, "_assembled", lambda *parts: legends.append(parts[2]) or drawn(*parts))
    _, genuine, first, second = simulated(5, 3, 0, seed=0)
    few, many = figures(genuine / 3, genuine, first, second), figures(*simulated(100, 8, 2, seed=0))
    draw_det({"few": few}, [])
    draw_det({"many": many}, [])
    draw_histogram(few, [])
    draw_histogram(many, [])
    det_of_few, det_of_many, scores_of_few, scores_of_many = ([text for _, text in legend] for legend in legends)
    assert det_of_few == ["few: EER 0.00 %*, FMR100 0.00 %*, FMR1000 0.00 %*, ZeroFMR 0.00 %*", curves.TOO_FEW]
    assert len(det_of_many) == 1 and "*" not in det_of_many[0]
    assert scores_of_few[-1].endswith("; means little: 10 impostor pairs cannot tell a rate below 30.00 %")
    assert "means little" not in scores_of_many[-1]


def test_how_many_curves(two):
    one = two["worse"]
    assert draw_det({str(k): one for k in range(len(COLOURS))}, ["a", "b"]).shape[0] > draw_det(two, ["a"]).shape[0]
    for count in (0, len(COLOURS) + 1):
        with pytest.raises(ValueError, match=f"1 to {len(COLOURS)} curves, not {count}"):
            draw_det({str(k): one for k in range(count)}, [])


def test_a_long_line_widens_the_picture(two):
    assert draw_det(two, ["long " * 60]).shape[1] > draw_det(two, ["short"]).shape[1]


def test_genuine_scores_are_green_on_the_right(two):
    got = two["better"]
    picture = draw_histogram(got, [])[2 * MARGIN : MARGIN + 370]
    green, red = (np.nonzero(like(picture, colour))[1] for colour in (RIGHT, WRONG))
    assert len(green) > 200 and len(red) > 200 and np.median(green) > np.median(red) + 200
    edges = got.histogram.edges
    x = round(float(Field((edges[0], edges[-1]), (0, 1), 840, 1).at(got.eer_threshold, 0)[0]))
    assert like(picture[:, x - 1 : x + 2], INK, 200).any(1).mean() > 0.9


def test_round_values():
    assert _round_values(0, 0.093).tolist() == pytest.approx([0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08, 0.09])
    assert _round_values(-2.6, 6.4).tolist() == [-2, -1, 0, 1, 2, 3, 4, 5, 6]
    for high in np.geomspace(0.01, 1e4, 40):
        assert 5 <= len(_round_values(0, high)) <= 13
