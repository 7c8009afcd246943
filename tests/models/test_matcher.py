"""Module 2: vectors of length 1, of the cells that count, by branches that begin as Module 1 to the bit."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ifvit.models.dense import DenseModel
from ifvit.models.matcher import Branch, BranchInput, MatcherModel, from_dense
from ifvit.pair import Pair

pytestmark = pytest.mark.slow


NARROW = {"stem_width": 4, "stage_widths": (4, 8, 8), "d_model": 8, "num_heads": 2, "num_layers": 2}


def branch_input(side, seed=0, cells=None):
    a, b = jax.random.uniform(jax.random.key(seed), (2, 2, side, side))
    shape = (2, side // 16, side // 16)
    return BranchInput(Pair(a, b), jnp.ones(shape) if cells is None else cells, jnp.ones(shape))


@pytest.fixture(scope="module", params=[False, True], ids=["two branches", "shared"])
def matcher(request, random_variables):
    model = MatcherModel(Branch(**NARROW, vector=6), request.param)
    return model, random_variables(model, branch_input(64), branch_input(48))


@pytest.fixture(scope="module")
def dense_variables(random_variables):
    def draw(**other):
        image = jnp.zeros((1, 64, 64))
        return jax.tree.map(np.asarray, random_variables(DenseModel(**NARROW | other), image, image))

    return draw


def test_vectors_have_length_one(matcher):
    model, variables = matcher
    output = jax.jit(model.apply)(variables, branch_input(64), branch_input(48))
    for branch, cells in zip(output, (16, 9), strict=True):
        for vector in branch.vectors:
            assert vector.shape == (2, 6)
            np.testing.assert_allclose(jnp.linalg.norm(vector, axis=-1), 1, rtol=1e-5)
        assert branch.log_p.shape == (2, cells, cells)
        assert (jnp.abs(branch.cosine) <= 1 + 1e-5).all()
    fused = output.score(0.6, 0.4)
    np.testing.assert_allclose(fused, 0.6 * output.of_global.cosine + 0.4 * output.of_local.cosine, rtol=1e-6)


def test_names_of_the_branches(matcher):
    model, variables = matcher
    branches = {"both_branches"} if model.shared else {"global_branch", "local_branch"}
    assert set(variables["params"]) == set(variables["batch_stats"]) == branches
    assert set(variables["params"][model.names[0]]) == {"backbone", "transformer", "embed"}


def test_only_the_cells_that_count_make_the_vector(matcher):
    model, variables = matcher
    half = jnp.zeros((2, 4, 4)).at[:, :2].set(1)
    full, upper = (
        jax.jit(model.apply)(variables, branch_input(64, cells=cells), branch_input(48)).of_global
        for cells in (jnp.ones((2, 4, 4)), half)
    )
    branch = variables["params"][model.names[0]]
    tokens = jax.jit(DenseModel(**NARROW).apply)(
        {"params": {k: v for k, v in branch.items() if k != "embed"},
         "batch_stats": variables["batch_stats"][model.names[0]]}, *branch_input(64).images,
    ).coarse_a  # fmt: skip
    for output, count in ((full, 16), (upper, 8)):
        mean = tokens[:, :count].mean(1) @ branch["embed"]["kernel"] + branch["embed"]["bias"]
        np.testing.assert_allclose(output.vectors.a, mean / jnp.linalg.norm(mean, axis=-1, keepdims=True), atol=1e-5)


def test_each_branch_begins_as_module_1_to_the_bit(matcher, dense_variables):
    model, variables = matcher
    dense = dense_variables()
    merged = from_dense(model, variables, dense)
    for kind in ("params", "batch_stats"):
        for name in model.names:
            own = {key: value for key, value in merged[kind][name].items() if key != "embed"}
            assert jax.tree.structure(own) == jax.tree.structure(dict(dense[kind]))
            for mine, given in zip(jax.tree.leaves(own), jax.tree.leaves(dense[kind]), strict=True):
                assert np.asarray(mine).tobytes() == np.asarray(given).tobytes()
    for name in model.names:
        np.testing.assert_array_equal(
            merged["params"][name]["embed"]["kernel"], variables["params"][name]["embed"]["kernel"]
        )


def test_another_width_is_refused_by_its_first_array(matcher, dense_variables):
    model, variables = matcher
    other = dense_variables(stage_widths=(4, 8, 16), d_model=16)
    first = re.escape(f"params/{model.names[0]}: ['backbone']['layer3_0'")
    with pytest.raises(
        ValueError, match=rf"^{first}.*: float32 \(.*16,?\) given, float32 \(.*8,?\) expected; .* more$"
    ):
        from_dense(model, variables, other)


def test_more_and_fewer_arrays_are_refused(matcher, dense_variables):
    model, variables = matcher
    dense = dense_variables(num_layers=4)
    with pytest.raises(ValueError, match=r"\['transformer'\]\['layers_2'\].*: float32 .* given, None expected"):
        from_dense(model, variables, dense)
    fewer = dense_variables()
    del fewer["batch_stats"]["backbone"][next(iter(fewer["batch_stats"]["backbone"]))]
    with pytest.raises(ValueError, match="batch_stats/.*: None given, float32 .* expected"):
        from_dense(model, variables, fewer)


def test_a_fine_stage_comes_along():
    """It is not used here, but a Module 2's Module 1 must be there whole."""
    wide = {"backbone": "resnet_fpn_8_2", "stem_width": 4, "stage_widths": (4, 8, 8), "fine": "loftr"}
    model = MatcherModel(Branch(**NARROW | wide, vector=6), True)
    image = jnp.zeros((1, 32, 32))
    inputs = BranchInput(Pair(image, image), jnp.ones((1, 4, 4)))

    def filled(value, init, *inputs):
        shapes = jax.eval_shape(init, jax.random.key(0), *inputs)
        return jax.tree.map(lambda x: jnp.full(x.shape, value, x.dtype), shapes)

    variables, dense = (
        filled(1, model.init, inputs, inputs),
        filled(2, DenseModel(**NARROW | wide).init, image, image),
    )
    merged = from_dense(model, variables, dense)["params"]["both_branches"]
    assert {"fine_preprocess", "fine_transformer", "backbone", "transformer", "embed"} == set(merged)
    assert all((leaf == 2).all() for leaf in jax.tree.leaves(merged["fine_transformer"]))
    assert all((leaf == 1).all() for leaf in jax.tree.leaves(merged["embed"]))


def test_padding_is_in_no_attention_and_no_p(matcher):
    model, variables = matcher
    real = jnp.ones((2, 3, 3)).at[:, 2].set(0)
    padded = branch_input(48)._replace(mask=real)
    usual, masked = (
        jax.jit(model.apply)(variables, branch_input(64), local).of_local for local in (branch_input(48), padded)
    )
    np.testing.assert_allclose(jnp.exp(masked.log_p[:, 6:, :6]), 0, atol=1e-6)
    np.testing.assert_allclose(jnp.exp(masked.log_p[:, :6, 6:]), 0, atol=1e-6)
    assert jnp.abs(masked.vectors.a - usual.vectors.a).max() > 1e-5


def test_a_vector_of_nothing_is_a_number_and_teaches(matcher):
    """No token and no bias: without a bound in the norm the gradient would be no number."""
    model, variables = matcher
    none = branch_input(64)._replace(cells=jnp.zeros((2, 4, 4)))

    def alike(params):
        return model.apply(variables | {"params": params}, none, branch_input(48)).of_global.cosine.sum()

    gradient = jax.jit(jax.grad(alike))(variables["params"])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_models_of_one_config_are_equal_so_that_nothing_is_compiled_twice():
    model, other = (MatcherModel(Branch(**NARROW, vector=6)) for _ in range(2))
    assert model == other and hash(model) == hash(other)
