"""Minutiae are found where known waves have them, nowhere else, and where a skeleton of grown ridges has them."""

import itertools

import jax
import numpy as np
import pytest
from scipy.spatial import cKDTree

from ifvit.synthesis.master import grow_fingers
from ifvit.synthesis.minutiae import MAX_MINUTIAE, TipKind, find_minutiae

pytestmark = pytest.mark.slow


PERIOD = 9.0
WAVENUMBER = 2 * np.pi / PERIOD
SIDE = 120  # px, of the analytic waves
MARGIN = 16  # px; nearer to the frame's edge the detector and a skeleton may see different things
MATCH = 0.7  # periods
FINGERS = 5

find = jax.jit(find_minutiae, static_argnames="limit")


def minutiae_of(wave, theta, period=PERIOD, limit=MAX_MINUTIAE):
    shape = wave.shape
    fields = (np.broadcast_to(np.asarray(field, np.float32), shape) for field in (wave, theta, period))
    return jax.tree.map(np.asarray, find(*fields, limit=limit))


def real(minutiae):
    """Points, angles and kinds without padding."""
    return tuple(values[minutiae.real] for values in minutiae[:3])


def turned(alpha, centre):
    """Coordinates along and across a flow of direction `alpha` through `centre`, px, each (SIDE, SIDE)."""
    y, x = np.mgrid[:SIDE, :SIDE] - np.asarray(centre)[::-1, None, None]
    return x * np.cos(alpha) + y * np.sin(alpha), -x * np.sin(alpha) + y * np.cos(alpha)


def dislocation(charge, psi, alpha, centre):
    """Re[(x + i charge y) e^{i (k y + psi)}] at amplitude 1 far away, x along the flow, y across."""
    x, y = turned(alpha, centre)
    return ((x + 1j * charge * y) * np.exp(1j * (WAVENUMBER * y + psi))).real / np.hypot(np.hypot(x, y), PERIOD)


def tip(charge, psi):
    """Where it has its tip, (x, y) px, and the phase there.

    r = 0 is x = charge y tan f, where f = k y + psi; dr/dy = 0 then makes k y = -sin f cos f, which has one
    solution. There d2r/dy2 = -2 charge k cos f, and dr/dx = cos f: the body is on the side of `charge`.
    """
    low, high = -1.0, 1.0  # k y
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if middle + np.sin(2 * (middle + psi)) / 2 < 0 else (low, middle)
    phase = low + psi
    return np.array([-charge * np.sin(phase) ** 2, -np.sin(phase) * np.cos(phase)]) / WAVENUMBER, phase


@pytest.mark.parametrize("charge", [1, -1])
@pytest.mark.parametrize("psi", [0.0, 0.8, 1.35, 2.5, 3.7, 5.5])
def test_a_dislocation_is_one_minutia_at_its_tip(charge, psi):
    (along, across), phase = tip(charge, psi)
    for alpha, centre in ((0.0, (60, 60)), (0.7, (58.3, 61.8)), (np.pi / 2, (60.5, 60.5)), (2.9, (63.4, 59.1))):
        points, angle, kind = real(minutiae_of(dislocation(charge, psi, alpha, centre), alpha))
        place = np.array(centre) + along * np.array([np.cos(alpha), np.sin(alpha)])
        place = place + across * np.array([-np.sin(alpha), np.cos(alpha)])
        assert len(points) == 1
        assert np.linalg.norm(points[0] - place) < 0.25
        assert kind[0] == (TipKind.ENDING if charge * np.cos(phase) > 0 else TipKind.BIFURCATION)
        assert 0 <= angle[0] < 2 * np.pi
        assert np.cos(angle[0] - alpha) == pytest.approx(charge, abs=1e-5)


def test_the_side_of_the_flow_does_not_matter():
    """A direction modulo pi jumps from pixel to pixel where it is near 0; the place and the angle do not."""
    wave = dislocation(1, 0.4, 0.0, (60.2, 59.7))
    theta = np.random.default_rng(3).normal(0, 0.02, wave.shape) + np.pi * (np.indices(wave.shape).sum(0) % 2)
    finger_minutiae, plain = minutiae_of(wave, theta), minutiae_of(wave, 0.0)
    assert finger_minutiae.real.sum() == plain.real.sum() == 1
    np.testing.assert_allclose(finger_minutiae.points[0], plain.points[0], atol=0.5)
    assert np.cos(finger_minutiae.angle[0] - plain.angle[0]) > 0.99


def test_whole_ridges_have_none():
    for alpha, period in itertools.product((0.0, 0.4, np.pi / 2, 2.0), (7.0, 9.0, 12.0)):
        _, y = turned(alpha, (60, 60))
        for psi, off in itertools.product((0.0, 1.0, np.pi / 2), (0.0, 0.2, -0.2)):  # the flow is never quite right
            assert not minutiae_of(np.cos(2 * np.pi * y / period + psi), alpha + off, period).real.any()


def test_rings_have_none():
    """Ridges bent round a place outside, where they are merely curved, and inside, where no way is along."""
    for centre in ((-20, 40), (60.3, 59.6)):
        x, y = turned(0.0, centre)
        for psi in (0.0, 1.0, 2.0, 4.0):
            assert not minutiae_of(np.cos(WAVENUMBER * np.hypot(x, y) + psi), np.arctan2(y, x) + np.pi / 2).real.any()


def ladder(slip):
    """Ridges that to the right of a spot's middle run `slip` periods beside themselves, fading with distance."""
    x, y = turned(0.0, (60, 60))
    right = 1 / (1 + np.exp(-x / 6))
    phase = 2 * np.pi * slip * np.exp(-((y / 14) ** 2))
    return (1 - right) * np.cos(WAVENUMBER * y) + right * np.cos(WAVENUMBER * y + phase)


def test_a_wiggle_is_no_pair_of_minutiae(monkeypatch):
    """Half a period out of step, the outline runs back for a moment; further, and ridges end on either side."""
    assert not minutiae_of(ladder(0.45), 0.0).real.any()
    assert not minutiae_of(ladder(0.51), 0.0).real.any()
    points, angle, _ = real(minutiae_of(ladder(0.65), 0.0))
    assert len(points) == 2 and np.cos(angle).sum() == pytest.approx(0, abs=1e-6)
    assert np.linalg.norm(points[0] - points[1]) > PERIOD / 2
    monkeypatch.setattr("ifvit.synthesis.minutiae.NEAREST", 0)
    wave = np.asarray(ladder(0.51), np.float32)
    raw = find_minutiae(wave, np.zeros_like(wave), np.full_like(wave, PERIOD))
    assert raw.real.sum() == 2  # so there was something to leave out


def several():
    """Six dislocations well apart, and one at the edge of the frame, which does not count."""
    _, y = turned(0.0, (0, 0))
    field = np.exp(1j * WAVENUMBER * y)
    places = [(30, 31), (61, 28), (92, 33), (29, 88), (57, 91), (90, 87), (4, 60)]
    for n, place in enumerate(places):
        dx, dy = turned(0.0, place)
        field = field * (dx + 1j * (-1) ** n * dy) / np.hypot(np.hypot(dx, dy), PERIOD)
    return field.real, np.array(places[:6])


def test_padding_is_behind_and_zero():
    wave, places = several()
    minutiae = minutiae_of(wave, 0.0)
    assert [values.shape for values in minutiae] == [
        (MAX_MINUTIAE, 2),
        (MAX_MINUTIAE,),
        (MAX_MINUTIAE,),
        (MAX_MINUTIAE,),
    ]
    assert [values.dtype for values in minutiae] == [np.float32, np.float32, np.int32, bool]
    assert minutiae.real[:6].all() and not minutiae.real[6:].any()
    for values in minutiae:
        assert not values[6:].any()
    distance, which = cKDTree(places).query(minutiae.points[:6])
    assert distance.max() < PERIOD / 2 and sorted(which) == list(range(6))


def test_overflow_keeps_those_nearest_to_the_centre():
    wave, _ = several()
    everything = minutiae_of(wave, 0.0)
    radius = np.linalg.norm(everything.points[:6] - (SIDE - 1) / 2, axis=1)
    assert (np.diff(radius) > -1).all()  # px: squares are ordered, places lie anywhere in them
    for limit in (6, 4, 1):
        for few, many in zip(minutiae_of(wave, 0.0, limit=limit), everything, strict=True):
            np.testing.assert_array_equal(few, many[:limit])


@pytest.fixture(scope="module")
def fingers():
    return jax.tree.map(np.asarray, grow_fingers(jax.random.split(jax.random.key(21), FINGERS)))


@pytest.fixture(scope="module")
def finger_minutiae(fingers):
    singly = [minutiae_of(*fields) for fields in zip(fingers.wave, fingers.theta, fingers.period, strict=True)]
    return jax.tree.map(lambda *values: np.stack(values), *singly)


def test_a_finger_does_not_depend_on_its_batch(fingers, finger_minutiae):
    batched = jax.jit(jax.vmap(find_minutiae))(fingers.wave, fingers.theta, fingers.period)
    for name, values in finger_minutiae._asdict().items():
        np.testing.assert_array_equal(np.asarray(getattr(batched, name)), values, err_msg=name)


def neighbours(image):
    """The eight neighbours of each pixel, clockwise from above: (8, H, W) bool."""
    padded = np.pad(image, 1)
    steps = ((0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0), (0, 0))
    return np.stack([padded[y : y + image.shape[0], x : x + image.shape[1]] for y, x in steps])


def crossings(around):
    return (~around & np.roll(around, -1, 0)).sum(0)


def thin(image):
    """Zhang and Suen's skeleton (1984) of a bool image."""
    image, before = image.copy(), -1
    while image.sum() != before:
        before = image.sum()
        for first in (True, False):
            around = neighbours(image)
            up, right, down, left = around[::2]
            full = right & down & (up | left) if first else up & left & (right | down)
            image &= ~((crossings(around) == 1) & (around.sum(0) >= 2) & (around.sum(0) <= 6) & ~full)
    return image


def skeleton_ends(image):
    """(N, 2) px, (x, y), where the skeleton of a bool image ends."""
    skeleton = thin(image)
    return np.argwhere(skeleton & (crossings(neighbours(skeleton)) == 1))[:, ::-1]


def comparable(points, theta, period):
    """Points (N, 2) of a finger well inside its frame and well away from where the flow turns sharply."""
    turn = np.hypot.reduce([*np.gradient(np.cos(2 * theta)), *np.gradient(np.sin(2 * theta))]) / 2
    height, width = theta.shape
    x, y = points.T
    inside = (x > MARGIN) & (x < width - 1 - MARGIN) & (y > MARGIN) & (y < height - 1 - MARGIN)
    x, y = np.clip(x, 0, width - 1).astype(int), np.clip(y, 0, height - 1).astype(int)
    return points[inside & ((turn * period)[y, x] < 0.4)]


def test_grown_fingers_have_those_of_their_skeletons(fingers, finger_minutiae):
    """Ridge ends are ends of the ridges' skeleton; bifurcations are ends of the valleys' skeleton."""
    hits = {TipKind.ENDING: np.zeros(4), TipKind.BIFURCATION: np.zeros(4)}
    for n in range(FINGERS):
        wave, theta, period = fingers.wave[n], fingers.theta[n], fingers.period[n]
        points, _, kinds = real(jax.tree.map(lambda values, n=n: values[n], finger_minutiae))
        for kind, image in ((TipKind.ENDING, wave >= 0), (TipKind.BIFURCATION, wave < 0)):
            ends, mine, near = skeleton_ends(image), points[kinds == kind], MATCH * period.mean()
            for at, ours, theirs in ((0, ends, mine), (2, mine, ends)):
                distance, _ = cKDTree(theirs).query(comparable(ours, theta, period))
                hits[kind][at : at + 2] += (distance < near).sum(), len(distance)
    for kind, (recalled, ends, precise, mine) in hits.items():
        assert ends > 100 and mine > 100, kind
        assert recalled / ends > 0.95 and precise / mine > 0.95, kind


def test_angles_point_into_the_ridge_or_valley(fingers, finger_minutiae):
    """From a tip inwards the wave keeps its sign for half a period; outwards it has the other."""
    right = []
    for n in range(FINGERS):
        points, angle, kinds = real(jax.tree.map(lambda values, n=n: values[n], finger_minutiae))
        sign = np.where(kinds == TipKind.ENDING, 1, -1)
        for way in (1, -1):
            ahead = points + way * 3 * np.stack([np.cos(angle), np.sin(angle)], -1)
            x, y = np.rint(ahead).astype(int).T
            right.append(np.sign(fingers.wave[n][y, x]) == sign * way)
    assert np.mean(np.concatenate(right)) > 0.95


def test_density_is_that_of_skin(fingers, finger_minutiae):
    """About .26 per mm2 in nature, by common counts; a few fingers stray, and wide pads have fewer."""
    count = finger_minutiae.real.sum(1)
    assert count.max() < MAX_MINUTIAE / 1.5
    height, width = (size / 19.685 - 1 for size in fingers.wave.shape[1:])  # mm, without the border
    assert 0.12 < count.mean() / (height * width) < 0.34
