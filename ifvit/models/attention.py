"""The two attention kernels of the dense transformer, as pure functions of arrays."""

import jax
import jax.numpy as jnp

_LINEAR_EPS = 1e-6  # LoFTR: a query whose keys are all padded must not divide by zero
_MASKED_LOGIT = -1e9  # finite: a row of -inf alone would become NaN in the softmax
_EXACT = jax.lax.Precision.HIGHEST  # sums over all tokens: no TF32 on devices that would choose it


def linear_attention(
    q: jax.Array, k: jax.Array, v: jax.Array, q_mask: jax.Array | None = None, kv_mask: jax.Array | None = None
) -> jax.Array:
    """Attend with the feature map elu(x) + 1, in time linear in the number of tokens.

    Values are divided by M while they are summed; M counts padded tokens too, as in LoFTR. Sums are float32.
    Source: Katharopoulos et al. 2020, in the form of LoFTR (Sun et al. 2021).

    Args:
        q: (B, N, H, D), the queries of N tokens in H heads.
        k, v: (B, M, H, D), the keys and values of M tokens.
        q_mask, kv_mask: float (B, N) and (B, M), 1 = real, 0 = padded; None: all are real.

    Returns:
        (B, N, H, D) in the dtype of v.
    """
    dtype, length = v.dtype, v.shape[1]
    q, k, v = (x.astype(jnp.float32) for x in (q, k, v))
    q, k = jax.nn.elu(q) + 1, jax.nn.elu(k) + 1
    if q_mask is not None:
        q = q * q_mask[:, :, None, None]
    if kv_mask is not None:
        k = k * kv_mask[:, :, None, None]
        v = v * kv_mask[:, :, None, None]
    summary = jnp.einsum("bmhd,bmhe->bhde", k, v / length, precision=_EXACT)  # (B, H, D, D)
    weight = jnp.einsum("bnhd,bhd->bnh", q, k.sum(axis=1), precision=_EXACT)  # (B, N, H)
    message = jnp.einsum("bnhd,bhde->bnhe", q, summary, precision=_EXACT)  # (B, N, H, D)
    return (message / (weight[..., None] + _LINEAR_EPS) * length).astype(dtype)


def full_attention(
    q: jax.Array, k: jax.Array, v: jax.Array, q_mask: jax.Array | None = None, kv_mask: jax.Array | None = None
) -> jax.Array:
    """Attend with softmax(q k^T / sqrt(D)). Arguments and result have the shapes of `linear_attention`.

    Padded keys get a large negative logit; padded queries give 0. Logits, softmax and sums are float32.
    """
    dtype = v.dtype
    q, k, v = (x.astype(jnp.float32) for x in (q, k, v))
    logits = jnp.einsum("bnhd,bmhd->bhnm", q, k, precision=_EXACT) / q.shape[-1] ** 0.5
    if kv_mask is not None:
        logits = jnp.where(kv_mask[:, None, None, :] > 0, logits, _MASKED_LOGIT)
    message = jnp.einsum("bhnm,bmhd->bnhd", jax.nn.softmax(logits, axis=-1), v, precision=_EXACT)
    if q_mask is not None:
        message = message * q_mask[:, :, None, None]
    return message.astype(dtype)


ATTENTIONS = {"linear": linear_attention, "full": full_attention}
