"""Whether a pair is registered, and how that is told."""

import json

import numpy as np
import pytest
from PIL import Image

import ifvit
from ifvit.cli import main as cli
from ifvit.comparison.registration_result import Registration, is_registered
from tests.helpers.comparisons import comparison, found


@pytest.fixture(scope="module")
def registered():
    return Registration(comparison())


@pytest.fixture(scope="module")
def refused():
    return Registration(comparison(found(mean=0.31, paired=2, alone=14)))


def test_where_the_ridges_agree(registered):
    tree = registered.to_dict()
    assert tree["registered"] and tree["reason"] is None and len(tree["map"]) > 30
    assert np.shape(tree["homography"]) == (3, 3) and tree["agreement"]["mean"] == 0.9
    assert json.loads(json.dumps(tree, allow_nan=False)) == tree
    lines = registered.text().split("\n")
    assert lines[0].startswith("registered: ridges agree at 0.90 over 81 mm2, 80% of the smaller print (from a guess")
    assert lines[1].startswith("the nearest homography") and len(lines[2].split()) == 3


def test_where_they_do_not_it_is_said_what_was_tried(refused):
    reason = (
        "the best of 7 guesses (flow 3, minutiae 4) leaves ridges agreeing at 0.31 over 81 mm2, as those of different "
        "fingers do"
    )
    assert refused.to_dict()["reason"] == refused.reason == reason and not refused.to_dict()["registered"]
    assert refused.text().split("\n")[0] == f"not registered: {reason}"


@pytest.mark.parametrize("score, enough", [(-0.05, False), (0.05, True), (3.0, True)])
def test_it_takes_a_ratio_that_does_not_speak_for_two_fingers(score, enough):
    assert is_registered(score) is enough


def test_cosines_have_no_say(refused):
    """Nor can they undo what the ridges say: a network's result is no alignment."""
    from tests.helpers.comparisons import module2_result

    compared = refused.pair.compared._replace(module2_result=module2_result(1.0, 1.0))
    assert not Registration(comparison(compared)).registered


@pytest.mark.parametrize("kind", ["registered", "refused"])
def test_the_command(kind, request, tmp_path, monkeypatch, capsys):
    registration, picture = request.getfixturevalue(kind), tmp_path / "pair.png"
    asked = []

    class Matcher:
        def register(self, a, b, ppi):
            asked.append((str(a), str(b), ppi))
            return registration

    monkeypatch.setattr(ifvit, "load", lambda run_dir: Matcher())
    command = ["register", "a.png", "b.png", "--ppi", "500", "--json", "--picture", str(picture)]
    status = 0
    try:
        cli.main(command)
    except SystemExit as ended:
        status = ended.code
    tree = json.loads(capsys.readouterr().out)
    assert asked == [("a.png", "b.png", 500)] and tree["picture"] == str(picture)
    assert status == (0 if kind == "registered" else 1) and tree["registered"] == (kind == "registered")
    with Image.open(picture) as drawing:
        assert drawing.width > 1000


def test_what_is_no_run_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["register", "a.png", "b.png", "--run", str(tmp_path)])
    assert ended.value.code == 2 and "no run directory" in capsys.readouterr().err
