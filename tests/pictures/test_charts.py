import subprocess
import sys

import numpy as np
import pytest

from ifvit.pictures import charts
from ifvit.pictures.charts import GENUINE, IMPOSTOR, ScoreCounts, counts_of, score_chart
from tests.helpers.colours import like

COUNTS = ScoreCounts(np.linspace(0, 1, 5), np.array([0, 1, 2, 1]), np.array([3, 2, 0, 0]))


@pytest.fixture
def texts(monkeypatch):
    """Every text of the charts that are drawn."""
    from matplotlib.text import Text

    found, drawn = [], charts.drawn

    def noted(figure):
        picture = drawn(figure)  # which puts the ticks in their places
        found.extend(text.get_text() for text in figure.findobj(Text))
        return picture

    monkeypatch.setattr(charts, "drawn", noted)
    return found


def test_axes_rates_threshold_and_legend_are_named(texts):
    picture = score_chart(COUNTS, 0.5, "EER 10.00 %", ["a run"], "cosine")
    assert picture.dtype == np.uint8 and picture.shape[2] == 3
    assert {"a run", "cosine", "share of pairs of the kind", "rate at the threshold"} <= set(texts)
    legend = [text.replace("\n", " ") for text in texts]
    assert "4 genuine pairs: their share at each score; below, FNMR, genuine pairs rejected" in legend
    assert "5 impostor pairs: their share at each score; below, FMR, impostor pairs accepted" in legend
    assert "EER 10.00 % at a threshold of 0.5" in legend
    assert any(text.endswith(" %") and text[:-2].replace(".", "").isdecimal() for text in texts)  # ticks with a unit


def test_genuine_scores_lie_on_the_right():
    picture = score_chart(COUNTS, 0.5, "EER", [], "score")
    upper = picture[: picture.shape[0] * 45 // 100]
    genuine, impostor = (np.nonzero(like(upper, colour))[1] for colour in (GENUINE, IMPOSTOR))
    assert len(genuine) > 50 and len(impostor) > 50 and np.median(genuine) > np.median(impostor) + 200


def test_a_threshold_beyond_the_scores_and_a_missing_kind(texts):
    score_chart(COUNTS, np.inf, "EER 50.00 %", [], "score")
    score_chart(COUNTS._replace(impostor=0 * COUNTS.impostor), np.nan, "", [], "score")
    assert not any("threshold of" in text for text in texts)
    assert sum("impostor pairs:" in text for text in texts) == 1


def test_the_same_chart_is_the_same_to_the_last_bit():
    chart, other = (score_chart(COUNTS, 0.5, "EER", ["heading"], "score") for _ in range(2))
    assert chart.tobytes() == other.tobytes()


def test_names_are_names_and_long_lines_are_broken(texts):
    names = "$\\frac$ _x \x1b[2J"
    plain = score_chart(COUNTS, 0.5, names, [names], names)
    assert texts.count("$\\frac$ _x ?[2J") >= 1 and not any("\x1b" in text for text in texts)
    long = score_chart(COUNTS, 0.5, "EER", ["long " * 60], "score")
    assert long.shape == plain.shape
    assert max(len(line) for text in texts for line in text.split("\n")) <= charts.LETTERS


def test_scores_in_bins():
    counts = counts_of(np.array([-0.2, 0.1, 0.9, 1.0]), np.array([False, False, True, True]))
    assert counts.genuine.sum() == counts.impostor.sum() == 2
    assert counts.edges[0] == -0.2 and counts.edges[-1] == 1 and len(counts.edges) == charts.BINS + 1


def test_matplotlib_comes_where_it_draws_and_without_pyplot():
    code = (
        "import sys\n"
        "from ifvit.cli import evaluate, main\nfrom ifvit.pictures import charts\n"
        "from ifvit.evaluation import evaluate\n"
        "assert 'matplotlib' not in sys.modules\n"
        "import numpy as np\n"
        "charts.score_chart(charts.ScoreCounts(np.arange(3.0), np.ones(2, int), np.ones(2, int)), 1.0, 'x', [], 's')\n"
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
