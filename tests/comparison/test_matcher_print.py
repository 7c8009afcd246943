"""What Module 2 is shown of a print: Module 1's canvas, and the enhanced print lying on it."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from ifvit import image
from ifvit.comparison.matcher_print import WHITE, matcher_prints
from ifvit.config import Enhancement
from ifvit.enhancement import enhancer as enhancement
from ifvit.enhancement.enhancer import Enhancer
from ifvit.image import ImageError, Scan
from ifvit.registration.module1 import Module1

pytestmark = pytest.mark.slow


def model(enhancement=Enhancement.none, ppi=500.0, frame=(320, 280)):
    return Module1("best", 1, None, None, None, frame, ppi, enhancement)


def matcher_print(scan, ppi, trained, enhancer):
    """One scan's print.

    Raises:
        ImageError: there is none.
    """
    (found,) = matcher_prints([scan], [ppi], trained, enhancer)
    if isinstance(found, ImageError):
        raise found
    return found


@pytest.fixture
def enhancer(tmp_path):
    return lambda method: Enhancer(method, str(tmp_path / "cache"))


@pytest.fixture
def loaded(monkeypatch):
    """Stands for pyfing's networks; which of them were loaded, in order."""
    loads = []

    class Networks:
        def __init__(self):
            loads.append(self)

        def masks(self, prints):
            return [np.ones(grey.shape, bool) for grey in prints]

    monkeypatch.setattr(enhancement, "PyfingNetworks", Networks)
    monkeypatch.setattr(enhancement, "pyfing_version", lambda: "0")
    return loads


@pytest.fixture
def scan(finger):
    return Scan(finger.grey, None, False)


@pytest.mark.parametrize("ppi, target", [(500.0, 500.0), (600.0, 500.0), (450.0, 400.0), (500.0, 250.0)])
@pytest.mark.parametrize("finder", [Enhancement.none, Enhancement.gabor])
def test_the_ridges_lie_on_the_canvas_to_the_pixel(scan, enhancer, ppi, target, finder):
    """Of a clean print the enhanced ridges are the canvas's own: no shift of them agrees as well as none."""
    views = matcher_print(scan, ppi, model(finder, target), enhancer(Enhancement.gabor))
    canvas, lines = views
    assert canvas.grey.shape == lines.shape == (320, 280) and lines.dtype == np.uint8
    assert (lines[~canvas.ridges] == WHITE).all() and lines[canvas.ridges].min() < 60
    rows, cols = (np.flatnonzero(canvas.ridges.any(axis)) for axis in (1, 0))
    middle = np.s_[rows[0] + 20 : rows[-1] - 20, cols[0] + 20 : cols[-1] - 20]

    def agreement(dy, dx):
        moved = np.roll(lines, (dy, dx), (0, 1))
        return np.corrcoef(canvas.grey[middle].ravel(), moved[middle].ravel())[0, 1]

    shifts = {(dy, dx): agreement(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)}
    assert max(shifts, key=shifts.get) == (0, 0) and shifts[0, 0] > 0.8


def test_without_an_enhancement_the_canvas_is_both(scan, enhancer):
    canvas, lines = matcher_print(scan, 500, model(), enhancer(Enhancement.none))
    np.testing.assert_array_equal(lines, canvas.grey)


@pytest.mark.parametrize("finder", [Enhancement.none, Enhancement.gabor])
@pytest.mark.parametrize("method", [Enhancement.none, Enhancement.gabor])
def test_the_canvas_is_that_of_module_1_whatever_draws_the_ridges(scan, enhancer, finder, method):
    """Also where the print is larger than the frame."""
    trained = model(finder, frame=(96, 96))
    canvas = matcher_print(scan, 500, trained, enhancer(method)).canvas
    ridges = None
    if finder is not Enhancement.none:
        (ridges,) = enhancer(finder).ridges_many([scan.grey], [500])
    wanted = image.canvas_of(scan, ridges, 500, trained.ppi, *trained.frame)
    for found, expected in zip(canvas, wanted, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_many_are_each_and_what_cannot_be_used_is_said_in_its_place(scan, finger, enhancer, monkeypatch):
    monkeypatch.setattr("ifvit.comparison.matcher_print.AT_ONCE", 2)
    flat = np.full((200, 200), 200, np.uint8)
    flat[0, 0] = 199
    scans = [scan, Scan(flat, None, False), Scan(finger.worn, 450.0, False), scan, scan]
    ppis = [500, 500, None, 5, None]
    gabor, trained = enhancer(Enhancement.gabor), model(Enhancement.gabor)
    views = list(matcher_prints(iter(scans), iter(ppis), trained, gabor))
    assert "no ridges" in str(views[1]) and "larger than a hand" in str(views[3])
    assert views[2].canvas.ppi == 450 and views[4].canvas.ppi == 500
    for k in (0, 2, 4):
        alone = matcher_print(scans[k], ppis[k], trained, gabor)
        np.testing.assert_array_equal(views[k].enhanced, alone.enhanced)
        np.testing.assert_array_equal(views[k].canvas.grey, alone.canvas.grey)
    for k in (1, 3):
        with pytest.raises(ImageError):
            matcher_print(scans[k], ppis[k], trained, gabor)


def test_networks_are_loaded_once_for_many_prints(scan, enhancer, loaded):
    """Each of these is a print of its own, and none lies in the cache."""
    trained, gabor = model(Enhancement.pyfing), enhancer(Enhancement.gabor)
    others = [scan._replace(grey=np.roll(scan.grey, k, axis=1)) for k in range(3)]
    for other in others:
        assert matcher_print(other, 500, trained, gabor).canvas.ridges.any()
    assert len(loaded) == 1
    own = enhancer(Enhancement.gabor)
    with ThreadPoolExecutor(4) as threads:
        worn = [other._replace(grey=255 - other.grey) for other in others]
        found = list(threads.map(lambda print_: matcher_print(print_, 500, trained, own), worn))
    assert len(loaded) == 2 and len(found) == 3
