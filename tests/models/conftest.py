"""Small networks for the model tests: the architecture is the real one, the widths are not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ifvit.models.dense import DenseModel

SMALL_STAGES = {"resnet18": (4, 4, 8), "resnet_fpn_8_2": (4, 4, 8), "resnet_fpn_16_4": (4, 4, 4, 8)}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def random_variables():
    """A function (module, its inputs…) -> random variables, norms and statistics included.

    Drawn with NumPy: compiling Flax's own initialisers takes far longer than any test here.
    """

    def leaf(path, shape, rng):
        name = path[-1].key
        if name in ("var", "scale"):
            return rng.uniform(0.5, 1.5, shape)
        spread = np.prod(shape[:-1]) ** -0.5 if name == "kernel" else 0.2
        return rng.normal(0, spread, shape)

    def draw(module, *inputs):
        rng = np.random.default_rng(7)
        shapes = jax.eval_shape(module.init, jax.random.key(0), *inputs)
        fill = lambda path, x: jnp.asarray(leaf(path, x.shape, rng), x.dtype)  # noqa: E731
        return jax.tree_util.tree_map_with_path(fill, shapes)

    return draw


@pytest.fixture(scope="session")
def small_dense(random_variables):
    """A function (backbone=…, other fields) -> (small DenseModel, its variables)."""

    def build(backbone="resnet18", **fields):
        sizes = dict(stem_width=4, stage_widths=SMALL_STAGES[backbone], d_model=8, num_heads=2, num_layers=2)
        model = DenseModel(backbone, **(sizes | fields))
        image = jnp.zeros((1, 16, 16))
        return model, random_variables(model, image, image)

    return build
