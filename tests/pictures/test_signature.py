import cv2
import numpy as np
import pytest

from ifvit.pictures import picture_files
from ifvit.pictures.signature import is_signed, signed

PICTURE = np.arange(3 * 40 * 50, dtype=np.uint32).reshape(40, 50, 3).astype(np.uint8)


def test_a_picture_that_is_drawn_is_signed_and_the_same_picture(tmp_path):
    picture_files.save(tmp_path / "a.png", PICTURE)
    assert is_signed(tmp_path / "a.png")
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "a.png"))[:, :, ::-1], PICTURE)


@pytest.mark.parametrize("ending", [".png", ".jpg", ".bmp", ".tiff"])
def test_every_format_bears_it_and_is_read_as_before(tmp_path, ending):
    content = cv2.imencode(ending, PICTURE)[1].tobytes()
    plain, own = tmp_path / f"plain{ending}", tmp_path / f"own{ending}"
    plain.write_bytes(content)
    own.write_bytes(signed(content))
    assert (is_signed(plain), is_signed(own)) == (False, True)
    np.testing.assert_array_equal(cv2.imread(str(own)), cv2.imread(str(plain)))


def test_in_a_png_it_is_a_text_chunk_that_other_programs_show(tmp_path):
    image = pytest.importorskip("PIL.Image")
    picture_files.save(tmp_path / "a.png", PICTURE)
    with image.open(tmp_path / "a.png") as opened:
        opened.load()  # the chunk lies behind the picture
        assert opened.text == {"Software": "IFViT picture"}


def test_what_cannot_be_read_is_not_signed(tmp_path):
    (tmp_path / "empty.png").touch()
    assert not is_signed(tmp_path / "empty.png")
    assert not is_signed(tmp_path / "none.png")
    assert not is_signed(tmp_path)
