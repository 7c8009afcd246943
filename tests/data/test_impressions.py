import shutil

import cv2
import numpy as np
import pytest

from ifvit import image
from ifvit.config import build
from ifvit.data.impressions import load
from ifvit.errors import DataError
from ifvit.launch import compose_tree

pytestmark = pytest.mark.slow


@pytest.fixture
def root(prints, tmp_path):
    return shutil.copytree(prints, tmp_path / "prints")


def settings(root, *more):
    return build(compose_tree(["data=folder", f"data.root={root}", "data.image_size=64", "data.file_ppi=250",
                               "data.pairs.elastic_px=1", *more])).data  # fmt: skip


def test_every_image_is_read_once_and_kept(root):
    impressions = load(settings(root))
    assert len(impressions) == impressions.in_memory == 8
    assert impressions.names == tuple(f"folder/finger{k}" for k in range(4))
    assert impressions.identity.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    canvas = impressions.canvas(3)
    assert canvas.grey.shape == canvas.ridges.shape == (128, 128) and 0.05 < canvas.ridges.mean() < 0.5
    assert impressions.canvas(3) is canvas


@pytest.mark.parametrize("enhancement", ["none", "gabor"])
def test_beyond_the_memory_images_are_read_again_to_the_same_bits(root, tmp_path, enhancement):
    more = (f"data.ridge_mask={enhancement}", f"data.cache_dir={tmp_path / 'cache'}")
    full, partial, decoded = (load(settings(root, f"data.memory_gb={gb}", *more)) for gb in (1, 100_000 / 2**30, 0))
    assert (full.in_memory, partial.in_memory, decoded.in_memory) == (8, 3, 0)
    assert full.fingerprint == partial.fingerprint == decoded.fingerprint
    for k in range(8):
        for other in (partial, decoded):
            np.testing.assert_array_equal(full.canvas(k).grey, other.canvas(k).grey)
            np.testing.assert_array_equal(full.canvas(k).ridges, other.canvas(k).ridges)


def test_the_fingerprint_is_the_datas(root, tmp_path):
    first = load(settings(root)).fingerprint
    assert load(settings(shutil.copytree(root, tmp_path / "moved" / "renamed"))).fingerprint == first
    assert load(settings(root, "data.file_ppi=260")).fingerprint != first
    changed = root / "finger0" / "0.png"
    picture = cv2.imread(str(changed), cv2.IMREAD_GRAYSCALE)
    picture[40, 40] ^= 1
    cv2.imwrite(str(changed), picture)
    other = load(settings(root)).fingerprint
    changed.unlink()
    assert len({first, other, load(settings(root)).fingerprint}) == 3


@pytest.mark.parametrize("enhancement", ["none", "gabor"])
def test_damaged_images_are_named_counted_and_limited(root, tmp_path, capsys, enhancement):
    more = (f"data.ridge_mask={enhancement}", f"data.cache_dir={tmp_path / 'cache'}")
    damaged = root / "finger1" / "1.png"
    damaged.write_bytes(damaged.read_bytes()[:500])
    with pytest.raises(DataError, match="1 of 8 images cannot be used(.|\n)*finger1/1.png"):
        load(settings(root, *more))
    impressions = load(settings(root, "data.max_damaged=1", *more))
    assert len(impressions) == 7 and impressions.identity.tolist() == [0, 0, 1, 2, 2, 3, 3]
    assert "finger1/1.png" in capsys.readouterr().err


def test_only_damaged_images_is_an_error_whatever_is_allowed(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="1 of 1 images"):
        load(settings(tmp_path, "data.max_damaged=9"))


def test_a_file_that_vanishes_after_it_was_checked_is_named(root):
    impressions = load(settings(root, "data.memory_gb=0"))
    shutil.copy(impressions.records[0].path, impressions.records[1].path)
    with pytest.raises(image.ImageError, match="finger0/1.png: has changed since it was checked"):
        impressions.canvas(1)
    impressions.records[2].path.unlink()
    with pytest.raises(image.ImageError, match="finger1/0.png"):
        impressions.canvas(2)


def test_what_is_assumed_and_turned_over_is_said(root, capsys):
    path = root / "finger2" / "0.png"
    cv2.imwrite(str(path), 255 - cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))
    impressions = load(settings(root, "data.file_ppi=null"))
    messages = capsys.readouterr().err
    assert "8 of 8 images say nowhere what their resolution is: 500 ppi are assumed" in messages
    assert "1 images with light ridges" in messages and {record.ppi for record in impressions.records} == {500}


def test_one_image_of_two_fingers_is_refused_whatever_its_file(root):
    picture = cv2.imread(str(root / "finger0" / "0.png"), cv2.IMREAD_GRAYSCALE)
    cv2.imwrite(str(root / "finger0" / "again.bmp"), picture)
    assert len(load(settings(root))) == 9  # of one finger it does no harm
    cv2.imwrite(str(root / "finger3" / "2.bmp"), picture)
    with pytest.raises(DataError, match="finger0/0.png and .*finger3/2.bmp are one image, of folder/finger0 and of"):
        load(settings(root))


def test_who_is_shown_is_in_the_fingerprint(root, tmp_path):
    first = load(settings(root)).fingerprint
    (root / "finger0" / "0.png").rename(root / "finger1" / "9.png")
    assert load(settings(root)).fingerprint != first


def test_a_ppi_that_would_ask_for_too_much_is_a_damaged_image(root, tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (500, 500)).astype(np.uint8)
    cv2.imwrite(str(root / "finger0" / "0.png"), noise)
    more = ("data.ridge_mask=gabor", f"data.cache_dir={tmp_path / 'cache'}", "data.file_ppi=50")
    with pytest.raises(DataError, match="images cannot be used(.|\n)*finger0/0.png: larger than a hand at its ppi"):
        load(settings(root, *more))
