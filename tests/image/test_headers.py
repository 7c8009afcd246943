import struct

import cv2
import numpy as np
import pytest
from PIL import Image

from ifvit import image
from ifvit.image.exif import believable
from ifvit.image.headers import READERS, kind_of, png, wsq
from ifvit.image.tiff import tiff as tiff_header
from tests.helpers.images import encoded, pillow, print_like, tiff, wsq_start

GREY = print_like()[0]
PICTURE = Image.fromarray(GREY)


def resolution(x, y, unit):
    """TIFF entries: rationals given as (numerator, denominator)."""
    return [(282, 5, x), (283, 5, y), (296, 3, [unit])]


def ppi_of(tmp_path, content):
    (tmp_path / "print").write_bytes(content)
    return image.read(tmp_path / "print").ppi


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "JPEG"])
@pytest.mark.parametrize("ppi, read", [(500, 500), (569, 569), (1000, 1000), (2400, 2400)])
def test_the_ppi_of_the_files_own_tags(tmp_path, kind, ppi, read):
    assert ppi_of(tmp_path, pillow(PICTURE, kind, dpi=(ppi, ppi))) == pytest.approx(read, abs=0.05)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "JPEG"])
@pytest.mark.parametrize("dpi", [(72, 72), (96, 96), (1, 1), (150, 150), (5000, 5000), (500, 400)])
def test_what_software_writes_by_default_is_not_believed(tmp_path, kind, dpi):
    assert ppi_of(tmp_path, pillow(PICTURE, kind, dpi=dpi)) is None


@pytest.mark.parametrize("ending", [".png", ".tif", ".bmp", ".jpg", ".pgm"])
def test_files_without_a_tag(tmp_path, ending):
    assert ppi_of(tmp_path, encoded(GREY, ending)) is None


@pytest.mark.parametrize(
    "more, ppi",
    [
        (resolution([500, 1], [500, 1], 2), 500),
        (resolution([50000, 100], [2500, 5], 2), 500),
        (resolution([19685, 100], [19685, 100], 3), 500),
        (resolution([500, 1], [500, 1], 1), None),  # no unit
        (resolution([500, 0], [500, 0], 2), None),
        (resolution([0, 1], [0, 1], 2), None),
        (resolution([500, 1], [508, 1], 2), 500),
        (resolution([500, 1], [520, 1], 2), None),
        ([(282, 3, [500]), (283, 4, [500])], 500),  # not rational
        ([(282, 1, [200]), (283, 1, [200])], None),  # bytes, no numbers
    ],
)
@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_units(more, ppi, order):
    assert tiff_header(tiff(GREY, more=more, order=order)).ppi == ppi


def test_jpeg_per_centimetre(tmp_path):
    content = pillow(PICTURE, "JPEG", dpi=(300, 300)).replace(
        b"JFIF\0\1\1\1\1\x2c\1\x2c", b"JFIF\0\1\1\2" + struct.pack(">HH", 197, 197)
    )
    assert ppi_of(tmp_path, content) == 500.4


def test_a_wsqs_comment():
    assert wsq(wsq_start(b"NIST_COM 9\nPIX_WIDTH 280\nPPI 500\nLOSSY 1\n"))[:3] == (280, 300, 500)
    for comment in (b"NIST_COM 9\nPPI -1\n", b"NO_PPI 500\n", b"", b"PPI 72\n"):
        assert wsq(wsq_start(comment)).ppi is None


def test_believable():
    assert believable(499.999, 499.999) == 500 and believable(500, 509) == 500
    for x, y in ((np.nan, 500), (500, np.nan), (np.inf, np.inf), (-500, -500), (199, 199), (2501, 2501), (500, 511)):
        assert believable(x, y) is None


@pytest.mark.parametrize("ending", [".png", ".bmp", ".jpg", ".pgm"])
def test_the_size_is_known_before_decoding(ending):
    content = encoded(GREY, ending)
    assert READERS[kind_of(content)](content)[:2] == (280, 300)


def test_a_bmp_of_either_direction(tmp_path):
    content = encoded(GREY, ".bmp")
    flipped = bytearray(content)
    flipped[22:26] = struct.pack("<i", -300)
    for name, data, expected in (("up", content, GREY), ("down", flipped, GREY[::-1])):
        (tmp_path / name).write_bytes(data)
        np.testing.assert_array_equal(image.read_grey(tmp_path / name), expected)


def test_bytes_after_the_end_do_not_matter(tmp_path):
    for ending in (".png", ".jpg", ".bmp"):
        (tmp_path / "print").write_bytes(encoded(GREY, ending) + b"vendor's trailer" * 100)
        assert image.read_grey(tmp_path / "print").shape == GREY.shape


@pytest.mark.parametrize("ending", [".tif", ".png", ".bmp", ".jpg", ".pgm"])
@pytest.mark.parametrize("share", [0.001, 0.01, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_refused_by_name(tmp_path, ending, share):
    content = encoded(GREY, ending)
    path = tmp_path / f"a{ending}"
    path.write_bytes(content[: int(share * len(content))])
    message = "is truncated" if share > 0.1 else ""
    with pytest.raises(image.ImageError, match=f"{path}: .*{message}"):
        image.read(path)


@pytest.mark.parametrize("tag, number", [(257, 3000), (256, 3000), (278, 7), (278, 0)])
def test_a_tiff_that_claims_rows_it_has_not(tag, number):
    with pytest.raises(image.ImageError, match="truncated"):
        tiff_header(tiff(GREY, more=[(tag, 4, [number])]))


def test_any_truncation_of_a_small_file_is_refused(tmp_path):
    small = cv2.resize(GREY, (20, 20))
    for ending in (".png", ".bmp", ".pgm", ".jpg"):
        content = encoded(small, ending)
        for length in {*range(0, len(content), 7), *range(len(content) - 16, len(content))}:
            (tmp_path / "a").write_bytes(content[:length])
            with pytest.raises(image.ImageError):
                image.read(tmp_path / "a")


def test_tiff_tables_and_tiles_that_would_take_memory():
    many = tiff(GREY).replace(struct.pack("<HHI", 279, 4, 1), struct.pack("<HHI", 279, 4, 2**21))
    with pytest.raises(image.ImageError, match="279 has 2097152 values"):
        tiff_header(many)
    with pytest.raises(image.ImageError, match="tiles are too large"):
        tiff_header(tiff(GREY, more=[(322, 4, [2**20]), (323, 4, [2**20])]))


def test_chunks_and_scans_without_end():
    with pytest.raises(image.ImageError, match="chunks"):
        png(b"\x89PNG\r\n\x1a\n" + b"\0\0\0\0aaaa\0\0\0\0" * 2**17)
    with pytest.raises(image.ImageError, match="scans"):
        READERS["jpeg"](encoded(GREY, ".jpg")[:-2] + b"\xff\xda\0\x08\1\1\0\0\x3f\0" * 1000 + b"\xff\xd9")
    with pytest.raises(image.ImageError, match="segments"):
        wsq(b"\xff\xa0" + b"\xff\xa8\0\2" * 2**17)
