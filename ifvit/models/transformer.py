"""The transformer over the tokens of two images, with self and cross attention: LoFTR's encoder and a plain one."""

from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ifvit.models.attention import ATTENTIONS, full_attention

_TEMPERATURE = 10000.0  # Vaswani et al. 2017
_PLAIN_MLP_RATIO = 4  # ViT


def position_code(height: int, width: int, channels: int, temp_bug_fix: bool) -> jax.Array:
    """The sine/cosine code of each cell's place, (height, width, channels) float32, added once to the coarse map.

    Channels 4k and 4k+1 are the sine and cosine of x w_k, channels 4k+2 and 4k+3 those of y w_k; x and y count
    from 1. With `temp_bug_fix` w_k = 10000^(-2k / (C/2)). Without it the exponent's factor is
    floor(-ln(10000) / C / 2): an error of operator precedence in LoFTR, with which its original weights
    (outdoor_ds, indoor_ds) were trained.

    Raises:
        ValueError: `channels` is not divisible by 4.
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


def _dense(features: int, dtype: Any, name: str, use_bias: bool = False) -> nn.Dense:
    # LoFTR initialises every matrix of its transformer with Xavier uniform.
    init = nn.initializers.xavier_uniform()
    return nn.Dense(features, use_bias=use_bias, dtype=dtype, kernel_init=init, name=name)


def _split_heads(x: jax.Array, num_heads: int) -> jax.Array:
    """(B, N, C) -> (B, N, H, C/H)."""
    return x.reshape(*x.shape[:2], num_heads, -1)


class LoFTRLayer(nn.Module):
    """LoFTR's encoder layer: attention, then an MLP on [token, message], whose normalised output is added to the token.

    Call: x (B, N, C) attends to source (B, M, C); masks float (B, N) and (B, M), 1 = real, or None. Returns (B, N, C).
    `attention` is 'linear' or 'full'. Source: Sun et al. 2021.
    """

    num_heads: int
    attention: str = "linear"
    norm_eps: float = 1e-5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        source: jax.Array,
        x_mask: jax.Array | None = None,
        source_mask: jax.Array | None = None,
    ) -> jax.Array:
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
    """A standard pre-norm encoder layer: softmax attention and a GELU MLP, each with a residual connection.

    Called as `LoFTRLayer`. Its submodules have other names, so that LoFTR's weights never fit a part of it.
    """

    num_heads: int
    norm_eps: float = 1e-5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        source: jax.Array,
        x_mask: jax.Array | None = None,
        source_mask: jax.Array | None = None,
    ) -> jax.Array:
        width = x.shape[-1]
        norm = nn.LayerNorm(epsilon=self.norm_eps, dtype=self.dtype, name="attention_norm")
        queries, keys = norm(x), norm(source)
        q = _split_heads(_dense(width, self.dtype, "query", use_bias=True)(queries), self.num_heads)
        # No bias here: it would add the same number to all logits of a query, which does not change their softmax.
        k = _split_heads(_dense(width, self.dtype, "key")(keys), self.num_heads)
        v = _split_heads(_dense(width, self.dtype, "value", use_bias=True)(keys), self.num_heads)
        message = full_attention(q, k, v, x_mask, source_mask).reshape(x.shape)
        x = x + _dense(width, self.dtype, "out", use_bias=True)(message)
        hidden = nn.LayerNorm(epsilon=self.norm_eps, dtype=self.dtype, name="mlp_norm")(x)
        hidden = nn.gelu(_dense(_PLAIN_MLP_RATIO * width, self.dtype, "mlp_in", use_bias=True)(hidden))
        return x + _dense(width, self.dtype, "mlp_out", use_bias=True)(hidden)


class Transformer(nn.Module):
    """Layers `layers_0`, `layers_1`… over the tokens of two images; both images share the weights.

    Call: tokens_a (B, N, C), tokens_b (B, M, C), masks float (B, N) and (B, M), 1 = real, or None. Returns both
    images' tokens, in the same shapes.

    Raises:
        ValueError: on an unknown layer kind or attention, or where C is not `d_model`.
    """

    # Each 'self' (an image attends to itself) or 'cross' (A attends to B, then B attends to the updated A).
    layer_kinds: tuple[str, ...]
    num_heads: int
    d_model: int
    plain: bool = False  # `PlainLayer` and a final norm, without which the residual stream would not be normalised
    attention: str = "linear"  # of `LoFTRLayer`, 'linear' or 'full'
    norm_eps: float = 1e-5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        tokens_a: jax.Array,
        tokens_b: jax.Array,
        mask_a: jax.Array | None = None,
        mask_b: jax.Array | None = None,
    ) -> tuple[jax.Array, jax.Array]:
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

    def _layer(self, name: str) -> PlainLayer | LoFTRLayer:
        if self.plain:
            return PlainLayer(self.num_heads, self.norm_eps, self.dtype, name=name)
        return LoFTRLayer(self.num_heads, self.attention, self.norm_eps, self.dtype, name=name)

    def _check(self, tokens_a: jax.Array, tokens_b: jax.Array) -> None:
        unknown = set(self.layer_kinds) - {"self", "cross"}
        if unknown:
            raise ValueError(f"layer kinds are 'self' and 'cross', got {sorted(unknown)}")
        if self.attention not in ATTENTIONS:
            raise ValueError(f"attention is one of {sorted(ATTENTIONS)}, got {self.attention!r}")
        if tokens_a.shape[-1] != self.d_model or tokens_b.shape[-1] != self.d_model:
            got = f"{tokens_a.shape[-1]} and {tokens_b.shape[-1]}"
            raise ValueError(f"the transformer is {self.d_model} wide, its tokens are {got}")
