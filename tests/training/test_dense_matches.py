import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ifvit.config import LossConfig, LossForm, build
from ifvit.data.warped_pairs import Truth
from ifvit.launch import compose_tree
from ifvit.models.dense import DenseModel
from ifvit.models.matching import CellMatches
from ifvit.pair import Pair
from ifvit.training.dense_matches import fine_targets, select_matches

pytestmark = pytest.mark.slow


GRID = (3, 4)
CELLS = GRID[0] * GRID[1]
MODEL = DenseModel("resnet_fpn_8_2", stage_widths=(8, 16, 256), fine="loftr")
ORDER = jnp.arange(CELLS)[::-1]  # the first cells are drawn first: those that come last in it


def settings(places, teacher):
    fine = {"fine_weight": 1.0, "fine_matches": places, "fine_teacher": teacher}
    return LossConfig(LossForm.nll, 0.25, 2.0, 1.0, **fine, matcher=None)  # matcher: not of this stage


def truth(labels, points):
    """Cells whose labels are >= 0 are shown; `points` px of B."""
    labels = jnp.asarray(labels)
    return Truth(labels, jnp.asarray(points, jnp.float32), labels >= 0, Pair(labels < -9, labels < -9))


@pytest.fixture
def identity():
    """Two pairs of equal images moved by (+1, -2) px, of which the first shows cells 0..7 and the second 0..2."""
    pixel = np.stack([np.arange(CELLS) % 4 * 8.0, np.arange(CELLS) // 4 * 8.0], -1)
    labels = np.stack([np.where(np.arange(CELLS) < count, np.arange(CELLS), -1) for count in (8, 3)])
    return truth(labels, np.stack([pixel + [1, -2]] * 2))


def matches_of(*rows):
    cells = np.full((2, CELLS, 2), -1)
    for pair, chosen in enumerate(rows):
        cells[pair, : len(chosen)] = np.reshape(chosen, (-1, 2))
    return CellMatches(jnp.asarray(cells), jnp.asarray(cells[..., 0] >= 0, jnp.float32))


def targets_of(matches, truth, places=6, teacher=0.25):
    return fine_targets(MODEL, matches, Pair(GRID, GRID), truth, ORDER, settings(places, teacher))


def test_a_stage_that_finds_nothing_is_taught_by_the_truth(identity):
    targets = targets_of(matches_of([], []), identity)
    assert targets.present.tolist() == [[True] * 6, [True] * 3 + [False] * 3]
    assert targets.cells[0].tolist() == [[i, i] for i in range(6)]
    assert targets.cells[1].tolist() == [[0, 0], [1, 1], [2, 2], [-1, -1], [-1, -1], [-1, -1]]
    # 8_2's window reaches 4 px.
    np.testing.assert_allclose(targets.target[0], [[0.25, -0.5]] * 6)


def test_own_matches_come_first_where_they_are_right(identity):
    """(5, 5) and (7, 7) are right; (2, 9) is beyond the window, (9, 9) is not shown."""
    targets = targets_of(matches_of([[2, 9], [7, 7], [9, 9], [5, 5]], []), identity)
    assert targets.cells[0].tolist() == [[5, 5], [7, 7], [2, 2], [3, 3], [4, 4], [5, 5]]
    assert (np.abs(targets.target) < 1).all(-1)[np.asarray(targets.present)].all()


def test_a_match_between_two_cells_may_be_the_models_own(identity):
    """Cell 5 lies on the border of two: the label is one of them, the model's may be the other."""
    points = identity.points.at[0, 5].set(jnp.array([11.9, 8.0]))
    targets = targets_of(matches_of([[5, 5]], []), identity._replace(points=points))
    assert targets.cells[0, 0].tolist() == [5, 5]
    np.testing.assert_allclose(targets.target[0, 0], [0.975, 0], atol=1e-6)


@pytest.mark.parametrize("teacher, own", [(0.0, 6), (0.5, 3), (1.0, 0)])
def test_the_last_places_are_always_the_teachers(identity, teacher, own):
    points = identity.points.at[0, :8].set(identity.points[0, :8])
    matches = matches_of([[i, i] for i in range(7, 1, -1)], [])  # 2..7, drawn from 2 on
    targets = targets_of(matches, identity._replace(points=points), teacher=teacher)
    assert targets.cells[0, :own].tolist() == [[i, i] for i in range(2, 2 + own)]
    assert targets.cells[0, own:].tolist() == [[i, i] for i in range(own, 6)]


def test_held_places_depend_on_the_truth_alone(identity):
    """So that the parts of an accumulated batch know the whole's number beforehand."""
    own = matches_of([[i, i] for i in range(8)], [[i, i] for i in range(3)])
    np.testing.assert_array_equal(targets_of(own, identity).present, targets_of(matches_of([], []), identity).present)


def test_more_places_than_cells_stay_empty(identity):
    targets = targets_of(matches_of([], []), identity, places=CELLS + 5)
    assert targets.present.sum(-1).tolist() == [8, 3] and targets.cells.shape == (2, CELLS + 5, 2)


def test_another_order_draws_other_cells(identity):
    order = jax.random.permutation(jax.random.key(3), CELLS)
    targets = fine_targets(MODEL, matches_of([], []), Pair(GRID, GRID), identity, order, settings(4, 1.0))
    cells = targets.cells[0, :, 0]
    best = sorted(range(8), key=lambda i: -order[i])[:4]
    assert cells.tolist() == best


@pytest.mark.parametrize("border", [0, 1])
def test_only_cells_with_ridges_match(border):
    """Every cell matches itself; those without ridges in A or in B drop out, and the border stays the image's."""
    dense = build(compose_tree([f"dense.border={border}", "dense.threshold=0.2"])).dense
    log_p = jnp.log(0.9 * jnp.eye(CELLS)[None] + 1e-6)
    ridges_a, ridges_b = jnp.ones((1, CELLS), bool).at[0, 5].set(False), jnp.ones((1, CELLS), bool).at[0, 7].set(False)

    def cells(*ridges):
        matched = select_matches(log_p, Pair(GRID, GRID), dense, *ridges).cells[0, :, 0]
        return sorted(matched[matched >= 0].tolist())

    inner = [5, 6] if border else list(range(CELLS))
    assert cells() == inner
    assert cells(Pair(ridges_a, ridges_b)) == [k for k in inner if k not in (5, 7)]
