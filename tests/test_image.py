from pathlib import Path

import cv2
import numpy as np
import pytest

from ifvit import image


def print_like(height=300, width=280, period=9.0, ground=230):
    """An ellipse of vertical ridges on a light ground: grey, and where the ellipse is."""
    y, x = np.mgrid[:height, :width]
    inside = ((x - width / 2) / (0.36 * width)) ** 2 + ((y - height / 2) / (0.4 * height)) ** 2 < 1
    ridges = 128 + 100 * np.cos(2 * np.pi * x / period)
    grey = np.where(inside, ridges, ground) + np.random.default_rng(0).normal(0, 4, (height, width))
    return np.clip(grey, 0, 255).astype(np.uint8), inside


def written(folder: Path, name: str) -> Path:
    path = folder / name
    assert cv2.imwrite(str(path), print_like()[0])
    return path


@pytest.mark.parametrize("name", ["a.tif", "a.png", "a.bmp", "a.jpg"])
def test_reads_what_people_have(tmp_path, name):
    grey = image.read_grey(written(tmp_path, name))
    assert grey.shape == (300, 280) and grey.dtype == np.uint8


def test_colour_becomes_grey(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), cv2.cvtColor(print_like()[0], cv2.COLOR_GRAY2BGR))
    np.testing.assert_array_equal(image.read_grey(tmp_path / "a.png"), print_like()[0])


@pytest.mark.parametrize("name", ["a.tif", "a.png", "a.bmp"])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.999])
def test_a_truncated_file_is_refused_by_name(tmp_path, name, share):
    path = written(tmp_path, name)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(image.ImageError, match=str(path)):
        image.read_grey(path)


@pytest.mark.parametrize(
    "name, content, said",
    [
        ("a.tif", b"not an image at all", "not an image"),
        ("a.png", b"\x89PNG\r\n\x1a\n" + b"\0" * 40 + b"IEND", "not an image|not decodable"),
        ("a.bmp", b"BM" + b"\xff" * 60, "not an image|not decodable"),
        ("a.pgm", b"P5 100000 100000 255\n", "not an image|not decodable"),
    ],
)
def test_rubbish_is_refused_by_name(tmp_path, name, content, said):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(image.ImageError, match=said):
        image.read_grey(path)


def test_missing_blank_and_tiny(tmp_path):
    with pytest.raises(image.ImageError, match="cannot be read"):
        image.read_grey(tmp_path / "none.png")
    cv2.imwrite(str(tmp_path / "blank.png"), np.full((64, 64), 255, np.uint8))
    with pytest.raises(image.ImageError, match="blank"):
        image.read_grey(tmp_path / "blank.png")
    cv2.imwrite(str(tmp_path / "tiny.png"), np.eye(8, dtype=np.uint8))
    with pytest.raises(image.ImageError, match="too small"):
        image.read_grey(tmp_path / "tiny.png")


def test_the_ridge_mask_is_the_print():
    grey, inside = print_like()
    mask = image.ridge_mask(grey, 500)
    both, either = (mask & inside).sum(), (mask | inside).sum()
    assert both / either > 0.85


def test_resampling_keeps_the_aspect():
    grey, _ = print_like()
    assert image.to_ppi(grey, 500, 250).shape == (150, 140)
    assert image.to_ppi(grey, 569, 250).shape == (132, 123)
    assert image.to_ppi(grey, 250, 250) is grey


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


def test_real_prints_are_found(shared_dir):
    for name, ppi in (("DB1_B/101_1", 500), ("DB2_B/105_3", 569), ("DB3_B/110_8", 500)):
        canvas = image.load_canvas(shared_dir / "data" / "fvc2002" / f"{name}.tif", ppi, 250, 256, 256)
        assert 0.1 < canvas.ridges.mean() < 0.5
        assert canvas.grey[canvas.ridges].mean() < canvas.background
