"""A scan becomes the part that shows ridges, at 500 ppi, and knows where it lies in its file."""

import numpy as np
import pytest

from ifvit.config import Enhancement
from ifvit.enhancement.enhancer import Enhanced, Enhancer
from ifvit.enhancement.minutiae import find_minutiae
from ifvit.image import ImageError, PpiFrom, Scan
from ifvit.registration.ridge_print import LARGEST_SIDE, ridge_print
from tests.helpers.ridge_prints import PERIOD, SIDE, drawn, errors, finger, turned_apart


class Shown:
    """An enhancer that leaves the grey as it is and finds ridges in the given rows and columns."""

    def __init__(self, rows=slice(0, 0), cols=slice(0, 0)):
        self.place = rows, cols

    def enhance(self, grey, ppi):
        assert ppi == 500
        ridges = np.zeros(grey.shape, bool)
        ridges[self.place] = True
        return Enhanced(grey, ridges)

    def minutiae(self, grey, enhanced):
        return find_minutiae(*enhanced)


def scan(grey, ppi=None, inverted=False):
    return Scan(grey, ppi, inverted)


def at_ppi(ppi):
    """The finger's print as a file of that ppi has it."""
    side = int(SIDE * ppi / 500)
    y, x = np.mgrid[:side, :side].astype(float)
    points = (np.stack([x, y], axis=-1) + 0.5) * (500 / ppi) - 0.5
    shown = np.hypot(points[..., 0] - 150, points[..., 1] - 140) < 110
    return np.where(shown, 127.5 - 100 * np.cos(finger(3).phase(points)), 240).round().astype(np.uint8)


@pytest.fixture(scope="module")
def enhancer(tmp_path_factory):
    return Enhancer(Enhancement.gabor, str(tmp_path_factory.mktemp("cache")))


def test_it_is_cut_to_where_the_ridges_are():
    grey = drawn(finger(3)).grey
    found = ridge_print(scan(grey), None, Shown(slice(40, 200), slice(70, 250)))
    assert (found.left, found.top) == (70, 40)
    np.testing.assert_array_equal(found.grey, grey[40:200, 70:250])
    np.testing.assert_array_equal(found.enhanced, grey[40:200, 70:250])
    assert found.ridges.shape == (160, 180) and found.ridges.all()
    assert found.area == pytest.approx(160 * 180 * (25.4 / 500) ** 2)
    assert len(found.minutiae.points) > 5
    true = finger(3).places - (70, 40)
    assert np.median(errors(found.minutiae.points[:, None], true).min(axis=1)) < 3  # px of the part


def test_off_the_ridges_it_is_white():
    class Corner(Shown):
        def enhance(self, grey, ppi):
            ridges = np.add.outer(np.arange(SIDE), np.arange(SIDE)) < SIDE
            return Enhanced(grey, ridges)

    found = ridge_print(scan(drawn(finger(3)).grey), None, Corner())
    assert (found.enhanced[~found.ridges] == 255).all() and (~found.ridges).any()


def test_who_says_how_many_ppi():
    grey, everywhere = drawn(finger(3)).grey, Shown(slice(None), slice(None))
    for tag, given, ppi, ppi_from in (
        (None, None, 500, PpiFrom.assumed), (1000, None, 1000, PpiFrom.file), (1000, 400, 400, PpiFrom.given)
    ):  # fmt: skip
        found = ridge_print(scan(grey, tag, inverted=ppi == 400), given, everywhere)
        assert (found.ppi, found.ppi_from, found.inverted) == (ppi, ppi_from, ppi == 400)
        assert found.ridges.shape == (int(SIDE * 500 / ppi),) * 2


@pytest.mark.parametrize("ppi", [500, 569, 1000])
def test_from_the_file_and_back(ppi):
    found = ridge_print(scan(at_ppi(ppi)), ppi, Shown(slice(50, 230), slice(60, 200)))
    points = np.random.default_rng(0).uniform(0, 100, (3, 5, 2))
    np.testing.assert_allclose(found.to_file(found.from_file(points)), points, atol=1e-9)
    np.testing.assert_allclose(found.from_file(found.to_file(points)), points, atol=1e-9)
    # Where the file has that place of the finger: its pixels are 500 / ppi as wide.
    on_finger = points + (60, 50)
    np.testing.assert_allclose(found.to_file(points), (on_finger + 0.5) * ppi / 500 - 0.5)


def test_the_same_finger_at_any_resolution_is_the_same_print(enhancer):
    """As large in mm2, with its minutiae in the same places of the finger."""
    half, full, fine = (ridge_print(scan(at_ppi(ppi)), ppi, enhancer) for ppi in (400, 500, 1000))
    for other in (half, fine):
        assert other.area == pytest.approx(full.area, rel=0.04)
    assert full.area == pytest.approx(np.pi * 110**2 * (25.4 / 500) ** 2, rel=0.15)
    places = [shown.minutiae.points + (shown.left, shown.top) for shown in (full, fine)]
    apart = errors(places[0][:, None], places[1])
    near = apart.min(axis=1) < PERIOD
    assert near.mean() > 0.7 and np.median(apart.min(axis=1)) < 2
    turned = turned_apart(full.minutiae.directions, fine.minutiae.directions[apart.argmin(axis=1)])
    assert np.median(turned[near]) < np.deg2rad(10)


def test_without_ridges_it_is_no_print(enhancer):
    grey = drawn(finger(3)).grey
    with pytest.raises(ImageError, match="no ridges"):
        ridge_print(scan(grey), None, Shown())
    with pytest.raises(ImageError, match="no ridges"):
        ridge_print(scan(np.full((SIDE, SIDE), 200, np.uint8)), None, enhancer)


@pytest.mark.parametrize(("ppi", "why"), [(20_000, "too small"), (5, "larger than a hand")])
def test_a_wrong_ppi_is_refused(ppi, why):
    with pytest.raises(ImageError, match=why):
        ridge_print(scan(drawn(finger(3)).grey), ppi, Shown())


def test_what_is_larger_than_a_palm_is_cut_around_its_middle():
    grey = np.full((LARGEST_SIDE + 200, 60), 255, np.uint8)
    grey[:, 30:34] = 0
    found = ridge_print(scan(grey), None, Shown(slice(20, LARGEST_SIDE + 60), slice(10, 50)))
    assert found.ridges.shape == found.enhanced.shape == found.grey.shape == (LARGEST_SIDE, 40)
    assert (found.left, found.top) == (10, 40)
    found = ridge_print(scan(grey), None, Shown(slice(20, LARGEST_SIDE + 20), slice(10, 50)))
    assert found.ridges.shape[0] == LARGEST_SIDE and found.top == 20
