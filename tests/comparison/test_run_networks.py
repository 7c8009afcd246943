"""Where the networks' canvases lie on the ridges, and what Module 2 is shown of an aligned pair."""

import numpy as np
import pytest

from ifvit import image
from ifvit.comparison.matcher_print import MatcherPrint, Print
from ifvit.comparison.module2_inputs import align_images
from ifvit.comparison.run_networks import RunNetworks, first_method, load_networks
from ifvit.config import Enhancement
from ifvit.errors import CheckpointError
from ifvit.image import Scan
from ifvit.registration.elastic import ElasticMap
from ifvit.registration.module1 import Module1, load_dense
from ifvit.registration.ridge_print import PPI
from ifvit.registration.similarity import transform
from tests.helpers.ridge_prints import disc, drawn, finger, map_to_a
from tests.helpers.turns import turned_about

RUN_PPI, CANVAS = 250.0, (160, 160)
TO_A = map_to_a(25.0, (12.0, -9.0))  # in the images, which are at 500 ppi


class Module1(Module1):
    """A Module 1 that guesses nothing."""

    def registrar(self, **_):
        return None


@pytest.fixture(scope="module")
def networks():
    return RunNetworks(Module1("best", 1, None, {}, None, CANVAS, RUN_PPI, Enhancement.none))


def seen(of_finger, to_finger, shown):
    """A print whose ridges are cut out of its image, as a network sees it."""
    ridges = drawn(of_finger, to_finger, shown)
    rows, cols = (np.flatnonzero(shown.any(axis)) for axis in (1, 0))
    part = np.s_[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
    cut = ridges._replace(
        grey=ridges.grey[part], enhanced=ridges.enhanced[part], ridges=shown[part], left=int(cols[0]), top=int(rows[0])
    )
    canvas = image.canvas_of(Scan(ridges.grey, None, False), shown, PPI, RUN_PPI, *CANVAS)
    return Print(cut, MatcherPrint(canvas, canvas.grey))


@pytest.fixture(scope="module")
def pair():
    return seen(finger(3), None, disc(130, 150, 110)), seen(finger(3), TO_A, disc(150, 140, 115))


def test_canvas_and_ridges_show_the_same_place(pair):
    """Bright and dark are the same there."""
    for shown in pair:
        rows, cols = np.nonzero(shown.of_networks.canvas.ridges[40:120:3, 40:120:3])
        points = np.stack([cols, rows], -1) * 3.0 + 40
        on_ridges = shown.to_ridges(points, RUN_PPI)
        np.testing.assert_allclose(shown.to_canvas(on_ridges, RUN_PPI), points)
        x, y = np.floor(on_ridges).astype(int).T
        there = np.mean([shown.of_ridges.grey[y + i, x + j] for i in (0, 1) for j in (0, 1)], axis=0)
        here = shown.of_networks.canvas.grey[points[:, 1].astype(int), points[:, 0].astype(int)]
        assert np.corrcoef(there, here)[0, 1] > 0.95


def test_a_guess_says_the_same_on_canvases_and_on_ridges(networks, pair):
    a, b = pair
    guess = turned_about(0.4, np.array([70.0, 60.0]))
    on_ridges = networks.on_ridges(guess, a, b)
    points = np.array([[20.0, 30.0], [100.0, 50.0], [60.0, 140.0]])
    there = a.to_canvas(transform(on_ridges, b.to_ridges(points, RUN_PPI)), RUN_PPI)
    np.testing.assert_allclose(there, transform(guess, points), atol=1e-9)


def test_a_is_seen_through_the_map_in_bs_canvas(networks, pair):
    a, b = pair
    corner, right, down = (
        a.of_ridges.from_file(TO_A(b.of_ridges.to_file(np.array(point)))) for point in ((0, 0), (1, 0), (0, 1.0))
    )
    matrix = np.array([*np.stack([right - corner, down - corner, corner], axis=-1), (0, 0, 1)], np.float32)
    elastic = ElasticMap(np.stack([matrix, np.eye(3, dtype=np.float32)]), ())
    map_ba, images = align_images(elastic, networks._images([a, a]), networks._images([b, b]), scale=PPI / RUN_PPI)
    y, x = np.mgrid[: CANVAS[0], : CANVAS[1]].astype(float)
    in_b = b.of_networks.canvas.to_file(np.stack([x, y], -1), RUN_PPI)
    true = a.of_networks.canvas
    np.testing.assert_allclose(true.to_file(np.asarray(map_ba[0]), RUN_PPI), TO_A(in_b), atol=0.01)
    overlap = np.asarray(images.overlap[0])
    assert 0.5 * b.of_networks.canvas.ridges.sum() < overlap.sum() <= b.of_networks.canvas.ridges.sum()
    grey_a, grey_b = (np.asarray(values) for values in images.grey)
    assert np.corrcoef(grey_a[0][overlap], grey_b[0][overlap])[0, 1] > 0.95
    assert abs(np.corrcoef(grey_a[1][overlap], grey_b[1][overlap])[0, 1]) < 0.5  # not by another map
    np.testing.assert_allclose(grey_b[0], b.of_networks.canvas.grey / 255, atol=1e-6)
    assert (np.asarray(images.enhanced.a[0])[(np.asarray(map_ba[0]) < -1).any(-1)] == 1).all()


def test_the_first_method_that_enhances_does():
    assert first_method(Enhancement.none, Enhancement.pyfing) is Enhancement.pyfing
    assert first_method(Enhancement.gabor, Enhancement.pyfing) is Enhancement.gabor
    assert first_method(Enhancement.none) is Enhancement.gabor


def test_the_networks_of_each_kind_of_run(runs):
    both, alone = load_networks(runs / "matcher"), load_networks(runs / "dense")
    assert (
        alone.module2 is None and alone.module1.digest() == both.module1.digest() == load_dense(runs / "dense").digest()
    )
    assert both.module1.frame == (64, 64) and both.module2.step == 4 and both.module2.digest()
    assert both.by(3).at_once == 3 and both.at_once == 1
    with pytest.raises(CheckpointError, match="no run directory"):
        load_networks(runs)
