"""Module 1: two images in, the probability that each cell of one lies on each cell of the other."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from ifvit.models.attention import ATTENTIONS
from ifvit.models.backbones import STRIDES, make_backbone, resolve_widths
from ifvit.models.matching import log_dual_softmax
from ifvit.models.transformer import Transformer, position_code

_CONFIG_KEYS = (
    "backbone",
    "stem_width",
    "stage_widths",
    "d_model",
    "num_heads",
    "num_layers",
    "use_loftr",
    "attention",
    "norm_eps",
    "temp_bug_fix",
    "temperature",
)


class DenseOutput(NamedTuple):
    """Every stage of Module 1; what a caller leaves unused under jit is not computed.

    log_p (B, Na, Nb) float32; tokens (B, N, C) after the position code, coarse (B, N, C) after the
    transformer, cells row-major; backbone (B, h, w, C) before the position code.
    """

    log_p: jax.Array
    tokens_a: jax.Array
    tokens_b: jax.Array
    coarse_a: jax.Array
    coarse_b: jax.Array
    backbone_a: jax.Array
    backbone_b: jax.Array


class DenseModel(nn.Module):
    """Siamese backbone, transformer and dual softmax. Defaults suit LoFTR's original weights.

    Call: image_a (B, H, W) and image_b (B, H2, W2) floats in [0, 1]; masks (B, h, w) floats per cell, 1 =
    real; `train` uses and updates batch statistics (pass `mutable=['batch_stats']`). Returns `DenseOutput`.
    Variables: params/{backbone, transformer}, batch_stats/backbone. `dtype` is the compute dtype; params,
    attention sums, norms' statistics, similarity and softmax stay float32. Raises ValueError when widths,
    heads or names do not fit each other (on construction), or when an image or mask does not fit the stride
    (on call).
    """

    backbone: str = "resnet18"
    stem_width: int | None = None
    stage_widths: tuple[int, ...] | None = None
    d_model: int = 256
    num_heads: int = 8
    num_layers: int = 4
    use_loftr: bool = True
    attention: str = "linear"
    norm_eps: float = 1e-5
    temp_bug_fix: bool = False
    temperature: float = 0.1
    dtype: Any = jnp.float32

    @classmethod
    def from_config(cls, dense, dtype):
        """Build the model from any object with the attributes of `_CONFIG_KEYS`; choices may be Enums."""
        values = {key: getattr(dense, key) for key in _CONFIG_KEYS}
        for key in ("backbone", "attention"):
            values[key] = getattr(values[key], "value", values[key])
        if values["stage_widths"] is not None:
            values["stage_widths"] = tuple(values["stage_widths"])
        return cls(**values, dtype=dtype)

    def __post_init__(self):
        _, stages = resolve_widths(self.backbone, self.stem_width, self.stage_widths)
        if stages[-1] != self.d_model:
            raise ValueError(
                f"the last stage of {self.backbone} is {stages[-1]} wide and the transformer {self.d_model}: "
                "set stage_widths or d_model so that they are equal"
            )
        if self.d_model % self.num_heads:
            raise ValueError(f"{self.num_heads} heads do not divide the width {self.d_model}")
        if self.attention not in ATTENTIONS:
            raise ValueError(f"attention is one of {sorted(ATTENTIONS)}, got {self.attention!r}")
        super().__post_init__()

    @property
    def layer_kinds(self):
        """('self', 'cross', 'self', …), `num_layers` of them."""
        return tuple(("self", "cross")[index % 2] for index in range(self.num_layers))

    @property
    def stride(self):
        """Pixels per cell, both ways."""
        return STRIDES[self.backbone]

    def grid(self, height, width):
        """(rows, columns) of cells of an image in px; ValueError unless the stride divides both sides."""
        if height % self.stride or width % self.stride:
            raise ValueError(
                f"image of {height} x {width} px: {self.backbone} needs multiples of {self.stride} px, pad or crop it"
            )
        return height // self.stride, width // self.stride

    @nn.compact
    def __call__(self, image_a, image_b, mask_a=None, mask_b=None, train=False):
        mask_a, mask_b = self._flat_mask(image_a, mask_a), self._flat_mask(image_b, mask_b)
        backbone_a, backbone_b = self._features(image_a, image_b, train)
        tokens_a, tokens_b = self._tokens(backbone_a), self._tokens(backbone_b)
        transformer = Transformer(
            self.layer_kinds,
            self.num_heads,
            self.d_model,
            plain=not self.use_loftr,
            attention=self.attention,
            norm_eps=self.norm_eps,
            dtype=self.dtype,
            name="transformer",
        )
        coarse_a, coarse_b = transformer(tokens_a, tokens_b, mask_a, mask_b)
        log_p = log_dual_softmax(coarse_a, coarse_b, self.temperature, mask_a, mask_b)
        return DenseOutput(log_p, tokens_a, tokens_b, coarse_a, coarse_b, backbone_a, backbone_b)

    def _features(self, image_a, image_b, train):
        """Backbone maps (B, h, w, C); images of one size go through together, for BatchNorm and for speed."""
        backbone = make_backbone(self.backbone, self.stem_width, self.stage_widths, self.dtype, name="backbone")
        if image_a.shape != image_b.shape:
            return backbone(image_a[..., None], train), backbone(image_b[..., None], train)
        # A and B interleaved, not end to end: a batch axis sharded over devices then stays where it is.
        both = jnp.stack([image_a, image_b], axis=1)  # (B, 2, H, W)
        maps = backbone(both.reshape(-1, *both.shape[2:])[..., None], train)  # (2B, h, w, C)
        maps = maps.reshape(-1, 2, *maps.shape[1:])
        return maps[:, 0], maps[:, 1]

    def _tokens(self, features):
        batch, height, width, channels = features.shape
        code = position_code(height, width, channels, self.temp_bug_fix).astype(features.dtype)
        return (features + code).reshape(batch, height * width, channels)

    def _flat_mask(self, image, mask):
        """Check an image and its mask, and flatten the mask to (B, N)."""
        if image.ndim != 3:
            raise ValueError(f"images are (batch, height, width), got shape {image.shape}")
        grid = self.grid(*image.shape[1:])
        if mask is None:
            return None
        if mask.shape != (image.shape[0], *grid):
            raise ValueError(f"the mask of images {image.shape} has shape {(image.shape[0], *grid)}, got {mask.shape}")
        return mask.reshape(image.shape[0], -1)
