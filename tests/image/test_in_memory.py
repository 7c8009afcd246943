"""Images that are in memory: of every mode and type, and edited ones, which are what they are."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

from ifvit import image
from tests.helpers.image_cases import UPRIGHT, directory, orientation, png, resolution
from tests.helpers.images import encoded, pillow, print_like, tiff

GREY = print_like(96, 80)[0]
PICTURE = Image.fromarray(GREY)
WIDE = GREY.astype(np.uint16) * 257


def grey_of(shown):
    scan = image.scan_of(shown)
    assert not scan.inverted
    return scan.grey.astype(int)


def opened(content):
    return Image.open(io.BytesIO(content))


def turned_png(number=6):
    """Opened, with an orientation and 1000 ppi in its EXIF block."""
    block = directory(*orientation(number), *resolution([1000, 1], [1000, 1]))
    return opened(png(PICTURE, [(b"eXIf", block[6:])]))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["u1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"])
def test_arrays_of_any_type_and_byte_order(kind, order):
    full = 1 if kind[0] == "f" else 255 if kind == "u1" else 1023
    values = GREY / 255 * full
    array = (values if full == 1 else np.rint(values)).astype(order + kind)
    np.testing.assert_array_equal(grey_of(array), GREY)
    frozen = array.copy()
    frozen.flags.writeable = False
    strided = np.zeros((192, 240), array.dtype)[::2, 1::3]
    strided[...] = array
    for layout in (frozen, strided, np.asfortranarray(array), array[::-1].copy()[::-1], array[..., None]):
        np.testing.assert_array_equal(grey_of(layout), GREY)
    np.testing.assert_array_equal(grey_of(np.dstack([array] * 3)), GREY)


def test_arrays_that_are_not_plain():
    np.testing.assert_array_equal(grey_of(GREY > 128), 255 * (GREY > 128))
    np.testing.assert_array_equal(grey_of(np.ma.masked_array(GREY)), GREY)
    with pytest.raises(image.ImageError, match=r"masked array; .*filled\(255\)"):
        image.scan_of(np.ma.masked_array(GREY, GREY < 100))
    for array, message in (
        (GREY.astype(complex), "complex"),
        (GREY.astype(object), "object"),
        (GREY.astype(str), "<U"),
    ):
        with pytest.raises(image.ImageError, match=f"pixels of type {message}"):
            image.scan_of(array)


@pytest.mark.parametrize(
    "picture, off",
    [
        (PICTURE, 0),
        (PICTURE.convert("LA"), 0),
        (PICTURE.convert("LA").convert("La"), 0),
        (PICTURE.convert("P"), 0),
        (PICTURE.convert("LA").convert("PA"), 0),
        (PICTURE.convert("RGB"), 0),
        (PICTURE.convert("RGBA"), 0),
        (PICTURE.convert("RGBA").convert("RGBa"), 0),
        (PICTURE.convert("RGBX"), 0),
        (PICTURE.convert("YCbCr"), 1),
        (PICTURE.convert("RGB").convert("HSV"), 1),
        (PICTURE.convert("I"), 0),
        (PICTURE.convert("F"), 0),
        (Image.fromarray(GREY / np.float32(255)), 0),
        (Image.frombytes("I;16", (80, 96), WIDE.astype("<u2").tobytes()), 0),
        (Image.frombytes("I;16L", (80, 96), WIDE.astype("<u2").tobytes()), 0),
        (Image.frombytes("I;16N", (80, 96), WIDE.tobytes()), 0),
        (Image.frombytes("I;16B", (80, 96), WIDE.astype(">u2").tobytes()), 0),
        (Image.frombytes("I;16B", (80, 96), (WIDE // 64).astype(">u2").tobytes()), 1),
    ],
    ids=lambda value: getattr(value, "mode", ""),
)
def test_every_mode_of_pillow(picture, off):
    assert np.abs(grey_of(picture) - GREY).max() <= off


@pytest.mark.parametrize(
    "shown, message",
    [
        (PICTURE.convert("RGB").convert("CMYK"), "mode CMYK; convert"),
        (Image.new("LAB", (80, 96)), "mode LAB; convert"),
        (opened(pillow(PICTURE, "PNG", transparency=3)), "transparent; convert it to RGBA"),
        (opened(pillow(PICTURE.convert("RGB"), "PNG", transparency=(3, 3, 3))), "transparent; convert it to RGBA"),
        (opened(encoded(GREY, ".png")[:3000]), "cannot be decoded"),
        (opened(encoded(np.dstack([WIDE // 64] * 3), ".png")), "reach 3 of 255: .* give the path, or an array"),
    ],
)
def test_what_pillow_cannot_bring_in_is_refused(shown, message):
    with pytest.raises(image.ImageError, match=message):
        image.scan_of(shown)


def test_a_file_that_was_closed_too_early(tmp_path):
    PICTURE.save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        pass
    with pytest.raises(image.ImageError, match="closed before its pixels were read; call load"):
        image.scan_of(picture)


def test_what_is_edited_is_never_its_file_again(tmp_path):
    PICTURE.save(tmp_path / "a.tif")
    picture = Image.open(tmp_path / "a.tif")
    ImageDraw.Draw(picture).rectangle((10, 20, 30, 40), fill=0)
    drawn = GREY.copy()
    drawn[20:41, 10:31] = 0
    np.testing.assert_array_equal(grey_of(picture), drawn)
    picture = Image.open(tmp_path / "a.tif")
    picture.load()
    Image.fromarray(255 - GREY[::-1]).save(tmp_path / "b.tif")
    (tmp_path / "b.tif").replace(tmp_path / "a.tif")
    np.testing.assert_array_equal(grey_of(picture), GREY)
    np.testing.assert_array_equal(grey_of(picture.crop((8, 8, 72, 88))), GREY[8:88, 8:72])
    half = picture.resize((40, 48))
    np.testing.assert_array_equal(grey_of(half), np.asarray(half))
    picture.thumbnail((40, 48))
    assert image.scan_of(picture).grey.shape == (48, 40)


@pytest.mark.parametrize("number", UPRIGHT)
def test_what_is_made_of_a_turned_image_lies_as_its_pixels_lie(number):
    """Pillow copies the tag to it, whether it was turned or not."""
    for derived in (Image.Image.copy, lambda a: a.convert("RGB"), lambda a: a.crop((0, 0, 80, 96))):
        np.testing.assert_array_equal(grey_of(derived(turned_png(number))), GREY)
    upright = UPRIGHT[number](GREY)
    np.testing.assert_array_equal(grey_of(turned_png(number)), upright)
    np.testing.assert_array_equal(grey_of(ImageOps.exif_transpose(turned_png(number))), upright)
    picture = turned_png(number)
    ImageOps.exif_transpose(picture, in_place=True)
    np.testing.assert_array_equal(grey_of(picture), upright)
    quarter = turned_png(number).transpose(Image.Transpose.ROTATE_90)
    np.testing.assert_array_equal(grey_of(quarter), np.rot90(GREY))


def test_the_ppi_of_an_edited_image_is_what_its_info_says():
    tagged = opened(pillow(PICTURE, "TIFF", dpi=(1000, 1000)))
    assert image.scan_of(tagged.convert("RGB")).ppi == image.scan_of(tagged.crop((0, 0, 64, 64))).ppi == 1000
    assert image.scan_of(turned_png().copy()).ppi == 1000
    for content in (pillow(PICTURE, "JPEG", exif=directory(*resolution([1000, 1], [1000, 1]))), encoded(GREY, ".png")):
        tagged = opened(content)
        tagged.info["dpi"] = (569, 569)
        assert image.scan_of(tagged).ppi == 569
    for dpi in (500, (500,), ("500", "500"), (500, None), (float("nan"), 500), (10**400, 10**400), None, b"ab"):
        tagged = PICTURE.copy()
        tagged.info |= {"dpi": dpi, "exif": "no bytes", "jfif_unit": 1, "jfif_density": dpi}
        assert image.scan_of(tagged).ppi is None


def test_the_page_that_was_turned_to():
    other = Image.fromarray(GREY[:, ::-1].copy())
    pages = opened(pillow(PICTURE, "TIFF", save_all=True, append_images=[other]))
    pages.seek(1)
    np.testing.assert_array_equal(grey_of(pages), GREY[:, ::-1])


def test_a_plain_tiff_whose_rows_are_columns_is_not_torn(tmp_path):
    """Pillow maps it into memory by its size once it is turned."""
    (tmp_path / "a.tif").write_bytes(tiff(GREY, more=orientation(6)))
    with Image.open(tmp_path / "a.tif") as picture:
        np.testing.assert_array_equal(grey_of(picture), np.rot90(GREY, -1))
        assert picture.filename


def test_dark_colours_of_8_bits_are_read_and_the_upper_half_of_16_is_refused(tmp_path):
    colours = np.stack([GREY // 6] * 3, axis=-1)
    for name, pixels in (("8.png", colours), ("16.png", colours.astype(np.uint16) * 24)):
        cv2.imwrite(str(tmp_path / name), pixels)
    of_file = image.read(tmp_path / "8.png").grey
    for shown in (Image.open(tmp_path / "8.png"), Image.fromarray(colours), colours):
        np.testing.assert_array_equal(image.scan_of(shown).grey, of_file)
    with pytest.raises(image.ImageError, match="of a file of 16 bits Pillow keeps the upper 8"):
        image.scan_of(Image.open(tmp_path / "16.png"))
