"""Creases lie where their lines say, and fingers have them as skin does: all at the joint, most a few white lines."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ifvit.synthesis.creases import CREASE_PPI, DEEPEST, RASTER, Lines, draw_creases, line_depth
from ifvit.synthesis.orientation import FRAME_HEIGHT, FRAME_WIDTH, Finger, draw_finger, frame_coordinates

pytestmark = pytest.mark.slow


COUNT = 40
X, Y = (np.asarray(values) for values in frame_coordinates(*RASTER, CREASE_PPI))


@pytest.fixture(scope="module")
def fingers() -> Finger:
    return jax.vmap(draw_finger)(jax.random.split(jax.random.key(2), COUNT))


@pytest.fixture(scope="module")
def creases(fingers):
    keys = jax.random.split(jax.random.key(3), COUNT)
    return np.asarray(jax.jit(jax.vmap(draw_creases))(keys, fingers))


def line(**changes):
    """One line through the middle of the frame, along x."""
    values = {
        "middle": (256.0, 368.0),
        "angle": 0.0,
        "bend": 0.0,
        "half_length": 100.0,
        "half_width": 10.0,
        "depth": 1.0,
    }
    return Lines(**{name: jnp.array([value], jnp.float32) for name, value in (values | changes).items()})


def test_a_line_lies_where_it_says():
    depth = np.asarray(line_depth(line()))
    inside = depth > 0
    assert np.abs(Y[inside] - 368).max() < 10 < np.abs(Y[inside] - 368).max() + 2
    assert np.abs(X[inside] - 256).max() < 100 < np.abs(X[inside] - 256).max() + 5
    middle = depth[np.argmin(np.abs(Y[:, 0] - 368)), np.argmin(np.abs(X[0] - 256))]
    assert middle == pytest.approx(1, abs=0.02) == depth.max()


def test_a_line_turns_bends_and_fades():
    depth = np.asarray(line_depth(line(angle=np.pi / 2)))
    assert np.abs(X[depth > 0] - 256).max() < 10 and np.abs(Y[depth > 0] - 368).max() > 90
    # x + iy of the line turns from x to y.
    depth = np.asarray(line_depth(line(angle=0.5)))
    slope = np.polyfit(X[depth > 0], Y[depth > 0], 1)[0]
    assert slope == pytest.approx(np.tan(0.5), abs=0.03)
    depth = np.asarray(line_depth(line(bend=0.002)))
    far = (depth > 0) & (np.abs(X - 256) > 80)
    assert np.mean(Y[far]) == pytest.approx(368 + 0.002 * 88**2, abs=3)
    assert np.asarray(line_depth(line(depth=0.4))).max() == pytest.approx(0.4, abs=0.01)
    assert not np.asarray(line_depth(line(depth=0.0))).any()


def test_where_lines_cross_the_deepest_counts():
    both = jax.tree.map(lambda *values: jnp.concatenate(values), line(depth=0.5), line(angle=np.pi / 2))
    single = np.maximum(line_depth(line(depth=0.5)), line_depth(line(angle=np.pi / 2)))
    np.testing.assert_allclose(line_depth(both), single, atol=1e-6)


def test_every_finger_has_a_crease_from_side_to_side_at_its_joint(fingers, creases):
    assert creases.shape == (COUNT, *RASTER) and creases.dtype == np.uint8
    for n in range(COUNT):
        for column in (20, 128, 236):
            expected = fingers.joint[n] + np.tan(fingers.tilt[n]) * (X[0, column] - FRAME_WIDTH / 2)
            near = np.abs(Y[:, 0] - float(expected)) < 16
            assert creases[n, near, column].max() > 0.9 * DEEPEST
        # In the middle, where nothing has bent it, it is 1 to 2 mm broad.
        broad = (np.abs(Y[:, 128] - float(fingers.joint[n])) < 22) & (creases[n, :, 128] > 0)
        assert 0.9 < broad.sum() * 25.4 / CREASE_PPI < 2.3


def test_above_the_joint_some_have_none_and_some_many(creases):
    share = (creases[:, : int(520 / FRAME_HEIGHT * RASTER[0])] > 0).mean((1, 2))
    assert share.min() < 0.003 and 0.02 < share.max() < 0.15 and np.median(share) < 0.03


def test_a_key_has_its_creases(fingers, creases):
    first = jax.tree.map(lambda leaf: leaf[0], fingers)
    key = jax.random.split(jax.random.key(3), COUNT)[0]
    assert np.abs(np.asarray(draw_creases(key, first)).astype(int) - creases[0]).max() <= 1
    assert (np.asarray(draw_creases(jax.random.key(4), first)) != creases[0]).any()
