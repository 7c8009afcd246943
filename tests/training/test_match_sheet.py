"""What the picture of a validation's matches says of those between different fingers."""

import numpy as np
import pytest

from ifvit import captions
from ifvit.plots import MatchedPair
from ifvit.training import log
from ifvit.training.validate import DIFFERENT

MEANS = {"exact": 0.7, "within_one": 1.0, "precision": 0.7, "recall": 0.8}


def matched(title):
    none = np.zeros((0, 2))
    return MatchedPair(np.ones((16, 16)), np.ones((16, 16)), none, none, np.zeros(0), np.zeros(0, bool), title)


@pytest.mark.parametrize(
    ("titles", "taught", "sentence"),
    [
        (["same finger: 1 of 1", f"{DIFFERENT}: 0 of 3"], True, log.FAILURES),
        (["same finger: 1 of 1", f"{DIFFERENT}: 0 of 3"], False, log.EXPECTED),
        (["same finger: 1 of 1"], True, None),
    ],
)
def test_what_matches_between_different_fingers_mean(titles, taught, sentence, monkeypatch):
    written, paragraph = [], captions.paragraph

    def kept(text, *rest, **more):
        written.append(text)
        return paragraph(text, *rest, **more)

    monkeypatch.setattr(captions, "paragraph", kept)
    log.sheet([matched(title) for title in titles], 300, MEANS, "unseen fingers", taught)
    assert {"Module 1 after 300 steps, unseen fingers", *titles} <= set(written)
    assert [text for text in (log.FAILURES, log.EXPECTED) if text in written] == ([sentence] if sentence else [])
