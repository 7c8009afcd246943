"""The rules on ranges and on pairs of keys. A rule is (whether it is kept, the line for where it is not)."""

from __future__ import annotations

from math import pi

from ifvit import program
from ifvit.config.choices import Fine, Source, StageName
from ifvit.config.data_rules import Rules, data_rules
from ifvit.config.schema import DEFAULT_COARSE_WIDTH, DEFAULT_FINE_WIDTH, FINE_STAGES, STAGES, Config, MatcherLossConfig


def check(config: Config) -> list[str]:
    """A line for every broken rule; empty when all are kept."""
    return [
        line
        for rules in (_dense_rules, _matcher_rules, data_rules, _training_rules)
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
