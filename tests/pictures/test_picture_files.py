import io
import os

import numpy as np
import pytest
from PIL import Image

from ifvit.pictures import picture_files
from ifvit.pictures.picture_files import PictureError
from ifvit.pictures.signature import SIGNATURE
from ifvit.storage.files import WriteError


@pytest.fixture
def picture():
    """Lines of colour on paper, as the program draws them: uint8 RGB (40, 60, 3)."""
    drawn = np.full((40, 60, 3), 255, np.uint8)
    drawn[::7], drawn[:, ::9] = (30, 160, 60), (215, 40, 40)
    return drawn


@pytest.mark.parametrize(
    ("name", "kind", "off"),
    [
        ("a.png", "PNG", 0),
        ("a.PNG", "PNG", 0),
        ("a.tif", "TIFF", 0),
        ("a.tiff", "TIFF", 0),
        ("a.webp", "WEBP", 0),
        ("a.bmp", "BMP", 0),
        ("a.jpg", "JPEG", 30),
        ("a.b.jpeg", "JPEG", 30),
    ],
)
def test_the_ending_is_the_format(picture, tmp_path, name, kind, off):
    path = tmp_path / "new" / name
    picture_files.save(path, picture)
    with Image.open(path) as opened:
        assert opened.format == kind and opened.mode == "RGB"
        back = np.asarray(opened.convert("RGB")).astype(int)
    assert back.shape == picture.shape and np.abs(back - picture).max() <= off
    assert os.listdir(path.parent) == [name]


def test_a_pdf_is_one_page_of_the_pictures_shape(picture, tmp_path):
    picture_files.save(tmp_path / "a.pdf", picture)
    content = (tmp_path / "a.pdf").read_bytes()
    assert content.startswith(b"%PDF-") and content.removesuffix(SIGNATURE).rstrip().endswith(b"%%EOF")
    assert content.count(b"/Type /Page\n") == 1 and b"/Width 60" in content and b"/Height 40" in content
    jpeg = content[content.index(b"\xff\xd8\xff") :]
    back = np.asarray(Image.open(io.BytesIO(jpeg))).astype(int)
    assert np.abs(back - picture).max() <= 30  # where lines of one px cross


@pytest.mark.parametrize("name", ["a", "a.svg", "a.png.gz", ".png", "a.", "a.gif"])
def test_another_ending_is_refused_by_name_and_nothing_is_left(picture, tmp_path, name):
    path = tmp_path / name
    wanted = f"{path}: a picture's name ends in one of .png, .jpg, .jpeg, .tif, .tiff, .webp, .bmp, .pdf"
    assert picture_files.obstacle(path).startswith(wanted)
    with pytest.raises(PictureError) as caught:
        picture_files.save(path, picture)
    assert str(caught.value).startswith(wanted) and os.listdir(tmp_path) == []


def test_a_place_where_no_file_can_be(picture, tmp_path):
    assert picture_files.obstacle(tmp_path / "new" / "a.png") is None
    assert picture_files.obstacle(tmp_path) == f"{tmp_path} is a folder; name a file"
    (tmp_path / "file").write_bytes(b"")
    assert "file is a file, not a folder" in picture_files.obstacle(tmp_path / "file" / "a.png")
    with pytest.raises(WriteError, match="a.png: not written"):
        picture_files.save(tmp_path / "file" / "a.png", picture)


@pytest.mark.parametrize("name", ["a.jpg", "a.webp", "a.pdf"])
def test_a_picture_that_the_format_cannot_hold(tmp_path, name):
    with pytest.raises(PictureError, match=f"{name}: .* cannot hold this picture of 70000x2 px"):
        picture_files.save(tmp_path / name, np.zeros((2, 70000, 3), np.uint8))
    assert os.listdir(tmp_path) == []
    picture_files.save(tmp_path / "a.png", np.zeros((2, 70000, 3), np.uint8))
