"""Convolutional backbones: a grey image in, a coarse feature map and, with an FPN, a fine one out (NHWC)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ifvit.models.pooling import max_pool

FeatureMaps = tuple[jax.Array, jax.Array | None]  # the coarse map (B, h, w, C) and the fine one (B, H, W, F), or None
STRIDES = {"resnet18": 16, "resnet_fpn_8_2": 8, "resnet_fpn_16_4": 16}
FINE_STRIDES = {"resnet_fpn_8_2": 2, "resnet_fpn_16_4": 4}  # of the backbones that have a fine map
DEFAULT_WIDTHS = {  # backbone -> (channels of the stem, channels of each stage)
    "resnet18": (64, (64, 128, 256)),
    "resnet_fpn_8_2": (128, (128, 196, 256)),
    "resnet_fpn_16_4": (128, (64, 128, 196, 256)),
}

_BLOCKS_PER_STAGE = 2
_BN_EPS = 1e-5
_BN_MOMENTUM = 0.9  # share of the old statistics; PyTorch's 0.1 means the same
_TOP_DOWN_STEPS = 2  # from the coarse map to the fine one: 1/8 to 1/2, 1/16 to 1/4


def _conv(width: int, size: int, stride: int, dtype: Any, name: str) -> nn.Conv:
    """A convolution without bias: `width` channels out, a kernel of size x size."""
    # size // 2 on both sides also at stride 2, where XLA's SAME pads the far side more and shifts the features.
    padding = ((size // 2, size // 2),) * 2
    init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")  # He et al. 2015, as LoFTR
    return nn.Conv(width, (size, size), stride, padding, use_bias=False, dtype=dtype, kernel_init=init, name=name)


def _norm(train: bool, dtype: Any, name: str) -> nn.BatchNorm:
    return nn.BatchNorm(not train, momentum=_BN_MOMENTUM, epsilon=_BN_EPS, dtype=dtype, name=name)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a skip (He et al. 2016): (B, H, W, *) -> (B, H/stride, W/stride, width).

    The skip is a 1x1 convolution with a norm where the stride is not 1 or the width changes, as in ResNet. LoFTR
    tests the stride only; for the widths that LoFTR allows the result is the same.
    """

    width: int
    stride: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        y = _conv(self.width, 3, self.stride, self.dtype, "conv1")(x)
        y = nn.relu(_norm(train, self.dtype, "bn1")(y))
        y = _conv(self.width, 3, 1, self.dtype, "conv2")(y)
        y = _norm(train, self.dtype, "bn2")(y)
        if self.stride != 1 or x.shape[-1] != self.width:
            x = _conv(self.width, 1, self.stride, self.dtype, "downsample_0")(x)
            x = _norm(train, self.dtype, "downsample_1")(x)
        return nn.relu(x + y)


def _stem(x: jax.Array, width: int, train: bool, dtype: Any) -> jax.Array:
    """(B, H, W, 1) -> (B, H/2, W/2, width)."""
    x = _conv(width, 7, 2, dtype, "conv1")(x)
    return nn.relu(_norm(train, dtype, "bn1")(x))


def _stages(x: jax.Array, widths: Sequence[int], train: bool, dtype: Any) -> list[jax.Array]:
    """The feature map (B, H, W, width) after each stage, the largest map first."""
    maps = []
    for stage, width in enumerate(widths, start=1):
        for block in range(_BLOCKS_PER_STAGE):
            stride = 2 if stage > 1 and block == 0 else 1
            x = BasicBlock(width, stride, dtype, name=f"layer{stage}_{block}")(x, train)
        maps.append(x)
    return maps


def _double(x: jax.Array, axis: int) -> jax.Array:
    """The array interpolated linearly along `axis` to twice its length n; the first and last value stay in place.

    Output i is the input at i (n - 1) / (2n - 1). Output 2k lies k / (2n - 1) before input k, output 2k + 1
    (n - 1 - k) / (2n - 1) behind it. Slices only: the gradient of a gather is a scatter, slow on every device.
    """
    n = x.shape[axis]
    first, last = jax.lax.slice_in_dim(x, 0, 1, axis=axis), jax.lax.slice_in_dim(x, n - 1, n, axis=axis)
    before = jnp.concatenate([first, jax.lax.slice_in_dim(x, 0, n - 1, axis=axis)], axis)
    behind = jnp.concatenate([jax.lax.slice_in_dim(x, 1, n, axis=axis), last], axis)
    k = jnp.arange(n, dtype=jnp.float32).reshape(-1, *(1 for _ in x.shape[axis + 1 :]))
    to_before, to_behind = (share.astype(x.dtype) for share in (k / (2 * n - 1), (n - 1 - k) / (2 * n - 1)))
    both = jnp.stack([x + to_before * (before - x), x + to_behind * (behind - x)], axis + 1)
    return both.reshape(*x.shape[:axis], 2 * n, *x.shape[axis + 1 :])


def upsample(x: jax.Array) -> jax.Array:
    """(B, H, W, C) -> (B, 2H, 2W, C), bilinear with corners aligned, as in LoFTR's FPN."""
    return _double(_double(x, 1), 2)


class ResNet18(nn.Module):
    """ResNet-18 without its last stage: (B, H, W, 1) -> (B, H/16, W/16, stage_widths[-1]), and no fine map."""

    stem_width: int = 64
    stage_widths: tuple[int, ...] = (64, 128, 256)
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> FeatureMaps:
        x = _stem(x, self.stem_width, train, self.dtype)
        return _stages(max_pool(x), self.stage_widths, train, self.dtype)[-1], None


class ResNetFPN(nn.Module):
    """LoFTR's ResNet-FPN: images (B, H, W, 1) -> a coarse feature map and a fine one.

    With n stages the coarse map is (B, H/2^n, W/2^n, stage_widths[-1]). Three stages are LoFTR's 8_2 (coarse map
    `layer3_outconv`), four are its 16_4 (`layer4_outconv`). With `fine_map` the top-down path leads two stages down
    to the fine map (B, H/2^(n-2), W/2^(n-2), stage_widths[n-3]); otherwise the fine map is None.
    """

    stem_width: int = 128
    stage_widths: tuple[int, ...] = (128, 196, 256)
    fine_map: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> FeatureMaps:
        x = _stem(x, self.stem_width, train, self.dtype)
        maps = _stages(x, self.stage_widths, train, self.dtype)
        top = len(maps)
        coarse = _conv(self.stage_widths[-1], 1, 1, self.dtype, f"layer{top}_outconv")(maps[-1])
        if not self.fine_map:
            return coarse, None
        fine = coarse
        for stage in range(top - 1, top - 1 - _TOP_DOWN_STEPS, -1):
            fine = self._merge(maps[stage - 1], fine, stage, train)
        return coarse, fine

    def _merge(self, lateral: jax.Array, above: jax.Array, stage: int, train: bool) -> jax.Array:
        """The stage's own map `lateral` (B, H, W, C) plus the upsampled map `above` (B, H/2, W/2, *): (B, H, W, C)."""
        above_width, width = above.shape[-1], lateral.shape[-1]
        x = _conv(above_width, 1, 1, self.dtype, f"layer{stage}_outconv")(lateral) + upsample(above)
        x = _conv(above_width, 3, 1, self.dtype, f"layer{stage}_outconv2_0")(x)
        x = nn.leaky_relu(_norm(train, self.dtype, f"layer{stage}_outconv2_1")(x), 0.01)
        return _conv(width, 3, 1, self.dtype, f"layer{stage}_outconv2_3")(x)


def resolve_widths(
    name: str, stem_width: int | None = None, stage_widths: Sequence[int] | None = None
) -> tuple[int, tuple[int, ...]]:
    """The channels of a backbone's stem and of each of its stages; the defaults stand for None.

    Raises:
        ValueError: the name is unknown, or the backbone has another number of stages.
    """
    if name not in DEFAULT_WIDTHS:
        raise ValueError(f"backbone is one of {sorted(DEFAULT_WIDTHS)}, got {name!r}")
    default_stem, default_stages = DEFAULT_WIDTHS[name]
    stages = default_stages if stage_widths is None else tuple(stage_widths)
    if len(stages) != len(default_stages):
        raise ValueError(f"{name} has {len(default_stages)} stages, got stage widths {stages}")
    return default_stem if stem_width is None else stem_width, stages


def fine_width(name: str, stage_widths: Sequence[int] | None = None) -> int | None:
    """The channels of the backbone's fine map; None where it has none. Raises as `resolve_widths` does."""
    stages = resolve_widths(name, None, stage_widths)[1]
    return stages[-1 - _TOP_DOWN_STEPS] if name in FINE_STRIDES else None


def make_backbone(
    kind: str,
    stem_width: int | None,
    stage_widths: Sequence[int] | None,
    dtype: Any,
    fine_map: bool = False,
    name: str | None = None,
) -> ResNet18 | ResNetFPN:
    """Build the backbone `kind`, a key of STRIDES. It is called with (x, train) and gives `FeatureMaps`.

    Args:
        stem_width, stage_widths: channels; None stands for the defaults.
        dtype: of the computation; parameters and statistics are float32.
        fine_map: whether it gives a fine map too.
        name: of the Flax module.

    Raises:
        ValueError: as `resolve_widths`, or the backbone has no fine map.
    """
    stem, stages = resolve_widths(kind, stem_width, stage_widths)
    if kind == "resnet18":
        if fine_map:
            raise ValueError(f"{kind} has no fine map; {' and '.join(sorted(FINE_STRIDES))} have one")
        return ResNet18(stem, stages, dtype, name=name)
    return ResNetFPN(stem, stages, fine_map, dtype, name=name)
