"""Malformed files by the hundred, read in one process of bounded memory: none may crash, hang or swell it."""

import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from ifvit.image.exif import Exif, read_exif
from tests.helpers.images import encoded, print_like, tiff, wsq_start
from tests.helpers.places import REPOSITORY

GROWTH = 100  # MB; of claims of 10 GB and more nothing is left but a decoder that gave up early
READER = """
import json, resource, sys, time
import numpy as np
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
from ifvit import image
def peak():  # MB; what getrusage says begins with the parent's
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) // 1024
before = peak()
for path in sys.argv[1:]:
    started = time.monotonic()
    try:
        grey = image.read_grey(path)
        assert grey.dtype == np.uint8 and grey.ndim == 2 and grey.flags.c_contiguous, path
        message = "image"
    except image.ImageError as error:
        assert str(error).startswith(path + ": "), error
        message = str(error)[len(path) + 2:]
    print(json.dumps([path, message, time.monotonic() - started, peak() - before]), flush=True)
"""


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def segment(data: bytes) -> bytes:
    """The first application segment of a JPEG."""
    return b"\xff\xe1" + struct.pack(">H", 2 + len(data)) + data


def png_claiming(width: int, height: int) -> bytes:
    rows = zlib.compress(bytes(10**6))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def bmp_claiming(width: int, height: int, bits: int = 8, packing: int = 0) -> bytes:
    head = struct.pack("<2sIIIIiiHHIIiiII", b"BM", 2000, 0, 1078, 40, width, height, 1, bits, packing, 0, 0, 0, 0, 0)
    return head + bytes(2000)


def claims() -> dict[str, bytes]:
    """Files that claim sizes they have not, or lead in circles."""
    grey = cv2.resize(print_like()[0], (40, 40))
    jpeg = encoded(grey, ".jpg")
    size = jpeg.index(b"\xff\xc0") + 5
    files = {}
    for width, height in (
        (10**5, 10**5),
        (2**31 - 1, 2**31 - 1),
        (2**16, 2**10),
        (2**32 - 1, 20),
        (0, 0),
        (0, 40),
        (40, 0),
    ):
        name = f"{width}x{height}"
        files[f"{name}.png"] = png_claiming(width, height)
        files[f"{name}.pgm"] = b"P5 %d %d 255\n" % (width, height) + bytes(4000)
        files[f"{name}.tif"] = tiff(grey, more=[(256, 4, [width]), (257, 4, [height])])
        wide, high = min(width, 65535), min(height, 65535)
        files[f"{name}.jpg"] = jpeg[:size] + struct.pack(">HH", high, wide) + jpeg[size + 4 :]
        files[f"{name}.wsq"] = wsq_start(b"", wide, high)
    for width, height in (
        (2**31 - 1, 2**31 - 1),
        (40, -(2**31)),
        (-40, 40),
        (-(2**31), -1),
        (0, 0),
        (10**5, 10**5),
        (2**13, 2**13),
    ):
        for bits, packing in ((8, 0), (8, 1), (4, 2), (32, 3), (7, 0), (24, 9)):
            files[f"{width}x{height}_{bits}_{packing}.bmp"] = bmp_claiming(width, height, bits, packing)
    for tag in (258, 259, 262, 273, 277, 278, 279, 282, 322, 324, 325, 339):
        for number in (0, 1, 40, 2**16 - 1, 2**31, 2**32 - 1):
            files[f"tag{tag}_{number}.tif"] = tiff(grey, more=[(tag, 4, [number])])
    entry = struct.pack("<HHI", 279, 4, 1)
    for count in (0, 2**20, 2**31, 2**32 - 1):
        files[f"count{count}.tif"] = tiff(grey).replace(entry, struct.pack("<HHI", 279, 4, count))
    for start in (0, 4, 2**31, 2**32 - 1):  # where the first directory lies
        files[f"directory{start}.tif"] = b"II*\0" + struct.pack("<I", start) + tiff(grey)[8:]
    for tag, kind in ((274, 3), (282, 5), (283, 10), (296, 12), (282, 0), (282, 65535)):  # EXIF that leads astray
        for count, where in ((1, 2**32 - 1), (2**32 - 1, 8), (2**16, 0), (0, 0)):
            entry = struct.pack("<HHII", tag, kind, count, where)
            for entries in (1, 2, 2**16 - 1):
                block = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", entries) + entry
                files[f"exif{tag}_{kind}_{count}_{entries}.jpg"] = jpeg[:2] + segment(block) + jpeg[2:]
    for start in (0, 4, 2**31, 2**32 - 1):
        block = b"Exif\0\0MM\0*" + struct.pack(">I", start)
        files[f"exif{start}.jpg"] = jpeg[:2] + segment(block) * 50 + jpeg[2:]
    plain = tiff(grey)
    after = 8 + 2 + 12 * 10
    files["loop.tif"] = plain[:after] + struct.pack("<I", 8) + plain[after + 4 :]
    return files


def mutations(rng: np.random.Generator, each: int) -> dict[str, bytes]:
    """Real files with bytes turned (half of them near the start), cut out, doubled, or cut off."""
    grey = cv2.resize(print_like()[0], (60, 64))
    files = {}
    for ending in (".png", ".tif", ".bmp", ".jpg", ".pgm"):
        original = np.frombuffer(encoded(grey, ending), np.uint8)
        sources = [original] + ([np.frombuffer(tiff(grey), np.uint8)] if ending == ".tif" else [])
        for n in range(each):
            content = sources[n % len(sources)].copy()
            reach = min(len(content), 200) if n % 2 else len(content)
            content[rng.integers(0, reach, rng.integers(1, 8))] = rng.integers(0, 256)
            at = int(rng.integers(0, len(content)))
            if n % 5 == 3:
                content = np.delete(content, slice(at, at + int(rng.integers(1, 40))))
            if n % 5 == 4:
                content = np.insert(content, at, rng.integers(0, 256, 30).astype(np.uint8))
            if n % 7 == 6:
                content = content[:at]
            files[f"{n}{ending}"] = content.tobytes()
    for n in range(each):
        magic = (b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*", b"BM", b"\xff\xd8\xff", b"P5\n", b"\xff\xa0\xff", b"")[n % 8]
        files[f"{n}.random"] = magic + rng.integers(0, 256, int(rng.integers(0, 3000))).astype(np.uint8).tobytes()
    return files


def read_apart(folder: Path, files: dict[str, bytes]) -> list[tuple[str, str, float, int]]:
    """(name, "image" or the error's message, s, MB above the start) of each file, read by one process of its own."""
    for name, content in files.items():
        (folder / name).write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-c", READER, *files],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    read = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0 and len(read) == len(files), f"{[*files][len(read)]}: {done.stderr[-2000:]}"
    return read


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="measures memory the Linux way")
def test_malformed_files_are_refused_or_read_and_nothing_else(tmp_path):
    claimed, mutated = claims(), mutations(np.random.default_rng(0), 60)
    assert len(claimed) > 100 and len(mutated) > 300
    read = read_apart(tmp_path, claimed | mutated)
    assert max(seconds for _, _, seconds, _ in read) < 3
    assert max(growth for *_, growth in read) < GROWTH
    images = {name for name, message, *_ in read if message == "image"}
    # A tag turned to the value it had, or one without a meaning here. A damaged EXIF block leaves an image whole.
    assert all(name.startswith(("tag", "loop", "count0", "exif")) for name in images & set(claimed))
    assert {name for name in claimed if name.startswith("exif")} <= images
    assert 0.1 < len(images & set(mutated)) / len(mutated) < 0.9  # else the mutations test nothing


def test_any_exif_block_is_read_within_its_bounds():
    rng = np.random.default_rng(1)
    more = [(274, 3, [6]), (282, 5, [500, 1]), (283, 5, [500, 1]), (296, 3, [2])]
    content = np.frombuffer(tiff(np.zeros((1, 1), np.uint8), more=more), np.uint8)
    assert read_exif(b"Exif\0\0" + content.tobytes()) == read_exif(content.tobytes()) == Exif(6, 500, 500, 2)
    read = set()
    for n in range(3000):
        block = content.copy()
        block[rng.integers(8, len(block), rng.integers(1, 8))] = rng.integers(0, 256)
        block = block[: rng.integers(0, len(block))] if n % 3 == 2 else block
        exif = read_exif(b"Exif\0\0" + block.tobytes())
        assert exif.orientation in range(1, 9)
        read.add(exif)
    assert len(read) > 100  # else the mutations test nothing
