"""The same image as a file, as a Pillow image and as an array: the same pixels, ppi and polarity come in."""

import io

import numpy as np
import pytest
from PIL import Image

from ifvit import image
from tests.helpers.image_cases import (
    CASES,
)


def same(scan, other, off=0):
    assert scan.grey.dtype == np.uint8 and scan.grey.flags.c_contiguous
    assert (scan.ppi, scan.inverted, scan.grey.shape) == (other.ppi, other.inverted, other.grey.shape)
    assert np.abs(scan.grey.astype(int) - other.grey).max() <= off


def test_there_are_enough():
    assert len(CASES) > 100


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("name", CASES)
def test_all_inputs_give_the_same_scan(tmp_path, name):
    case = CASES[name]
    (tmp_path / "print").write_bytes(case.content)
    scan = image.read(tmp_path / "print")
    assert scan.ppi == case.ppi
    same(image.scan_of(np.ascontiguousarray(case.array))._replace(ppi=case.ppi), scan, case.off)
    with Image.open(tmp_path / "print") as opened:
        same(image.scan_of(opened), scan, case.off)
        same(image.scan_of(opened), scan, case.off)  # loaded by now
    same(image.scan_of(opened), scan, case.off)  # and closed
    loaded = Image.open(io.BytesIO(case.content))
    loaded.load()
    same(image.scan_of(loaded), scan, case.off)
