import os
import time

import numpy as np
import pytest

from ifvit import image
from ifvit.image import reading
from tests.helpers.images import encoded, print_like

GREY = print_like()[0]


def refused(path, message):
    started = time.monotonic()
    with pytest.raises(image.ImageError, match=message) as caught:
        image.read(path)
    assert str(caught.value).startswith(f"{path}: ") and time.monotonic() - started < 2


def test_a_scan(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(GREY, ".png"))
    scan = image.read(tmp_path / "a.png")
    assert scan.grey.dtype == np.uint8 and (scan.ppi, scan.inverted) == (None, False)
    np.testing.assert_array_equal(image.read_grey(tmp_path / "a.png"), scan.grey)
    np.testing.assert_array_equal(image.read(str(tmp_path / "a.png")).grey, scan.grey)


def test_missing_empty_blank_and_tiny(tmp_path):
    refused(tmp_path / "none.png", "cannot be read")
    for name, content, message in (
        ("empty.png", b"", "empty"),
        ("blank.png", encoded(np.full((64, 64), 255, np.uint8), ".png"), "blank"),
        ("tiny.png", encoded(np.eye(8, dtype=np.uint8), ".png"), "too small"),
        ("letter.tif", b"not an image at all", "not an image"),
    ):
        (tmp_path / name).write_bytes(content)
        refused(tmp_path / name, message)


def test_folders_pipes_devices_and_odd_names(tmp_path):
    refused(tmp_path, "Is a directory")
    os.mkfifo(tmp_path / "pipe.png")
    refused(tmp_path / "pipe.png", "not a plain file")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    refused(tmp_path / "zero.png", "not a plain file")
    (tmp_path / "loop.png").symlink_to("loop.png")
    refused(tmp_path / "loop.png", "cannot be read")
    refused(f"{tmp_path}/a\0b.png", "cannot be read")
    refused(tmp_path / ("x" * 300), "cannot be read")
    refused(tmp_path / "zero.png" / "below.png", "cannot be read")


def test_files_nobody_may_read(tmp_path):
    path = tmp_path / "secret.png"
    path.write_bytes(encoded(GREY, ".png"))
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    refused(path, "cannot be read")


def test_a_file_too_large_is_not_read(tmp_path):
    path = tmp_path / "large.png"
    with path.open("wb") as file:
        file.truncate(reading.MAX_BYTES + 1)  # sparse: takes no room on the disk
    refused(path, "too large")
