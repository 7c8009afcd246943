"""Every pair of a protocol compared, block by block on disk, so that a long evaluation goes on where it was stopped.

    OUT/comparisons/key.json    what is compared: the run's state, the images, the pairs
    OUT/comparisons/00000.npz   the first block's scores

A pair of which too little is seen for an answer has failed, and so has one with an unusable image.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ifvit.databases.protocols import PairList
from ifvit.evaluation.scorers import AT_ONCE, Gallery, Scorer
from ifvit.progress import Progress
from ifvit.storage.blocks import ArraySpec, Blocks, claim

BLOCK = 512  # pairs in a file


class Comparisons(NamedTuple):
    """P compared pairs, a value each as of `judges.Row`; ms: float (P,), what each took, the mean of its block."""

    score: np.ndarray
    failed: np.ndarray
    agree: np.ndarray
    made: np.ndarray
    overlap: np.ndarray
    of_global: np.ndarray
    of_local: np.ndarray
    ms: np.ndarray


KINDS = {
    name: ArraySpec({"failed": "?", "agree": "i8", "made": "i8"}.get(name, "f8")) for name in Comparisons._fields
}  # fmt: skip


def compare_all(judge: Scorer, gallery: Gallery, pairs: PairList, folder: Path, key: dict[str, Any]) -> Comparisons:
    """The comparisons of all pairs, those that lie in `folder` already not made again.

    Raises:
        DataError: the folder holds another evaluation's.
    """
    claim(folder, key, "another evaluation")
    progress = _ByPairs("comparing pairs", len(pairs))

    def compared(numbers: np.ndarray) -> dict[str, np.ndarray]:
        return _compared(judge, gallery, pairs.first[numbers], pairs.second[numbers], progress)._asdict()

    kept = Blocks(folder, KINDS, BLOCK).read_or_compute(len(pairs), compared, progress)
    blocks = [[block[name] for name in Comparisons._fields] for block in kept]
    return Comparisons(*map(np.concatenate, zip(*blocks, strict=True)))


class _ByPairs(Progress):
    """Progress that a block does not wait for: it steps with a batch of pairs, and not with the block again."""

    def step(self, count: int = 1) -> None:
        pass

    def compared(self, count: int) -> None:
        """So many pairs are compared."""
        super().step(count)


def _compared(
    judge: Scorer, gallery: Gallery, first: np.ndarray, second: np.ndarray, progress: _ByPairs
) -> Comparisons:
    started = time.perf_counter()
    rows = np.zeros((len(Comparisons._fields), len(first)))
    rows[1], rows[5:7] = 1, np.nan
    usable = [
        k for k, (a, b) in enumerate(zip(first, second, strict=True)) if None not in (gallery[a], gallery[b])
    ]  # fmt: skip
    progress.compared(len(first) - len(usable))
    for start in range(0, len(usable), AT_ONCE):
        batch = usable[start : start + AT_ONCE]
        found = judge.compare((gallery[first[k]], gallery[second[k]]) for k in batch)
        for k, row in zip(batch, found, strict=True):
            rows[:-1, k] = row
        progress.compared(len(batch))
    rows[-1] = 1000 * (time.perf_counter() - started) / max(len(usable), 1)
    return Comparisons(*(values.astype(kind.dtype) for values, kind in zip(rows, KINDS.values(), strict=True)))


def gallery_digest(gallery: Gallery) -> str:
    """What the prints are."""
    digest = hashlib.sha256()
    for content in gallery.contents():
        digest.update(content)
    return digest.hexdigest()[:16]


def worst(pairs: PairList, comparisons: Comparisons, count: int) -> Iterator[tuple[str, int]]:
    """The genuine pairs of the lowest scores and the impostor pairs of the highest: kind and number, worst first.

    A pair that failed is below every score.
    """
    score = np.where(comparisons.failed, -np.inf, comparisons.score)
    for kind, chosen, order in (("genuine", pairs.genuine, 1), ("impostor", ~pairs.genuine, -1)):
        numbers = np.flatnonzero(chosen)
        for k in numbers[np.argsort(order * score[numbers], kind="stable")][:count]:
            yield kind, int(k)
