import cv2
import numpy as np
import pytest
from PIL import Image

from ifvit import image
from ifvit.image.decoding import decode, full_scale, to_8_bit
from ifvit.image.headers import Header
from tests.helpers.images import encoded, pillow, print_like, tiff

GREY = print_like()[0]
COARSE = GREY // 16 * 16  # what 4 bits hold


def read(tmp_path, content, name="print"):
    """By content only: the file's name says nothing."""
    path = tmp_path / name
    path.write_bytes(content)
    scan = image.read(path)
    assert not scan.inverted, "the file is the right way round, and another error hides here"
    return scan.grey


def wide(full):
    """The print as uint16 with white at `full`."""
    return np.rint(GREY.astype(float) * full / 255).astype(np.uint16)


PALETTE = Image.fromarray(GREY).convert("P", palette=Image.Palette.ADAPTIVE, colors=256)
PACKED = np.packbits(GREY > 128, axis=1).tobytes()


@pytest.mark.parametrize("ending", [".png", ".tif", ".bmp", ".pgm", ".jpg"])
def test_reads_what_people_have(tmp_path, ending):
    off = np.abs(read(tmp_path, encoded(GREY, ending)).astype(int) - GREY)
    assert off.max() == 0 or ending == ".jpg" and off.mean() < 2


@pytest.mark.parametrize("full", [255, 1023, 4095, 65535])
@pytest.mark.parametrize("ending", [".png", ".tif", ".pgm"])
def test_16_bits_hold_what_a_sensor_of_fewer_bits_gave(tmp_path, ending, full):
    content = encoded(wide(full), ending)
    off = read(tmp_path, content).astype(int) - GREY
    # A PGM says what is white, and OpenCV writes 65535.
    assert np.abs(off).max() == 0 or ending == ".pgm" and full < 65535


def test_a_pgm_says_what_is_white(tmp_path):
    for full in (1023, 100):
        values = np.rint(GREY * (full / 255))
        content = b"P5 # a comment\n280 300\n%d\n" % full + values.astype(">u2" if full > 255 else "u1").tobytes()
        assert np.abs(read(tmp_path, content).astype(int) - GREY).max() <= 1.5 * 255 / full / 2 + 0.5
    with pytest.raises(image.ImageError, match="text form"):
        read(tmp_path, b"P2 2 2 255 1 2 3 4")


@pytest.mark.parametrize("full", [1, 255, 65535])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floating_point(tmp_path, dtype, full):
    values = (GREY / 255 * full).astype(dtype)
    np.testing.assert_array_equal(read(tmp_path, tiff(values, kind=3)), GREY)
    values[0, 0], values[0, 1] = 1.03 * full, -0.03 * full  # what resampling adds
    assert np.abs(read(tmp_path, tiff(values, kind=3))[1:].astype(int) - GREY[1:]).max() == 0


@pytest.mark.parametrize(
    "value, message", [(np.nan, "not finite"), (np.inf, "not finite"), (-9, "neither"), (1e9, "neither")]
)
def test_floating_point_that_is_no_image(tmp_path, value, message):
    values = (GREY / 255).astype(np.float32)
    values[7, 7] = value
    with pytest.raises(image.ImageError, match=message):
        read(tmp_path, tiff(values, kind=3))


@pytest.mark.parametrize(
    "content, expected",
    [
        (tiff(GREY), GREY),
        (tiff(GREY, order=">"), GREY),
        (tiff(255 - GREY, photometric=0), GREY),
        (tiff(wide(65535), order=">"), GREY),
        (tiff(65535 - wide(65535), photometric=0), GREY),
        (tiff((1 - GREY / 255).astype(np.float32), photometric=0, kind=3), GREY),
        (tiff(PACKED, bits=1, shape=GREY.shape), 255 * (GREY > 128)),
        (tiff(bytes(255 - b for b in PACKED), photometric=0, bits=1, shape=GREY.shape), 255 * (GREY > 128)),
        (tiff(np.repeat(GREY[..., None], 3, 2), photometric=2), GREY),
        (tiff(np.repeat(wide(65535)[..., None], 3, 2), photometric=2), GREY),
        (pillow(Image.fromarray(GREY).convert("1", dither=0), "PNG"), 255 * (GREY > 127)),
        (pillow(Image.fromarray(GREY).convert("1", dither=0), "BMP"), 255 * (GREY > 127)),
        (pillow(Image.fromarray(GREY).convert("1", dither=0), "PPM"), 255 * (GREY > 127)),
        (pillow(Image.fromarray(GREY).convert("RGB"), "PNG"), GREY),
        (pillow(Image.fromarray(GREY).convert("RGB"), "PPM"), GREY),
        (pillow(Image.fromarray(GREY).convert("RGB"), "BMP"), GREY),
        (pillow(Image.fromarray(GREY).convert("RGBA"), "BMP"), GREY),
        (pillow(PALETTE, "PNG"), GREY),
        (pillow(PALETTE, "BMP"), GREY),
        (pillow(PALETTE, "TIFF"), GREY),
        (pillow(Image.fromarray(GREY), "TIFF", compression="tiff_lzw"), GREY),
        (pillow(Image.fromarray(GREY), "TIFF", compression="tiff_adobe_deflate"), GREY),
        (pillow(Image.fromarray(GREY), "TIFF", save_all=True, append_images=[Image.new("L", (9, 9))]), GREY),
    ],
)
def test_comes_out_right(tmp_path, content, expected):
    assert np.abs(read(tmp_path, content).astype(int) - expected).max() <= 1


def test_a_tiled_tiff(tmp_path):
    square = GREY[:256, :256]
    tiles = [square[y : y + 128, x : x + 128] for y in (0, 128) for x in (0, 128)]
    pixels = np.concatenate(tiles).tobytes()
    tiles = [(322, 4, [128]), (323, 4, [128]), (325, 4, [128 * 128] * 4), (324, 4, [0] * 4)]
    plain = tiff(pixels, bits=8, shape=(256, 256), more=tiles)
    start = len(plain) - len(pixels)
    content = bytearray(
        tiff(pixels, bits=8, shape=(256, 256), more=[*tiles, (324, 4, range(start, len(plain), 2**14))])
    )
    for tag in (273, 278, 279):  # a tiled file has no strips
        at = content.index(tag.to_bytes(2, "little") + b"\4\0")
        content[at : at + 2] = (60000 + tag).to_bytes(2, "little")
    np.testing.assert_array_equal(read(tmp_path, bytes(content)), square)
    with pytest.raises(image.ImageError, match="truncated"):
        read(tmp_path, bytes(content[:-9]))


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_transparent_is_white(tmp_path, depth):
    grey, inside = print_like()
    full = np.iinfo(depth).max
    levels = grey.astype(depth) * (full // 255)
    alpha = np.where(inside, full, 0).astype(depth)
    black = np.where(inside, levels, 0)
    content = encoded(np.dstack([black, black, black, alpha]), ".png")
    np.testing.assert_array_equal(read(tmp_path, content), np.where(inside, grey, 255))
    unused = encoded(np.dstack([levels] * 3 + [np.zeros_like(levels)]), ".png")
    np.testing.assert_array_equal(read(tmp_path, unused), grey)
    half = encoded(np.dstack([levels] * 3 + [np.full_like(levels, full // 2)]), ".png")
    assert np.abs(read(tmp_path, half) - (grey / 2 + 127.5)).max() <= 1.5


def test_grey_with_transparency(tmp_path):
    grey, inside = print_like()
    picture = Image.merge("LA", (Image.fromarray(grey), Image.fromarray((255 * inside).astype(np.uint8))))
    np.testing.assert_array_equal(read(tmp_path, pillow(picture, "PNG")), np.where(inside, grey, 255))


@pytest.mark.parametrize(
    "content, message",
    [
        (pillow(Image.fromarray(GREY).convert("RGB").convert("CMYK"), "JPEG"), "4 channels"),
        (pillow(Image.fromarray(GREY).convert("RGB").convert("CMYK"), "TIFF"), "CMYK"),
        (pillow(Image.fromarray(GREY).convert("RGBA"), "TIFF"), "4 channels"),
        (pillow(Image.fromarray(GREY).convert("LA"), "TIFF"), "2 channels"),
        (pillow(Image.fromarray(GREY), "PNG", transparency=3), "transparent"),
        (pillow(Image.fromarray(GREY), "GIF"), "not an image in a known format"),
        (tiff(GREY.astype(np.int16), kind=2), "signed"),
        (tiff(GREY.astype(np.uint32)), "32-bit unsigned"),
        (tiff(np.repeat(GREY[..., None], 5, 2)), "5 channels"),
        (b"II+\0" + bytes(60), "BigTIFF"),
    ],
)
def test_what_is_not_supported_says_so(tmp_path, content, message):
    with pytest.raises(image.ImageError, match=f"print: .*{message}"):
        read(tmp_path, content)


def test_the_orientation_of_tiff_and_jpeg_is_obeyed(tmp_path):
    np.testing.assert_array_equal(read(tmp_path, tiff(GREY, more=[(274, 3, [3])])), GREY[::-1, ::-1])
    np.testing.assert_array_equal(read(tmp_path, tiff(wide(65535), more=[(274, 3, [3])])), GREY[::-1, ::-1])
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = read(tmp_path, pillow(Image.fromarray(GREY), "JPEG", quality=95, exif=exif))
    assert np.abs(turned.astype(int) - np.rot90(GREY, -1)).mean() < 2


def test_white_is_told_by_depth_and_not_by_the_largest_value():
    assert [full_scale(np.array([[0, most]], np.uint16)) for most in (0, 255, 256, 1023, 4000, 16384)] == [
        255, 255, 1023, 1023, 4095, 65535,
    ]  # fmt: skip
    np.testing.assert_array_equal(to_8_bit(np.array([[0, 2048, 4095]], np.uint16), 4095), [[0, 128, 255]])
    with pytest.raises(image.ImageError, match="int16"):
        full_scale(np.zeros((2, 2), np.int16))


def test_decode_needs_no_file():
    ok, content = cv2.imencode(".png", GREY)
    np.testing.assert_array_equal(decode(content.tobytes(), "png", Header(280, 300)), GREY)
