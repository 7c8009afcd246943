"""Every pair of a protocol compared by a trained Module 1, block by block on disk, so that a long evaluation goes on
where it was stopped.

    OUT/comparisons/key.json    what is compared: the run's state, the images, the pairs
    OUT/comparisons/00000.npz   the first block's scores

The score of a pair is the summed confidence of the matches that agree with its registration: how much of the two prints
Module 1 finds in one another. A pair that is not registered has failed, and so has one with an unusable image.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ifvit.data.blocks import Blocks, Kind, claim
from ifvit.data.protocols import PairList
from ifvit.data.records import DataError, Record
from ifvit.image import Canvas, ImageError
from ifvit.progress import Progress
from ifvit.recognition.registration import Registered, Registrar
from ifvit.recognition.trained import Trained

SCORE = "summed confidence of Module 1's matches that agree with the registration"
BLOCK = 512  # pairs in a file
AT_ONCE = 8  # pairs in a batch


class Comparisons(NamedTuple):
    """P compared pairs.

    score: float (P,), 0 where failed; failed: bool (P,); agree, made: int (P,), how many matches agree, and how many
    there are; overlap: float (P,), the share of the smaller print, 0 where failed.
    """

    score: np.ndarray
    failed: np.ndarray
    agree: np.ndarray
    made: np.ndarray
    overlap: np.ndarray


KINDS = {"score": Kind("f8"), "failed": Kind("?"), "agree": Kind("i8"), "made": Kind("i8"), "overlap": Kind("f8")}


class Gallery:
    """The prints of some records as a model sees them; None where one cannot be used, with the reason in `unusable`."""

    def __init__(self, trained: Trained, records: Sequence[Record]):
        self.unusable: dict[int, str] = {}
        self._canvases: list[Canvas | None] = []
        progress = Progress("reading images", len(records))

        def read(record: Record) -> Canvas | ImageError:
            try:
                return trained.canvas(record.path, record.ppi)
            except ImageError as error:
                return error

        with ThreadPoolExecutor() as pool:
            for k, canvas in enumerate(pool.map(read, records)):
                progress.step()
                if isinstance(canvas, ImageError):
                    self.unusable[k] = str(canvas)
                self._canvases.append(None if isinstance(canvas, ImageError) else canvas)
        if len(self.unusable) == len(records):
            raise DataError(f"none of {len(records)} images can be used: {next(iter(self.unusable.values()))}")

    def __getitem__(self, k: int) -> Canvas | None:
        return self._canvases[k]

    def digest(self) -> str:
        """What the prints are."""
        digest = hashlib.sha256()
        for canvas in self._canvases:
            digest.update(b"none" if canvas is None else canvas.grey.tobytes())
        return digest.hexdigest()[:16]


def compare_all(
    registrar: Registrar, gallery: Gallery, pairs: PairList, folder: Path, key: dict[str, Any]
) -> Comparisons:
    """The comparisons of all pairs, those that lie in `folder` already not made again.

    Raises:
        DataError: the folder holds another evaluation's.
    """
    claim(folder, key, "another evaluation")

    def compared(numbers: np.ndarray) -> dict[str, np.ndarray]:
        return _compared(registrar, gallery, pairs.first[numbers], pairs.second[numbers])._asdict()

    made = Blocks(folder, KINDS, BLOCK).made(len(pairs), compared, Progress("comparing pairs", len(pairs)))
    blocks = [[block[name] for name in Comparisons._fields] for block in made]
    return Comparisons(*map(np.concatenate, zip(*blocks, strict=True)))


def _compared(registrar: Registrar, gallery: Gallery, first: np.ndarray, second: np.ndarray) -> Comparisons:
    rows = np.zeros((5, len(first)))
    rows[1] = 1
    usable = [k for k, (a, b) in enumerate(zip(first, second, strict=True)) if gallery[a] and gallery[b]]
    found = registrar.register_many((gallery[first[k]], gallery[second[k]]) for k in usable)
    for k, registered in zip(usable, found, strict=True):
        rows[:, k] = _row(registered)
    score, failed, agree, made, overlap = rows
    return Comparisons(score, failed.astype(bool), agree.astype(int), made.astype(int), overlap)


def _row(registered: Registered) -> tuple[float, ...]:
    made, agree = len(registered.inliers), int(registered.inliers.sum())
    if registered.aligned is None:
        return 0.0, 1, agree, made, 0.0
    return float(registered.matches.confidence[registered.inliers].sum()), 0, agree, made, registered.aligned.share


def worst(pairs: PairList, comparisons: Comparisons, count: int) -> Iterator[tuple[str, int]]:
    """The genuine pairs of the lowest scores and the impostor pairs of the highest: kind and number, worst first."""
    for kind, chosen, order in (("genuine", pairs.genuine, 1), ("impostor", ~pairs.genuine, -1)):
        numbers = np.flatnonzero(chosen)
        for k in numbers[np.argsort(order * comparisons.score[numbers], kind="stable")][:count]:
            yield kind, int(k)
