"""An impression shows the finger's ridges where its maps say they are, and looks as its settings say."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial import cKDTree

from ifvit import geometry
from ifvit.config import ImpressionConfig, Sensor
from ifvit.synthesis.creases import DEEPEST, RASTER
from ifvit.synthesis.impression import (
    BREAKS,
    DRY,
    IMAGE_HEIGHT,
    IMAGE_WIDTH,
    MIDDLE,
    PX_PER_MM,
    Impression,
    clean,
    creased,
    depth,
    draw_impression,
    frame_points,
    render,
    touched,
)
from ifvit.synthesis.master import grow_finger
from ifvit.synthesis.minutiae import find_minutiae
from ifvit.synthesis.orientation import FRAME_HEIGHT, FRAME_PPI, FRAME_WIDTH, PAD

pytestmark = pytest.mark.slow


SETTINGS = ImpressionConfig(30.0, (6.0, 10.0), 1.0, 0.2, 1.0, 1.0, 1.0, 1.0, tuple(Sensor))
PLAIN = dataclasses.replace(
    SETTINGS, moisture=0.0, wear=0.0, creases=0.0, breaks=0.0, noise=0.0, sensors=(Sensor.optical,)
)
POINTS = frame_points(IMAGE_HEIGHT, IMAGE_WIDTH, FRAME_PPI)
COUNT = 6

# Compiled as wholes: operation by operation they take most of the time of these tests.
clean, depth, touched = jax.jit(clean), jax.jit(depth), jax.jit(touched)
to_finger, from_finger = jax.jit(Impression.to_finger), jax.jit(Impression.from_finger)
draw_many = jax.jit(jax.vmap(draw_impression, in_axes=(0, None)), static_argnums=1)
render, find_minutiae = jax.jit(render, static_argnums=3), jax.jit(find_minutiae)
sample = jax.jit(geometry.sample)


@pytest.fixture(scope="module")
def finger():
    return grow_finger(jax.random.key(5))


def drawn(settings, count=COUNT, seed=0):
    together = jax.device_get(draw_many(jax.random.split(jax.random.key(seed), count), settings))
    return [jax.tree.map(lambda leaf, n=n: leaf[n], together) for n in range(count)]


@pytest.fixture(scope="module")
def impressions():
    return drawn(SETTINGS)


def shown(finger, impression, points=POINTS, ppi=FRAME_PPI):
    return np.asarray(render(finger.skin, impression, points, ppi))


def test_the_maps_undo_each_other(impressions):
    for impression in impressions:
        assert np.abs(from_finger(impression, to_finger(impression, POINTS)) - POINTS).max() < 0.05
        assert np.abs(to_finger(impression, from_finger(impression, POINTS)) - POINTS).max() < 0.05


def test_the_map_between_two_does_not_fold(impressions):
    """det J > 1/2 everywhere, by differences of half a pixel, for all pairs."""
    h = 0.5

    def area(impression, other):
        def mapped(offset):
            return from_finger(other, to_finger(impression, POINTS[::4, ::4] + jnp.array(offset)))

        dx, dy = (mapped((h, 0)) - mapped((-h, 0))) / (2 * h), (mapped((0, h)) - mapped((0, -h))) / (2 * h)
        return dx[..., 0] * dy[..., 1] - dx[..., 1] * dy[..., 0]

    area = jax.jit(area)
    lowest = min(float(area(a, b).min()) for a in impressions for b in impressions)
    assert lowest > 0.5


def test_ridges_lie_where_the_map_says(finger, impressions):
    """A's clean ridges, carried over to B by the map, are B's."""
    for a, b in zip(impressions, impressions[1:], strict=False):
        points_a = from_finger(a, to_finger(b, POINTS))
        both = np.asarray(touched(b, POINTS) & touched(a, points_a))
        carried = sample(clean(finger.wave, a, POINTS), points_a, 0.0)
        ridges_b = np.asarray(clean(finger.wave, b, POINTS))
        assert both.mean() > 0.1
        assert np.corrcoef(np.asarray(carried)[both], ridges_b[both])[0, 1] > 0.97


def test_the_fingers_minutiae_are_found_on_the_impression(finger, impressions):
    """Found anew on its clean ridges, they lie within a third of a period of where the map puts the finger's."""
    of_finger = find_minutiae(finger.wave, finger.theta, finger.period)
    for impression in impressions[:3]:
        places = to_finger(impression, POINTS)
        wave = sample(finger.wave, places, 0.0)
        # The flow's direction turns with the finger; what the skin's distortion adds is a few degrees.
        x, y = (jnp.round(places[..., k]).astype(int) for k in (0, 1))
        at = jnp.clip(y, 0, FRAME_HEIGHT - 1), jnp.clip(x, 0, FRAME_WIDTH - 1)
        minutiae = find_minutiae(wave, finger.theta[at] + impression.angle, finger.period[at])
        carried = np.asarray(from_finger(impression, of_finger.points))
        inner = np.asarray(of_finger.real) & np.asarray(depth(impression, carried) > 20)
        inner &= ((carried > 20) & (carried < np.array([IMAGE_WIDTH, IMAGE_HEIGHT]) - 20)).all(-1)
        distance, _ = cKDTree(np.asarray(minutiae.points)[np.asarray(minutiae.real)]).query(carried[inner])
        assert inner.sum() > 15
        assert (distance < 3).mean() > 0.9 and np.median(distance) < 0.5


def test_contact_is_one_piece_of_natural_size():
    for sensor, low, high in ((Sensor.optical, 0.25, 0.6), (Sensor.inked, 0.5, 0.85)):
        settings = dataclasses.replace(SETTINGS, rotation_deg=0.0, shift_mm=0.0, sensors=(sensor,))
        masks = np.stack([touched(impression, POINTS) for impression in drawn(settings, 20)])
        area = masks.mean((1, 2))
        assert low < area.min() and area.max() < high and area.std() > 0.01
        for mask in masks:
            assert ndimage.label(mask)[1] == 1 and ndimage.label(~mask)[1] <= 4


def test_depth_counts_px_along_the_shorter_axis(impressions):
    """0 on the outline; half the shorter axis in the middle, but for the bends of the outline; in between even."""
    for impression in impressions:
        inside = np.asarray(depth(impression, POINTS)) > 0
        edge = inside ^ ndimage.binary_erosion(inside)
        edge[[0, -1]] = edge[:, [0, -1]] = False
        assert np.abs(np.asarray(depth(impression, POINTS))[edge]).max() < 3
        smallest = float(impression.contact.half.min())
        assert float(depth(impression, impression.middle)) == pytest.approx(smallest, rel=0.15)
        heading, half = impression.heading, impression.contact.half
        along = heading if half[0] < half[1] else heading[::-1] * np.array([-1, 1])
        ahead = depth(impression, impression.middle + np.array([[20.0], [40.0], [60.0]]) * along)
        np.testing.assert_allclose(np.diff(ahead), -20, atol=1)


def test_pose_stays_within_the_settings():
    many = drawn(SETTINGS, 200, seed=3)
    angle = np.degrees([impression.angle for impression in many])
    assert np.abs(angle).max() <= 30 and np.abs(angle).max() > 27
    turned = dataclasses.replace(SETTINGS, distortion=0.0, rotation_deg=90.0)
    # The middle of the contact stays; what is right of it goes down for a positive angle.
    for impression in drawn(turned, 3):
        np.testing.assert_allclose(from_finger(impression, impression.contact.centre), impression.middle, atol=1e-3)
        right = from_finger(impression, impression.contact.centre + jnp.array([10.0, 0.0])) - impression.middle
        np.testing.assert_allclose(
            right, 10 * np.array([np.cos(impression.angle), np.sin(impression.angle)]), atol=1e-3
        )


def pressed(**changes):
    """Where on the finger 400 impressions are pressed, (N, 2) mm from the middle of the pad, and their half sizes."""
    many = drawn(dataclasses.replace(SETTINGS, **changes), 400, seed=6)
    centre, half = (np.stack([getattr(impression.contact, name) for impression in many]) for name in ("centre", "half"))
    return (centre - np.array(PAD)) / PX_PER_MM, centre, half


def test_the_contact_wanders_as_far_as_asked_and_most_are_central():
    away, _, _ = pressed(sensors=(Sensor.capacitive,))
    across, along = np.abs(away).T
    assert across.max() <= 6 and along.max() <= 10 and across.max() > 5 and along.max() > 8
    assert 0.6 < (across < 0.4 * 6).mean() < 0.76 and 0.6 < (along < 0.4 * 10).mean() < 0.76
    both, _, _ = pressed(shift_mm=3.0, sensors=(Sensor.capacitive,))
    assert (np.abs(both) <= 3).all() and (np.abs(both).max(0) > 2.5).all()
    assert np.abs(pressed(shift_mm=(0.0, 0.0))[0]).max() < 1e-5


def test_nothing_touches_beyond_the_finger():
    _, centre, half = pressed(shift_mm=(8.0, 12.0))
    assert (centre - half >= -1e-3).all() and (centre + half <= np.array([FRAME_WIDTH, FRAME_HEIGHT]) + 1e-3).all()


def test_the_image_is_about_the_contact_wherever_it_is():
    for impression in drawn(SETTINGS, 50, seed=7):
        room = np.maximum(np.array([IMAGE_WIDTH, IMAGE_HEIGHT]) / 2 - impression.contact.half, 0)
        assert (np.abs(impression.middle - MIDDLE) <= 0.6 * room + 2 * PX_PER_MM + 1e-3).all()


def test_pressed_elsewhere_the_skin_is_bent_alike(impressions):
    impression = impressions[0]
    other = impression.pressed_at(impression.contact.centre + jnp.array([30.0, -50.0]))
    np.testing.assert_allclose(other.middle, impression.middle)
    moved = to_finger(other, POINTS) - to_finger(impression, POINTS)
    np.testing.assert_allclose(moved, np.broadcast_to([30.0, -50.0], moved.shape), atol=1e-3)


def test_dark_ridges_on_a_light_ground(finger):
    for impression in drawn(PLAIN, 3):
        image = shown(finger, impression)
        ridges = np.asarray(clean(finger.wave, impression, POINTS))
        deep = np.asarray(depth(impression, POINTS)) > 25
        ground = np.asarray(depth(impression, POINTS)) < -25
        assert image.min() >= 0 and image.max() <= 1
        assert image[deep & (ridges > 0.8)].max() < 0.35
        assert image[deep & (ridges < -0.8)].min() > 0.75
        assert image[ground].min() > 0.9


def test_moisture_thickens_ridges(finger):
    """Dry skin shows fewer dark pixels, wet skin more: one sigmoid, shifted."""
    (impression,) = drawn(PLAIN, 1)
    deep = np.asarray(depth(impression, POINTS)) > 25
    dark = [
        (shown(finger, impression._replace(moisture=jnp.float32(m))) < 0.5)[deep].mean()
        for m in (-0.4, -0.2, 0, 0.2, 0.4)
    ]
    assert (np.diff(dark) > 0.02).all() and 0.4 < dark[2] < 0.6


@pytest.mark.parametrize(("name", "strengths"), [("wear", (0.0, 1.0, 2.0)), ("noise", (0.0, 2.0, 5.0))])
def test_wear_and_noise_take_the_ridges_away_from_the_ideal(finger, name, strengths):
    fit = []
    for strength in strengths:
        settings = dataclasses.replace(PLAIN, **{name: strength})
        each = []
        for impression in drawn(settings, 3):
            deep = np.asarray(depth(impression, POINTS)) > 10
            ridges = np.asarray(clean(finger.wave, impression, POINTS))
            each.append(-np.corrcoef(shown(finger, impression)[deep], ridges[deep])[0, 1])
        fit.append(np.mean(each))
    assert fit[0] > 0.95 and fit[0] > fit[1] + 0.005 and fit[1] > fit[2] + 0.005


LIGHTLY = {"creases": jnp.float32(1), "pressure": jnp.float32(0)}
# A broad deep crease across the finger and a thin shallow one along it.
CUTS = jnp.zeros(RASTER, jnp.uint8).at[:, 120:124].set(DEEPEST // 4).at[130:140].set(DEEPEST)


def test_creases_belong_to_the_finger(finger):
    """What creases change in an impression, carried over by the map, is what they change in the other."""
    a, b = (impression._replace(**LIGHTLY) for impression in drawn(PLAIN, 2))
    changed = []
    for impression in (a, b):
        before, after = (shown(finger._replace(creases=cuts), impression) for cuts in (0 * CUTS, CUTS))
        assert (after >= before).all()  # ink goes
        changed.append(after - before)
    points_a = from_finger(a, to_finger(b, POINTS))
    both = np.asarray((depth(a, points_a) > 20) & (depth(b, POINTS) > 20) & geometry.inside(points_a, 480, 400))
    carried = np.asarray(sample(jnp.asarray(changed[0]), points_a, 0.0))
    assert both.mean() > 0.1 and changed[1][both].max() > 0.5
    assert np.corrcoef(carried[both], changed[1][both])[0, 1] > 0.95


def test_pressure_flattens_shallow_creases(finger, impressions):
    places = impressions[0].to_finger(POINTS)
    shallow, deep = jnp.array([244.0, 480.0]), jnp.array([100.0, 270.0])
    taken = [
        [float(creased(CUTS, impressions[0]._replace(creases=jnp.float32(c), pressure=jnp.float32(p)), at))
         for at in (shallow, deep)]
        for c, p in ((1, 0), (1, 0.2), (1, 0.4), (2, 0.4), (0, 0))
    ]  # fmt: skip
    light, middling, heavy, strong, none = np.array(taken)
    assert light[0] > middling[0] > heavy[0] == 0 and strong[0] > 0
    assert light[1] > middling[1] > heavy[1] > 2 and (none == 0).all()
    off = impressions[0]._replace(creases=jnp.float32(0))
    assert not np.asarray(creased(CUTS, off, places)).any()


def test_no_creases_and_no_breaks_is_a_finger_without(finger):
    """Of a draw with both keys at 0 the image is, to the bit, that of a finger which has no creases; else not."""
    bare = finger._replace(creases=jnp.zeros_like(finger.creases))
    creased_finger = finger._replace(creases=CUTS)
    (off,) = drawn(dataclasses.replace(SETTINGS, creases=0.0, breaks=0.0), 1, seed=2)
    (on,) = drawn(SETTINGS, 1, seed=2)
    assert off.breaks == off.creases == 0
    np.testing.assert_array_equal(shown(creased_finger, off), shown(bare, off))
    assert np.abs(shown(creased_finger, on) - shown(bare, on)).max() > 0.3


def test_dry_skin_breaks_and_wet_skin_does_not(finger):
    many = drawn(SETTINGS, 100, seed=8)
    moisture, breaks = (np.array([getattr(impression, name) for impression in many]) for name in ("moisture", "breaks"))
    assert ((breaks > 0) == (moisture < 0.2 * (2 * DRY - 1))).all() and 0.9 * BREAKS < breaks.max() <= BREAKS
    assert np.corrcoef(moisture[breaks > 0], breaks[breaks > 0])[0, 1] < -0.99
    (impression,) = drawn(PLAIN, 1)
    ridges = (np.asarray(depth(impression, POINTS)) > 25) & (np.asarray(clean(finger.wave, impression, POINTS)) > 0.8)
    pieces = []
    for strength in (0.0, 1.0, 2.0):
        dark = (shown(finger, impression._replace(breaks=jnp.float32(BREAKS * strength))) < 0.5) & ridges
        pieces.append(ndimage.label(dark)[1])
    assert pieces[1] > 2 * pieces[0] and pieces[2] > pieces[1]


def test_each_sensor_has_its_look(finger):
    def ground(sensor):
        settings = dataclasses.replace(SETTINGS, sensors=(sensor,))
        return [
            np.median(shown(finger, impression)[np.asarray(depth(impression, POINTS)) < -30])
            for impression in drawn(settings, 4)
        ]

    assert min(ground(Sensor.optical)) > 0.9 and max(ground(Sensor.capacitive)) < 0.85
    settings = dataclasses.replace(SETTINGS, sensors=(Sensor.capacitive, Sensor.inked))
    which = np.array([int(impression.sensor) for impression in drawn(settings, 60)])
    assert set(which) == {0, 1} and 0.25 < which.mean() < 0.75


def test_resolution_changes_the_pixels_not_the_print(finger):
    (impression,) = drawn(PLAIN, 1)
    fine = shown(finger, impression)
    coarse = shown(finger, impression, frame_points(240, 200, 250), 250.0)
    halved = fine.reshape(240, 2, 200, 2).mean((1, 3))
    assert np.corrcoef(halved.ravel(), coarse.ravel())[0, 1] > 0.98


def test_a_key_is_an_impression(finger):
    image, same = (shown(finger, drawn(SETTINGS, 1, seed=4)[0]) for _ in range(2))
    np.testing.assert_array_equal(image, same)
    assert np.abs(image - shown(finger, drawn(SETTINGS, 1, seed=5)[0])).mean() > 0.02


# Means of grey, per cent, over tiles of 80 x 80 px, of impression 1 of finger 1 (keys below); rows from the top.
GOLDEN = """
57.2 58.8 58.6 56.7 56.9
55.6 47.7 46.4 54.0 59.4
50.1 36.0 36.0 42.0 58.0
45.7 40.5 41.0 48.4 56.2
49.2 38.6 37.4 50.8 56.7
57.7 48.7 51.2 57.9 57.3
"""


def test_a_key_is_the_finger_and_impression_it_was():
    """If another, raise RECIPE in ifvit.data.finger_pool: else old caches, sets and runs mix with new ones."""
    finger = grow_finger(jax.random.key(1))
    image = shown(finger, jax.jit(draw_impression, static_argnums=1)(jax.random.key(1), SETTINGS))
    tiles = 100 * image.reshape(6, 80, 5, 80).mean((1, 3))
    expected = np.array([[float(v) for v in line.split()] for line in GOLDEN.split("\n") if line])
    np.testing.assert_allclose(
        tiles, expected, atol=0.3, err_msg="raise RECIPE in ifvit/data/finger_pool.py, then renew these"
    )
