"""Pairs for Module 2: A rendered, or warped, in B's frame, and the map that remains between them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import SingleDeviceSharding

from ifvit import geometry
from ifvit.comparison.module2_inputs import PrintImages
from ifvit.config import build
from ifvit.data.aligned_pairs import (
    PreparedBatch,
    draw_registration_noise,
    interpolated,
    make_aligned_pairs,
    render_aligned,
)
from ifvit.data.finger_pool import grow_packed
from ifvit.data.prepared import map_points
from ifvit.data.rendered_pairs import FingerIndices, draw_pairs
from ifvit.launch import compose_tree
from ifvit.pair import Pair

pytestmark = pytest.mark.slow


COUNT = 4


def settings(*more):
    return build(compose_tree(["data.image_size=96", "data.fingers=20", *more])).data


@pytest.fixture(scope="module")
def skins():
    return grow_packed(5, np.arange(3))


def rendered(skins, data, genuine=True):
    key = jax.random.key(3)
    first = jnp.arange(COUNT, dtype=jnp.int32) % 3
    picks = FingerIndices(Pair(first, first if genuine else (first + 1) % 3), jnp.full(COUNT, genuine))
    draws = draw_pairs(key, COUNT, data=data), draw_registration_noise(key, COUNT, settings=data.pairs)
    pairs, enhanced = render_aligned(draws, skins, picks, data, SingleDeviceSharding(jax.devices()[0]))
    return jax.device_get((pairs, enhanced))


def displacements(pairs):
    """How far (N, 2) px the map takes what both prints show."""
    a = pairs.sides.a
    return (a.to_other - np.asarray(geometry.pixel_grid(96, 96)))[a.valid]


def test_without_registration_noise_a_lies_on_b_however_it_is_bent(skins):
    pairs, enhanced = rendered(
        skins,
        settings(
            "data.impression.distortion=2", "data.pairs.registration_noise_deg=0", "data.pairs.registration_noise_px=0"
        ),
    )
    valid = pairs.sides.a.valid
    assert valid.sum() > 1000
    assert np.abs(displacements(pairs)).max() < 0.05
    np.testing.assert_allclose(enhanced.a[valid], enhanced.b[valid], atol=0.05)


def test_what_remains_is_the_registration_noise(skins):
    """A turn and a shift about the frame's middle, whatever the bend."""
    pairs, _ = rendered(skins, settings("data.pairs.registration_noise_deg=4", "data.pairs.registration_noise_px=3"))
    for k in range(COUNT):
        valid = pairs.sides.a.valid[k]
        from_a, to_b = np.asarray(geometry.pixel_grid(96, 96))[valid], pairs.sides.a.to_other[k][valid]
        straight = np.column_stack([from_a, np.ones(len(from_a))])
        affine, *_ = np.linalg.lstsq(straight, to_b, rcond=None)
        assert np.abs(straight @ affine - to_b).max() < 0.05
        assert np.linalg.det(affine[:2]) == pytest.approx(1, abs=1e-3)


def test_the_maps_are_each_others_inverse_and_show_the_same_ridges(skins):
    pairs, enhanced = rendered(skins, settings())
    a, b = pairs.sides
    for k in range(COUNT):
        back = geometry.sample(b.to_other[k, ..., 0], a.to_other[k], -99.0)
        x = np.broadcast_to(np.arange(96.0), (96, 96))
        assert np.abs(np.asarray(back) - x)[a.valid[k]].max() < 0.2  # of a map sampled between its pixels
        ours = np.asarray(geometry.sample(enhanced.b[k], a.to_other[k], 1.0))
        valid = a.valid[k] & a.ridges[k] & b.ridges[k]
        assert np.corrcoef(enhanced.a[k][valid], ours[valid])[0, 1] > 0.95
    assert 0.3 < np.abs(displacements(pairs)).mean() < 6


def test_prints_of_two_fingers_have_no_truth_but_lie_on_one_another(skins):
    pairs, _ = rendered(skins, settings(), genuine=False)
    a, b = pairs.sides
    assert not a.valid.any() and not b.valid.any()
    assert ((a.ridges & b.ridges).mean((1, 2)) > 0.2).all()


def test_registration_noise_is_as_large_as_configured():
    noise = draw_registration_noise(
        jax.random.key(0),
        2000,
        settings=settings("data.pairs.registration_noise_deg=4", "data.pairs.registration_noise_px=3").pairs,
    )
    assert np.rad2deg(np.std(noise.turn)) == pytest.approx(4, rel=0.1)
    assert np.std(noise.shift) == pytest.approx(3, rel=0.1) and np.abs(np.mean(noise.shift)) < 0.3


def prepared_batch(to_a):
    """Prints of one grating; `to_a` takes points of B to points of A, both (..., 2) px."""
    y, x = np.mgrid[:96, :96]
    grey = (128 + 90 * np.cos(x / 3.0 + np.sin(y / 9.0))).astype(np.uint8)
    ridges = (x - 48) ** 2 + (y - 48) ** 2 < 40**2
    side = [grey, 255 - grey, ridges, np.uint8(255)]
    images = PrintImages(*(np.stack([value] * COUNT) for value in side))
    labels = np.arange(COUNT, dtype=np.int32)
    map_ba = to_a(map_points((96, 96))).astype(np.float32)
    return PreparedBatch(
        Pair(images, images), np.stack([map_ba] * COUNT), np.ones(COUNT, bool), Pair(labels, labels + 1)
    )


STILL = ["data.pairs.rotation_deg=0", "data.pairs.shift_px=0", "data.pairs.noise=0", "data.pairs.dryness=0",
         "data.pairs.pressure=0"]  # fmt: skip


def test_prepared_prints_are_aligned_by_their_map():
    def to_a(points):
        return points - (5, -3)

    still = settings(*STILL, "data.pairs.registration_noise_deg=0", "data.pairs.registration_noise_px=0").pairs
    aligned = make_aligned_pairs(jax.random.key(0), prepared_batch(to_a), settings=still)
    inputs, (a, b) = prepared_batch(to_a).prints, aligned.pairs.sides
    # Pixel (x, y) of B shows A at (x - 5, y + 3).
    np.testing.assert_allclose(a.image[0, 3:90, 5:], inputs.a.grey[0][6:93, :-5] / 255, atol=1e-3)
    np.testing.assert_allclose(aligned.enhanced.a[0, 3:90, 5:], inputs.a.enhanced[0][6:93, :-5] / 255, atol=1e-3)
    np.testing.assert_allclose(b.image[0], inputs.b.grey[0] / 255, atol=1e-6)
    np.testing.assert_allclose(a.to_other[0], geometry.pixel_grid(96, 96), atol=1e-3)
    np.testing.assert_array_equal(aligned.labels.a, np.arange(COUNT))
    np.testing.assert_array_equal(aligned.labels.b, np.arange(COUNT) + 1)
    overlap = np.asarray(aligned.images.overlap[0])
    assert overlap.any() and (overlap <= np.asarray(a.ridges[0] & b.ridges[0])).all()


def test_the_registration_noise_of_a_prepared_pair_is_its_truth():
    """With A = B, where the map says that A's pixel lies there is the same grey in B."""
    noise = settings(
        *STILL[2:],
        "data.pairs.rotation_deg=40",
        "data.pairs.registration_noise_deg=6",
        "data.pairs.registration_noise_px=3",
    ).pairs
    aligned = make_aligned_pairs(jax.random.key(1), prepared_batch(lambda points: points), settings=noise)
    a, b = aligned.pairs.sides
    for k in range(COUNT):
        values = np.asarray(geometry.sample(b.image[k], a.to_other[k], 1.0))
        valid = np.asarray(a.valid[k])
        assert valid.sum() > 1000
        error = np.abs(values - np.asarray(a.image[k]))[valid]
        assert np.median(error) < 0.05 and np.quantile(error, 0.9) < 0.15
    assert np.abs(np.asarray(a.to_other[0]) - np.asarray(geometry.pixel_grid(96, 96))).mean() > 0.5


def test_a_map_is_bilinear_between_its_points_and_goes_straight_on_beyond_them():
    def to_a(points):
        x, y = points[..., 0], points[..., 1]
        return np.stack([1.1 * x - 0.2 * y + 3, 0.2 * x + 0.9 * y - 7], axis=-1)

    points = np.random.default_rng(0).uniform(-40, 140, (50, 2)).astype(np.float32)
    straight = interpolated(jnp.asarray(to_a(map_points((96, 96))), jnp.float32), jnp.asarray(points))
    np.testing.assert_allclose(straight, to_a(points), atol=1e-3)
    bent = map_points((96, 96)).astype(np.float32)
    bent[3, 4] += (2, 0)
    bent[3, -1] += (4, 0)  # of the last mesh, from 88 to 96 px
    values = interpolated(
        jnp.asarray(bent), jnp.array([[32.0, 24.0], [36.0, 24.0], [36.0, 28.0], [48.0, 24.0], [92.0, 24.0]])
    )
    np.testing.assert_allclose(values, [[34, 24], [37, 24], [36.5, 28], [48, 24], [94, 24]], atol=1e-5)
