"""pyfing's networks: imported only when asked for, on JAX, and the same as pyfing's own steps around them."""

import subprocess
import sys
import types
from importlib import metadata
from importlib.util import find_spec

import numpy as np
import pytest

from ifvit.enhancement import pyfing_networks
from ifvit.enhancement.enhancer import Enhanced, Enhancer
from ifvit.enhancement.errors import EnhancementError
from ifvit.enhancement.minutiae import find_minutiae
from ifvit.enhancement.pyfing_networks import PyfingNetworks

needs_pyfing = pytest.mark.skipif(find_spec("pyfing") is None, reason="pip install 'ifvit[enhance]'")


def test_it_is_not_imported_for_anything_else():
    code = "import sys, ifvit.enhancement.enhancer; sys.exit(bool({'pyfing', 'keras'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_keras_on_another_backend_is_said(monkeypatch):
    keras = types.ModuleType("keras")
    keras.backend = types.SimpleNamespace(backend=lambda: "tensorflow")
    monkeypatch.setitem(sys.modules, "keras", keras)
    monkeypatch.setitem(sys.modules, "pyfing", types.ModuleType("pyfing"))
    monkeypatch.setattr(metadata, "version", lambda _: "0.7.3")
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    with pytest.raises(EnhancementError, match="backend tensorflow.*KERAS_BACKEND=jax"):
        PyfingNetworks()


def test_a_broken_installation_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyfing", None)
    monkeypatch.setitem(sys.modules, "keras", types.ModuleType("keras"))
    monkeypatch.setattr(metadata, "version", lambda _: "0.7.3")
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    with pytest.raises(EnhancementError, match="cannot be imported.*ifvit\\[enhance\\]"):
        PyfingNetworks()


def test_batches_are_filled_up_and_cut_back(monkeypatch):
    """Prints of two padded sizes, three at a time: every one comes back from its own place."""
    shapes = [(100, 90), (40, 31), (97, 70), (64, 96), (98, 80), (99, 90)]
    prints = [np.random.default_rng(k).integers(0, 256, shape).astype(np.uint8) for k, shape in enumerate(shapes)]
    bare = object.__new__(PyfingNetworks)
    bare._batch = 3
    seen = []

    def compute(batch, mask, inside):
        seen.append(batch.shape)
        assert batch.shape == mask.shape == inside.shape
        return np.where(inside, 255 - batch, 7)

    results = bare._in_batches(compute, pyfing_networks.FRAME, prints, [np.ones(shape, bool) for shape in shapes])
    for grey, result in zip(prints, results, strict=True):
        np.testing.assert_array_equal(result, 255 - grey)
    assert all(len(shape) == 3 and shape[0] == 3 and shape[1] % 32 == shape[2] % 32 == 0 for shape in seen)
    assert len(seen) == 4  # 128x96 of three, 64x32, 64x96, and 128x96 again with one


@pytest.fixture(scope="module")
def loaded():
    return PyfingNetworks()


@needs_pyfing
def test_the_networks_hand_back_what_may_be_written_into(loaded, finger):
    result = loaded._run("mask", np.zeros((1, 64, 64, 1), np.float32))
    assert type(result) is np.ndarray and result.flags.writeable
    for found in loaded.enhance([finger.worn])[0]:
        found[0, 0] = 1


@needs_pyfing
def test_ridges_are_dark_on_white_and_in_place(loaded, finger):
    noise = np.random.default_rng(1).normal(0, 30, finger.grey.shape)
    worn = np.clip(finger.grey + noise, 0, 255).astype(np.uint8)
    ((grey, mask),) = loaded.enhance([worn])
    assert (mask & finger.ridges).sum() / (mask | finger.ridges).sum() > 0.9
    assert (grey[~mask] == 255).all()
    where = mask & finger.ridges
    black, white = (grey[where & wave].mean() for wave in (finger.wave > 0.8, finger.wave < -0.8))
    assert black < 15 and white > 245  # the ridges come out thinner than they are, so a correlation says less


@needs_pyfing
def test_they_do_what_pyfings_own_steps_do(loaded, finger):
    import pyfing

    class Numpy:
        """What pyfing expects of a model: results that have `.numpy()`."""

        def __init__(self, model):
            self._model = model

        def __call__(self, inputs, training):
            return types.SimpleNamespace(numpy=lambda: np.array(self._model(inputs, training=training)))

    steps = [pyfing.Sufs(), pyfing.Snfoe(), pyfing.Snffe(), pyfing.Snfen()]
    for step in steps:
        step.model = Numpy(step.model)
    segment, orient, space, bring_out = steps
    mask = segment.run(finger.worn)
    theta, _ = orient.run(finger.worn, mask)
    theirs = bring_out.run(finger.worn, mask, theta, space.run(finger.worn, mask, theta))
    ((grey, ours),) = loaded.enhance([finger.worn])
    assert (ours != (mask > 0)).mean() < 1e-4
    difference = np.abs(np.where(mask > 0, 255.0 - theirs, 255) - grey)
    assert difference.mean() < 0.05 and (difference > 8).mean() < 1e-3


@needs_pyfing
def test_the_front_keeps_what_they_found(finger, tmp_path, monkeypatch):
    images, ppis = [finger.worn, finger.grey[:200, :200]], [500, 569]
    first = list(Enhancer("pyfing", str(tmp_path)).enhance_many(images, ppis))
    masks = list(Enhancer("pyfing", str(tmp_path)).ridges_many(images, ppis))
    for grey, found, mask in zip(images, first, masks, strict=True):
        assert found.grey.shape == grey.shape and found.ridges.any()
        np.testing.assert_array_equal(found.ridges, mask)
    alone = Enhancer("pyfing", str(tmp_path / "alone")).enhance(images[1], 569)
    assert all(np.array_equal(a, b) for a, b in zip(alone, first[1], strict=True))
    monkeypatch.setattr(PyfingNetworks, "__init__", None)  # not even loaded
    again = list(Enhancer("pyfing", str(tmp_path)).enhance_many(images, ppis))
    assert [type(found) for found in again] == [Enhanced] * 2
    assert all(np.array_equal(a, b) for x, y in zip(first, again, strict=True) for a, b in zip(x, y, strict=True))


@needs_pyfing
def test_the_mask_alone_runs_one_network(finger, tmp_path, monkeypatch):
    ran = []
    run = PyfingNetworks._run
    monkeypatch.setattr(PyfingNetworks, "_run", lambda self, name, inputs: ran.append(name) or run(self, name, inputs))
    list(Enhancer("pyfing", str(tmp_path)).ridges_many([finger.worn], [500]))
    assert ran == ["mask"]


@needs_pyfing
def test_blanks_and_noise_are_no_errors(tmp_path):
    enhancer = Enhancer("pyfing", str(tmp_path))
    noise = np.random.default_rng(0).integers(0, 256, (16, 40)).astype(np.uint8)
    assert not enhancer.enhance(np.full((16, 40), 255, np.uint8), 500).ridges.any()
    assert enhancer.enhance(noise, 500).grey.shape == (16, 40)


@needs_pyfing
def test_leader_finds_the_minutiae_that_the_thinned_ridges_show(finger, tmp_path, monkeypatch):
    """Of a clean print: most of either list lie on one of the other, and point the same way."""
    enhancer = Enhancer("pyfing", str(tmp_path))
    enhanced = Enhanced(finger.grey, finger.ridges)
    found, thinned = enhancer.minutiae(finger.grey, enhanced), find_minutiae(*enhanced)
    apart = np.linalg.norm(found.points[:, None] - thinned.points, axis=-1)
    first, second = np.nonzero(apart == apart.min(0))
    near = apart[first, second] < 8
    assert len(found.points) >= 10 and near.mean() > 0.7
    turned = found.directions[first[near]] - thinned.directions[second[near]]
    assert np.median(np.abs(np.angle(np.exp(1j * turned)))) < np.deg2rad(10)
    assert (found.kinds[first[near]] == thinned.kinds[second[near]]).mean() > 0.6
    monkeypatch.setattr(PyfingNetworks, "__init__", None)  # kept
    again = Enhancer("pyfing", str(tmp_path)).minutiae(finger.grey, enhanced)
    assert all(np.array_equal(a, b) for a, b in zip(found, again, strict=True))
