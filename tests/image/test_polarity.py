import cv2
import numpy as np
import pytest

from ifvit import image
from tests.helpers.images import encoded, print_like


@pytest.mark.parametrize("noise", [0, 4, 12])
@pytest.mark.parametrize("scale", [0.25, 0.5, 1, 2, 4])
def test_light_ridges_are_told_from_dark_ones(noise, scale):
    grey, _ = print_like(int(300 * scale), int(280 * scale), 9 * scale, noise=noise)
    assert not image.is_inverted(grey)
    assert image.is_inverted(255 - grey)


def test_light_that_falls_off_by_more_than_the_prints_contrast_deceives_nobody():
    y, x = np.mgrid[:300, :280]
    fall = 1 - 0.5 * ((x - 140) ** 2 + (y - 150) ** 2) / (140**2 + 150**2)
    grey = np.clip((230 + 0.3 * (print_like(noise=0)[0] - 230.0)) * fall, 0, 255).astype(np.uint8)
    assert not image.is_inverted(grey)
    assert image.is_inverted(255 - grey)


def test_what_cannot_be_told_is_left():
    grey = print_like()[0]
    full, spots = grey[80:220, 80:200], grey[80:220, 80:200].copy()
    spots[40:80, 40:80], spots[:30, :30] = 20, 20  # wet
    halfway = print_like(ground=128)[0]  # ground as light as the mean of ridges and valleys
    noise = np.random.default_rng(0).integers(0, 256, (200, 200)).astype(np.uint8)
    for picture in (
        full,
        spots,
        halfway,
        noise,
        np.full((64, 64), 7, np.uint8),
        noise[:16, :16],
        noise[:16],
        noise[:, :16],
    ):
        assert not image.is_inverted(picture) and not image.is_inverted(255 - picture)


def test_the_reader_turns_them_over_and_says_so(tmp_path):
    grey = print_like()[0]
    for name, pixels, inverted in (("a.png", grey, False), ("b.png", 255 - grey, True)):
        (tmp_path / name).write_bytes(encoded(pixels, ".png"))
        scan = image.read(tmp_path / name)
        np.testing.assert_array_equal(scan.grey, grey)
        assert scan.inverted is inverted


def test_no_real_print_is_turned_over_and_every_inverted_one_is(shared_dir):
    paths = sorted((shared_dir / "data" / "fvc2002").glob("DB?_B/*.tif"))[::4]
    assert len(paths) >= 80
    for path in paths:
        grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        assert (image.is_inverted(grey), image.is_inverted(255 - grey)) == (False, True), path
