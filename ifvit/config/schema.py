"""The keys of a run and their types, as frozen dataclasses. The files in configs/ explain each key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NewType

from ifvit.config.choices import (
    Attention,
    Backbone,
    Device,
    Enhancement,
    Fine,
    LossForm,
    Precision,
    Sensor,
    Source,
    StageName,
)

FilePath = NewType("FilePath", str)  # of a file or folder; a leading ~ is the home folder


PAPER = "paper"  # data.split: the published one
# Stride (input px of a cell) and number of stages of each backbone. A test compares them with ifvit.models.
STRIDES = {Backbone.resnet18: 16, Backbone.resnet_fpn_8_2: 8, Backbone.resnet_fpn_16_4: 16}
STAGES = {Backbone.resnet18: 3, Backbone.resnet_fpn_8_2: 3, Backbone.resnet_fpn_16_4: 4}
DEFAULT_COARSE_WIDTH = 256  # of the last stage of all three backbones
# The stage of the fine map, counted from 0, of the backbones that have one; and its default width.
FINE_STAGES = {Backbone.resnet_fpn_8_2: 0, Backbone.resnet_fpn_16_4: 1}
DEFAULT_FINE_WIDTH = 128


@dataclass(frozen=True)
class DenseConfig:
    """Module 1, dense registration. Keys are documented in configs/dense/dense.yaml."""

    use_loftr: bool
    loftr_pretrained_ckpt: FilePath | None
    merged_lr: float
    temp_bug_fix: bool
    backbone: Backbone
    stem_width: int | None
    stage_widths: tuple[int, ...] | None
    d_model: int
    num_heads: int
    num_layers: int
    attention: Attention
    norm_eps: float
    temperature: float
    fine: Fine
    threshold: float
    border: int
    max_matches: int

    @property
    def stride(self) -> int:
        """Input pixels per cell of the coarse map."""
        return STRIDES[self.backbone]


@dataclass(frozen=True)
class MatcherConfig:
    """Module 2. Keys are documented in configs/matcher/matcher.yaml."""

    vector: int
    shared: bool
    enhancement: Enhancement
    global_weight: float
    local_weight: float


@dataclass(frozen=True)
class PairsConfig:
    """The augmentation of an impression to a training pair. Lengths in px of the network's frame."""

    rotation_deg: float
    shift_px: float
    elastic_px: float
    partial_share: float
    impostor_share: float
    noise: float
    dryness: float
    pressure: float
    registration_noise_deg: float
    registration_noise_px: float


@dataclass(frozen=True)
class ImpressionConfig:
    """The impression of a synthetic finger on a sensor. Keys are documented in configs/data/base.yaml."""

    rotation_deg: float
    shift_mm: float | tuple[float, ...]  # of the contact's middle: (across, along) the finger, or one value for both
    distortion: float
    moisture: float
    wear: float
    creases: float
    breaks: float
    noise: float
    sensors: tuple[Sensor, ...]


@dataclass(frozen=True)
class PartConfig:
    """One source of a mixture, used when its root is set (synthetic fingers: when its weight is above 0)."""

    source: Source
    root: FilePath | None
    databases: tuple[str, ...] | None
    fvc_year: int | None
    file_ppi: float | None
    val_fingers: int | tuple[str, ...]
    weight: float | None  # None: the number of its impressions

    @property
    def is_given(self) -> bool:
        """Whether it has its folder; synthetic fingers need none."""
        return self.source is Source.synthetic or self.root is not None


class Parts(dict[str, PartConfig]):
    """The parts of a mixture by name. Hashable, so that a config can be a static argument of a compiled function."""

    def __hash__(self) -> int:  # type: ignore[override]  # that of a dict is None
        return hash(tuple(self.items()))


@dataclass(frozen=True)
class DataConfig:
    """The source of impressions. Keys are documented in configs/data/."""

    source: Source
    root: FilePath | None
    databases: tuple[str, ...] | None
    fvc_year: int | None
    file_ppi: float | None
    mixture: Parts
    split: FilePath | None
    fingers: int
    renew: int
    val_fingers: int | tuple[str, ...]
    ppi: float
    image_size: int | tuple[int, ...]
    max_damaged: int
    ridge_mask: Enhancement
    threads: int
    memory_gb: float
    cache_dir: FilePath | None
    pairs: PairsConfig
    impression: ImpressionConfig

    @property
    def frame(self) -> tuple[int, int]:
        """(height, width) px of the network's images."""
        if isinstance(self.image_size, int):
            return self.image_size, self.image_size
        return self.image_size[0], self.image_size[1]

    def key_of(self, name: str) -> str:
        """The prefix of a source's keys, for messages."""
        return f"data.mixture.{name}." if self.source is Source.mixture else "data."

    @property
    def parts(self) -> Parts:
        """The sources of the data: the single one, or those of the mixture that are in use."""
        if self.source is not Source.mixture:
            own = PartConfig(
                self.source, self.root, self.databases, self.fvc_year, self.file_ppi, self.val_fingers, 1.0
            )
            return Parts({str(self.source): own})
        return Parts({name: part for name, part in self.mixture.items() if part.weight != 0 and part.is_given})


@dataclass(frozen=True)
class MatcherLossConfig:
    """Module 2's loss. Keys are documented in configs/loss/default.yaml."""

    dense_weight: float
    embedding_weight: float
    embedding_margin: float
    arc_weight: float
    arc_scale: float
    arc_margin: float


@dataclass(frozen=True)
class LossConfig:
    """Module 1's loss. Keys are documented in configs/loss/."""

    form: LossForm
    focal_alpha: float
    focal_gamma: float
    negative_weight: float
    fine_weight: float
    fine_matches: int
    fine_teacher: float
    matcher: MatcherLossConfig


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW and its schedule. Keys are documented in configs/optimizer/."""

    lr: float
    weight_decay: float
    beta1: float
    beta2: float
    warmup_steps: int
    final_lr: float
    clip_norm: float


@dataclass(frozen=True)
class TrainerConfig:
    """Device, batch, steps and intervals. Keys are documented in configs/trainer/."""

    device: Device
    precision: Precision
    batch_size: int
    accumulate: int
    max_steps: int
    max_hours: float | None
    log_every: int
    validate_every: int
    checkpoint_every: int
    val_pairs: int
    overfit: bool


@dataclass(frozen=True)
class InitConfig:
    """The runs that a run starts from. Keys are documented in configs/train.yaml."""

    resume_from: FilePath | None
    dense: FilePath | None
    matcher: FilePath | None


@dataclass(frozen=True)
class Config:
    """The config of a run."""

    stage: StageName
    seed: int
    run_dir: FilePath
    init: InitConfig
    dense: DenseConfig
    matcher: MatcherConfig
    data: DataConfig
    loss: LossConfig
    optimizer: OptimizerConfig
    trainer: TrainerConfig
