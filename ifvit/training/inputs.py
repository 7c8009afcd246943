"""What a run reads, looked for without reading it: an absent folder, database, file or extra is named at once."""

from __future__ import annotations

from pathlib import Path

from ifvit.config import Config
from ifvit.databases.sources import find
from ifvit.databases.splits import split_of
from ifvit.enhancement.enhancer import Enhancer
from ifvit.training.pretrained import check_there


def check_inputs(config: Config) -> None:
    """Refuse what is not there.

    Raises:
        DataError: a root, a database, or a finger that is to validate.
        EnhancementError: the extra that enhances prints.
        WeightsError: LoFTR's weights.
    """
    if path := config.dense.loftr_pretrained_ckpt:
        check_there(Path(path))
    Enhancer(config.data.ridge_mask, config.data.cache_dir)
    if sources := find(config.data):
        split_of(config.data, sources)
