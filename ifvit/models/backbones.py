"""Convolutional backbones: a grey image in, a coarse feature map out (NHWC)."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

STRIDES = {"resnet18": 16, "resnet_fpn_8_2": 8, "resnet_fpn_16_4": 16}
DEFAULT_WIDTHS = {  # stem, stages
    "resnet18": (64, (64, 128, 256)),
    "resnet_fpn_8_2": (128, (128, 196, 256)),
    "resnet_fpn_16_4": (128, (64, 128, 196, 256)),
}

_BLOCKS_PER_STAGE = 2
_BN_EPS = 1e-5
_BN_MOMENTUM = 0.9  # share of the old statistics; PyTorch calls the same 0.1


def _conv(width, size, stride, dtype, name):
    # k//2 on both sides also at stride 2, where XLA's SAME pads the far side more and shifts the features.
    padding = ((size // 2, size // 2),) * 2
    init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")  # He et al. 2015, as LoFTR
    return nn.Conv(width, (size, size), stride, padding, use_bias=False, dtype=dtype, kernel_init=init, name=name)


def _norm(train, dtype, name):
    return nn.BatchNorm(not train, momentum=_BN_MOMENTUM, epsilon=_BN_EPS, dtype=dtype, name=name)


def _max_pool(x):
    return nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a skip (He et al. 2016): (B, H, W, *) -> (B, H/stride, W/stride, width).

    The skip is a 1x1 convolution with norm where stride or width change, as in ResNet; LoFTR asks for the
    stride alone, which is the same for every width it allows.
    """

    width: int
    stride: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x, train):
        y = _conv(self.width, 3, self.stride, self.dtype, "conv1")(x)
        y = nn.relu(_norm(train, self.dtype, "bn1")(y))
        y = _conv(self.width, 3, 1, self.dtype, "conv2")(y)
        y = _norm(train, self.dtype, "bn2")(y)
        if self.stride != 1 or x.shape[-1] != self.width:
            x = _conv(self.width, 1, self.stride, self.dtype, "downsample_0")(x)
            x = _norm(train, self.dtype, "downsample_1")(x)
        return nn.relu(x + y)


def _stem(x, width, train, dtype):
    x = _conv(width, 7, 2, dtype, "conv1")(x)
    return nn.relu(_norm(train, dtype, "bn1")(x))


def _stages(x, widths, train, dtype):
    for stage, width in enumerate(widths, start=1):
        for block in range(_BLOCKS_PER_STAGE):
            stride = 2 if stage > 1 and block == 0 else 1
            x = BasicBlock(width, stride, dtype, name=f"layer{stage}_{block}")(x, train)
    return x


class ResNet18(nn.Module):
    """ResNet-18 without its last stage: (B, H, W, 1) -> (B, H/16, W/16, stage_widths[-1])."""

    stem_width: int = 64
    stage_widths: tuple[int, ...] = (64, 128, 256)
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x, train=False):
        x = _stem(x, self.stem_width, train, self.dtype)
        return _stages(_max_pool(x), self.stage_widths, train, self.dtype)


class ResNetFPN(nn.Module):
    """The coarse path of LoFTR's ResNet-FPN: (B, H, W, 1) -> (B, H/2^n, W/2^n, stage_widths[-1]), n stages.

    Three stages are LoFTR's 8_2 (coarse map `layer3_outconv`), four its 16_4 (`layer4_outconv`). The top-down
    path makes only the fine map, which no caller needs here.
    """

    stem_width: int = 128
    stage_widths: tuple[int, ...] = (128, 196, 256)
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x, train=False):
        x = _stem(x, self.stem_width, train, self.dtype)
        x = _stages(x, self.stage_widths, train, self.dtype)
        outconv = f"layer{len(self.stage_widths)}_outconv"
        return _conv(self.stage_widths[-1], 1, 1, self.dtype, outconv)(x)


def resolve_widths(name, stem_width=None, stage_widths=None):
    """Fill in a backbone's widths: (stem, stages), defaults where None.

    Raises ValueError on an unknown name or a number of stages that the backbone does not have.
    """
    if name not in DEFAULT_WIDTHS:
        raise ValueError(f"backbone is one of {sorted(DEFAULT_WIDTHS)}, got {name!r}")
    default_stem, default_stages = DEFAULT_WIDTHS[name]
    stages = default_stages if stage_widths is None else tuple(stage_widths)
    if len(stages) != len(default_stages):
        raise ValueError(f"{name} has {len(default_stages)} stages, got stage widths {stages}")
    return default_stem if stem_width is None else stem_width, stages


def make_backbone(kind, stem_width, stage_widths, dtype, name=None):
    """Build the backbone `kind` (a key of STRIDES); widths may be None. Errors as `resolve_widths`."""
    stem, stages = resolve_widths(kind, stem_width, stage_widths)
    module = ResNet18 if kind == "resnet18" else ResNetFPN
    return module(stem, stages, dtype, name=name)
