"""Small networks for the model tests: the architecture is the real one, the widths are not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ifvit.models.dense import DenseModel

SMALL_STAGES = {"resnet18": (4, 4, 8), "resnet_fpn_8_2": (4, 4, 8), "resnet_fpn_16_4": (4, 4, 4, 8)}


@pytest.fixture(scope="session")
def small_dense():
    """A function (backbone=…, other fields) -> (small DenseModel, its variables)."""
    cache = {}

    def build(backbone="resnet18", **fields):
        key = (backbone, tuple(sorted(fields.items())))
        if key not in cache:
            sizes = dict(stem_width=4, stage_widths=SMALL_STAGES[backbone], d_model=8, num_heads=2)
            model = DenseModel(backbone, **(sizes | fields))
            image = jnp.zeros((1, 16, 16))
            cache[key] = model, jax.jit(model.init)(jax.random.key(0), image, image)
        return cache[key]

    return build


@pytest.fixture
def rng():
    return np.random.default_rng(0)
