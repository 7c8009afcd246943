"""The rules on ranges and on pairs of keys. A rule is (whether it is kept, the line for where it is not)."""

from __future__ import annotations

from collections.abc import Iterator
from math import pi

from ifvit import program
from ifvit.config.schema import (
    DEFAULT_COARSE_WIDTH,
    DEFAULT_FINE_WIDTH,
    FINE_STAGES,
    STAGES,
    Config,
    Fine,
    ImpressionConfig,
    MatcherLossConfig,
    PartConfig,
    Source,
    StageName,
)

Rules = Iterator[tuple[bool, str]]


def check(config: Config) -> list[str]:
    """A line for every broken rule; empty when all are kept."""
    return [
        line
        for rules in (_dense_rules, _matcher_rules, _data_rules, _training_rules)
        for holds, line in rules(config)
        if not holds
    ]


def _dense_rules(config: Config) -> Rules:
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
    if dense.fine is not Fine.none:
        yield from _fine_rules(config)
    yield 0 <= dense.threshold < 1, f"dense.threshold: expected 0 to below 1, got {dense.threshold}"
    yield dense.border >= 0, f"dense.border: expected 0 or more cells, got {dense.border}"
    yield dense.max_matches > 0, f"dense.max_matches: expected at least 1, got {dense.max_matches}"


def _fine_rules(config: Config) -> Rules:
    dense = config.dense
    if dense.backbone not in FINE_STAGES:
        yield (
            False,
            f"dense.fine: {dense.backbone} has no fine map; "
            f"set dense.backbone to {' or '.join(FINE_STAGES)} (dense=loftr_full), or dense.fine=none",
        )
        return
    stage, widths = FINE_STAGES[dense.backbone], dense.stage_widths
    width = widths[stage] if widths and len(widths) > stage else DEFAULT_FINE_WIDTH
    yield (
        dense.num_heads < 1 or width % dense.num_heads == 0,
        f"dense.num_heads: {dense.num_heads} heads do not divide {width}, the width of {dense.backbone}'s fine map "
        f"(number {stage + 1} of dense.stage_widths)",
    )


def _matcher_loss_rules(loss: MatcherLossConfig) -> Rules:
    for name in ("dense_weight", "embedding_weight", "arc_weight"):
        value = getattr(loss, name)
        yield value >= 0, f"loss.matcher.{name}: expected 0 or more, got {value}"
    yield (
        -1 <= loss.embedding_margin < 1,
        f"loss.matcher.embedding_margin: expected a cosine, -1 to below 1, got {loss.embedding_margin}",
    )
    yield loss.arc_scale > 0, f"loss.matcher.arc_scale: expected above 0, got {loss.arc_scale}"
    yield (
        0 <= loss.arc_margin < pi / 2,
        f"loss.matcher.arc_margin: expected 0 to below a quarter turn ({pi / 2:.2f} rad), got {loss.arc_margin}",
    )


def _matcher_rules(config: Config) -> Rules:
    matcher = config.matcher
    yield matcher.vector > 0, f"matcher.vector: expected at least 1, got {matcher.vector}"
    for name in ("global_weight", "local_weight"):
        value = getattr(matcher, name)
        yield value >= 0, f"matcher.{name}: expected 0 or more, got {value}"
    yield from _matcher_loss_rules(config.loss.matcher)
    yield (
        matcher.global_weight + matcher.local_weight > 0,
        "matcher.global_weight, matcher.local_weight: both 0, which leaves no score",
    )
    if config.stage is StageName.matcher:
        yield from _stage_matcher_rules(config)
        return
    for name in ("dense", "matcher"):
        yield getattr(config.init, name) is None, f"init.{name}: only of stage=matcher; add stage=matcher, or remove it"
    for name, part in config.data.parts.items():
        yield (
            part.source is not Source.prepared,
            f"{config.data.key_of(name)}source: prepared pairs are Module 2's; add stage=matcher",
        )


def _stage_matcher_rules(config: Config) -> Rules:
    init = config.init
    yield (
        (init.dense is None) != (init.matcher is None),
        "init.dense: stage=matcher begins from a trained Module 1 (init.dense=RUN_DIR) or goes on from a trained "
        "Module 2 (init.matcher=RUN_DIR): "
        + ("name one of them" if init.dense is None else "both are named, remove one of them"),
    )
    for name, part in config.data.parts.items():
        yield (
            part.source in (Source.synthetic, Source.prepared, Source.mixture),
            f"{config.data.key_of(name)}source: Module 2 trains on pairs that were aligned beforehand; prepare them "
            f"first: {program.command('data prepare')} RUN_DIR data=... --out DIR, then data=prepared data.root=DIR",
        )
    yield not config.trainer.overfit, "trainer.overfit: only of stage=dense"


def _data_rules(config: Config) -> Rules:
    data, stride = config.data, config.dense.stride
    size = data.image_size
    has_shape = isinstance(size, int) or len(size) == 2
    yield has_shape, f"data.image_size: expected a side or [height, width], got {size}"
    for side in sorted(set(data.frame)) if has_shape else ():
        yield (
            side > 0 and side % stride == 0,
            f"data.image_size: {side} is not a multiple of {stride}, the stride of {config.dense.backbone}; "
            f"the nearest that is: {max(stride, round(side / stride) * stride)}",
        )
    yield data.ppi > 0, f"data.ppi: expected above 0, got {data.ppi}"
    yield from _part_rules(config)
    yield data.renew >= 0, f"data.renew: expected 0 or more, got {data.renew}"
    yield data.threads >= 0, f"data.threads: expected 0 (none) or more, got {data.threads}"
    yield data.memory_gb >= 0, f"data.memory_gb: expected 0 or more, got {data.memory_gb}"
    yield data.max_damaged >= 0, f"data.max_damaged: expected 0 or more, got {data.max_damaged}"
    pairs = data.pairs
    yield 0 <= pairs.rotation_deg <= 180, f"data.pairs.rotation_deg: expected 0 to 180, got {pairs.rotation_deg}"
    for name in ("shift_px", "elastic_px"):
        value = getattr(pairs, name)
        yield value >= 0, f"data.pairs.{name}: expected 0 px or more, got {value}"
    # Above this limit the smooth displacement of ifvit.data.warped_pairs could fold the skin.
    bound = 0.03 * min(data.frame) if has_shape else 0
    yield pairs.elastic_px <= bound, f"data.pairs.elastic_px: expected at most {bound:g} px, got {pairs.elastic_px}"
    for name in ("registration_noise_deg", "registration_noise_px"):
        value = getattr(pairs, name)
        yield value >= 0, f"data.pairs.{name}: expected 0 or more, got {value}"
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
    yield from _impression_rules(data.impression)


def _part_rules(config: Config) -> Rules:
    data = config.data
    is_mixture = data.source is Source.mixture
    yield (
        not is_mixture or len(data.parts) > 0,
        "data.mixture: none of its sources is in use; set the root of one, like data.mixture.fvc2002.root=FOLDER",
    )
    real = [part for part in data.parts.values() if part.source is not Source.synthetic]
    yield (
        data.split is None or len(real) > 0 or not data.parts,
        "data.split: synthetic fingers are split by data.val_fingers; set data.split=null",
    )
    synthetic = len(data.parts) - len(real)
    yield synthetic < 2, "data.mixture: at most one of its sources can be synthetic"
    yield (
        len(data.parts) <= config.trainer.batch_size,
        f"trainer.batch_size: {config.trainer.batch_size} pairs cannot hold one of each of {len(data.parts)} sources",
    )
    weight_kinds = {part.weight is None for part in data.parts.values()}
    yield (
        len(weight_kinds) < 2,
        "data.mixture: the weights of the sources in use must be all numbers, or all null (by their images)",
    )
    unread = {key: getattr(data, key) for key in ("root", "databases", "fvc_year", "file_ppi")}
    unread["val_fingers"] = None if isinstance(data.val_fingers, int) else data.val_fingers
    for key, value in unread.items() if is_mixture else ():
        yield value is None, f"data.{key}: data=mixture does not read it; set data.mixture.NAME.{key}"
    for name, part in data.parts.items():
        yield from _one_part_rules(data.key_of(name), part, config)


def _one_part_rules(key: str, part: PartConfig, config: Config) -> Rules:
    """The rules of one source. key: the prefix of its keys."""
    fingers = config.data.fingers
    yield part.source is not Source.mixture, f"{key}source: a mixture cannot hold a mixture"
    yield (
        part.is_given or key != "data.",
        f"data.root: data={part.source} needs {_what_root_is(part.source)}: "
        "data.root=" + ("FILE" if part.source is Source.manifest else "FOLDER"),
    )
    yield part.weight is None or part.weight >= 0, f"{key}weight: expected 0 or more, or null, got {part.weight}"
    yield part.root is None or part.root.strip() != "", f"{key}root: expected a folder, got an empty text"
    low, high = FILE_PPI
    yield (
        part.file_ppi is None or low <= part.file_ppi <= high,
        f"{key}file_ppi: expected {low} to {high}, got {part.file_ppi}",
    )
    yield (
        part.file_ppi is None or part.source is not Source.prepared,
        f"{key}file_ppi: prepared prints have their resolution; say it where they are prepared",
    )
    yield (
        part.fvc_year is None or part.source is Source.fvc,
        f"{key}fvc_year: only of data=fvc; this is {part.source}",
    )
    yield (
        part.fvc_year in (None, 2000, 2002, 2004, 2006),
        f"{key}fvc_year: expected 2000, 2002, 2004 or 2006, got {part.fvc_year}",
    )
    held_out = part.val_fingers if isinstance(part.val_fingers, int) else len(part.val_fingers)
    yield held_out > 0, f"{key}val_fingers: expected at least one finger to validate on, got {part.val_fingers}"
    synthetic = part.source is Source.synthetic
    for name in ("root", "databases", "file_ppi"):
        yield (
            not synthetic or getattr(part, name) is None,
            f"{key}{name}: synthetic fingers are grown, not read from files; name what the files are, "
            f"like data=fvc, or leave {key}{name} out",
        )
    yield not synthetic or part.weight is not None, f"{key}weight: synthetic fingers need a number, got null"
    yield (
        not synthetic or isinstance(part.val_fingers, int),
        f"{key}val_fingers: synthetic fingers have no names, expected a number, got {part.val_fingers}",
    )
    yield (
        not synthetic or fingers > held_out,
        f"data.fingers: {fingers} fingers leave none to train on beside {key}val_fingers={held_out}",
    )


FILE_PPI = 50, 10000  # range of a fingerprint's resolution


def _what_root_is(source: Source) -> str:
    if source is Source.prepared:
        return f"the folder that `{program.command('data prepare')}` wrote"
    return "the CSV or Parquet file that names the images" if source is Source.manifest else "the folder of the images"


# Maxima: rotation, half a turn; distortion, twice SFinGe's range, above which the limit on stretching removes most of
# the increase; moisture, where no ridge or no valley remains; the others, where no print remains.
IMPRESSION_RANGES = {
    "rotation_deg": 180.0,
    "distortion": 2.0,
    "moisture": 0.7,
    "wear": 3.0,
    "creases": 2.0,
    "breaks": 2.0,
    "noise": 5.0,
}


# Across and along the finger, mm: with a larger shift no part of the finger touches the sensor.
MOST_SHIFT_MM = 8.0, 12.0


def _impression_rules(impression: ImpressionConfig) -> Rules:
    for name, maximum in IMPRESSION_RANGES.items():
        value = getattr(impression, name)
        yield 0 <= value <= maximum, f"data.impression.{name}: expected 0 to {maximum:g}, got {value}"
    shift = impression.shift_mm
    across_along = shift if isinstance(shift, tuple) else (shift, shift)
    shown_shift = list(shift) if isinstance(shift, tuple) else shift
    fits = len(across_along) == 2 and all(
        0 <= value <= maximum for value, maximum in zip(across_along, MOST_SHIFT_MM, strict=True)
    )
    yield (
        fits,
        "data.impression.shift_mm: expected [across, along] the finger in mm, like [6,10], at most "
        f"[{MOST_SHIFT_MM[0]:g},{MOST_SHIFT_MM[1]:g}], or one number for both; got {shown_shift}",
    )
    yield len(impression.sensors) > 0, "data.impression.sensors: expected at least one sensor"


def _training_rules(config: Config) -> Rules:
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
    for name in ("negative_weight", "fine_weight"):
        value = getattr(loss, name)
        yield value >= 0, f"loss.{name}: expected 0 or more, got {value}"
    yield loss.fine_matches > 0, f"loss.fine_matches: expected at least 1, got {loss.fine_matches}"
    yield 0 <= loss.fine_teacher <= 1, f"loss.fine_teacher: expected a share, 0 to 1, got {loss.fine_teacher}"
