import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ifvit.geometry import pixel_grid
from ifvit.synthesis.distortion import AREA, Distortion, displacement, draw_distortion
from ifvit.synthesis.orientation import FRAME_HEIGHT, FRAME_WIDTH, PAD

pytestmark = pytest.mark.slow


POINTS = pixel_grid(FRAME_HEIGHT, FRAME_WIDTH)
draw = jax.jit(jax.vmap(lambda key, strength: draw_distortion(key, strength, jnp.array(PAD)), in_axes=(0, None)))


@pytest.fixture(scope="module")
def bends():
    """Thirty of full strength."""
    drawn = draw(jax.random.split(jax.random.key(0), 30), 1.0)
    return [jax.tree.map(lambda leaf, n=n: leaf[n], drawn) for n in range(30)]


def areas(bent):
    bend = displacement(bent, POINTS[..., 0], POINTS[..., 1])
    return np.asarray((1 + bend.xx) * (1 + bend.yy) - bend.xy * bend.yx)


def cappelli(bent, points):
    """The formula as published (Cappelli, Maio and Maltoni 2001), in double precision and with NumPy's own cosine."""
    bent = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), bent)
    away = np.asarray(points, np.float64) - bent.centre
    q = np.maximum(np.hypot(*(away / bent.axes).T).T - 1, 0)
    brake = np.where(q < bent.softness, (1 - np.cos(np.pi * q / bent.softness)) / 2, 1)
    c, s = bent.turn
    turned = away @ np.array([[c, s], [-s, c]])
    return points + (turned + bent.slip - away) * brake[..., None]


def test_it_is_cappellis_map(bends):
    for bent in bends[:5]:
        np.testing.assert_allclose(bent(POINTS), cappelli(bent, np.asarray(POINTS)), atol=1e-3)


def test_the_inverse_undoes_it(bends):
    """Both ways, within 0.01 px everywhere on the frame."""
    for bent in bends:
        assert np.abs(bent.inverse(bent(POINTS)) - POINTS).max() < 0.01
        assert np.abs(bent(bent.inverse(POINTS)) - POINTS).max() < 0.01


def test_it_never_folds(bends):
    """Areas stay within AREA, so that of two impressions' maps, one after the inverse of the other, above 1/2."""
    for bent in bends:
        area = areas(bent)
        assert AREA[0] - 0.01 < area.min() and area.max() < AREA[1] + 0.01
    assert AREA[0] / AREA[1] > 0.5


def test_the_derivatives_are_those_of_the_map(bends):
    """Against automatic differentiation, also in the sticking ellipse and far outside."""
    points = POINTS[::37, ::29].reshape(-1, 2)
    for bent in bends[:4]:
        slopes = jax.vmap(jax.jacfwd(bent))(points) - jnp.eye(2)
        bend = displacement(bent, points[:, 0], points[:, 1])
        ours = jnp.stack([jnp.stack([bend.xx, bend.xy], -1), jnp.stack([bend.yx, bend.yy], -1)], -2)
        np.testing.assert_allclose(ours, slopes, atol=1e-4)


def test_the_middle_sticks_and_the_outside_moves(bends):
    moved = []
    for bent in bends:
        assert np.abs(bent(bent.centre) - bent.centre).max() < 1e-5
        moved.append(float(jnp.linalg.norm(bent(POINTS) - POINTS, axis=-1).max()))
    assert 3 < np.median(moved) < 30


def test_no_strength_no_bend():
    still = draw(jax.random.split(jax.random.key(1), 3), 0.0)
    distortion: Distortion = jax.tree.map(lambda leaf: leaf[0], still)
    np.testing.assert_array_equal(distortion(POINTS), POINTS)


def test_strength_scales_it():
    keys = jax.random.split(jax.random.key(2), 40)
    turns = [np.abs(draw(keys, strength).turn[:, 1]).mean() for strength in (0.25, 0.5, 1.0)]
    assert turns[0] < turns[1] < turns[2]
