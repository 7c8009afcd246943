"""What a run prints at its start and at its end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ifvit import __version__
from ifvit.config import STRIDES, Config, Source
from ifvit.data.batches import Batches
from ifvit.progress import clock
from ifvit.storage.checkpoint import CURVES
from ifvit.storage.json_files import read_json
from ifvit.training import curves
from ifvit.training.devices import Devices
from ifvit.training.finished import outcome
from ifvit.training.stage import Stage


def opening_text(
    config: Config,
    stage: Stage,
    devices: Devices,
    train_batches: Batches,
    val_batches: Batches,
    params: Any,
    origin: str,
) -> str:
    """The first lines of a run: its model, data, settings and devices. origin: of its weights, in words."""
    data, trainer = config.data, config.trainer
    height, width = data.frame
    stride = STRIDES[config.dense.backbone]
    lines = {
        "model": stage.describe(params),
        "weights": origin,
        "data": f"\n{' ' * 12}".join(_source_lines(config, train_batches, val_batches)),
        "input": f"{width}x{height} px at {data.ppi:g} ppi, {height // stride}x{width // stride} cells",
        "training": f"{trainer.max_steps} steps of {trainer.batch_size} pairs, AdamW at {config.optimizer.lr:g}, "
        f"seed {config.seed}",
        "devices": f"{devices}{stage.advice(devices.platform)}",
        "writes to": str(Path(config.run_dir)),
    }
    return "\n".join([f"IFViT {__version__}, stage {config.stage}", *(f"  {k:9} {v}" for k, v in lines.items())])


def _source_lines(config: Config, train_batches: Batches, val_batches: Batches) -> Iterator[str]:
    """A line for each source: its place, its impressions for training and validation, its share of a batch."""
    data = config.data
    for name, part in data.parts.items():
        mixed = data.source is Source.mixture
        train_part, val_part = (
            batches.parts.get(name) if mixed else batches for batches in (train_batches, val_batches)
        )
        location = str(part.root)
        if part.source is Source.synthetic:
            location = "grown here" + (f", {data.renew} new ones every step" if data.renew else "")
        train_text, val_text = (_fingers_text(batches, part.source) for batches in (train_part, val_part))
        share = f"; {train_part.size if train_part else 0} of {train_batches.size} pairs" if mixed else ""
        yield f"{name} ({location}): {train_text} to train, {val_text} unseen to validate{share}"


def _fingers_text(batches: Batches | None, source: Source) -> str:
    """The number of impressions and fingers of some batches, in words."""
    if batches is None:
        return "nobody"
    if source is Source.synthetic:
        return f"{batches.fingers} fingers"
    return f"{len(batches)} impressions of {batches.fingers} fingers"


def closing_text(config: Config, seconds: float, pictures: Iterable[str]) -> str:
    """The last lines of a finished run.

    seconds: how long it took. pictures: names of the pictures of its last validation.
    """
    run_dir = Path(config.run_dir)
    lines = [
        f"finished {config.trainer.max_steps} steps in {clock(seconds)}",
        *outcome(config.stage, read_json(run_dir / "metrics.json")),
        "look at  " + ", ".join(str(run_dir / f"{name}.png") for name in pictures),
        f"figures  {run_dir / 'metrics.json'}",
        f"curves   {curves.command(run_dir / CURVES)}",
    ]
    return "\n".join(lines)
