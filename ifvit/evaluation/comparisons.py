"""Compare every pair of a protocol in blocks on disk, so that an evaluation resumes where it was stopped.

    OUT/comparisons/key.json    what the results depend on: the run's state, the images, the pairs
    OUT/comparisons/00000.npz   the first block's scores

A pair fails if the overlap is too small for a decision, or if an image cannot be used.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ifvit.databases.protocols import PairList
from ifvit.evaluation.scorers import PAIR_BATCH, Gallery, Scorer
from ifvit.progress import Progress
from ifvit.storage.blocks import ArraySpec, Blocks, claim

BLOCK = 512  # pairs in a block


class Comparisons(NamedTuple):
    """The results of P compared pairs; the fields are those of `PairScore`."""

    score: np.ndarray  # (P,) float64
    failed: np.ndarray  # (P,) bool
    paired: np.ndarray  # (P,) int64
    minutiae: np.ndarray  # (P,) int64
    overlap: np.ndarray  # (P,) float64, in [0, 1]
    global_cosine: np.ndarray  # (P,) float64
    local_cosine: np.ndarray  # (P,) float64
    ms: np.ndarray  # (P,) float64, time of a pair: the mean of its block


# The arrays of a block by their names in the file, in the order of the fields of `Comparisons`.
ARRAYS = {
    "score": ArraySpec("f8"), "failed": ArraySpec("?"), "agree": ArraySpec("i8"), "made": ArraySpec("i8"),
    "overlap": ArraySpec("f8"), "of_global": ArraySpec("f8"), "of_local": ArraySpec("f8"), "ms": ArraySpec("f8"),
}  # fmt: skip


def compare_all(scorer: Scorer, gallery: Gallery, pairs: PairList, folder: Path, key: dict[str, Any]) -> Comparisons:
    """The comparisons of all pairs. Blocks that are stored in `folder` are not computed again.

    key: what the results depend on, as JSON can store it.

    Raises:
        DataError: the folder has another key: it is of another evaluation.
    """
    claim(folder, key, "another evaluation")
    progress = _PairProgress("comparing pairs", len(pairs))

    def compute(numbers: np.ndarray) -> dict[str, np.ndarray]:
        rows = _compare_block(scorer, gallery, pairs.first[numbers], pairs.second[numbers], progress)
        return dict(zip(ARRAYS, rows, strict=True))

    blocks = Blocks(folder, ARRAYS, BLOCK).read_or_compute(len(pairs), compute, progress)
    arrays = [[block[name] for name in ARRAYS] for block in blocks]
    return Comparisons(*map(np.concatenate, zip(*arrays, strict=True)))


class _PairProgress(Progress):
    """Progress in batches of pairs. The steps of a whole block, which `Blocks` reports, are ignored."""

    def step(self, count: int = 1) -> None:
        pass

    def add(self, count: int) -> None:
        """Count compared pairs."""
        super().step(count)


def _compare_block(
    scorer: Scorer, gallery: Gallery, first: np.ndarray, second: np.ndarray, progress: _PairProgress
) -> Comparisons:
    """Compare the pairs of a block. first, second: int (P,), indices of the prints."""
    started = time.perf_counter()
    rows = np.zeros((len(Comparisons._fields), len(first)))
    rows[1], rows[5:7] = 1, np.nan
    usable = [
        k for k, (a, b) in enumerate(zip(first, second, strict=True)) if None not in (gallery[a], gallery[b])
    ]  # fmt: skip
    progress.add(len(first) - len(usable))
    for start in range(0, len(usable), PAIR_BATCH):
        batch = usable[start : start + PAIR_BATCH]
        results = scorer.compare((gallery[first[k]], gallery[second[k]]) for k in batch)
        for k, row in zip(batch, results, strict=True):
            rows[:-1, k] = row
        progress.add(len(batch))
    rows[-1] = 1000 * (time.perf_counter() - started) / max(len(usable), 1)
    return Comparisons(*(values.astype(spec.dtype) for values, spec in zip(rows, ARRAYS.values(), strict=True)))


def gallery_digest(gallery: Gallery) -> str:
    """A digest of the prints."""
    digest = hashlib.sha256()
    for content in gallery.contents():
        digest.update(content)
    return digest.hexdigest()[:16]


def worst_pairs(pairs: PairList, comparisons: Comparisons, count: int) -> Iterator[tuple[str, int]]:
    """The genuine pairs with the lowest scores and impostor pairs with the highest: kind and index, worst first.

    count: how many of each kind.

    A pair that failed counts as lower than every score.
    """
    score = np.where(comparisons.failed, -np.inf, comparisons.score)
    for kind, members, order in (("genuine", pairs.genuine, 1), ("impostor", ~pairs.genuine, -1)):
        numbers = np.flatnonzero(members)
        for k in numbers[np.argsort(order * score[numbers], kind="stable")][:count]:
            yield kind, int(k)
