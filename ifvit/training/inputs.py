"""Check that all inputs of a run exist, without reading them."""

from __future__ import annotations

from pathlib import Path

from ifvit.config import Config
from ifvit.databases.sources import find
from ifvit.databases.splits import split_of
from ifvit.enhancement.enhancer import Enhancer
from ifvit.training.pretrained import check_exists


def check_inputs(config: Config) -> None:
    """Check that folders, databases, files and optional packages exist.

    Raises:
        DataError: a root, a database or a finger for validation is missing.
        EnhancementError: the optional package that enhances prints is missing.
        WeightsError: LoFTR's weights are missing.
    """
    if path := config.dense.loftr_pretrained_ckpt:
        check_exists(Path(path))
    Enhancer(config.data.ridge_mask, config.data.cache_dir)
    if sources := find(config.data):
        split_of(config.data, sources)
