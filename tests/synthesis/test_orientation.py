"""The flow of a finger's ridges: singularities where the class has them, classes as often as in nature."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ifvit.synthesis.orientation import (
    FRAME_HEIGHT,
    FRAME_PPI,
    FRAME_WIDTH,
    JOINT,
    NATURAL_MIX,
    PAIRS,
    PATTERN_HEIGHT,
    PATTERN_TOP,
    TILT,
    Pattern,
    draw_finger,
    draw_pattern,
    frame_coordinates,
    orientation_field,
)

pytestmark = pytest.mark.slow


KEYS = jax.random.split(jax.random.key(7), 5)


@jax.jit
def poincare_index(finger, place, radius=4.0):
    """Turns of the orientation, each of 2 pi, along a circle of `radius` px round `place` (2,)."""
    angle = jnp.linspace(0, 2 * jnp.pi, 129)
    theta = orientation_field(finger, place[0] + radius * jnp.cos(angle), place[1] + radius * jnp.sin(angle))
    steps = jnp.diff(theta)
    return jnp.sum(steps - jnp.pi * jnp.round(steps / jnp.pi)) / (2 * jnp.pi)


@pytest.fixture(scope="module")
def fingers():
    """Every class for every key, as {class: Finger with leading axis}."""
    draw = jax.jit(jax.vmap(draw_finger, (0, None)))
    return {pattern: draw(KEYS, int(pattern)) for pattern in Pattern}


def finger_of(fingers, n):
    return jax.tree.map(lambda a: a[n], fingers)


@pytest.mark.parametrize("pattern", Pattern)
def test_index_is_half_at_loops_and_minus_half_at_deltas(fingers, pattern):
    for n in range(len(KEYS)):
        finger = finger_of(fingers[pattern], n)
        assert int(finger.pattern) == pattern
        assert int(finger.present.sum()) == PAIRS[pattern]
        for place in range(PAIRS[pattern]):
            assert poincare_index(finger, finger.loops[place]) == pytest.approx(0.5, abs=0.01)
            assert poincare_index(finger, finger.deltas[place]) == pytest.approx(-0.5, abs=0.01)


@pytest.mark.parametrize("pattern", Pattern)
def test_there_are_no_other_singularities(fingers, pattern):
    """Loops and deltas balance: no turn round the whole pattern, and none round a place apart from them."""
    centre = jnp.array([FRAME_WIDTH / 2, FRAME_HEIGHT / 2])
    for n in range(len(KEYS)):
        finger = finger_of(fingers[pattern], n)
        assert poincare_index(finger, centre, 400.0) == pytest.approx(0, abs=0.01)
        assert poincare_index(finger, jnp.array([256.0, 60.0]), 20.0) == pytest.approx(0, abs=0.01)
        assert poincare_index(finger, jnp.array([256.0, 615.0]), 120.0) == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("pattern", Pattern)
def test_ridges_run_across_the_finger_at_the_joint(fingers, pattern):
    """They have its direction from the joint down, and come to it without a jump."""
    x, y = frame_coordinates(FRAME_HEIGHT, FRAME_WIDTH, FRAME_PPI)
    for n in range(len(KEYS)):
        finger = finger_of(fingers[pattern], n)
        assert JOINT[0] <= finger.joint <= JOINT[1] and abs(finger.tilt) <= TILT
        theta = np.asarray(orientation_field(finger, x, y))
        off = np.abs(np.angle(np.exp(2j * (theta - float(finger.tilt))))) / 2
        assert off[int(finger.joint) + 1 :].max() < 1e-3
        below = np.exp(2j * theta)[int(finger.deltas[:, 1].max() if pattern else 400) + 20 :]
        assert np.abs(np.angle(below[1:] / below[:-1])).max() / 2 < 0.1


def test_loops_open_to_their_side(fingers):
    """Below its core a left loop's ridges run down to the left, a right loop's down to the right."""
    for pattern, sign in ((Pattern.LEFT_LOOP, -1), (Pattern.RIGHT_LOOP, 1)):
        for n in range(len(KEYS)):
            finger = finger_of(fingers[pattern], n)
            x, y = finger.loops[0]
            theta = orientation_field(finger, x, y + 40.0)
            assert sign * np.cos(theta) > 0 and np.sin(theta) > 0
            assert sign * (finger.loops[0, 0] - finger.deltas[0, 0]) > 0  # the delta is on the other side


def test_singularities_lie_in_the_frame(fingers):
    for pattern in Pattern:
        finger = fingers[pattern]
        places = jnp.concatenate([finger.loops, finger.deltas], axis=1)
        assert (places > 20).all() and (places < jnp.array([FRAME_WIDTH - 20, FRAME_HEIGHT - 20])).all()


def test_arch_rises_to_the_middle_and_falls(fingers):
    finger = finger_of(fingers[Pattern.ARCH], 0)
    y = jnp.full(3, PATTERN_TOP + 0.55 * PATTERN_HEIGHT)
    left, middle, right = np.tan(orientation_field(finger, jnp.array([76.0, 256.0, 436.0]), y))
    assert left < -0.5 and abs(middle) < 1e-3 and right > 0.5  # y points down


def test_classes_come_as_often_as_in_nature():
    drawn = jax.jit(jax.vmap(draw_pattern))(jax.random.split(jax.random.key(3), 20_000))
    frequency = np.bincount(drawn, minlength=6) / len(drawn)
    np.testing.assert_allclose(frequency, NATURAL_MIX / 100, atol=0.012)  # over three standard errors
    assert NATURAL_MIX.sum() == pytest.approx(99.999, abs=0.01)


def test_a_finger_is_the_same_at_any_resolution(fingers):
    finger = finger_of(fingers[Pattern.WHORL], 1)
    coarse = orientation_field(finger, *frame_coordinates(72, 50, 50))
    x, y = frame_coordinates(720, 500, 500)
    fine = orientation_field(finger, x, y)
    # A coarse pixel's centre falls between the middle four of its hundred fine ones.
    doubled = np.exp(2j * np.asarray(fine))
    middle = sum(doubled[4 + i :: 10, 4 + j :: 10] for i in (0, 1) for j in (0, 1)) / 4
    error = np.abs(np.angle(middle * np.exp(-2j * np.asarray(coarse)))) / 2
    assert np.quantile(error, 0.98) < 0.02
