"""The rules on the keys of the data: the images, their sources, the pairs, the impressions of synthetic fingers."""

from __future__ import annotations

from collections.abc import Iterator

from ifvit import program
from ifvit.config.choices import Source
from ifvit.config.schema import Config, ImpressionConfig, PartConfig

Rules = Iterator[tuple[bool, str]]  # whether a rule is kept, and the line for where it is not

FILE_PPI = 50, 10000  # range of a fingerprint's resolution
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


def data_rules(config: Config) -> Rules:
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


def _what_root_is(source: Source) -> str:
    if source is Source.prepared:
        return f"the folder that `{program.command('data prepare')}` wrote"
    return "the CSV or Parquet file that names the images" if source is Source.manifest else "the folder of the images"


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
