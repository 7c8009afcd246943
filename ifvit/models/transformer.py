"""The transformer that lets two token maps look at each other: LoFTR's encoder, and a plain one beside it."""

import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from ifvit.models.attention import ATTENTIONS, full_attention

_TEMPERATURE = 10000.0  # Vaswani et al. 2017
_PLAIN_MLP_RATIO = 4  # ViT


def position_code(height, width, channels, temp_bug_fix):
    """Sine/cosine code of each cell's place, (height, width, channels) float32, added once to the coarse map.

    Channels 4k, 4k+1 are sin, cos of x w_k and 4k+2, 4k+3 of y w_k, with x and y counted from 1. With
    `temp_bug_fix` w_k = 10000^(-2k / (C/2)); without it the exponent's factor is floor(-ln(10000) / C / 2),
    the operator-precedence slip under which LoFTR's original weights (outdoor_ds, indoor_ds) were trained.
    Raises ValueError when `channels` is not divisible by 4.
    """
    if channels % 4:
        raise ValueError(f"the position code needs a width divisible by 4, got {channels}")
    slope = -math.log(_TEMPERATURE)
    factor = slope / (channels // 2) if temp_bug_fix else math.floor(slope / channels / 2)
    frequency = jnp.exp(jnp.arange(0, channels // 2, 2, dtype=jnp.float32) * factor)  # (C/4,)
    x = jnp.arange(1, width + 1, dtype=jnp.float32)[None, :, None] * frequency  # (1, W, C/4)
    y = jnp.arange(1, height + 1, dtype=jnp.float32)[:, None, None] * frequency  # (H, 1, C/4)
    waves = jnp.broadcast_arrays(jnp.sin(x), jnp.cos(x), jnp.sin(y), jnp.cos(y))
    return jnp.stack(waves, axis=-1).reshape(height, width, channels)


def _dense(features, dtype, name, use_bias=False):
    # LoFTR resets every matrix of its transformer to Xavier uniform.
    init = nn.initializers.xavier_uniform()
    return nn.Dense(features, use_bias=use_bias, dtype=dtype, kernel_init=init, name=name)


def _split_heads(x, num_heads):
    return x.reshape(*x.shape[:2], num_heads, -1)  # (B, N, H, D)


class LoFTRLayer(nn.Module):
    """LoFTR's encoder layer: attention, then an MLP on [token, message]; normalised messages are added.

    `attention` is 'linear' or 'full'. Call: x (B, N, C) attends to source (B, M, C); masks (B, N) and (B, M)
    floats, 1 = real. Returns (B, N, C). Source: Sun et al. 2021.
    """

    num_heads: int
    attention: str = "linear"
    norm_eps: float = 1e-5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x, source, x_mask=None, source_mask=None):
        width = x.shape[-1]
        q = _split_heads(_dense(width, self.dtype, "q_proj")(x), self.num_heads)
        k = _split_heads(_dense(width, self.dtype, "k_proj")(source), self.num_heads)
        v = _split_heads(_dense(width, self.dtype, "v_proj")(source), self.num_heads)
        message = ATTENTIONS[self.attention](q, k, v, x_mask, source_mask).reshape(x.shape)
        message = _dense(width, self.dtype, "merge")(message)
        message = nn.LayerNorm(epsilon=self.norm_eps, dtype=self.dtype, name="norm1")(message)
        message = jnp.concatenate([x, message], axis=-1)  # (B, N, 2C)
        message = nn.relu(_dense(2 * width, self.dtype, "mlp_0")(message))
        message = _dense(width, self.dtype, "mlp_2")(message)
        return x + nn.LayerNorm(epsilon=self.norm_eps, dtype=self.dtype, name="norm2")(message)


class PlainLayer(nn.Module):
    """A standard pre-norm encoder layer: softmax attention and a GELU MLP, each with its residual.

    Called as `LoFTRLayer`. Its submodules bear other names, so that LoFTR's weights cannot half fit.
    """

    num_heads: int
    norm_eps: float = 1e-5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x, source, x_mask=None, source_mask=None):
        width = x.shape[-1]
        norm = nn.LayerNorm(epsilon=self.norm_eps, dtype=self.dtype, name="attention_norm")
        queries, keys = norm(x), norm(source)
        q = _split_heads(_dense(width, self.dtype, "query", use_bias=True)(queries), self.num_heads)
        # No bias here: it adds the same to all logits of a query, which the softmax takes out again.
        k = _split_heads(_dense(width, self.dtype, "key")(keys), self.num_heads)
        v = _split_heads(_dense(width, self.dtype, "value", use_bias=True)(keys), self.num_heads)
        message = full_attention(q, k, v, x_mask, source_mask).reshape(x.shape)
        x = x + _dense(width, self.dtype, "out", use_bias=True)(message)
        hidden = nn.LayerNorm(epsilon=self.norm_eps, dtype=self.dtype, name="mlp_norm")(x)
        hidden = nn.gelu(_dense(_PLAIN_MLP_RATIO * width, self.dtype, "mlp_in", use_bias=True)(hidden))
        return x + _dense(width, self.dtype, "mlp_out", use_bias=True)(hidden)


class Transformer(nn.Module):
    """Run layers named `layers_0`, `layers_1`… over the tokens of two images, one set of weights for both.

    `layer_kinds` holds 'self' (each image on itself) or 'cross' (sequential: A attends to B, then B attends
    to the updated A). `plain` chooses `PlainLayer` and a final norm, without which a pre-norm stream would
    never be normalised. Call: tokens_a (B, N, C), tokens_b (B, M, C), masks (B, N) and (B, M) floats or None;
    returns both, same shapes. Raises ValueError on an unknown layer kind or attention, or a width other than
    `d_model`.
    """

    layer_kinds: tuple[str, ...]
    num_heads: int
    d_model: int
    plain: bool = False
    attention: str = "linear"
    norm_eps: float = 1e-5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens_a, tokens_b, mask_a=None, mask_b=None):
        self._check(tokens_a, tokens_b)
        a, b = tokens_a, tokens_b
        for index, kind in enumerate(self.layer_kinds):
            layer = self._layer(f"layers_{index}")
            if kind == "self":
                a, b = layer(a, a, mask_a, mask_a), layer(b, b, mask_b, mask_b)
            else:
                a = layer(a, b, mask_a, mask_b)
                b = layer(b, a, mask_b, mask_a)
        if self.plain:
            norm = nn.LayerNorm(epsilon=self.norm_eps, dtype=self.dtype, name="final_norm")
            a, b = norm(a), norm(b)
        return a, b

    def _layer(self, name):
        if self.plain:
            return PlainLayer(self.num_heads, self.norm_eps, self.dtype, name=name)
        return LoFTRLayer(self.num_heads, self.attention, self.norm_eps, self.dtype, name=name)

    def _check(self, tokens_a, tokens_b):
        unknown = set(self.layer_kinds) - {"self", "cross"}
        if unknown:
            raise ValueError(f"layer kinds are 'self' and 'cross', got {sorted(unknown)}")
        if self.attention not in ATTENTIONS:
            raise ValueError(f"attention is one of {sorted(ATTENTIONS)}, got {self.attention!r}")
        if tokens_a.shape[-1] != self.d_model or tokens_b.shape[-1] != self.d_model:
            got = f"{tokens_a.shape[-1]} and {tokens_b.shape[-1]}"
            raise ValueError(f"the transformer is {self.d_model} wide, its tokens are {got}")
