import cv2
import numpy as np
import pytest
from PIL import Image

from ifvit import image
from ifvit.image import PpiFrom, Scan
from tests.helpers.images import encoded, pillow, print_like


@pytest.mark.parametrize("ppi, target", [(500, 250), (569, 250), (2000, 250), (512, 250), (1000, 500)])
def test_what_the_new_grid_cannot_hold_vanishes(ppi, target):
    """Gratings of 0.75 and 0.9 cycles per new pixel would turn into others, of 0.25 and 0.1; ridges (0.22) stay."""
    shrink = ppi / target
    for cycles, low, high in ((0.75, 0, 0.1), (0.9, 0, 0.1), (0.22, 0.9, 1.1)):
        for axis in (0, 1):
            wave = 128 + 100 * np.cos(2 * np.pi * cycles / shrink * np.arange(int(200 * shrink)))
            grey = np.tile(np.rint(wave).astype(np.uint8), (int(40 * shrink), 1))
            small = image.to_ppi(grey if axis else grey.T.copy(), ppi, target)
            amplitude = (small if axis else small.T)[8:-8, 8:-8].astype(float).std() * np.sqrt(2) / 100
            assert low <= amplitude <= high, (cycles, axis)


@pytest.mark.parametrize("ppi, target", [(500, 250), (569, 250), (2000, 250), (300, 500)])
def test_resampling_keeps_the_aspect_and_the_place(ppi, target):
    """A blob comes to where the docstring says, in both axes."""
    y, x = np.mgrid[:611, :499]
    at = np.array([[350.0, 120.0], [150.0, 470.0]])
    blobs = [np.exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * 15**2)) for a, b in at]
    for blob, where in zip(blobs, at, strict=True):
        small = image.to_ppi(np.rint(255 * blob).astype(np.uint8), ppi, target).astype(float)
        centre = [(small.sum(axis) * np.arange(small.shape[1 - axis])).sum() / small.sum() for axis in (0, 1)]
        np.testing.assert_allclose(centre, (where + 0.5) * target / ppi - 0.5, atol=0.03)


def test_the_size_after_resampling():
    grey, _ = print_like()
    assert image.to_ppi(grey, 500, 250).shape == (150, 140)
    assert image.to_ppi(grey, 569, 250).shape == (131, 123)
    assert image.to_ppi(grey, 250, 250) is grey
    for ppi, target, message in ((2500, 100, "too small"), (200, 50000, "too large")):
        with pytest.raises(image.ImageError, match=message):
            image.to_ppi(grey, ppi, target)


def test_a_placed_print_is_neither_squashed_nor_moved_off_centre():
    grey, inside = print_like()
    shifted = np.roll(inside, (20, -30), (0, 1))
    canvas = image.place(np.roll(grey, (20, -30), (0, 1)), shifted, 400, 400)
    rows, cols = np.flatnonzero(canvas.ridges.any(1)), np.flatnonzero(canvas.ridges.any(0))
    assert canvas.ridges.sum() == inside.sum()
    assert abs(rows.mean() - 199.5) <= 1 and abs(cols.mean() - 199.5) <= 1
    assert canvas.grey[0, 0] == canvas.background and abs(canvas.background - 230) < 3


def test_a_print_larger_than_the_frame_is_cropped():
    grey, inside = print_like()
    canvas = image.place(grey, inside, 64, 64)
    assert canvas.ridges.all()
    np.testing.assert_array_equal(canvas.grey, grey[150 - 32 : 150 + 32, 140 - 32 : 140 + 32])


def test_an_image_without_ridges_is_refused_by_name(tmp_path):
    path = tmp_path / "flat.png"
    flat = np.full((200, 200), 200, np.uint8)
    flat[0, 0] = 199
    cv2.imwrite(str(path), flat)
    with pytest.raises(image.ImageError, match="flat.png: no ridges"):
        image.load_canvas(path, 500, 250, 128, 128)


def test_the_ppi_is_the_one_given_else_the_files_else_assumed(tmp_path):
    grey, _ = print_like()
    pictures = {"tagged.png": pillow(Image.fromarray(grey), "PNG", dpi=(400, 400)), "bare.png": encoded(grey, ".png")}
    for name, content in pictures.items():
        (tmp_path / name).write_bytes(content)
    cases = [("tagged.png", 500, 500, PpiFrom.given), ("tagged.png", None, 400, PpiFrom.file)]
    cases += [("bare.png", 569, 569, PpiFrom.given), ("bare.png", None, image.DEFAULT_PPI, PpiFrom.assumed)]
    for name, given, used, who in cases:
        canvas = image.load_canvas(tmp_path / name, given, 250, 128, 128)
        assert (canvas.ppi, canvas.ppi_from, canvas.inverted) == (used, who, False)
        again = image.load_canvas(tmp_path / name, used, 250, 128, 128)
        np.testing.assert_array_equal(canvas.grey, again.grey)


def test_an_inverted_file_gives_the_same_canvas(tmp_path):
    grey, _ = print_like()
    (tmp_path / "a.png").write_bytes(encoded(grey, ".png"))
    (tmp_path / "b.png").write_bytes(encoded(255 - grey, ".png"))
    usual, other = (image.load_canvas(tmp_path / name, 500, 250, 160, 160) for name in ("a.png", "b.png"))
    assert (usual.inverted, other.inverted) == (False, True)
    np.testing.assert_array_equal(usual.grey, other.grey)
    np.testing.assert_array_equal(usual.ridges, other.ridges)
    assert usual.background == other.background


@pytest.mark.parametrize("ppi", [500, 569, 250])
def test_ridges_found_elsewhere_come_along(ppi):
    grey, inside = print_like()
    canvas = image.canvas_of(Scan(grey, None, False), inside, ppi, 250, 300, 300)
    small = image.to_ppi(grey, ppi, 250)
    assert canvas.ridges.sum() == pytest.approx(inside.sum() * (250 / ppi) ** 2, rel=0.02)
    assert canvas.ridges.dtype == bool and small.mean() < canvas.background
    # Ridges and image moved as one: off the mask there is only ground.
    assert canvas.grey[~canvas.ridges & (canvas.grey != canvas.background)].min() > 120
    with pytest.raises(ValueError, match="shape"):
        image.canvas_of(Scan(grey, None, False), inside[1:], ppi, 250, 300, 300)
    with pytest.raises(image.ImageError, match="no ridges"):
        image.canvas_of(Scan(grey, None, False), np.zeros_like(inside), ppi, 250, 300, 300)


def test_real_prints_are_found(shared_dir):
    for name, ppi in (("DB1_B/101_1", 500), ("DB2_B/105_3", 569), ("DB3_B/110_8", 500)):
        canvas = image.load_canvas(shared_dir / "data" / "fvc2002" / f"{name}.tif", ppi, 250, 256, 256)
        assert 0.1 < canvas.ridges.mean() < 0.5
        assert canvas.grey[canvas.ridges].mean() < canvas.background


@pytest.mark.parametrize("ppi", [250, 500, 569])
def test_the_frames_pixels_lie_where_the_file_has_them(tmp_path, ppi):
    """A dark spot in the file is found in the frame, and its place is told in the file's pixels."""
    grey = print_like()[0]
    spot = np.array([140.0, 150.0])
    cv2.circle(grey, (140, 150), 9, 0, -1)
    cv2.imwrite(str(tmp_path / "a.png"), grey)
    canvas = image.load_canvas(tmp_path / "a.png", ppi, 250, 192, 176)
    dark = cv2.GaussianBlur(255.0 - canvas.grey, (0, 0), 9 * 250 / ppi)
    y, x = np.unravel_index(dark.argmax(), dark.shape)
    assert np.abs(canvas.to_file(np.array([x, y]), 250) - spot).max() < 2 * ppi / 250
