"""From a config to a run's data: the sources, the split into training and validation, and the batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path

import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from ifvit.config import Config, Source, StageName
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
    """The data of a run."""

    fingerprint: str  # identifies the data, to compare them when a run is resumed
    split: Split | None  # which persons are for training and for validation; None with synthetic fingers only
    prints: Impressions | None  # the real impressions that are read as images; None without any
    batches: Callable[[int], Batches]  # of a stream, TRAIN or VALIDATE; raises DataError if it has too few fingers
    module1: str | None = None  # the digest of the Module 1 that prepared other prints; None without any
    contents: Mapping[str, str] = field(default_factory=dict)  # of the databases, from `databases.yearless`


def supply(config: Config, sharding: NamedSharding) -> RunData:
    """The configured data. Real impressions are read here; synthetic fingers are grown at the first batch.

    Raises:
        DataError: no impression was found, too many files cannot be used, or the split is not possible.
    """
    data = config.data
    sources = find(data)
    # The split comes before reading, which may take hours: only images for training or validation are read.
    split = split_of(data, sources) if sources else None
    records_of = _used_records(sources, split) if split else {}
    prepared_names = [name for name in records_of if data.parts[name].source is Source.prepared]
    prepared = {name: _read_prepared(config, name, records_of.pop(name)) for name in prepared_names}
    prints = Impressions(records_of, data) if records_of else None
    fingerprints = [prints.fingerprint] if prints else []
    for name, source in prepared.items():
        fingerprints.append(f"{name}: {source.fingerprint}" if len(data.parts) > 1 else source.fingerprint)
    if any(part.source is Source.synthetic for part in data.parts.values()):
        fingerprints.append(f"synthetic fingers {data.fingers}, seed {config.seed}, recipe {RECIPE}")
    factories = {name: _batch_factory(config, name, prepared.get(name, prints), split, sharding) for name in data.parts}
    batches = partial(_batches, config, factories, sharding)
    database_contents = contents(record for records in sources.values() for record in records)
    module1 = _preparing_module1(prepared)
    return RunData("; ".join(fingerprints), split, prints, batches, module1, database_contents)


def _read_prepared(config: Config, name: str, records: Sequence[Record]) -> Prepared:
    """The prepared prints of a source; their frame, ppi and enhancement must be those of the run."""
    data = config.data
    root = data.parts[name].root
    assert root is not None
    prints = Prepared(Path(root), records)
    info, prefix = prints.info, f"{data.key_of(name)}root: {root} was prepared"
    if (info.frame, info.ppi) != (data.frame, data.ppi):
        frames = [f"{width}x{height} px at {ppi:g} ppi" for (height, width), ppi in (info[1:3], (data.frame, data.ppi))]
        raise DataError(f"{prefix} as {frames[0]}, this run sees {frames[1]}; prepare it with this run's Module 1")
    if info.enhancement is not config.matcher.enhancement:
        raise DataError(
            f"{prefix} with the enhancement {info.enhancement}, this run has {config.matcher.enhancement}; set "
            f"matcher.enhancement={info.enhancement}, or prepare it again"
        )
    return prints


def _preparing_module1(prepared: Mapping[str, Prepared]) -> str | None:
    """The digest of the Module 1 that prepared the sources, which must be the same for all; None without any."""
    digests = {name: prints.info.module1 for name, prints in prepared.items()}
    if len(set(digests.values())) > 1:
        raise DataError(f"data: {', '.join(digests)} were prepared by different Modules 1; prepare them with one")
    return next(iter(digests.values()), None)


def _used_records(sources: Mapping[str, Sequence[Record]], split: Split) -> dict[str, list[Record]]:
    """The records of each source that are for training or validation."""
    parts = (splits.TRAIN, splits.VALIDATE)
    return {
        name: [record for record in records if split.part.get(record.subject) in parts]
        for name, records in sources.items()
    }


BatchFactory = Callable[[BatchSpec], Batches | None]  # None if the source has no impression for the stream


def _batch_factory(
    config: Config, name: str, prints: Impressions | Prepared | None, split: Split | None, sharding: NamedSharding
) -> BatchFactory:
    """The function that makes the batches of a source."""
    data, part = config.data, config.data.parts[name]
    if part.source is Source.synthetic:
        assert isinstance(part.val_fingers, int)
        data = replace(data, val_fingers=part.val_fingers)
        config = replace(config, data=data)
        everywhere = NamedSharding(sharding.mesh, PartitionSpec())
        numbers = np.split(np.arange(data.fingers), [data.fingers - part.val_fingers])
        pool = cache(partial(FingerPool, data, config.seed, everywhere))
        kind = AlignedRenderedBatches if config.stage is StageName.matcher else RenderedBatches
        return lambda spec: kind(config, pool, numbers[spec.stream != TRAIN], spec)

    assert split is not None
    assert prints is not None

    def indices_of(spec: BatchSpec) -> np.ndarray:
        """The source's prints that the split has for a stream."""
        return np.array(split.indices(prints.records, SPLIT_PART[spec.stream]), np.int64)

    def prepared_batches(spec: BatchSpec) -> Batches | None:
        assert isinstance(prints, Prepared)
        indices = indices_of(spec)
        return PreparedBatches(config, prints, indices, spec) if len(indices) else None

    def warped_batches(spec: BatchSpec) -> Batches | None:
        assert isinstance(prints, Impressions)
        indices = indices_of(spec)
        indices = indices[prints.part[indices] == name]
        return CopiedBatches(config, prints, indices, spec) if len(indices) else None

    return prepared_batches if part.source is Source.prepared else warped_batches


def _batches(config: Config, factories: Mapping[str, BatchFactory], sharding: NamedSharding, stream: int) -> Batches:
    """The batches of a stream, of one source or of a mixture."""
    data, size = config.data, config.trainer.batch_size
    if data.source is not Source.mixture:
        (factory,) = factories.values()
        return _require(factory(BatchSpec(size, sharding, stream)), stream)
    # A source may have no impression for this stream. Then the other sources fill the batch.
    candidates = {name: factory(BatchSpec(size, sharding, stream, name)) for name, factory in factories.items()}
    present = {name: batches for name, batches in candidates.items() if batches}
    weights = [
        len(batches) if (weight := data.parts[name].weight) is None else weight for name, batches in present.items()
    ]
    sizes = shares(weights, size, sharding.mesh.size) if present else []
    parts: dict[str, Batches] = {}
    classes = 0
    for name, share in zip(present, sizes, strict=True):
        part = factories[name](BatchSpec(share, sharding, stream, name, classes))
        assert part is not None
        parts[name] = part
        classes += part.classes
    return _require(MixedBatches(parts, data.threads, sharding) if parts else None, stream)


def _require(batches: Batches | None, stream: int) -> Batches:
    """The batches, or a DataError if there are none."""
    if batches is None:
        raise DataError(
            f"data: no impression is left {PURPOSE[stream]}: none of those fingers' images can be used; "
            "hold out others (val_fingers)"
        )
    return batches


def shares(weights: Sequence[float], total: int, unit: int) -> list[int]:
    """How many of `total` pairs of a batch each source gets, by weight.

    The numbers are multiples of `unit`, the number of devices, at least one unit. The largest remainders are rounded
    up.

    Raises:
        DataError: there are fewer units than sources.
    """
    units = total // unit
    if units < len(weights):
        raise DataError(
            f"trainer.batch_size: {total} pairs over {unit} devices cannot hold pairs of {len(weights)} sources; "
            f"set trainer.batch_size={len(weights) * unit} or more"
        )
    # First one unit for each source, then the rest by weight.
    ideal = np.maximum(np.array(weights) / sum(weights) * units, 1)
    rest = units - len(weights)
    ideal_extra = (ideal - 1) * rest / max((ideal - 1).sum(), 1e-12)
    extra = np.floor(ideal_extra + 1e-9).astype(int)
    for k in np.argsort(extra - ideal_extra, kind="stable")[: rest - extra.sum()]:
        extra[k] += 1
    return [int(unit * (1 + g)) for g in extra]
