import json
import shutil

import cv2
import jax
import numpy as np
import pytest

from ifvit import cli, plots
from ifvit.checkpoint import CheckpointError
from ifvit.config import Enhancement
from ifvit.image import ImageError
from ifvit.recognition.alignment import Cause, Matches, Refusal
from ifvit.recognition.enhancement import Enhancer
from ifvit.recognition.pair import Pair, register_files
from ifvit.recognition.registration import Registered, lay
from ifvit.recognition.trained import load_dense
from ifvit.training.loop import train


@pytest.fixture(scope="module")
def run_dir(tiny, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("trained") / "run"
    train(tiny(run_dir, "trainer.max_steps=1", "trainer.validate_every=1", "trainer.checkpoint_every=1"))
    return run_dir


@pytest.fixture
def files(prints):
    return prints / "finger0" / "0.png", prints / "finger0" / "1.png"


def test_everything_comes_from_the_run(run_dir, files):
    trained = load_dense(run_dir)
    assert (trained.which, trained.step, trained.frame, trained.ppi) == ("best", 1, (64, 64), 250)
    assert trained.enhancement is Enhancement.none and trained.dense.d_model == 8
    assert trained.variables["params"] and trained.variables["batch_stats"]
    canvas = trained.canvas(files[0], 250, trained.enhancer())
    assert canvas.grey.shape == (64, 64) and canvas.ridges.any()


def test_a_copy_of_a_run_is_the_same_module_1_and_another_state_is_not(run_dir, tmp_path):
    trained = load_dense(run_dir)
    assert trained.digest() == load_dense(shutil.copytree(run_dir, tmp_path / "copy")).digest()
    other = jax.tree.map(np.copy, trained.variables)
    leaf = jax.tree.leaves(other["batch_stats"])[-1]
    leaf.ravel()[-1] += 1e-6
    assert trained._replace(variables=other).digest() != trained.digest()


def test_an_earlier_versions_run_too(run_dir, tmp_path):
    old = shutil.copytree(run_dir, tmp_path / "old")
    held = json.loads((old / "config.json").read_text())
    del held["config"]["data"]["enhancement"], held["config"]["dense"]["fine"]
    (old / "config.json").write_text(json.dumps(held))
    assert load_dense(old).dense == load_dense(run_dir).dense


@pytest.mark.parametrize(
    "text", [None, "{}", "[1]", '{"config": {"dense": {}}}', '{"config": {"data": {}, "dense": 3}}']
)
def test_what_is_no_run_is_refused(tmp_path, text):
    if text:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match="no run directory"):
        load_dense(tmp_path)


def test_a_damaged_file_is_named(run_dir, tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    trained = load_dense(run_dir)
    with pytest.raises(ImageError, match="a.png"):
        trained.canvas(tmp_path / "a.png", None, trained.enhancer())
    flat = np.full((90, 90), 200, np.uint8)
    flat[0, 0] = 199
    cv2.imwrite(str(tmp_path / "flat.png"), flat)
    with pytest.raises(ImageError, match="flat.png: no ridges"):
        trained.canvas(tmp_path / "flat.png", 250, trained.enhancer())


def pair_of(run_dir, files, homography):
    """A pair as a perfect network would lay it."""
    trained = load_dense(run_dir)
    a, b = (trained.canvas(file, 250, trained.enhancer()) for file in files)
    points = np.array([[10.0, 12.0], [40.0, 15.0], [22.0, 50.0], [50.0, 48.0]])
    there = points @ homography[:2, :2].T + homography[:2, 2]
    matches = Matches(points, there, np.array([0.9, 0.8, 0.5, 0.3]))
    registered = Registered(homography, lay(a, b, homography), None, matches, np.array([1, 1, 1, 0], bool), 0.0, 0.0)
    return Pair(*files, a, b, 250.0, registered, 0.5)


def test_the_homography_is_in_the_files_pixels(run_dir, files):
    """What it says of file pixels is what the matches say."""
    shift = np.array([[1, 0, 3.0], [0, 1, -2.0], [0, 0, 1]])
    pair = pair_of(run_dir, files, shift)
    told = pair.tree()
    homography = np.array(told["homography"])
    for match in told["matches"]:
        there = homography @ [*match["a"], 1]
        np.testing.assert_allclose(there[:2] / there[2], match["b"], atol=0.02)
    assert told["registered"] and told["cause"] is None and 0 < told["overlap"] <= 1
    assert [match["inlier"] for match in told["matches"]] == [True, True, True, False]
    json.dumps(told, allow_nan=False)
    assert "3 of 4 matches agree" in pair.text() and "250 ppi, as given" in pair.text()


def test_the_picture(run_dir, files, tmp_path):
    pair = pair_of(run_dir, files, np.eye(3))
    pair.save(tmp_path / "new" / "pair.png")
    picture = cv2.imread(str(tmp_path / "new" / "pair.png"))
    colours = {tuple(pixel[::-1]) for pixel in picture.reshape(-1, 3)}
    assert {plots.COMMON, plots.ONLY_A, plots.ONLY_B} <= colours


def test_a_refusal_is_an_answer(run_dir, files):
    pair = pair_of(run_dir, files, np.eye(3))
    refusal = Refusal(Cause.few_matches, "2 matches, 4 are needed")
    pair = pair._replace(registered=pair.registered._replace(homography=None, aligned=None, refusal=refusal))
    told = pair.tree()
    assert (told["registered"], told["cause"], told["homography"]) == (False, "few_matches", None)
    assert pair.text().startswith("not registered: 2 matches, 4 are needed")
    with pytest.raises(ValueError, match="not registered: 2 matches"):
        pair.picture()


def test_two_files_through_an_untrained_network_are_refused(run_dir, files):
    pair = register_files(load_dense(run_dir), *files, 250)
    assert pair.registered.refusal and pair.registered.aligned is None
    trained = load_dense(run_dir)
    np.testing.assert_array_equal(pair.canvas_a.grey, trained.canvas(files[0], 250, trained.enhancer()).grey)


def test_one_enhancer_serves_both_prints(run_dir, files, tmp_path, monkeypatch):
    """Each would load its own networks."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    enhancers = []
    begin = Enhancer.__init__

    def counted(enhancer, *arguments):
        enhancers.append(enhancer)
        begin(enhancer, *arguments)

    monkeypatch.setattr(Enhancer, "__init__", counted)
    register_files(load_dense(run_dir)._replace(enhancement=Enhancement.gabor), *files, 250)
    assert [enhancer.method for enhancer in enhancers] == [Enhancement.gabor]


def test_the_command(run_dir, files, tmp_path, capsys, monkeypatch):
    command = ["register", *map(str, files), "--run", str(run_dir), "--ppi", "250"]
    with pytest.raises(SystemExit) as status:
        cli.main([*command, "--picture", str(tmp_path / "p.png")])
    assert status.value.code == 1 and "not registered: " in capsys.readouterr().out
    assert not (tmp_path / "p.png").exists()
    monkeypatch.setattr("ifvit.recognition.pair.register_files", lambda *_: pair_of(run_dir, files, np.eye(3)))
    cli.main([*command, "--picture", str(tmp_path / "p.png"), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["registered"] and told["picture"] == str(tmp_path / "p.png") and (tmp_path / "p.png").exists()
    for wrong in (["--run", str(tmp_path)], ["--picture", str(tmp_path)]):
        with pytest.raises(SystemExit) as status:
            cli.main([*command, *wrong])
        assert status.value.code == 2 and capsys.readouterr().err.startswith("error: ")
