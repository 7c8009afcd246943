import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ifvit.synthesis.each import each


def function(item):
    key, offset = item
    noise = jax.random.normal(key, (16, 16))
    return {"blurred": jnp.tanh(noise @ noise.T) + offset, "sum": jnp.sum(jnp.sin(noise) * offset)}


@pytest.mark.parametrize("count", [1, 2, 7])
def test_an_item_does_not_depend_on_who_shares_its_batch(count):
    items = jax.random.split(jax.random.key(0), 9), jnp.arange(9.0)
    together = jax.jit(lambda x: each(function, x))(items)
    batch = jax.jit(lambda x: each(function, x))(jax.tree.map(lambda leaf: leaf[:count], items))
    for name, values in batch.items():
        np.testing.assert_array_equal(values, together[name][:count])


def test_side_by_side_elsewhere(monkeypatch):
    """What accelerators do: any number at a time, also one that does not divide the count."""
    items = jax.random.split(jax.random.key(0), 5), jnp.arange(5.0)
    expected = each(function, items)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    for at_once in (1, 2, 5, None):
        got = each(function, items, at_once)
        for name, values in expected.items():
            np.testing.assert_allclose(got[name], values, rtol=1e-5, atol=1e-5)
