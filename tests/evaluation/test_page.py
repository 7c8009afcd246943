"""The page of a report: small, whole without other files, readable aloud and on paper, and nobody's text is HTML."""

import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from ifvit import glossary
from ifvit.evaluation.nbis import Baseline
from ifvit.evaluation.page import (
    DET,
    ROBUSTNESS,
    THUMBNAIL,
    Contents,
    WorstPair,
    chart_files,
    few_colours,
    page,
    thumbnail,
)
from ifvit.evaluation.robustness import Robustness
from ifvit.evaluation.verification import figures
from tests.helpers.scores import simulated

HOSTILE = '<script>"a&b"</script>'
VOID = {"meta", "img", "br"}


class Reader(HTMLParser):
    """What a page is made of; it must be closed as it was opened."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.words = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(scope="module")
def html():
    result = figures(*simulated(30, 4, 2, seed=0))
    chart = np.full((40, 60, 3), 255, np.uint8)
    results = {"FVC2002/DB1_B": result, HOSTILE: result}
    worst = [
        WorstPair("genuine", (f"{HOSTILE}.png", "2_1.png"), "score -1", np.zeros((700, 900, 3), np.uint8)),
        WorstPair("impostor", ("a b.png", "2_1.png"), "score 3", np.zeros((70, 90, 3), np.uint8)),
    ]
    robustness = Robustness((0.0,), (0.0,), np.zeros((1, 1)), 50, 1.0, 0.01, 45)
    baseline = Baseline(HOSTILE, "1", {"FVC2002/DB1_B": result}, None, None, {})
    about = {
        "run": HOSTILE, "protocol": "fvc", "score": "s", "unusable": [f"{HOSTILE}.tif: damaged", "ü ß.tif: blank"],
        "date": "2026-01-02 03:04+00:00", "ifvit": "0.1.0", "command": f"python -m ifvit evaluate '{HOSTILE}'",
    }  # fmt: skip
    charts = dict.fromkeys([DET, ROBUSTNESS, *chart_files(results).values()], chart)
    return page(Contents("FVC2002/DB1_B", about, results, charts, worst, baseline, robustness))


def test_nobodys_text_is_html(html):
    assert "<script" not in html and HOSTILE in "".join(Reader(html).words)


def test_title_date_version_command_and_the_names_as_they_are(html):
    words = "".join(Reader(html).words)
    for text in (
        "Verification: FVC2002/DB1_B", "IFViT 0.1.0, 2026-01-02 03:04+00:00", f"python -m ifvit evaluate '{HOSTILE}'",
        "ü ß.tif: blank", "a b.png and 2_1.png",
    ):  # fmt: skip
        assert text in words


def test_a_screen_reader_finds_its_way(html):
    reader = Reader(html)
    assert reader.all("html") == [{"lang": "en"}] and len(reader.all("h1")) == len(reader.all("main")) == 1
    levels = [int(tag[1]) for tag, _ in reader.tags if tag in ("h1", "h2", "h3")]
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))
    assert all(attrs.get("alt") for attrs in reader.all("img"))
    assert all(attrs.get("scope") in ("row", "col") for attrs in reader.all("th"))
    assert len(reader.all("table")) == len(reader.all("caption")) == 2
    anchors = {attrs["id"] for _, attrs in reader.tags if "id" in attrs}
    links = [attrs["href"] for attrs in reader.all("a")]
    inner = [link[1:] for link in links if link.startswith("#")]
    assert set(inner) <= anchors and len(inner) >= 8
    assert [link for link in links if not link.startswith("#")] == ["worst/00.png", "worst/01.png"]


def test_it_needs_no_other_file(html):
    reader = Reader(html)
    assert all(attrs["src"].startswith("data:image/") for attrs in reader.all("img"))
    assert not reader.all("link") and "@media print" in html and "url(" not in html


def test_intervals_do_not_break_over_lines(html):
    assert ".figures td,.figures tbody th{white-space:nowrap}" in html
    assert re.search(r"<td>\d+\.\d\d \[\d+\.\d\d, \d+\.\d\d\]</td>", html)


def test_brackets_are_explained_where_there_are_some(html):
    _, genuine, first, second = simulated(5, 3, 0, seed=0)
    few = {"few": figures(genuine / 3, genuine, first, second)}
    about, charts = {"date": "", "ifvit": ""}, {"few.png": np.zeros((9, 9, 3), np.uint8)}
    assert "In brackets" in html and "In brackets" not in page(Contents("few", about, few, charts, []))


def test_every_term_is_explained(html):
    words = "".join(Reader(html).words)
    assert all(term.name in words and term.means in words for term in glossary.VERIFICATION)


def test_each_database_has_a_chart_of_its_own():
    names = ["det", "a/b", "a_b", "robustness", "long" * 100]
    files = chart_files(names)
    assert len(set(files.values())) == 5 and not {DET, ROBUSTNESS} & set(files.values())
    assert files["a/b"] == "a_b.png" and max(map(len, files.values())) < 100 and "/" not in "".join(files.values())


def test_pictures_are_small():
    rng = np.random.default_rng(0)
    prints = rng.integers(0, 255, (1300, 1200, 3)).astype(np.uint8)  # the worst there is
    prints = prints // 4 + 160
    small = thumbnail(prints)
    assert small[:2] == b"\xff\xd8" and len(small) < 110_000
    assert Image.open(io.BytesIO(small)).size == (THUMBNAIL, round(1300 * THUMBNAIL / 1200))
    assert few_colours(np.full((800, 900, 3), 255, np.uint8))[:4] == b"\x89PNG"
