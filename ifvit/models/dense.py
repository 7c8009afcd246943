"""Module 1: two images in, the match probability of each cell of A and each cell of B out, and points between cells."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import flax.linen as nn
import jax
import jax.numpy as jnp

from ifvit.models.attention import ATTENTIONS
from ifvit.models.backbones import FINE_STRIDES, STRIDES, FeatureMaps, fine_width, make_backbone, resolve_widths
from ifvit.models.fine import RADIUS, WINDOW, FinePreprocess, Refined, expectation, windows
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
    "fine",
)
_FINE_LAYERS = ("self", "cross")  # of LoFTR's fine transformer


class DenseOutput(NamedTuple):
    """The result of every stage of Module 1. Under jit a field that the caller does not use is not computed.

    Cells are row-major: N = h w.
    """

    log_p: jax.Array  # (B, Na, Nb) float32, log of the match probability
    tokens_a: jax.Array  # (B, Na, C), after the position code
    tokens_b: jax.Array  # (B, Nb, C)
    coarse_a: jax.Array  # (B, Na, C), after the transformer
    coarse_b: jax.Array  # (B, Nb, C)
    backbone_a: jax.Array  # (B, h, w, C), the backbone's coarse map, before the position code
    backbone_b: jax.Array  # (B, h2, w2, C)
    fine_a: jax.Array | None = None  # (B, H, W, F), the backbone's fine map; None without a fine stage
    fine_b: jax.Array | None = None  # (B, H2, W2, F)


class DenseModel(nn.Module):
    """Siamese backbone, transformer, dual softmax and LoFTR's fine stage. The defaults suit LoFTR's original weights.

    Call: image_a (B, H, W) and image_b (B, H2, W2) float in [0, 1]; mask_a and mask_b float per cell, (B, h, w) and
    (B, h2, w2), 1 = real, or None; with `train` the batch's statistics are used and updated (pass
    `mutable=['batch_stats']`). Returns `DenseOutput`. With `fine="loftr"`, `refine` turns matched cells into points
    between the pixels. To compare one image with many, call `features` once and `match` for each of the others.

    Variables: params/{backbone, transformer}, with the fine stage also params/{fine_preprocess, fine_transformer};
    batch_stats/backbone. `dtype` is the compute dtype; parameters, attention sums, the norms' statistics, similarity
    and softmax stay float32.

    Raises:
        ValueError: on construction where widths, heads or names do not fit each other; on call where an image or a
            mask does not fit the stride.
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
    fine: str = "none"
    dtype: Any = jnp.float32

    @classmethod
    def from_config(cls, dense: Any, dtype: Any) -> Self:
        """Build the model from any object with the attributes of `_CONFIG_KEYS`; choices may be Enums."""
        values = {key: getattr(dense, key) for key in _CONFIG_KEYS}
        for key in ("backbone", "attention", "fine"):
            values[key] = getattr(values[key], "value", values[key])
        if values["stage_widths"] is not None:
            values["stage_widths"] = tuple(values["stage_widths"])
        return cls(**values, dtype=dtype)

    def __post_init__(self) -> None:
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
        self._check_fine()
        super().__post_init__()

    def _check_fine(self) -> None:
        if self.fine not in ("none", "loftr"):
            raise ValueError(f"fine is 'none' or 'loftr', got {self.fine!r}")
        if not self.has_fine:
            return
        width = fine_width(self.backbone, self.stage_widths)
        if width is None:
            raise ValueError(f"{self.backbone} has no fine map; {' and '.join(sorted(FINE_STRIDES))} have one")
        if width % self.num_heads:
            raise ValueError(f"{self.num_heads} heads do not divide the fine map's width {width}")

    @property
    def has_fine(self) -> bool:
        """Whether there is a fine stage, so that `refine` may be called."""
        return self.fine == "loftr"

    @property
    def fine_stride(self) -> int:
        """Pixels per cell of the fine map."""
        return FINE_STRIDES[self.backbone]

    @property
    def reach(self) -> int:
        """The largest distance, in px along x and y, between a refined match and its cell's pixel."""
        return RADIUS * self.fine_stride

    @property
    def layer_kinds(self) -> tuple[str, ...]:
        """('self', 'cross', 'self', …), `num_layers` of them."""
        return tuple(("self", "cross")[index % 2] for index in range(self.num_layers))

    @property
    def stride(self) -> int:
        """Pixels per cell, along both axes."""
        return STRIDES[self.backbone]

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """The (rows, columns) of cells of an image of height x width px.

        Raises:
            ValueError: the stride does not divide both sides.
        """
        if height % self.stride or width % self.stride:
            raise ValueError(
                f"image of {height} x {width} px: {self.backbone} needs multiples of {self.stride} px, pad or crop it"
            )
        return height // self.stride, width // self.stride

    def setup(self) -> None:
        widths = self.stem_width, self.stage_widths
        self.network = make_backbone(self.backbone, *widths, self.dtype, self.has_fine, name="backbone")
        self.transformer = Transformer(
            self.layer_kinds,
            self.num_heads,
            self.d_model,
            plain=not self.use_loftr,
            attention=self.attention,
            norm_eps=self.norm_eps,
            dtype=self.dtype,
        )
        if self.has_fine:
            width = fine_width(self.backbone, self.stage_widths)
            assert width is not None
            self.fine_preprocess = FinePreprocess(self.dtype)
            self.fine_transformer = Transformer(
                _FINE_LAYERS, self.num_heads, width, norm_eps=self.norm_eps, dtype=self.dtype
            )

    def __call__(
        self,
        image_a: jax.Array,
        image_b: jax.Array,
        mask_a: jax.Array | None = None,
        mask_b: jax.Array | None = None,
        train: bool = False,
    ) -> DenseOutput:
        mask_a, mask_b = self._flat_mask(image_a, mask_a), self._flat_mask(image_b, mask_b)
        output = self.match(*self._features_of_both(image_a, image_b, train), mask_a, mask_b)
        if self.has_fine and self.is_initializing():
            self.refine(output, jnp.zeros((image_a.shape[0], 1, 2), jnp.int32))
        return output

    def features(self, image: jax.Array) -> FeatureMaps:
        """The backbone's maps of images (B, H, W), for `match`."""
        self._flat_mask(image, None)
        return self.network(image[..., None], False)

    def match(
        self,
        features_a: FeatureMaps,
        features_b: FeatureMaps,
        mask_a: jax.Array | None = None,
        mask_b: jax.Array | None = None,
    ) -> DenseOutput:
        """Match the `features` of A and of B; masks float (B, N) per cell, 1 = real, or None."""
        (backbone_a, fine_a), (backbone_b, fine_b) = features_a, features_b
        tokens_a, tokens_b = self._tokens(backbone_a), self._tokens(backbone_b)
        coarse_a, coarse_b = self.transformer(tokens_a, tokens_b, mask_a, mask_b)
        log_p = log_dual_softmax(coarse_a, coarse_b, self.temperature, mask_a, mask_b)
        return DenseOutput(log_p, tokens_a, tokens_b, coarse_a, coarse_b, backbone_a, backbone_b, fine_a, fine_b)

    def refine(self, output: DenseOutput, cells: jax.Array) -> Refined:
        """The points of B, between the pixels, that the pixels of matched cells show.

        Gradients reach the coarse path through `output`, not through the choice of cells.

        Args:
            output: of a call.
            cells: (B, M, 2) int32, pairs (i in A, j in B); rows of -1 are padding. M is static.
        """
        assert output.fine_a is not None and output.fine_b is not None
        cells = jnp.maximum(cells, 0)
        ratio = self.stride // self.fine_stride
        sides = (output.fine_a, output.coarse_a, cells[..., 0]), (output.fine_b, output.coarse_b, cells[..., 1])
        window_a, window_b = (
            self.fine_preprocess(windows(fine, cell, ratio), jnp.take_along_axis(tokens, cell[..., None], axis=1))
            for fine, tokens, cell in sides
        )  # (B, M, W, F)
        flat = [window.reshape(-1, *window.shape[2:]) for window in (window_a, window_b)]  # (B M, W, F)
        window_a, window_b = (
            window.reshape(*cells.shape[:2], *window.shape[1:]) for window in self.fine_transformer(*flat)
        )
        offset, spread = expectation(window_a[..., WINDOW**2 // 2, :], window_b)
        columns = output.fine_b.shape[2] // ratio
        place = jnp.stack([cells[..., 1] % columns, cells[..., 1] // columns], axis=-1).astype(jnp.float32)
        return Refined(self.stride * place + self.reach * offset, offset, spread)

    def _features_of_both(self, image_a: jax.Array, image_b: jax.Array, train: bool) -> tuple[FeatureMaps, FeatureMaps]:
        """The backbone's maps of A and of B. Images of equal size form one batch, for BatchNorm and for speed."""
        if image_a.shape != image_b.shape:
            return self.network(image_a[..., None], train), self.network(image_b[..., None], train)
        # A and B interleaved, not end to end: a batch axis that is sharded over devices then needs no transfer.
        both = jnp.stack([image_a, image_b], axis=1)  # (B, 2, H, W)
        maps = self.network(both.reshape(-1, *both.shape[2:])[..., None], train)  # (2B, h, w, C) each
        split = jax.tree.map(lambda x: x.reshape(-1, 2, *x.shape[1:]), maps)
        maps_a, maps_b = (jax.tree.map(lambda x, side=side: x[:, side], split) for side in (0, 1))
        return maps_a, maps_b

    def _tokens(self, features: jax.Array) -> jax.Array:
        """A coarse map (B, h, w, C) with the position code added, as tokens (B, N, C)."""
        batch, height, width, channels = features.shape
        code = position_code(height, width, channels, self.temp_bug_fix).astype(features.dtype)
        return (features + code).reshape(batch, height * width, channels)

    def _flat_mask(self, image: jax.Array, mask: jax.Array | None) -> jax.Array | None:
        """Check images (B, H, W) and their mask (B, h, w), and flatten the mask to (B, N)."""
        if image.ndim != 3:
            raise ValueError(f"images are (batch, height, width), got shape {image.shape}")
        grid = self.grid(*image.shape[1:])
        if mask is None:
            return None
        if mask.shape != (image.shape[0], *grid):
            raise ValueError(f"the mask of images {image.shape} has shape {(image.shape[0], *grid)}, got {mask.shape}")
        return mask.reshape(image.shape[0], -1)
