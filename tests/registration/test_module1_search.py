"""How a pair lies is guessed from any turn of either print."""

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ifvit import geometry
from ifvit.config import Config, build
from ifvit.image import Canvas
from ifvit.launch import compose_tree
from ifvit.models.dense import DenseModel
from ifvit.registration import module1_search
from ifvit.registration.module1_search import NOWHERE, Module1Search
from ifvit.registration.module1_views import expected_points, match_views, turn_angles, view_turns
from ifvit.registration.similarity import transform

pytestmark = pytest.mark.slow


FRAME = (128, 128)
MIDDLE = 63.5
BACKGROUND = 200


class Compass:
    """Stands in for a network: it reads from each print's light ramp how far it is turned, and knows the truth from
    that. It sees nothing where a print is turned by more than `reach` rad from upright.

    stray: the share of cells, chosen by their number, whose match is another cell.
    """

    stride, fine_stride, has_fine, reach = 8, 2, False, np.deg2rad(65)

    def __init__(self, stray=0.0):
        self.stray = stray

    def grid(self, height, width):
        if height % self.stride or width % self.stride:
            raise ValueError("not a multiple of the stride")
        return height // self.stride, width // self.stride

    def apply(self, variables, image_a, image_b=None, *, method):
        if method == "features":
            return image_a
        height, width = image_a.shape[1:]
        cells = geometry.cell_points((height // self.stride, width // self.stride), self.stride)
        order = jax.random.permutation(jax.random.key(0), len(cells))
        lost = jnp.arange(len(cells)) < self.stray * len(cells)

        def log_p(image_a, image_b):
            a, b = self.turned(image_a), self.turned(image_b)
            points = geometry.rotate(cells - MIDDLE, b - a) + MIDDLE + variables["shift"]
            points = jnp.where(lost[order][:, None], cells[order], points)
            square = ((points[:, None] - cells) ** 2).sum(-1)
            seen = (jnp.abs(a) < self.reach) & (jnp.abs(b) < self.reach)
            return jnp.where(seen, -square / self.stride**2, -9.0)

        return SimpleNamespace(log_p=jax.vmap(log_p)(image_a, image_b))

    @staticmethod
    def turned(image):
        """The angle of the ramp, rad, from the middle of the print."""
        inner = image[32:96, 32:96]
        return jnp.arctan2((inner[1:] - inner[:-1]).mean(), (inner[:, 1:] - inner[:, :-1]).mean())


def print_of(angle, radius=60.0, shift=(0.0, 0.0)):
    """A round print whose light rises along its x axis, turned by `angle` and moved."""
    y, x = np.mgrid[: FRAME[0], : FRAME[1]] - MIDDLE
    x, y = x - shift[0], y - shift[1]
    ridges = x**2 + y**2 < radius**2
    grey = 120 + 1.2 * (np.cos(angle) * x + np.sin(angle) * y)
    return Canvas(np.where(ridges, np.round(grey), BACKGROUND).astype(np.uint8), ridges, BACKGROUND)


def true_map(angle_a, angle_b, shift=(0.0, 0.0)):
    """The homography between two prints of these angles."""
    c, s = np.cos(angle_b - angle_a), np.sin(angle_b - angle_a)
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    here = np.array([[1, 0, -MIDDLE], [0, 1, -MIDDLE], [0, 0, 1]])
    return np.array([[1, 0, MIDDLE + shift[0]], [0, 1, MIDDLE + shift[1]], [0, 0, 1]]) @ turn @ here


def guess(registrar, a, b):
    return next(registrar.guess_many([(a, b)]))


def error(found, true):
    """The largest over the print, px."""
    y, x = np.mgrid[20:109:8, 20:109:8]
    points = np.stack([x, y], -1).astype(float)
    return np.linalg.norm(transform(found, points) - transform(true, points), axis=-1).max()


@pytest.fixture(scope="module")
def config() -> Config:
    return build(compose_tree(["experiment=quickstart"]))


@pytest.fixture(scope="module")
def dense(config):
    return dataclasses.replace(config.dense, max_matches=200, threshold=0.2)


@pytest.fixture(scope="module")
def compass():
    return Compass()


@pytest.fixture(scope="module")
def registrar(compass, dense):
    return Module1Search(compass, {"shift": np.zeros(2, np.float32)}, dense, FRAME, 250.0)


@pytest.mark.parametrize("degrees", range(0, 360, 40))
@pytest.mark.parametrize("upright", ["a", "b"])
def test_any_turn_of_either_print_is_guessed(registrar, degrees, upright):
    angles = (0.1, np.deg2rad(degrees)) if upright == "a" else (np.deg2rad(degrees), -0.1)
    found = guess(registrar, *map(print_of, angles))
    true = true_map(*angles)
    assert found.found and error(np.linalg.inv(found.homography), true) < 2.5  # of cells of 8 px
    # The matches are in px of the unturned prints.
    points = transform(true, found.matches.points_a)[found.agree]
    off = np.linalg.norm(points - found.matches.points_b[found.agree], axis=-1)
    assert len(off) > 50 and np.median(off) < 1.6 and off.max() < registrar.tolerance + 1


def test_without_the_search_only_what_the_network_knows(compass, dense):
    plain = Module1Search(compass, {"shift": np.zeros(2, np.float32)}, dense, FRAME, 250.0, turns=1)
    near = guess(plain, print_of(0), print_of(1.0))
    assert error(np.linalg.inv(near.homography), true_map(0, 1.0)) < 1.5
    far = guess(plain, print_of(0), print_of(2.0))
    assert not far.found and not far.agree.any()
    np.testing.assert_array_equal(far.homography, NOWHERE)
    assert not far.swapped().found


def test_a_shift_among_wrong_matches(dense):
    shift = np.array([10.0, -7.0], np.float32)
    registrar = Module1Search(Compass(stray=0.5), {"shift": shift}, dense, FRAME, 250.0)
    found = guess(registrar, print_of(0.1), print_of(0.5, shift=shift))
    assert error(np.linalg.inv(found.homography), true_map(0.1, 0.5, shift)) < 4
    assert 0.2 < found.agree.mean() < 0.9


def test_swapped_guesses_are_the_way_back(registrar):
    found = guess(registrar, print_of(0.1), print_of(0.9))
    back = found.swapped()
    np.testing.assert_allclose(back.homography @ found.homography, np.eye(3), atol=1e-9)
    np.testing.assert_array_equal(back.matches.points_a, found.matches.points_b)


def test_many_are_as_one_and_in_order(compass, dense, registrar):
    variables = {"shift": np.zeros(2, np.float32)}
    pairs = [(print_of(0.1 * k), print_of(k)) for k in range(5)]
    many = list(Module1Search(compass, variables, dense, FRAME, 250.0, at_once=2).guess_many(pairs))
    for k, found in enumerate(many):
        assert error(np.linalg.inv(found.homography), true_map(0.1 * k, k)) < 1.5
        again = guess(registrar, *pairs[k])
        np.testing.assert_allclose(found.homography, again.homography, atol=1e-3)
        assert guess(registrar, *pairs[k]).homography.tobytes() == again.homography.tobytes()


def test_a_pair_has_the_same_bits_in_any_company(compass, dense):
    registrar = Module1Search(compass, {"shift": np.zeros(2, np.float32)}, dense, FRAME, 250.0, at_once=2)
    pairs = [(print_of(0.1 * k), print_of(k)) for k in range(4)]
    forwards, backwards = list(registrar.guess_many(pairs)), list(registrar.guess_many(pairs[::-1]))
    for forward, other in zip(forwards, backwards[::-1], strict=True):
        assert forward.homography.tobytes() == other.homography.tobytes()


def test_one_program_for_a_frame(registrar, compass, dense):
    before = match_views._cache_size()
    guess(registrar, print_of(0), print_of(1))
    guess(Module1Search(compass, {"shift": np.ones(2, np.float32)}, dense, FRAME, 500.0), print_of(0), print_of(1))
    assert match_views._cache_size() - before <= 1
    before = match_views._cache_size()
    guess(registrar, print_of(1), print_of(0))
    assert match_views._cache_size() == before


def test_what_does_not_fit_is_refused_at_once(compass, dense, registrar):
    variables = {"shift": np.zeros(2, np.float32)}
    with pytest.raises(ValueError, match="multiple"):
        Module1Search(compass, variables, dense, (100, 128), 250.0)
    with pytest.raises(ValueError, match="positive"):
        Module1Search(compass, variables, dense, FRAME, 250.0, turns=0)
    small = Canvas(np.zeros((64, 64), np.uint8), np.ones((64, 64), bool), 0)
    with pytest.raises(ValueError, match="frame"):
        guess(registrar, print_of(0), small)


def test_views_turn_one_print_at_a_time():
    turns = view_turns(6)
    assert turns.shape == (11, 2) and (turns == 0).any(1).all() and len(np.unique(turns, axis=0)) == 11
    np.testing.assert_allclose(np.rad2deg(turn_angles(6)), range(0, 360, 60))
    np.testing.assert_array_equal(view_turns(1), [(0, 0)])


def test_a_print_is_seen_once_whatever_it_is_compared_with(monkeypatch, compass, dense):
    seen = []
    print_views = module1_search.print_views
    monkeypatch.setattr(module1_search, "print_views", lambda *args: seen.append(args) or print_views(*args))
    registrar = Module1Search(compass, {"shift": np.zeros(2, np.float32)}, dense, FRAME, 250.0, at_once=2)
    a, *others = [print_of(0.1 * k) for k in range(4)]
    list(registrar.guess_many([(a, other) for other in others] + [(others[0], others[1])]))
    assert len(seen) == 4


def test_places_lie_between_the_cells():
    """P as of a network that spreads it by the distance: the place is met, and a match at the border stays inside."""
    cells = geometry.cell_points((8, 8), 16)
    points = np.array([[37.0, 52.0], [64.0, 64.0], [0.0, 111.0], [112.0, 112.0]])
    log_p = -(((points[:, None] - np.asarray(cells)) / 16) ** 2).sum(-1) * 4
    matched = np.stack([np.arange(4), np.argmax(log_p, axis=1)], -1)
    found = expected_points(jnp.asarray(log_p)[None], jnp.asarray(matched)[None], (8, 8), 16)[0]
    assert np.abs(found - points).max() < 3
    np.testing.assert_allclose(found[1], points[1], atol=1e-3)
    assert (found >= 0).all() and (found <= 112).all()


def test_a_network_with_a_fine_stage_places_by_it(config):
    shape = {"backbone": "resnet_fpn_8_2", "stem_width": 4, "stage_widths": (4, 8, 8), "d_model": 8, "num_heads": 2}
    model = DenseModel(**shape, num_layers=2, fine="loftr")
    image = jnp.zeros((1, 32, 32))
    variables = jax.jit(model.init)(jax.random.key(0), image, image)
    dense = dataclasses.replace(config.dense, threshold=0.0, max_matches=16)
    y, x = np.mgrid[:32, :32]
    grey = (128 + 100 * np.cos(x + 0.2 * y)).astype(np.uint8)
    a = Canvas(grey, np.ones((32, 32), bool), 128)
    registrar = Module1Search(model, variables, dense, (32, 32), 250.0, turns=1)
    found = guess(registrar, a, a)
    assert registrar.tolerance < Module1Search(Compass(), {}, dense, FRAME, 250.0).tolerance
    assert len(found.matches.confidence)
    on_cells = np.abs(found.matches.points_b / 8 - np.round(found.matches.points_b / 8)).max(1) < 1e-6
    assert not on_cells.all()
    assert (np.abs(found.matches.points_a / 8 - np.round(found.matches.points_a / 8)) < 1e-6).all()
