"""The two attention kernels of the dense transformer, as pure functions of arrays."""

import jax
import jax.numpy as jnp

_LINEAR_EPS = 1e-6  # LoFTR: keeps a query whose keys are all padded from dividing by zero
_MASKED_LOGIT = -1e9  # finite: a row of -inf alone would become NaN in the softmax
_EXACT = jax.lax.Precision.HIGHEST  # sums over all tokens: no TF32 on devices that would choose it


def linear_attention(q, k, v, q_mask=None, kv_mask=None):
    """Attend with the feature map elu(x) + 1, in time linear in the number of tokens.

    q (B, N, H, D), k and v (B, M, H, D); q_mask (B, N) and kv_mask (B, M) are floats, 1 = real, 0 = padded.
    Returns (B, N, H, D) in the dtype of v; sums are float32. Values are divided by M (padded tokens counted,
    as LoFTR does) while they are summed. Source: Katharopoulos et al. 2020, in the form of LoFTR (Sun et al.
    2021).
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


def full_attention(q, k, v, q_mask=None, kv_mask=None):
    """Attend with softmax(q k^T / sqrt(D)).

    Shapes and masks as in `linear_attention`. Padded keys get a large negative logit; padded queries return
    0. Returns (B, N, H, D) in the dtype of v; logits, softmax and sums are float32.
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
