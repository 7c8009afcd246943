"""The schema of a run: frozen dataclasses, a strict builder, and every check that needs two keys at once.

Nothing here imports JAX, Hydra or YAML: a wrong config is refused in a fraction of a second, before a device is
touched. `build` takes the plain nested dict that a front door composed; it names every problem, one line each.
"""

from __future__ import annotations

import dataclasses
import difflib
import enum
import math
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


class ConfigError(ValueError):
    """One or more problems with the config; `str()` gives one plain line each."""

    def __init__(self, problems: Sequence[str]):
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))


class Stage(enum.StrEnum):
    dense = "dense"


class Backbone(enum.StrEnum):
    resnet18 = "resnet18"
    resnet_fpn_8_2 = "resnet_fpn_8_2"
    resnet_fpn_16_4 = "resnet_fpn_16_4"


class Attention(enum.StrEnum):
    linear = "linear"
    full = "full"


class Source(enum.StrEnum):
    synthetic = "synthetic"
    fvc = "fvc"
    folder = "folder"


class Device(enum.StrEnum):
    auto = "auto"
    cpu = "cpu"
    gpu = "gpu"
    tpu = "tpu"


class Precision(enum.StrEnum):
    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"


class LossForm(enum.StrEnum):
    nll = "nll"
    focal = "focal"


# Input pixels a cell and number of stages of each backbone. A test holds them against ifvit.models.
STRIDES = {Backbone.resnet18: 16, Backbone.resnet_fpn_8_2: 8, Backbone.resnet_fpn_16_4: 16}
STAGES = {Backbone.resnet18: 3, Backbone.resnet_fpn_8_2: 3, Backbone.resnet_fpn_16_4: 4}
DEFAULT_COARSE_WIDTH = 256  # of all three backbones' last stage


@dataclass(frozen=True)
class DenseConfig:
    """Module 1, dense registration. Keys are documented in configs/dense/dense.yaml."""

    use_loftr: bool
    loftr_pretrained_ckpt: str | None
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
    threshold: float
    border: int
    max_matches: int

    @property
    def stride(self) -> int:
        """Input pixels per cell of the coarse map."""
        return STRIDES[self.backbone]


@dataclass(frozen=True)
class PairsConfig:
    """How a training pair is made from an impression. Lengths in px of the network's frame."""

    rotation_deg: float
    shift_px: float
    elastic_px: float
    partial_share: float
    impostor_share: float
    noise: float
    dryness: float
    pressure: float


@dataclass(frozen=True)
class DataConfig:
    """Where impressions come from. Keys are documented in configs/data/."""

    source: Source
    root: str | None
    databases: tuple[str, ...] | None
    fvc_year: int | None
    file_ppi: float | None
    fingers: int
    val_fingers: int | tuple[str, ...]
    ppi: float
    image_size: int | tuple[int, ...]
    max_damaged: int
    threads: int
    cache_dir: str | None
    pairs: PairsConfig

    @property
    def frame(self) -> tuple[int, int]:
        """(height, width) in px of the images the network sees."""
        if isinstance(self.image_size, int):
            return self.image_size, self.image_size
        return self.image_size[0], self.image_size[1]


@dataclass(frozen=True)
class LossConfig:
    form: LossForm
    focal_alpha: float
    focal_gamma: float
    negative_weight: float


@dataclass(frozen=True)
class OptimizerConfig:
    lr: float
    weight_decay: float
    beta1: float
    beta2: float
    warmup_steps: int
    final_lr: float
    clip_norm: float


@dataclass(frozen=True)
class TrainerConfig:
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
    resume_from: str | None


@dataclass(frozen=True)
class Config:
    """A whole run."""

    stage: Stage
    seed: int
    run_dir: str
    init: InitConfig
    dense: DenseConfig
    data: DataConfig
    loss: LossConfig
    optimizer: OptimizerConfig
    trainer: TrainerConfig


# Keys that may differ when a run goes on: they do not change what step n computes. Paths may, because a session
# elsewhere mounts the same files in another place; the impressions themselves are compared by their fingerprint.
MAY_CHANGE = frozenset(
    {
        "run_dir",
        "init.resume_from",
        "dense.loftr_pretrained_ckpt",
        "data.root",
        "data.cache_dir",
        "data.threads",
        "data.max_damaged",
        "trainer.device",
        "trainer.max_steps",
        "trainer.max_hours",
        "trainer.log_every",
        "trainer.validate_every",
        "trainer.checkpoint_every",
        "trainer.val_pairs",
    }
)


def build(tree: Mapping[str, Any]) -> Config:
    """The validated config of a plain nested dict.

    Raises:
        ConfigError: naming every unknown or missing key, wrong type, bad choice and failed cross-field check.
    """
    problems: list[str] = []
    config = _build(Config, tree, "", problems)
    if not problems:
        problems = check(config)
    if problems:
        raise ConfigError(problems)
    return config


def as_tree(config: Any) -> dict[str, Any]:
    """The nested dict of a config, ready for JSON: enums as strings, tuples as lists."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(v) for v in value]
        return str(value) if isinstance(value, enum.Enum) else value

    return plain(dataclasses.asdict(config))


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """`key: old -> new` for every key on which two configs' trees differ and that may not change on resume."""
    before, after = dict(_leaves(old)), dict(_leaves(new))
    keys = sorted((before.keys() | after.keys()) - MAY_CHANGE)
    return [f"{k}: {before.get(k)} -> {after.get(k)}" for k in keys if before.get(k) != after.get(k)]


def near(path: str) -> str:
    """What a key that is in no schema may have been meant to be: the nearest one, else those of its group."""
    known = _paths(Config)
    close = difflib.get_close_matches(path, known, n=1, cutoff=0.75)
    if close:
        return f"did you mean {close[0]}?"
    group = path.rpartition(".")[0]
    beside = [key for key in known if key.rpartition(".")[0] == group] or known
    return f"known are {', '.join(beside)}"


def _paths(cls: type, prefix: str = "") -> list[str]:
    """Every key of the schema that takes a value."""
    found = []
    for name, hint in typing.get_type_hints(cls).items():
        found += _paths(hint, f"{prefix}{name}.") if dataclasses.is_dataclass(hint) else [prefix + name]
    return found


def _leaves(tree: Mapping[str, Any], path: str = ""):
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{path}{key}.")
        else:
            yield path + key, value


def _build(cls: type, tree: Any, path: str, problems: list[str]) -> Any:
    """An instance of dataclass `cls`; problems are collected rather than raised, so that all are named at once."""
    if not isinstance(tree, Mapping):
        problems.append(f"{path or 'config'}: expected a group of keys, got {tree!r}")
        return None
    hints = typing.get_type_hints(cls)
    prefix = path + "." if path else ""
    for key in tree:
        if key not in hints:
            problems.append(f"{prefix}{key}: unknown key; {near(prefix + str(key))}")
    values = {}
    for name, hint in hints.items():
        if name not in tree:
            problems.append(f"{prefix}{name}: missing; every key needs a value")
        else:
            values[name] = _value(hint, tree[name], prefix + name, problems)
    return None if problems else cls(**values)


def _value(hint: Any, value: Any, path: str, problems: list[str]) -> Any:
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, path, problems)
    ok, converted = _convert(hint, value)
    if not ok:
        problems.append(f"{path}: expected {_describe(hint)}, got {value!r}")
    return converted


def _convert(hint: Any, value: Any) -> tuple[bool, Any]:
    """(accepted, value of type `hint`); no guessing: '3' is not an int, True is not a number."""
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        for option in typing.get_args(hint):
            ok, converted = _convert(option, value)
            if ok:
                return True, converted
        return False, None
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            return False, None
        items = [_convert(typing.get_args(hint)[0], v) for v in value]
        return all(ok for ok, _ in items), tuple(v for _, v in items)
    if hint is type(None):
        return value is None, None
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return (True, hint(value)) if value in [str(m) for m in hint] else (False, None)
    if hint is float:
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        return number, float(value) if number else None
    if hint is str:
        # Names of fingers and folders are often digits, which YAML reads as a number.
        return isinstance(value, (str, int)) and not isinstance(value, bool), str(value)
    return type(value) is hint, value


def _describe(hint: Any) -> str:
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_describe(option) for option in typing.get_args(hint))
    if origin is tuple:
        return f"a list of {_describe(typing.get_args(hint)[0])}s"
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return "one of " + ", ".join(str(m) for m in hint)
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", type(None): "null"}
    return names[hint]


def check(config: Config) -> list[str]:
    """Every rule that ranges or pairs of keys must keep; the empty list when all hold."""
    return [
        line for rules in (_dense_rules, _data_rules, _training_rules) for holds, line in rules(config) if not holds
    ]


def _dense_rules(config: Config):
    dense = config.dense
    stages = STAGES[dense.backbone]
    widths = dense.stage_widths
    coarse = widths[-1] if widths else DEFAULT_COARSE_WIDTH
    yield (
        dense.use_loftr or dense.loftr_pretrained_ckpt is None,
        "dense.loftr_pretrained_ckpt: LoFTR's weights only fit LoFTR's encoder; "
        "set dense.use_loftr=true (dense=loftr) or dense.loftr_pretrained_ckpt=null",
    )
    yield dense.d_model > 0, f"dense.d_model: expected above 0, got {dense.d_model}"
    yield dense.d_model % 4 == 0, f"dense.d_model: the position code needs a multiple of 4, got {dense.d_model}"
    yield dense.num_heads > 0, f"dense.num_heads: expected at least 1, got {dense.num_heads}"
    yield (
        dense.num_heads < 1 or dense.d_model % dense.num_heads == 0,
        f"dense.num_heads: {dense.num_heads} heads do not divide the width dense.d_model={dense.d_model}",
    )
    yield (
        dense.num_layers > 0 and dense.num_layers % 2 == 0,
        f"dense.num_layers: layers come in pairs (self, cross), so expected an even number, got {dense.num_layers}",
    )
    yield (
        widths is None or (len(widths) == stages and min(widths) > 0),
        f"dense.stage_widths: {dense.backbone} has {stages} stages, so expected {stages} widths, got {widths}",
    )
    yield (
        coarse == dense.d_model,
        f"dense.d_model: the transformer takes the last stage's width {coarse}, got {dense.d_model}; "
        "set dense.stage_widths so that they end on it",
    )
    yield dense.stem_width is None or dense.stem_width > 0, "dense.stem_width: expected above 0"
    yield dense.merged_lr >= 0, f"dense.merged_lr: expected a factor of 0 (frozen) or more, got {dense.merged_lr}"
    yield dense.temperature > 0, f"dense.temperature: expected above 0, got {dense.temperature}"
    yield dense.norm_eps > 0, f"dense.norm_eps: expected above 0, got {dense.norm_eps}"
    yield 0 <= dense.threshold < 1, f"dense.threshold: expected 0 to below 1, got {dense.threshold}"
    yield dense.border >= 0, f"dense.border: expected 0 or more cells, got {dense.border}"
    yield dense.max_matches > 0, f"dense.max_matches: expected at least 1, got {dense.max_matches}"


def _data_rules(config: Config):
    data, stride = config.data, config.dense.stride
    size = data.image_size
    shaped = isinstance(size, int) or len(size) == 2
    yield shaped, f"data.image_size: expected a side or [height, width], got {size}"
    for side in sorted(set(data.frame)) if shaped else ():
        yield (
            side > 0 and side % stride == 0,
            f"data.image_size: {side} is not a multiple of {stride}, the stride of {config.dense.backbone}; "
            f"the nearest that is: {max(stride, round(side / stride) * stride)}",
        )
    yield (
        data.source is Source.synthetic or data.root is not None,
        f"data.root: data={data.source} needs the folder of the images: data.root=FOLDER",
    )
    yield data.ppi > 0, f"data.ppi: expected above 0, got {data.ppi}"
    yield data.file_ppi is None or data.file_ppi > 0, f"data.file_ppi: expected above 0, got {data.file_ppi}"
    yield (
        data.fvc_year in (None, 2000, 2002, 2004, 2006),
        f"data.fvc_year: expected 2000, 2002, 2004 or 2006, got {data.fvc_year}",
    )
    held_out = data.val_fingers if isinstance(data.val_fingers, int) else len(data.val_fingers)
    yield held_out > 0, f"data.val_fingers: expected at least one finger to validate on, got {data.val_fingers}"
    yield (
        data.source is not Source.synthetic or isinstance(data.val_fingers, int),
        f"data.val_fingers: synthetic fingers have no names, expected a number, got {data.val_fingers}",
    )
    yield (
        data.source is not Source.synthetic or data.fingers > held_out,
        f"data.fingers: {data.fingers} fingers leave none to train on beside data.val_fingers={held_out}",
    )
    yield data.threads >= 0, f"data.threads: expected 0 (none) or more, got {data.threads}"
    yield data.max_damaged >= 0, f"data.max_damaged: expected 0 or more, got {data.max_damaged}"
    pairs = data.pairs
    yield 0 <= pairs.rotation_deg <= 180, f"data.pairs.rotation_deg: expected 0 to 180, got {pairs.rotation_deg}"
    for name in ("shift_px", "elastic_px"):
        value = getattr(pairs, name)
        yield value >= 0, f"data.pairs.{name}: expected 0 px or more, got {value}"
    # Beyond this the smooth displacement of ifvit.data.pairs could fold the skin over itself.
    bound = 0.03 * min(data.frame) if shaped else 0
    yield pairs.elastic_px <= bound, f"data.pairs.elastic_px: expected at most {bound:g} px, got {pairs.elastic_px}"
    for name in ("partial_share", "noise", "dryness", "pressure"):
        value = getattr(pairs, name)
        yield 0 <= value <= 1, f"data.pairs.{name}: expected 0 to 1, got {value}"
    yield (
        pairs.dryness + pairs.pressure <= 1,
        f"data.pairs: dryness and pressure are shares of different images, got {pairs.dryness} + {pairs.pressure} > 1",
    )
    yield (
        0 <= pairs.impostor_share < 1,
        (f"data.pairs.impostor_share: expected 0 to below 1, got {pairs.impostor_share}"),
    )


def _training_rules(config: Config):
    trainer, optimizer, loss = config.trainer, config.optimizer, config.loss
    for name in ("batch_size", "accumulate", "max_steps", "log_every", "validate_every", "checkpoint_every"):
        value = getattr(trainer, name)
        yield value > 0, f"trainer.{name}: expected at least 1, got {value}"
    yield trainer.val_pairs > 0, f"trainer.val_pairs: expected at least 1, got {trainer.val_pairs}"
    yield (
        trainer.accumulate < 1 or trainer.batch_size % trainer.accumulate == 0,
        f"trainer.accumulate: {trainer.accumulate} does not divide trainer.batch_size={trainer.batch_size}",
    )
    hours = trainer.max_hours
    yield hours is None or hours > 0, f"trainer.max_hours: expected above 0 or null, got {hours}"
    yield config.seed >= 0, f"seed: expected 0 or more, got {config.seed}"
    yield config.run_dir.strip() != "", "run_dir: expected a folder to write into, got an empty text"
    yield optimizer.lr > 0, f"optimizer.lr: expected above 0, got {optimizer.lr}"
    yield optimizer.weight_decay >= 0, f"optimizer.weight_decay: expected 0 or more, got {optimizer.weight_decay}"
    for name in ("beta1", "beta2"):
        value = getattr(optimizer, name)
        yield 0 <= value < 1, f"optimizer.{name}: expected 0 to below 1, got {value}"
    yield optimizer.warmup_steps >= 0, f"optimizer.warmup_steps: expected 0 or more, got {optimizer.warmup_steps}"
    yield 0 <= optimizer.final_lr <= 1, f"optimizer.final_lr: expected a share of lr, 0 to 1, got {optimizer.final_lr}"
    yield optimizer.clip_norm > 0, f"optimizer.clip_norm: expected above 0, got {optimizer.clip_norm}"
    yield 0 < loss.focal_alpha <= 1, f"loss.focal_alpha: expected above 0 to 1, got {loss.focal_alpha}"
    yield loss.focal_gamma >= 0, f"loss.focal_gamma: expected 0 or more, got {loss.focal_gamma}"
    yield loss.negative_weight >= 0, f"loss.negative_weight: expected 0 or more, got {loss.negative_weight}"
