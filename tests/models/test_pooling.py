"""The pooling and its gradient are those of XLA, to the last bit."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ifvit.models.pooling import max_pool


def plain(x):
    return nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))


@pytest.mark.parametrize("shape", [(2, 8, 6, 3), (1, 2, 2, 1), (3, 16, 20, 5)])
@pytest.mark.parametrize("change", [lambda x: x, lambda x: np.maximum(x, 0), np.round], ids=["any", "relu", "ties"])
def test_values_and_gradient_are_those_of_the_plain_operation(shape, change):
    rng = np.random.default_rng(0)
    x = change(rng.normal(size=shape)).astype(np.float32)
    (pooled, back), (expected, plain_back) = (jax.vjp(function, x) for function in (max_pool, plain))
    np.testing.assert_array_equal(pooled, expected)
    np.testing.assert_array_equal(max_pool(x), expected)
    gradient = rng.normal(size=pooled.shape).astype(np.float32)
    np.testing.assert_array_equal(back(gradient)[0], plain_back(gradient)[0])


def test_bfloat16_stays_bfloat16():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 8, 8, 2)), jnp.bfloat16)
    pooled, back = jax.vjp(max_pool, x)
    assert pooled.dtype == back(pooled)[0].dtype == jnp.bfloat16


def test_a_nan_is_passed_on():
    x = np.zeros((1, 8, 8, 1), np.float32)
    x[0, 4, 4] = np.nan
    np.testing.assert_array_equal(jax.vjp(max_pool, x)[0], plain(x))
    assert np.isnan(max_pool(x)).sum() == 1
