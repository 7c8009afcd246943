import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ifvit.models.attention import full_attention, linear_attention

pytestmark = pytest.mark.slow


N, M, H, D = 5, 7, 2, 4


def brute_force(kind, q, k, v, q_mask, kv_mask):
    """The formulas, one query and one head at a time, in float64."""
    out = np.zeros((q.shape[0], q.shape[1], H, D))
    feature = lambda x: np.where(x > 0, x, np.expm1(x)) + 1  # noqa: E731
    for b, n, h in np.ndindex(q.shape[0], q.shape[1], H):
        if kind == "linear":
            weight = np.array([feature(q[b, n, h]) @ feature(k[b, m, h]) for m in range(k.shape[1])])
            weight = weight * q_mask[b, n] * kv_mask[b]
            weight = weight / (weight.sum() + 1e-6)
        else:
            logits = np.array([q[b, n, h] @ k[b, m, h] / np.sqrt(D) for m in range(k.shape[1])])
            weight = np.exp(logits - logits.max()) * kv_mask[b]
            weight = weight / weight.sum() * q_mask[b, n]
        out[b, n, h] = sum(weight[m] * kv_mask[b, m] * v[b, m, h] for m in range(k.shape[1]))
    return out


@pytest.fixture
def qkv(rng):
    return [rng.normal(size=(2, n, H, D)).astype(np.float32) for n in (N, M, M)]


@pytest.fixture
def masks(rng):
    q_mask, kv_mask = np.ones((2, N), np.float32), np.ones((2, M), np.float32)
    q_mask[1, 3:] = 0
    kv_mask[0, 5:] = 0
    return q_mask, kv_mask


ATTENTIONS = [("linear", linear_attention), ("full", full_attention)]


@pytest.mark.parametrize("kind, attention", ATTENTIONS)
def test_agrees_with_the_formula(kind, attention, qkv, masks):
    expected = brute_force(kind, *qkv, np.ones((2, N)), np.ones((2, M)))
    np.testing.assert_allclose(attention(*qkv), expected, atol=1e-5)
    expected = brute_force(kind, *qkv, *masks)
    np.testing.assert_allclose(attention(*qkv, *masks), expected, atol=1e-5)


@pytest.mark.parametrize("kind, attention", ATTENTIONS)
def test_padding_neither_speaks_nor_hears(kind, attention, qkv, masks):
    q, k, v = qkv
    q_mask, kv_mask = masks
    other_k, other_v = np.where(kv_mask[..., None, None] > 0, [k, v], 50.0).astype(np.float32)
    out = attention(q, k, v, q_mask, kv_mask)
    np.testing.assert_allclose(out, attention(q, other_k, other_v, q_mask, kv_mask), atol=1e-6)
    assert (np.asarray(out)[q_mask == 0] == 0).all()


@pytest.mark.parametrize("kind, attention", ATTENTIONS)
def test_finite_when_everything_is_padded(kind, attention, qkv):
    total = lambda q, k, v: attention(q, k, v, jnp.zeros((2, N)), jnp.zeros((2, M))).sum()  # noqa: E731
    value, gradients = jax.value_and_grad(total, argnums=(0, 1, 2))(*map(jnp.asarray, qkv))
    assert value == 0
    assert all(bool(jnp.isfinite(g).all()) for g in gradients)


@pytest.mark.parametrize("kind, attention", ATTENTIONS)
def test_bfloat16_is_summed_in_float32(kind, attention, rng):
    q, k, v = (jnp.asarray(rng.normal(size=(1, 700, 1, 4)), jnp.bfloat16) for _ in range(3))
    out = attention(q, k, v)
    exact = attention(*(x.astype(jnp.float32) for x in (q, k, v)))
    assert out.dtype == jnp.bfloat16
    np.testing.assert_array_equal(out, exact.astype(jnp.bfloat16))
