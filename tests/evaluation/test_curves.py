import numpy as np
import pytest

from ifvit.evaluation import curves
from ifvit.evaluation.curves import _visible_path, draw_det, draw_heat_map, draw_histogram, rate_ticks
from ifvit.evaluation.figures import TOO_FEW
from ifvit.evaluation.robustness import Robustness
from ifvit.evaluation.verification import figures
from ifvit.pictures.charts import COLOURS
from tests.helpers.colours import like
from tests.helpers.scores import simulated


@pytest.fixture(scope="module")
def two():
    return {"better": figures(*simulated(30, 4, 4, seed=0)), "worse": figures(*simulated(30, 4, 2, seed=0))}


@pytest.fixture
def sheets(monkeypatch):
    """The sheets of the charts that are drawn."""
    found, drawn = [], curves.drawn
    monkeypatch.setattr(curves, "drawn", lambda figure: found.append(figure) or drawn(figure))
    return found


@pytest.fixture
def legends(monkeypatch):
    """The legends' lines of the charts that are drawn."""
    found, legend = [], curves.legend
    monkeypatch.setattr(
        curves, "legend", lambda figure, lines: found.append([t for _, t in lines]) or legend(figure, lines)
    )
    return found


def test_the_better_curve_lies_below(two):
    picture = draw_det(two, [])
    assert picture.dtype == np.uint8 and picture.shape[2] == 3
    plot = picture[: picture.shape[0] * 3 // 4]
    rows = [np.nonzero(like(plot, colour))[0].mean() for colour in COLOURS[:2]]
    assert rows[0] > rows[1] + 50
    alone = draw_det({"worse": two["worse"]}, [])
    assert like(alone, COLOURS[0]).sum() > 500 and not like(alone, COLOURS[1]).any()


def test_the_axes_end_where_the_pairs_do(two, sheets):
    """At half a pair, which stands for none; and no tick lies below one pair."""
    draw_det(two, [])
    (axes,) = sheets[0].axes
    pairs = two["worse"].pairs
    assert axes.get_xlim() == (0.5 / pairs.impostor, 1) and axes.get_ylim() == (0.5 / pairs.genuine, 1)
    for ticks, labels, count in (
        (axes.get_xticks(), axes.get_xticklabels(), pairs.impostor),
        (axes.get_yticks(), axes.get_yticklabels(), pairs.genuine),
    ):
        assert labels[0].get_text() == "0" and ticks[0] == 0.5 / count and (ticks[1:] >= 1 / count).all()
        assert labels[-1].get_text() == "100 %"
    assert axes.get_xlabel() == "FMR, impostor pairs accepted" and axes.get_ylabel() == "FNMR, genuine pairs rejected"


def test_operating_points_finer_than_the_pairs_are_not_drawn(two, sheets):
    _, genuine, first, second = simulated(5, 3, 0, seed=0)
    draw_det({"few": figures(genuine / 3, genuine, first, second)}, [])
    draw_det(two, [])
    draw_det({"many": figures(*simulated(100, 8, 2, seed=0))}, [])
    names = [{text.get_text() for text in sheet.axes[0].texts} - {"FMR = FNMR"} for sheet in sheets]
    assert names == [set(), {"FMR100"}, {"FMR100", "FMR1000"}]


def test_the_dot_is_at_zero_fmr_and_a_rate_of_none_at_the_axis_end(two, sheets):
    draw_det(two, [])
    _, genuine, first, second = simulated(5, 3, 0, seed=0)
    draw_det({"separable": figures(genuine / 3, genuine, first, second)}, [])
    for sheet, rate in ((sheets[0], two["better"].zero_fmr), (sheets[1], sheets[1].axes[0].get_ylim()[0])):
        (dot,) = (line for line in sheet.axes[0].lines if line.get_marker() == "o" and line.get_color() == COLOURS[0])
        assert dot.get_xdata()[0] == sheet.axes[0].get_xlim()[0] and dot.get_ydata()[0] == pytest.approx(rate)


def test_an_eer_is_a_diamond_with_its_interval_where_the_pairs_tell_it(two, sheets, legends):
    wide = figures(*simulated(10, 8, 1.2, seed=1))  # 280 genuine pairs, 45 impostor pairs
    draw_det({"wide": wide}, [])
    (axes,) = sheets[0].axes
    (diamond,) = (line for line in axes.lines if line.get_marker() == "D")
    (band,) = (line for line in axes.lines if line.get_gid() == "interval")
    assert diamond.get_xdata()[0] == diamond.get_ydata()[0] == wide.eer
    assert tuple(band.get_xdata()) == tuple(band.get_ydata()) == wide.intervals["eer"]
    low, high = (100 * rate for rate in wide.intervals["eer"])
    assert f"EER {100 * wide.eer:.2f} % [{low:.2f}, {high:.2f}], FMR100" in legends[0][0]
    assert legends[0][1] == "EER: FMR and FNMR are equal; the band is its 95 % interval"


def test_no_eer_is_drawn_below_what_the_pairs_tell(sheets, legends):
    scores, genuine, first, second = simulated(10, 8, 6, seed=1)
    few = figures(scores, genuine, first, second)
    draw_det({"few": few}, [])
    draw_det({"same": figures(0 * scores, genuine, first, second)}, [])
    lines = sheets[0].axes[0].lines
    assert not [line for line in lines if line.get_marker() == "D" or line.get_gid() == "interval"]
    (equal,) = (line for line in lines if line.get_linestyle() == "--")
    assert equal.get_xdata()[0] == equal.get_ydata()[0] == pytest.approx(few.least_fmr)
    assert legends[0][1] == "no EER is marked: 45 impostor pairs cannot tell a rate below 6.67 %"
    assert legends[1][1] == "no EER is marked: every pair has the same score"


def test_round_rates():
    assert rate_ticks(1 / 45) == pytest.approx([0.05, 0.1, 0.2, 0.5, 1])
    assert rate_ticks(1 / 100) == pytest.approx([0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1])
    assert rate_ticks(1 / 4950) == pytest.approx([0.001, 0.01, 0.1, 1])
    assert rate_ticks(1) == [1]


def test_the_path_starts_and_ends_at_the_edges():
    det = np.array([[1, 0], [0.5, 0], [0.5, 0.2], [0.1, 0.2], [0, 0.4], [0, 1]])
    path = _visible_path(det)
    assert path[0].tolist() == [0.5, 0] and path[-1].tolist() == [0, 0.4]
    assert (np.diff(path[:, 0]) <= 0).all() and (np.diff(path[:, 1]) >= 0).all()
    on_the_last = path[3:]
    np.testing.assert_allclose(on_the_last[:, 1], 0.2 + 2 * (0.1 - on_the_last[:, 0]), atol=1e-12)
    assert len(on_the_last) > 50


@pytest.mark.parametrize("kind", ["separable", "inverted", "constant"])
def test_extremes_are_drawn(kind, legends):
    _, genuine, first, second = simulated(5, 3, 0, seed=0)
    scores = {"separable": genuine, "inverted": ~genuine, "constant": 0 * genuine}[kind]
    got = figures(scores.astype(float) / 3, genuine, first, second)
    assert like(draw_det({kind: got}, [kind]), COLOURS[0]).sum() > 30
    assert (draw_histogram(got, [kind]) != 255).any()
    assert (legends[0][0] == "constant: every pair has the same score") == (kind == "constant")


def test_figures_of_too_few_pairs_are_marked(legends):
    _, genuine, first, second = simulated(5, 3, 0, seed=0)
    few, many = figures(genuine / 3, genuine, first, second), figures(*simulated(100, 8, 2, seed=0))
    draw_det({"few": few}, [])
    draw_det({"many": many}, [])
    assert legends[0][0] == "few: EER 0.00 %*, FMR100 0.00 %*, FMR1000 0.00 %*, ZeroFMR 0.00 %*"
    assert legends[0][-1] == TOO_FEW and TOO_FEW not in legends[1] and "*" not in legends[1][0]
    assert "a rate of fewer than 3 pairs, which is not told from none" in legends[0]


def test_the_doubt_stands_in_the_histogram_too(monkeypatch):
    legends = []
    monkeypatch.setattr("ifvit.pictures.charts.legend", lambda _, lines: legends.append([text for _, text in lines]))
    _, genuine, first, second = simulated(5, 3, 0, seed=0)
    draw_histogram(figures(genuine / 3, genuine, first, second), [])
    draw_histogram(figures(*simulated(100, 8, 2, seed=0)), [])
    assert legends[0][-1].endswith("; means little: 10 impostor pairs cannot tell a rate below 30.00 %")
    assert "means little" not in legends[1][-1] and "EER" in legends[1][-1]


def test_how_many_curves(two):
    result = two["worse"]
    assert draw_det({str(k): result for k in range(len(COLOURS))}, ["a", "b"]).shape[0] > draw_det(two, ["a"]).shape[0]
    for count in (0, len(COLOURS) + 1):
        with pytest.raises(ValueError, match=f"1 to {len(COLOURS)} curves, not {count}"):
            draw_det({str(k): result for k in range(count)}, [])


def test_the_heat_map_has_units_and_every_rate(sheets):
    rates = np.array([[0.0, 0.25], [0.5, 1.0]])
    table = Robustness((0.0, 90.0), (0.0, 2.0), rates, 50, 1.0, 0.01, 45)
    assert draw_heat_map(table, ["heading"]).std() > 10
    axes, bar = sheets[0].axes
    assert axes.get_xlabel() == "the second print moved by, mm" and axes.get_ylabel() == "and turned by, degrees"
    assert [text.get_text() for text in axes.texts] == ["0.0 %", "25.0 %", "50.0 %", "100.0 %"]
    assert bar.get_ylabel() == "FNMR, % of genuine pairs"
