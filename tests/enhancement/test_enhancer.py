"""Enhancement at any size and resolution: computed once, cached, and the same bits every time."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata

import cv2
import numpy as np
import pytest

from ifvit.config import Enhancement
from ifvit.enhancement import enhancer as enhancement
from ifvit.enhancement.enhancer import Enhanced, EnhancementError, Enhancer
from ifvit.image import ridge_mask, to_ppi

pytestmark = pytest.mark.slow


GABOR, NONE, PYFING = Enhancement.gabor, Enhancement.none, Enhancement.pyfing


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def computed(monkeypatch):
    """How many prints the Gabor bank was asked for: masks, and enhanced ones."""
    counts = {"masks": 0, "enhance": 0}
    for name in counts:
        method = getattr(enhancement._Gabor, name)

        def counted(self, prints, name=name, method=method):
            counts[name] += len(prints)
            return method(self, prints)

        monkeypatch.setattr(enhancement._Gabor, name, counted)
    return counts


def same(first: Enhanced, other: Enhanced) -> bool:
    return all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def overlap(a, b):
    return (a & b).sum() / (a | b).sum()


def test_none_leaves_the_grey(finger, folder):
    found = Enhancer(NONE, str(folder)).enhance(finger.worn, 500)
    assert found.grey is finger.worn
    np.testing.assert_array_equal(found.ridges, ridge_mask(finger.worn, 500))
    assert not folder.exists()


@pytest.mark.parametrize("ppi", [250, 500, 569, 1000])
def test_gabor_at_any_resolution(finger, folder, ppi):
    grey = to_ppi(finger.worn, 500, ppi)
    found = Enhancer(GABOR, str(folder)).enhance(grey, ppi)
    assert found.grey.shape == found.ridges.shape == grey.shape
    assert found.grey.dtype == np.uint8 and found.ridges.dtype == bool
    assert (found.grey[~found.ridges] == 255).all()
    # In its place: the finger's own ridges on these pixels.
    ridges, wave = (cv2.resize(x.astype(np.float32), grey.shape[::-1]) for x in (finger.ridges, finger.wave))
    assert overlap(found.ridges, ridges > 0.5) > 0.75
    where = found.ridges & (ridges > 0.5)
    assert np.corrcoef(-found.grey[where].astype(float), wave[where])[0, 1] > 0.85


@pytest.mark.parametrize("method", [NONE, GABOR])
def test_the_mask_alone_is_the_same_mask(finger, folder, method):
    enhancer = Enhancer(method, str(folder))
    (ridges,) = enhancer.ridges_many([finger.worn], [540])
    np.testing.assert_array_equal(ridges, enhancer.enhance(finger.worn, 540).ridges)


def test_what_came_with_it_does_not_matter(finger, tmp_path):
    others = [finger.grey[:200, :180], finger.worn, finger.worn[:, ::-1], finger.worn[50:240]]
    ppis = [500, 500, 569, 400]
    together = list(Enhancer(GABOR, str(tmp_path / "a")).enhance_many(others, ppis))
    for k, (grey, ppi) in enumerate(zip(others, ppis, strict=True)):
        assert same(Enhancer(GABOR, str(tmp_path / "b")).enhance(grey, ppi), together[k]), k


def test_images_are_taken_in_some_at_a_time(finger, folder):
    taken = []

    def images():
        for k in range(3 * enhancement.CHUNK):
            taken.append(k)
            yield finger.grey[:32, :32]

    next(iter(Enhancer(NONE).enhance_many(images(), [500.0] * 3 * enhancement.CHUNK)))
    assert len(taken) <= enhancement.CHUNK + 1


def test_a_second_call_computes_nothing(finger, folder, computed):
    images, ppis = [finger.grey, finger.worn], [500, 500]
    first = list(Enhancer(GABOR, str(folder)).enhance_many(images, ppis))
    assert computed == {"masks": 0, "enhance": 2}
    again = list(Enhancer(GABOR, str(folder)).enhance_many(images[::-1], ppis))[::-1]
    assert computed == {"masks": 0, "enhance": 2}
    assert all(same(a, b) for a, b in zip(first, again, strict=True))
    for _ in range(2):  # the masks alone are kept apart, so that they cost less
        list(Enhancer(GABOR, str(folder)).ridges_many(images, ppis))
        assert computed == {"masks": 2, "enhance": 2}


def test_another_pixel_ppi_or_recipe_is_another_print(finger, folder, computed, monkeypatch):
    enhancer = Enhancer(GABOR, str(folder))
    other = finger.grey.copy()
    other[0, 0] ^= 1
    turned = np.ascontiguousarray(finger.grey.reshape(260, 300))  # the same bytes
    for count, (grey, ppi) in enumerate([(finger.grey, 500), (finger.grey, 501), (other, 500), (turned, 500)], start=1):
        enhancer.enhance(grey, ppi)
        assert computed["enhance"] == count
    monkeypatch.setattr(enhancement, "RECIPE", -1)
    Enhancer(GABOR, str(folder)).enhance(finger.grey, 500)
    assert computed["enhance"] == 5


def test_a_corrupted_entry_is_made_anew(finger, folder, computed, capsys):
    first = Enhancer(GABOR, str(folder)).enhance(finger.worn, 500)
    (path,) = folder.iterdir()
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], content[:5000] + bytes(200) + content[5200:], b""):
        assert damaged != content
        path.write_bytes(damaged)
        before = computed["enhance"]
        assert same(Enhancer(GABOR, str(folder)).enhance(finger.worn, 500), first)
        assert computed["enhance"] == before + 1 and "damaged" in capsys.readouterr().err
        assert path.read_bytes() == content


RACER = """
import sys, time, hashlib
import numpy as np
from ifvit.enhancement.enhancer import Enhancer
images = np.load(sys.argv[1])
enhancer = Enhancer("gabor", sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
for found in enhancer.enhance_many(images, [500] * len(images)):
    print(hashlib.sha256(found.grey.tobytes() + found.ridges.tobytes()).hexdigest())
"""


def test_two_processes_at_once(finger, folder, tmp_path):
    images = np.stack([np.roll(finger.worn, k, 0)[:150, :150] for k in range(6)])
    np.save(tmp_path / "images.npy", images)
    command = [sys.executable, "-c", RACER, str(tmp_path / "images.npy"), str(folder)]
    racers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for racer in racers:
        assert racer.stdout.readline() == "ready\n", racer.stderr.read()
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    results = [racer.communicate(timeout=60) for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0], results
    assert results[0][0] == results[1][0] and len(results[0][0].split()) == 6
    assert results[0][1] == results[1][1] == ""  # nothing was damaged
    assert sorted(path.suffix for path in folder.iterdir()) == [".npz"] * 6
    results = list(Enhancer(GABOR, str(folder)).enhance_many(images, [500] * 6))
    assert len(results) == 6 and os.listdir(folder).__len__() == 6


@pytest.mark.parametrize("method", [NONE, GABOR])
@pytest.mark.parametrize("shape", [(16, 16), (17, 40), (200, 180)])
def test_blanks_and_noise_are_no_errors(folder, method, shape):
    enhancer = Enhancer(method, str(folder))
    blank = np.full(shape, 255, np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    for grey in (blank, noise):
        found = enhancer.enhance(grey, 500)
        assert found.grey.shape == found.ridges.shape == shape
        if grey is blank or (method is GABOR and min(shape) > 100):
            assert not found.ridges.any()


BAD = {
    "expected grey uint8": (np.zeros((50, 50), np.float32), 500),
    "(50, 50, 3)": (np.zeros((50, 50, 3), np.uint8), 500),
    "got list": ([[1, 2], [3, 4]], 500),
    "50x15 px is too small": (np.zeros((15, 50), np.uint8), 500),
    "20x8 px is too small": (np.random.default_rng(0).integers(0, 9, (16, 40)).astype(np.uint8), 1000),
    "0 is no resolution": (np.zeros((50, 50), np.uint8), 0),
    "nan is no resolution": (np.zeros((50, 50), np.uint8), float("nan")),
    "is the ppi right?": (np.zeros((400, 300), np.uint8), 2),
}


@pytest.mark.parametrize("message", BAD)
def test_what_is_no_print_is_refused_by_its_number(finger, folder, message):
    grey, ppi = BAD[message]
    with pytest.raises(EnhancementError) as error:
        list(Enhancer(GABOR, str(folder)).enhance_many([finger.grey[:64, :64], grey], [500, ppi]))
    assert message in str(error.value) and str(error.value).startswith("image 1: ")


def test_pyfing_without_the_package_is_said_at_once(monkeypatch, folder):
    def version(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    with pytest.raises(EnhancementError, match=r"pip install 'ifvit\[enhance\]'"):
        Enhancer(PYFING, str(folder))


def test_no_home_for_the_cache(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(enhancement.Cache, "__init__", lambda *_: None)
    monkeypatch.setattr("pathlib.Path.home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    with pytest.raises(EnhancementError, match="data.cache_dir"):
        Enhancer(GABOR)


def test_two_threads_that_want_one_print_compute_it_once(finger, folder, monkeypatch):
    """With a run a print's ridges are wanted for two purposes at the same time."""
    enhancer = Enhancer(GABOR, str(folder))
    computed, plain = [], enhancer._enhance_prints

    def enhance_prints(prints):
        computed.append(len(prints))
        time.sleep(0.2)
        return plain(prints)

    monkeypatch.setattr(enhancer, "_enhance_prints", enhance_prints)
    image = finger.worn
    with ThreadPoolExecutor(2) as pool:
        several = pool.submit(lambda: list(enhancer.enhance_many([image, image], [500.0, 500.0])))
        time.sleep(0.05)
        single = pool.submit(enhancer.enhance, image, 500.0).result()
    assert computed == [1]
    for other in several.result():
        np.testing.assert_array_equal(other.grey, single.grey)


def test_an_error_reaches_all_who_wait_for_it_and_does_not_stay(finger, folder, monkeypatch):
    enhancer = Enhancer(GABOR, str(folder))
    image = finger.worn

    def fail(prints):
        time.sleep(0.2)
        raise EnhancementError("no memory")

    with monkeypatch.context() as patch, ThreadPoolExecutor(2) as pool:
        patch.setattr(enhancer, "_enhance_prints", fail)
        for ended in [pool.submit(enhancer.enhance, image, 500.0) for _ in range(2)]:
            with pytest.raises(EnhancementError, match="no memory"):
                ended.result()
    assert enhancer.enhance(image, 500.0).ridges.any()
