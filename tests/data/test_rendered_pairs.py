"""Rendered pairs: maps exact at the network's resolution, labels that hold, and the same bits everywhere."""

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import tempfile

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from ifvit import geometry
from ifvit.config import build
from ifvit.data import finger_pool
from ifvit.data.finger_pool import FingerPool, grow_packed
from ifvit.data.rendered_pairs import MAX_DISTANCE, FingerIndices, draw_pairs, render_pairs, render_share
from ifvit.data.warped_pairs import truth_of
from ifvit.launch import compose_tree
from ifvit.pair import Pair
from ifvit.synthesis.impression import PX_PER_MM
from ifvit.synthesis.orientation import PAD

pytestmark = pytest.mark.slow


FINGERS, COUNT = 3, 5
GENUINE = np.array([True, True, True, True, False])


def settings(**changes):
    data = build(compose_tree(["data.image_size=128"])).data
    impression = {k: v for k, v in changes.items() if hasattr(data.impression, k) and k != "rotation_deg"}
    pairs = {k: v for k, v in changes.items() if k not in impression}
    return dataclasses.replace(
        data,
        impression=dataclasses.replace(data.impression, **impression),
        pairs=dataclasses.replace(data.pairs, **pairs),
    )


CLEAN = settings(moisture=0.0, wear=0.0, creases=0.0, breaks=0.0)
CLEAN = dataclasses.replace(CLEAN, impression=dataclasses.replace(CLEAN.impression, noise=0.0))


@pytest.fixture(scope="module")
def skins():
    return grow_packed(0, np.arange(FINGERS))


def rendered(skins, data, key=0, count=COUNT):
    first = np.arange(count, dtype=np.int32) % FINGERS
    genuine = np.resize(GENUINE, count)
    fingers = Pair(first, np.where(genuine, first, (first + 1) % FINGERS).astype(np.int32))
    picks = FingerIndices(fingers, genuine)
    draws = draw_pairs(jax.random.key(key), count, data)
    return jax.tree.map(np.asarray, render_share(draws, picks, skins, data))


@pytest.fixture(scope="module")
def clean(skins):
    return rendered(skins, CLEAN)


@pytest.fixture(scope="module")
def worn(skins):
    return rendered(skins, settings())


def test_shapes(worn):
    for image, ridges, to_other, valid in worn.sides:
        assert image.shape == ridges.shape == valid.shape == (COUNT, 128, 128)
        assert to_other.shape == (COUNT, 128, 128, 2)
        assert image.dtype == np.float32 and image.min() >= 0 and image.max() <= 1 and np.isfinite(image).all()


def test_map_and_inverse(worn):
    """Within 0.05 px of the network wherever valid: there and back again, by looking the inverse up."""
    a, b = worn.sides
    for k in np.flatnonzero(GENUINE):
        x, y = (geometry.sample(b.to_other[k, ..., i], a.to_other[k], 0.0) for i in (0, 1))
        off = np.hypot(*(np.asarray(back) - geometry.pixel_grid(128, 128)[..., i] for i, back in enumerate((x, y))))
        assert a.valid[k].sum() > 500
        assert off[a.valid[k]].max() < 0.05


def test_the_map_shows_the_same_skin(clean):
    """A pulled over to B by the map is B, up to what is lost by looking up between pixels; so the map is exact."""
    a, b = clean.sides
    for k in np.flatnonzero(GENUINE):
        carried = np.asarray(geometry.sample(a.image[k], b.to_other[k], 0.0))
        assert np.corrcoef(carried[b.valid[k]], b.image[k][b.valid[k]])[0, 1] > 0.9


def test_the_map_does_not_fold(worn):
    for maps in (side.to_other for side in worn.sides):
        dx, dy = np.diff(maps, axis=2)[:, :-1], np.diff(maps, axis=1)[:, :, :-1]
        area = dx[..., 0] * dy[..., 1] - dx[..., 1] * dy[..., 0]
        assert area.min() > 0.5


def test_valid_is_inside_ridges_of_both_and_genuine(worn):
    a, b = worn.sides
    assert not a.valid[~GENUINE].any() and not b.valid[~GENUINE].any()
    assert not (a.valid & ~a.ridges).any()
    points = a.to_other[a.valid]
    assert points.min() >= 0 and points.max() <= 127
    x, y = np.round(points).astype(int).T
    # The nearest pixel of B may just be off the outline on which the point itself is.
    assert b.ridges[np.nonzero(a.valid)[0], y, x].mean() > 0.98


def test_labels(worn):
    truth = truth_of(jax.tree.map(np.asarray, worn), 16)
    assert (np.asarray(truth.labels)[GENUINE] >= 0).sum(-1).min() > 5
    assert (np.asarray(truth.labels)[~GENUINE] == -1).all()
    assert np.asarray(truth.lone.a)[~GENUINE].sum() > 10


def test_two_impressions_of_one_finger_are_not_copies(skins):
    """Also unturned and unshifted they differ: skin, contact, moisture, sensor."""
    pairs = rendered(skins, settings(rotation_deg=0.0, shift_px=0.0))
    for k in np.flatnonzero(GENUINE):
        displacement = pairs.sides.a.to_other[k] - geometry.pixel_grid(128, 128)
        assert np.ptp(np.asarray(displacement)[pairs.sides.a.valid[k]], axis=0).max() > 0.5
        assert np.abs(pairs.images.a[k] - pairs.images.b[k]).mean() > 0.02


def test_the_pair_is_turned_within_its_settings(skins):
    pairs = rendered(skins, settings(rotation_deg=30.0, distortion=0.0), count=40)
    across = np.diff(pairs.sides.a.to_other[:, 64, 60:62], axis=1)[:, 0]
    angles = np.degrees(np.arctan2(across[:, 1], across[:, 0]))
    assert np.abs(angles).max() <= 30.05 and angles.max() > 20 and angles.min() < -20


def test_contacts_lie_apart_but_share_skin():
    """Of many pairs some show quite different parts of the finger, but none is further apart than MAX_DISTANCE."""
    data = settings()
    draws = draw_pairs(jax.random.key(4), 200, data)
    offset = draws.b.impression.contact.centre - draws.a.impression.contact.centre
    extent = np.minimum(
        256, 2 * np.minimum(draws.a.impression.contact.half, draws.b.impression.contact.half)
    )  # 128 px of 250 ppi
    distance = np.linalg.norm(offset / extent, axis=1)
    assert distance.max() < MAX_DISTANCE + 1e-3 and (distance > 0.98 * MAX_DISTANCE).mean() > 0.05
    assert 40 < np.median(np.linalg.norm(offset, axis=1)) < 120
    centre_a = draws.a.impression.contact.centre - np.array(PAD)
    assert np.abs(centre_a[:, 1]).max() > 8 * PX_PER_MM  # A itself is pressed anywhere


def test_far_contacts_still_have_labels(skins):
    """Frames that share half of their side only, once turned and moved: every genuine pair teaches some cells."""
    pairs = rendered(skins, settings(shift_mm=(8.0, 12.0)), key=5, count=40)
    labels = np.asarray(truth_of(jax.tree.map(np.asarray, pairs), 16).labels)
    assert (labels >= 0).sum(-1)[pairs.genuine].min() >= 3


def test_fresh_and_reproducible(skins, worn):
    np.testing.assert_array_equal(rendered(skins, settings()).images.b, worn.images.b)
    assert (rendered(skins, settings(), key=1).sides.a.to_other != worn.sides.a.to_other).mean() > 0.9


PROGRAM = f"""
import sys
sys.path.insert(0, {os.path.dirname(__file__)!r})
import json, test_rendered_pairs
print(json.dumps(test_rendered_pairs.all_digests()))
"""


def all_digests():
    """The digests of a batch of 2 pairs on a device and of 16 on four, and of pools renewed on one and on four."""
    batches = [digests(batch, devices) for batch, devices in ((2, 1), (16, 4))]
    return {"batches": batches, "pools": [renewed(devices) for devices in (1, 4)]}


def mesh(devices):
    return Mesh(np.array(jax.devices()[:devices]), ("data",), axis_types=(AxisType.Auto,))


def digests(batch, devices):
    """Of the first two pairs of a batch, rendered over so many devices."""
    skins = jax.device_put(grow_packed(0, np.arange(2)), NamedSharding(mesh(devices), PartitionSpec()))
    fingers = np.arange(batch, dtype=np.int32) % 2
    picks = FingerIndices(Pair(fingers, fingers), np.ones(batch, bool))
    data = dataclasses.replace(settings(), image_size=64)
    draws = draw_pairs(jax.random.key(9), batch, data)
    rendered = render_pairs(draws, skins, picks, data, NamedSharding(mesh(devices), PartitionSpec("data")))
    assert len(rendered.images.a.sharding.device_set) == devices
    pairs = jax.tree.map(np.asarray, rendered)
    return [
        hashlib.sha256(b"".join(leaf[k].tobytes() for leaf in jax.tree.leaves(pairs))).hexdigest() for k in range(2)
    ]


def renewed(devices):
    """Of each device's share of a pool after two steps of renewal."""
    finger_pool.BLOCK = 2
    with tempfile.TemporaryDirectory() as folder:
        data = dataclasses.replace(settings(), fingers=2, val_fingers=1, renew=1, cache_dir=folder)
        pool = FingerPool(data, 0, NamedSharding(mesh(devices), PartitionSpec()))
        for step in range(3):
            pool.move_to(step)
    shards = zip(*(leaf.addressable_shards for leaf in pool.skins), strict=True)
    return [hashlib.sha256(b"".join(np.asarray(part.data).tobytes() for part in shard)).hexdigest() for shard in shards]


@pytest.fixture(scope="module")
def on_devices():
    """`all_digests` of a process with four devices and the compiler's optimisations: they are what could round one
    program otherwise than another.
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "JAX_DISABLE_MOST_OPTIMIZATIONS": "0"}
    environment["JAX_ENABLE_COMPILATION_CACHE"] = "0"  # it holds what tests compiled without them
    environment["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"
    ended = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def test_the_same_bits_in_a_batch_of_2_and_in_one_of_16_on_4_devices(on_devices):
    few, many = on_devices["batches"]
    assert few == many and len(set(few)) == 2


def test_a_renewed_pool_has_the_same_bits_on_each_of_4_devices(on_devices):
    alone, spread = on_devices["pools"]
    assert len(alone) == 1 and spread == 4 * alone
