"""Module 2: vectors of length 1, of the cells that count, by branches that begin as Module 1 to the bit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ifvit.models.dense import DenseModel
from ifvit.models.matcher import Branch, BranchInput, MatcherModel, from_dense

NARROW = {"stem_width": 4, "stage_widths": (4, 8, 8), "d_model": 8, "num_heads": 2, "num_layers": 2}


def seen(side, seed=0, cells=None):
    a, b = jax.random.uniform(jax.random.key(seed), (2, 2, side, side))
    shape = (2, side // 16, side // 16)
    return BranchInput(a, b, jnp.ones(shape) if cells is None else cells, jnp.ones(shape))


@pytest.fixture(scope="module", params=[False, True], ids=["two branches", "shared"])
def matcher(request):
    model = MatcherModel(Branch(**NARROW, vector=6), request.param)
    return model, model.init(jax.random.key(1), seen(64), seen(48))


def dense_variables(**other):
    image = jnp.zeros((1, 64, 64))
    variables = DenseModel(**NARROW | other).init(jax.random.key(2), image, image)
    return jax.tree.map(lambda x: np.asarray(x) + 0.5, variables)  # so that statistics are not those of a new model


def test_vectors_have_length_one(matcher):
    model, variables = matcher
    output = model.apply(variables, seen(64), seen(48))
    for branch, cells in zip(output, (16, 9), strict=True):
        for vector in (branch.vector_a, branch.vector_b):
            assert vector.shape == (2, 6)
            np.testing.assert_allclose(jnp.linalg.norm(vector, axis=-1), 1, rtol=1e-5)
        assert branch.log_p.shape == (2, cells, cells)
        assert (jnp.abs(branch.cosine) <= 1 + 1e-5).all()
    fused = output.score(0.6, 0.4)
    np.testing.assert_allclose(fused, 0.6 * output.of_global.cosine + 0.4 * output.of_local.cosine, rtol=1e-6)


def test_names_of_the_branches(matcher):
    model, variables = matcher
    wanted = {"both_branches"} if model.shared else {"global_branch", "local_branch"}
    assert set(variables["params"]) == set(variables["batch_stats"]) == wanted
    assert set(variables["params"][model.names[0]]) == {"backbone", "transformer", "embed"}


def test_only_the_cells_that_count_make_the_vector(matcher):
    model, variables = matcher
    half = jnp.zeros((2, 4, 4)).at[:, :2].set(1)
    whole, upper = (
        model.apply(variables, seen(64, cells=cells), seen(48)).of_global for cells in (jnp.ones((2, 4, 4)), half)
    )
    branch = variables["params"][model.names[0]]
    tokens = DenseModel(**NARROW).apply(
        {"params": {k: v for k, v in branch.items() if k != "embed"},
         "batch_stats": variables["batch_stats"][model.names[0]]}, *seen(64)[:2],
    ).coarse_a  # fmt: skip
    for output, count in ((whole, 16), (upper, 8)):
        mean = tokens[:, :count].mean(1) @ branch["embed"]["kernel"] + branch["embed"]["bias"]
        np.testing.assert_allclose(output.vector_a, mean / jnp.linalg.norm(mean, axis=-1, keepdims=True), atol=1e-5)


def test_each_branch_begins_as_module_1_to_the_bit(matcher):
    model, variables = matcher
    dense = dense_variables()
    made = from_dense(model, variables, dense)
    for kind in ("params", "batch_stats"):
        for name in model.names:
            own = {key: value for key, value in made[kind][name].items() if key != "embed"}
            assert jax.tree.structure(own) == jax.tree.structure(dict(dense[kind]))
            for mine, given in zip(jax.tree.leaves(own), jax.tree.leaves(dense[kind]), strict=True):
                assert np.asarray(mine).tobytes() == np.asarray(given).tobytes()
    for name in model.names:
        np.testing.assert_array_equal(
            made["params"][name]["embed"]["kernel"], variables["params"][name]["embed"]["kernel"]
        )


def test_another_width_is_refused(matcher):
    model, variables = matcher
    other = dense_variables(stage_widths=(4, 8, 16), d_model=16)
    with pytest.raises(ValueError, match=r"params/\w+: .*given, .*expected"):
        from_dense(model, variables, other)


def test_models_of_one_config_are_equal_so_that_nothing_is_compiled_twice():
    one, other = (MatcherModel(Branch(**NARROW, vector=6)) for _ in range(2))
    assert one == other and hash(one) == hash(other)
