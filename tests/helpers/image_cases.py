"""Images as files of every kind, each with the array of its pixels."""

import io
import struct
import warnings
import zlib
from typing import NamedTuple

import numpy as np
from PIL import Image

from tests.helpers.images import encoded, pillow, print_like, tiff

GREY = print_like(96, 80)[0]
RGB = np.repeat(GREY[..., None], 3, 2) - np.array([0, 9, 5], np.uint8)  # not quite grey
ALPHA = np.where(GREY > 100, 255, 40).astype(np.uint8)
BLACK = 255 * (GREY > 128).astype(np.uint8)
PACKED = np.packbits(GREY > 128, axis=1).tobytes()
PALETTE = Image.fromarray(RGB).convert("P", palette=Image.Palette.ADAPTIVE, colors=256)
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}  # by EXIF's number: how what lies in the file is to be seen


class Case(NamedTuple):
    """A file, its upright pixels as an array brings them in, the ppi of its tags, and grey levels of tolerance."""

    content: bytes
    array: np.ndarray
    ppi: float | None = None
    off: int = 0


def wide(full, grey=GREY):
    return np.rint(grey.astype(float) * full / 255).astype(np.uint16)


def directory(*entries, order="<"):
    """An EXIF block of (tag, type, values)."""
    return b"Exif\0\0" + tiff(np.zeros((1, 1), np.uint8), more=entries, order=order)


def orientation(number):
    return [(274, 3, [number])]


def resolution(x, y, unit=2):
    return [(282, 5, x), (283, 5, y), (296, 3, [unit])]


def png(picture, chunks=(), late=()):
    """By Pillow, with further chunks (name, data) before the pixels, or after them."""
    content = encoded(picture, ".png") if isinstance(picture, np.ndarray) else pillow(picture, "PNG")

    def packed(chunks):
        return b"".join(
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
            for name, data in chunks
        )

    at, end = 33, len(content) - 12  # after IHDR, before IEND
    return content[:at] + packed(chunks) + content[at:end] + packed(late) + content[end:]


def phys(x, y, unit=1):
    return b"pHYs", struct.pack(">IIB", x, y, unit)


def jpeg(samples=GREY, exif=b"", jfif=(0, 1, 1), **options):
    content = pillow(Image.fromarray(samples), "JPEG", quality=92, exif=exif, **options)
    at = content.index(b"JFIF\0") + 7
    return content[:at] + struct.pack(">BHH", *jfif) + content[at + 5 :]


def seen(content):
    """What a JPEG shows, before its orientation is obeyed."""
    with warnings.catch_warnings(action="ignore"):  # of an EXIF block that is cut short
        return np.asarray(Image.open(io.BytesIO(content)))


def pngs():
    picture, rgb = Image.fromarray(GREY), Image.fromarray(RGB)
    yield "png", Case(png(picture), GREY)
    yield "png 1", Case(png(Image.fromarray(GREY > 128)), BLACK)
    yield "png rgb", Case(png(rgb), RGB)
    yield "png rgba", Case(png(Image.fromarray(np.dstack([RGB, ALPHA]))), np.dstack([RGB, ALPHA]))
    grey_alpha = Image.merge("LA", (picture, Image.fromarray(ALPHA)))
    yield "png la", Case(png(grey_alpha), np.dstack([GREY] * 3 + [ALPHA]))
    yield "png palette", Case(png(PALETTE), np.asarray(PALETTE.convert("RGB")))
    clear = bytes([255] * 100 + [40] * 156)
    for name, transparency in (("bytes", clear), ("int", 7)):
        palette = pillow(PALETTE, "PNG", transparency=transparency)
        yield f"png palette {name}", Case(palette, np.asarray(Image.open(io.BytesIO(palette)).convert("RGBA")))
    for full in (255, 1023, 4095, 65535):
        yield f"png 16 of {full}", Case(encoded(wide(full), ".png"), wide(full))
    yield "png 16 sBIT", Case(png(wide(1023) << 6, [(b"sBIT", b"\x0a")]), wide(1023) << 6)
    noisy = (RGB.astype(np.uint16) << 8) + np.random.default_rng(0).integers(0, 256, RGB.shape, np.uint16)
    noisy = np.dstack([noisy, (ALPHA.astype(np.uint16) << 8) + 77])
    yield "png rgb 16", Case(encoded(noisy[..., 2::-1], ".png"), noisy[..., :3])
    yield "png rgba 16", Case(encoded(noisy[..., [2, 1, 0, 3]], ".png"), noisy)
    for number, obeyed in UPRIGHT.items():
        chunk = b"eXIf", directory(*orientation(number))[6:]
        yield f"png orientation {number}", Case(png(picture, [chunk]), obeyed(GREY))
        yield f"png 16 orientation {number}", Case(png(wide(4095), [], [chunk]), obeyed(wide(4095)))
    yield "png pHYs", Case(png(picture, [phys(39370, 39370)]), GREY, 1000)
    yield "png pHYs after the pixels", Case(png(picture, [], [phys(22402, 22402)]), GREY, 569)
    yield "png pHYs without unit", Case(png(picture, [phys(500, 500, 0)]), GREY)
    yield "png pHYs unequal", Case(png(picture, [phys(19685, 39370)]), GREY)
    exif = b"eXIf", directory(*resolution([500, 1], [500, 1]), order=">")[6:]
    yield "png eXIf ppi", Case(png(picture, [exif]), GREY, 500)
    yield "png pHYs against eXIf", Case(png(picture, [exif, phys(39370, 39370)]), GREY, 1000)
    yield "png pHYs of software", Case(png(picture, [phys(2835, 2835), exif]), GREY, 500)


def tiffs():
    for order, name in (("<", "II"), (">", "MM")):
        yield f"tiff {name}", Case(tiff(GREY, order=order), GREY)
        yield f"tiff {name} white is 0", Case(tiff(255 - GREY, photometric=0, order=order), GREY)
        for full in (1023, 4095, 65535):
            yield f"tiff {name} 16 of {full}", Case(tiff(wide(full), order=order), wide(full))
        yield f"tiff {name} rgb", Case(tiff(RGB, photometric=2, order=order), RGB)
        colours = RGB.astype(np.uint16) * 256 + 200
        yield f"tiff {name} rgb 16", Case(tiff(colours, photometric=2, order=order), colours)
        float32 = (GREY / 255).astype(np.float32)
        yield f"tiff {name} float", Case(tiff(float32, kind=3, order=order), float32)
        yield f"tiff {name} float white is 0", Case(tiff(1 - float32, photometric=0, kind=3, order=order), float32)
        image = tiff(PACKED, bits=1, shape=GREY.shape, order=order)
        yield f"tiff {name} 1", Case(image, BLACK)
        for number, obeyed in UPRIGHT.items():
            more = orientation(number) + resolution([19685, 100], [19685, 100], 3)
            turned = tiff(wide(1023), more=more, order=order)
            yield f"tiff {name} 16 orientation {number}", Case(turned, obeyed(wide(1023)), 500)
    inverted = bytes(255 - b for b in PACKED)
    yield "tiff 1 white is 0", Case(tiff(inverted, photometric=0, bits=1, shape=GREY.shape), BLACK)
    yield "tiff 16 white is 0", Case(tiff(65535 - wide(65535), photometric=0), wide(65535))
    for number, obeyed in UPRIGHT.items():
        yield f"tiff orientation {number}", Case(tiff(GREY, more=orientation(number)), obeyed(GREY))
        rgb = tiff(RGB, photometric=2, more=orientation(number))
        yield f"tiff rgb orientation {number}", Case(rgb, obeyed(RGB))
    picture = Image.fromarray(GREY)
    for packing in ("tiff_lzw", "tiff_adobe_deflate", "packbits"):
        yield f"tiff {packing}", Case(pillow(picture, "TIFF", compression=packing, dpi=(500, 500)), GREY, 500)
        deep = pillow(Image.fromarray(wide(4095)), "TIFF", compression=packing)
        yield f"tiff 16 {packing}", Case(deep, wide(4095))
    yield "tiff palette", Case(pillow(PALETTE, "TIFF"), np.asarray(PALETTE.convert("RGB")))
    pages = pillow(picture, "TIFF", save_all=True, append_images=[Image.new("L", (99, 99), 7)])
    yield "tiff of two pages", Case(pages, GREY)
    for name, more, ppi in (
        ("in inches", resolution([1000, 1], [1000, 1]), 1000),
        ("without unit", resolution([500, 1], [500, 1], 1), None),
        ("in whole numbers", [(282, 3, [500]), (283, 4, [500])], 500),
        ("unequal", resolution([500, 1], [1000, 1]), None),
        ("over 0", resolution([500, 0], [500, 0]), None),
        ("of x alone", [(282, 5, [500, 1])], None),
        ("absurd", resolution([4294967295, 1], [4294967295, 1]), None),
    ):
        yield f"tiff ppi {name}", Case(tiff(GREY, more=more), GREY, ppi)


def jpegs():
    for number, obeyed in UPRIGHT.items():
        for name, samples in (("", GREY), ("rgb ", RGB)):
            content = jpeg(samples, directory(*orientation(number), order=">"))
            yield f"jpeg {name}orientation {number}", Case(content, obeyed(seen(content)), None, 1)
    at_500, at_1000 = resolution([500, 1], [500, 1]), resolution([1000, 1], [1000, 1])
    for name, exif, jfif, ppi in (
        ("JFIF", b"", (1, 500, 500), 500),
        ("JFIF in cm", b"", (2, 197, 197), 500.4),
        ("EXIF", directory(*at_1000), (0, 1, 1), 1000),
        ("EXIF in cm", directory(*resolution([19685, 100], [19685, 100], 3)), (0, 1, 1), 500),
        ("EXIF without unit", directory(*resolution([500, 1], [500, 1], 1)), (0, 1, 1), None),
        ("EXIF unequal", directory(*resolution([500, 1], [700, 1])), (0, 1, 1), None),
        ("EXIF over 0", directory(*resolution([500, 0], [500, 0])), (0, 1, 1), None),
        ("EXIF of x alone", directory((282, 5, [500, 1]), (296, 3, [2])), (0, 1, 1), None),
        ("JFIF against EXIF", directory(*at_500), (1, 1000, 1000), 1000),
        ("JFIF of software", directory(*at_500), (1, 72, 72), 500),
        ("EXIF of software", directory(*resolution([72, 1], [72, 1])), (1, 500, 500), 500),
        ("EXIF cut short", directory(*at_500)[:60], (0, 1, 1), None),
        ("EXIF of nothing", b"Exif\0\0", (0, 1, 1), None),
    ):
        content = jpeg(exif=exif, jfif=jfif)
        yield f"jpeg ppi of {name}", Case(content, seen(content), ppi, 1)
    content = jpeg(RGB, progressive=True)
    yield "jpeg progressive", Case(content, seen(content), None, 1)


def others():
    picture, rgb = Image.fromarray(GREY), Image.fromarray(RGB)
    yield "bmp", Case(pillow(picture, "BMP", dpi=(500, 500)), GREY, 500)
    yield "bmp rgb", Case(pillow(rgb, "BMP", dpi=(569, 569)), RGB, 569)
    yield "bmp 1", Case(pillow(Image.fromarray(GREY > 128), "BMP", dpi=(72, 72)), BLACK)
    yield "bmp palette", Case(pillow(PALETTE, "BMP"), np.asarray(PALETTE.convert("RGB")))
    for full in (100, 255, 1023, 40000, 65535):
        samples = wide(full).astype(">u2" if full > 255 else "u1")
        head = b"280 300\n%d\n".replace(b"280 300", b"80 96") % full
        white = 65535 if full > 255 else 255  # a PNM says what is white
        yield f"pgm of {full}", Case(b"P5 " + head + samples.tobytes(), np.rint(samples / full * white).astype(int))
        colours = np.dstack([samples] * 3).astype(samples.dtype)
        yield f"ppm of {full}", Case(b"P6 " + head + colours.tobytes(), np.rint(colours / full * 255).astype(np.uint8))
    dark = wide(1023).astype(">u2")
    yield "pgm of 4095, dark", Case(b"P5 80 96 4095 " + dark.tobytes(), (dark / 4095).astype(np.float32))
    yield "pbm", Case(b"P4 80 96\n" + bytes(255 - b for b in PACKED), BLACK)


CASES = {name: case for make in (pngs, tiffs, jpegs, others) for name, case in make()}
