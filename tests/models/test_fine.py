import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ifvit.models.dense import DenseModel
from ifvit.models.fine import RADIUS, WINDOW, expectation, windows

pytestmark = pytest.mark.slow


RATIO = 4


def fine_model(small_dense, **fields):
    return small_dense("resnet_fpn_8_2", fine="loftr", **fields)


def images(*shapes):
    rng = np.random.default_rng(4)
    return [jnp.asarray(rng.uniform(size=shape), jnp.float32) for shape in shapes]


def test_windows_are_centred_on_the_cells_pixel(rng):
    """Against a loop: cell (r, c) is fine cell (ratio r, ratio c); beyond the map there is nothing."""
    fine_map = rng.normal(size=(2, 3 * RATIO, 5 * RATIO, 2)).astype(np.float32)
    cells = np.array([[0, 14, 7], [4, 10, 0]])
    got = windows(jnp.asarray(fine_map), jnp.asarray(cells), RATIO)
    for pair in range(2):
        for m, cell in enumerate(cells[pair]):
            row, column = RATIO * (cell // 5), RATIO * (cell % 5)
            for k in range(WINDOW**2):
                y, x = row + k // WINDOW - RADIUS, column + k % WINDOW - RADIUS
                inside = 0 <= y < fine_map.shape[1] and 0 <= x < fine_map.shape[2]
                np.testing.assert_array_equal(got[pair, m, k], fine_map[pair, y, x] if inside else 0)


def test_expectation_of_one_place_is_that_place():
    for k in range(WINDOW**2):
        window = jnp.zeros((WINDOW**2, 2)).at[k, 0].set(100.0)
        mean, spread = expectation(jnp.array([10.0, 0.0]), window)
        np.testing.assert_allclose(mean, [(k % WINDOW - RADIUS) / RADIUS, (k // WINDOW - RADIUS) / RADIUS], atol=1e-5)
        assert spread < 1e-3


def test_expectation_of_two_places_is_between_them():
    """Half its weight at x = -1, half at x = +1, y = 0: mean 0, standard deviation 1 in x and 0 in y."""
    window = jnp.zeros((WINDOW**2, 1)).at[jnp.array([10, 14]), 0].set(100.0)
    mean, spread = expectation(jnp.array([10.0]), window)
    np.testing.assert_allclose(mean, [0, 0], atol=1e-5)
    assert spread == pytest.approx(1, abs=1e-3)


def test_a_certain_heatmap_has_a_finite_gradient():
    slope = jax.grad(lambda w: expectation(jnp.array([1e4]), w)[1])(jnp.zeros((WINDOW**2, 1)).at[3].set(1.0))
    assert np.isfinite(slope).all()


@pytest.mark.parametrize("backbone, stride, fine_stride", [("resnet_fpn_8_2", 8, 2), ("resnet_fpn_16_4", 16, 4)])
def test_refined_points_lie_around_their_cells(backbone, stride, fine_stride, small_dense):
    model, variables = small_dense(backbone, fine="loftr")
    assert (model.stride, model.fine_stride, model.reach) == (stride, fine_stride, 2 * fine_stride)
    a, b = images((2, 32, 48), (2, 64, 32))
    out = jax.jit(model.apply)(variables, a, b)
    assert out.fine_a.shape == (2, 32 // fine_stride, 48 // fine_stride, 4)
    columns = 32 // stride
    cells = jnp.array([[[0, 0], [1, 5], [-1, -1]], [[3, 1], [0, 7], [2, 2]]])
    refined = jax.jit(lambda: model.apply(variables, out, cells, method="refine"))()
    assert refined.points_b.shape == refined.offset.shape == (2, 3, 2) and refined.spread.shape == (2, 3)
    assert np.abs(refined.offset).max() <= 1 and (refined.spread > 0).all()
    j = np.maximum(cells[..., 1], 0)
    place = stride * np.stack([j % columns, j // columns], -1)
    np.testing.assert_allclose(refined.points_b, place + model.reach * refined.offset, atol=1e-4)


def test_each_match_is_refined_by_itself(small_dense):
    """Neither the other matches nor padding have a say."""
    model, variables = fine_model(small_dense)
    a, b = images((1, 32, 32), (1, 32, 32))
    out = jax.jit(model.apply)(variables, a, b)
    refine = jax.jit(lambda cells: model.apply(variables, out, cells, method="refine").points_b)
    together = refine(jnp.array([[[3, 3], [5, 9], [-1, -1]]]))
    alone = refine(jnp.array([[[5, 9], [-1, -1], [-1, -1]]]))
    np.testing.assert_allclose(together[0, 1], alone[0, 0], atol=1e-5)


def test_gradient_reaches_every_parameter_jointly(small_dense):
    """The fine loss alone teaches its stage, the top-down path, and the coarse transformer whose tokens it reads."""
    model, variables = fine_model(small_dense)
    a, b = images((2, 32, 32), (2, 32, 32))
    cells = jnp.array([[[5, 5], [6, 9]], [[10, 10], [9, 6]]])

    def loss(params):
        out, _ = model.apply(variables | {"params": params}, a, b, train=True, mutable=["batch_stats"])
        return (model.apply({"params": params}, out, cells, method="refine").offset ** 2).sum()

    for path, leaf in jax.tree_util.tree_leaves_with_path(jax.jit(jax.grad(loss))(variables["params"])):
        assert np.isfinite(leaf).all() and np.abs(leaf).max() > 0, jax.tree_util.keystr(path)


def test_without_a_fine_stage_nothing_of_it_exists(small_dense):
    model, variables = small_dense("resnet_fpn_8_2")
    assert set(variables["params"]) == {"backbone", "transformer"}
    assert not [name for name in variables["params"]["backbone"] if name.startswith("layer1_outconv")]
    (a,) = images((1, 32, 32))
    out = jax.jit(model.apply)(variables, a, a)
    assert out.fine_a is None and out.fine_b is None


def test_the_coarse_path_is_the_same_with_and_without(small_dense):
    model, variables = fine_model(small_dense)
    a, b = images((1, 32, 32), (1, 32, 32))
    coarse = jax.jit(model.clone(fine="none").apply)(variables, a, b)
    np.testing.assert_array_equal(jax.jit(model.apply)(variables, a, b).log_p, coarse.log_p)


def test_compiles_once_per_shape(small_dense):
    model, variables = fine_model(small_dense)
    traces = []

    @jax.jit
    def run(a, b, cells):
        traces.append((a.shape, cells.shape))
        return model.apply(variables, model.apply(variables, a, b), cells, method="refine").points_b

    for side, count in ((32, 3), (32, 3), (16, 3), (32, 3), (32, 4)):
        run(jnp.ones((1, side, side)), jnp.zeros((1, side, side)), jnp.zeros((1, count, 2), jnp.int32))
    assert len(traces) == 3


def test_bfloat16_computes_small_and_places_in_float32(small_dense):
    model, variables = fine_model(small_dense)
    a, b = images((1, 32, 32), (1, 32, 32))
    small = model.clone(dtype=jnp.bfloat16)
    out = jax.jit(small.apply)(variables, a, b)
    assert out.fine_a.dtype == jnp.bfloat16
    refined = jax.jit(lambda: small.apply(variables, out, jnp.array([[[5, 5]]]), method="refine"))()
    assert {x.dtype for x in refined} == {jnp.dtype("float32")}
    exact = model.apply(variables, jax.jit(model.apply)(variables, a, b), jnp.array([[[5, 5]]]), method="refine")
    np.testing.assert_allclose(refined.points_b, exact.points_b, atol=0.5)


def test_what_does_not_fit_is_said():
    with pytest.raises(ValueError, match="resnet18 has no fine map; resnet_fpn_16_4 and resnet_fpn_8_2 have one"):
        DenseModel(fine="loftr")
    with pytest.raises(ValueError, match="8 heads do not divide the fine map's width 12"):
        DenseModel("resnet_fpn_8_2", stage_widths=(12, 16, 256), fine="loftr")
    with pytest.raises(ValueError, match="fine is 'none' or 'loftr', got True"):
        DenseModel("resnet_fpn_8_2", fine=True)
