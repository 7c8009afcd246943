"""What the picture of a validation's matches says of those between different fingers."""

from types import SimpleNamespace

import numpy as np
import pytest

from ifvit.pair import Pair
from ifvit.pictures import captions
from ifvit.pictures.plots import MatchedPair
from ifvit.training import dense_stage
from ifvit.training.dense_validate import DIFFERENT, NO_MATCH, matched_pairs

MEANS = {"exact": 0.7, "within_one": 1.0, "precision": 0.7, "recall": 0.8}


def matched_pair(title):
    none = np.zeros((0, 2))
    return MatchedPair(np.ones((16, 16)), np.ones((16, 16)), none, none, np.zeros(0), np.zeros(0, bool), title)


@pytest.fixture
def paragraphs(monkeypatch):
    """Every paragraph of the pictures that are drawn."""
    texts, paragraph = [], captions.paragraph

    def recorded_paragraph(text, *rest, **more):
        texts.append(text)
        return paragraph(text, *rest, **more)

    monkeypatch.setattr(captions, "paragraph", recorded_paragraph)
    return texts


@pytest.mark.parametrize(
    ("titles", "learns_negatives", "sentence"),
    [
        (["same finger: 1 of 1", f"{DIFFERENT}: 0 of 3"], True, dense_stage.IMPOSTOR_FAILURES),
        (["same finger: 1 of 1", f"{DIFFERENT}: 0 of 3"], False, dense_stage.IMPOSTOR_EXPECTED),
        (["same finger: 1 of 1"], True, None),
    ],
)
def test_what_matches_between_different_fingers_mean(titles, learns_negatives, sentence, paragraphs):
    dense_stage.match_sheet([matched_pair(title) for title in titles], 300, MEANS, "unseen fingers", learns_negatives)
    assert {"Module 1 after 300 steps, unseen fingers", *titles} <= set(paragraphs)
    assert [text for text in (dense_stage.IMPOSTOR_FAILURES, dense_stage.IMPOSTOR_EXPECTED) if text in paragraphs] == (
        [sentence] if sentence else []
    )


def test_a_validation_without_a_match_says_so_in_words(paragraphs):
    batch = SimpleNamespace(images=Pair(*np.ones((2, 2, 16, 16))), genuine=np.array([True, False]))
    matches = SimpleNamespace(cells=np.array([[[0, 0]], [[-1, -1]]]), confidence=np.ones((2, 1)))
    validation = SimpleNamespace(
        matches=matches, points={"coarse": np.zeros((2, 1, 2))}, right=np.array([[True], [False]])
    )
    assert [pair.title for pair in matched_pairs(batch, validation, 8, 2)] == [
        "same finger: 1 of 1 matches right", f"{DIFFERENT}: {NO_MATCH}"
    ]  # fmt: skip
    dense_stage.match_sheet(
        [matched_pair("t")], 6, MEANS | {"precision": float("nan"), "recall": 0.0}, "unseen fingers", True
    )
    assert f"cells exact 0.70, within one 1.00; {NO_MATCH}" in paragraphs


def test_how_far_off_matches_are_has_its_unit():
    means = {"coarse_median": 2.0, **{f"coarse_pck_{px}": 0.5 for px in (1, 3, 5, 10)}}
    assert dense_stage.placement_text(means) == (
        "matches off by: coarse median 2.00 px, 50% within 1 px, 50% within 3 px, 50% within 5 px, 50% within 10 px"
    )
