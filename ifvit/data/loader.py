"""From a config to a run's data: its sources, who of them trains and who validates, and what makes their batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path

import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from ifvit.config import Config, DataConfig, Source, StageName
from ifvit.data.batches import (
    PURPOSE,
    TRAIN,
    VALIDATE,
    Batches,
    BatchSpec,
    CopiedBatches,
    MixedBatches,
    RenderedBatches,
)
from ifvit.data.finger_pool import RECIPE, FingerPool
from ifvit.data.impressions import Impressions
from ifvit.data.matcher_batches import AlignedRenderedBatches, PreparedBatches
from ifvit.data.prepared import Prepared
from ifvit.databases import splits
from ifvit.databases.records import Record
from ifvit.databases.sources import find
from ifvit.databases.splits import Split, split_of
from ifvit.databases.yearless import contents
from ifvit.errors import DataError

SPLIT_PART = {TRAIN: splits.TRAIN, VALIDATE: splits.VALIDATE}


@dataclass(frozen=True)
class RunData:
    """A run's data: `fingerprint` says what it is, for comparison on resume; `split` who trains and who validates,
    None where only synthetic fingers do; `prints` the real impressions that are read here, `module1` the digest of the
    Module 1 that has prepared others, None where there are none; `contents` of the databases, as of
    `yearless`; `batches` of a stream, TRAIN or VALIDATE, raises DataError where it has too few fingers.
    """

    fingerprint: str
    split: Split | None
    prints: Impressions | None
    batches: Callable[[int], Batches]
    module1: str | None = None
    contents: Mapping[str, str] = field(default_factory=dict)


def supply(config: Config, sharding: NamedSharding) -> RunData:
    """The configured data, read, or about to be grown.

    Raises:
        DataError: nothing found, too many files unusable, or a split that cannot be.
    """
    data = config.data
    sources = find(data)
    # Before any image is read, which may take hours; and of those whom nobody trains or validates on none is.
    split = split_of(data, sources) if sources else None
    seen = _seen(sources, split) if split else {}
    prepared = {name: _prepared(config, name, seen.pop(name)) for name in list(seen) if _is_prepared(data, name)}
    prints = Impressions(seen, data) if seen else None
    said = [prints.fingerprint] if prints else []
    said += [
        f"{name}: {held.fingerprint}" if len(data.parts) > 1 else held.fingerprint for name, held in prepared.items()
    ]
    if any(part.source is Source.synthetic for part in data.parts.values()):
        said.append(f"synthetic fingers {data.fingers}, seed {config.seed}, recipe {RECIPE}")
    makers = {name: _maker(config, name, prepared.get(name, prints), split, sharding) for name in data.parts}
    batches = partial(_batches, config, makers, sharding)
    held = contents(record for records in sources.values() for record in records)
    return RunData("; ".join(said), split, prints, batches, _preparer(data, prepared), held)


def _is_prepared(data: DataConfig, name: str) -> bool:
    return data.parts[name].source is Source.prepared


def _prepared(config: Config, name: str, records: Sequence[Record]) -> Prepared:
    """A source's prepared prints, which must be as the run sees prints."""
    data = config.data
    held = Prepared(Path(data.parts[name].root), records)
    told, where = held.told, f"{data.key_of(name)}root: {data.parts[name].root} was prepared"
    if (told.frame, told.ppi) != (data.frame, data.ppi):
        frames = [f"{width}x{height} px at {ppi:g} ppi" for (height, width), ppi in (told[1:3], (data.frame, data.ppi))]
        raise DataError(f"{where} as {frames[0]}, this run sees {frames[1]}; prepare it with this run's Module 1")
    if told.enhancement is not config.matcher.enhancement:
        raise DataError(
            f"{where} with the enhancement {told.enhancement}, this run has {config.matcher.enhancement}; set "
            f"matcher.enhancement={told.enhancement}, or prepare it again"
        )
    return held


def _preparer(data: DataConfig, prepared: Mapping[str, Prepared]) -> str | None:
    """The Module 1 that has prepared the sources; they must have one."""
    digests = {name: held.told.module1 for name, held in prepared.items()}
    if len(set(digests.values())) > 1:
        raise DataError(f"data: {', '.join(digests)} were prepared by different Modules 1; prepare them with one")
    return next(iter(digests.values()), None)


def _seen(sources: Mapping[str, Sequence[Record]], split: Split) -> dict[str, list[Record]]:
    """Those whom a run trains or validates on."""
    parts = (splits.TRAIN, splits.VALIDATE)
    return {
        name: [record for record in records if split.part.get(record.subject) in parts]
        for name, records in sources.items()
    }


Maker = Callable[[BatchSpec], Batches | None]  # None where the split leaves a source nobody for the stream


def _maker(
    config: Config, name: str, prints: Impressions | Prepared | None, split: Split | None, sharding: NamedSharding
) -> Maker:
    """What makes the batches of a source."""
    data, part = config.data, config.data.parts[name]
    if part.source is Source.synthetic:
        data = replace(data, val_fingers=part.val_fingers)
        config = replace(config, data=data)
        everywhere = NamedSharding(sharding.mesh, PartitionSpec())
        numbers = np.split(np.arange(data.fingers), [data.fingers - part.val_fingers])
        grown = cache(partial(FingerPool, data, config.seed, everywhere))
        kind = AlignedRenderedBatches if config.stage is StageName.matcher else RenderedBatches
        return lambda place: kind(config, grown, numbers[place.stream != TRAIN], place)

    def chosen_of(place: BatchSpec) -> np.ndarray:
        return np.array(split.indices(prints.records, SPLIT_PART[place.stream]), np.int64)

    def laid(place: BatchSpec) -> Batches | None:
        chosen = chosen_of(place)
        return PreparedBatches(config, prints, chosen, place) if len(chosen) else None

    def copied(place: BatchSpec) -> Batches | None:
        chosen = chosen_of(place)
        chosen = chosen[prints.part[chosen] == name]
        return CopiedBatches(config, prints, chosen, place) if len(chosen) else None

    return laid if part.source is Source.prepared else copied


def _batches(config: Config, makers: Mapping[str, Maker], sharding: NamedSharding, stream: int) -> Batches:
    """The batches of a stream, of one source or mixed."""
    data, size = config.data, config.trainer.batch_size
    if data.source is not Source.mixture:
        (make,) = makers.values()
        return _some(make(BatchSpec(size, sharding, stream)), stream)
    # A source may have nobody for this stream: then the others fill its place.
    trials = {name: make(BatchSpec(size, sharding, stream, name)) for name, make in makers.items()}
    there = {name: batches for name, batches in trials.items() if batches}
    weights = [
        len(held) if data.parts[name].weight is None else data.parts[name].weight for name, held in there.items()
    ]
    sizes = shares(weights, size, sharding.mesh.size) if there else []
    parts, classes = {}, 0
    for name, share in zip(there, sizes, strict=True):
        parts[name] = makers[name](BatchSpec(share, sharding, stream, name, classes))
        classes += parts[name].classes
    return _some(MixedBatches(parts, data.threads, sharding) if parts else None, stream)


def _some(batches: Batches | None, stream: int) -> Batches:
    if batches is None:
        raise DataError(
            f"data: no impression is left {PURPOSE[stream]}: none of those fingers' images can be used; "
            "hold out others (val_fingers)"
        )
    return batches


def shares(weights: Sequence[float], total: int, unit: int) -> list[int]:
    """`total` places for sources of these weights: in units that the devices can share, the largest remainders rounded
    up, at least one unit each.

    Raises:
        DataError: there are fewer units than sources.
    """
    units = total // unit
    if units < len(weights):
        raise DataError(
            f"trainer.batch_size: {total} pairs over {unit} devices cannot hold pairs of {len(weights)} sources; "
            f"set trainer.batch_size={len(weights) * unit} or more"
        )
    # One for each first, and the rest by weight.
    ideal = np.maximum(np.array(weights) / sum(weights) * units, 1)
    rest = units - len(weights)
    wanted = (ideal - 1) * rest / max((ideal - 1).sum(), 1e-12)
    given = np.floor(wanted + 1e-9).astype(int)
    for k in np.argsort(given - wanted, kind="stable")[: rest - given.sum()]:
        given[k] += 1
    return [int(unit * (1 + g)) for g in given]
