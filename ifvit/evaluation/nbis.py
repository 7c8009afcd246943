"""The baseline: scores of a public matcher on the same pairs, mindtct and bozorth3 of NIST's NBIS.

    OUT/peers/key.json     what the scores depend on: the matcher's version, the images, the pairs
    OUT/peers/minutiae/    mindtct's minutiae, image by image
    OUT/peers/scores/      bozorth3's scores, pair by pair

NBIS comes with the extra `peers`. Both programs run with their defaults on images at 500 ppi, for which mindtct's
lengths in px are meant. An image on which NBIS fails (`nbis_processes`) cannot be used; such a pair has failed.

Scores differ a little from those of NIST's own program: the package gives bozorth3 angles of 0 to 359 degrees, and
bozorth3 leaves out pairs of exactly opposite minutiae only if angles are -179 to 180. With such angles the C code gives
on the same minutiae of FVC2002's sets DB1_B to DB4_B an EER of 3.6, 2.4, 9.1 and 4.7 %, here it is 3.6, 2.4, 6.9 and
4.0 %: all of them well within the intervals that ten fingers allow.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ifvit import image
from ifvit.databases.protocols import PairList
from ifvit.databases.records import Record
from ifvit.evaluation.figures import Figures
from ifvit.evaluation.nbis_processes import TEMPLATE_BYTES, Nbis, NbisError, NbisFailure, unavailable, version
from ifvit.evaluation.verification import by_database
from ifvit.image import ImageError, Scan
from ifvit.progress import Progress
from ifvit.storage.blocks import ArraySpec, Blocks, claim

NAME = "mindtct + bozorth3 (NBIS)"
PPI = 500.0
LONGEST_SIDE = 2**14 - 1  # px; a template has 14 bits for a coordinate
IMAGES, PAIRS = 64, 512  # in a block
MINUTIAE = {"template": ArraySpec("u1", (TEMPLATE_BYTES,)), "size": ArraySpec("<i4"), "reason": ArraySpec("<U200")}
SCORES = {"score": ArraySpec("<f8"), "failed": ArraySpec("?")}


class Baseline(NamedTuple):
    """The results of another matcher on P pairs."""

    name: str
    version: str
    figures: dict[str, Figures]  # by database
    score: np.ndarray  # (P,) float64, 0 where the pair failed
    failed: np.ndarray  # (P,) bool
    unusable: dict[int, str]  # index of an image -> why it cannot be used


def run_baseline(records: Sequence[Record], pairs: PairList, out: Path) -> Baseline:
    """bozorth3's scores of all pairs, and their figures. Blocks that are stored in `out` are not computed again.

    Raises:
        NbisError: NBIS is not installed, or cannot be run.
        DataError: `out` has the files of another baseline.
        OSError: a block cannot be written. Earlier blocks stay, and the same call resumes after them.
    """
    if reason := unavailable():
        raise NbisError(reason)
    folder = out / "peers"
    images, unusable = _digest(records)
    pair_digest = hashlib.sha256(np.stack([pairs.first, pairs.second]).astype("<i8").tobytes()).hexdigest()[:16]
    key = {"peer": NAME, "version": version(), "ppi": PPI, "images": images, "pairs": pair_digest}
    claim(folder, key, "another baseline")
    with Nbis() as nbis:
        templates, reasons = _minutiae(nbis, records, unusable, folder / "minutiae")
        score, failed = _scores(nbis, templates, pairs, folder / "scores")
    figures = by_database(records, pairs, score, failed)
    return Baseline(NAME, version(), figures, score, failed, reasons)


def _grey(record: Record) -> np.ndarray | ImageError:
    """The record's image at 500 ppi, uint8 (H, W), or the ImageError that names the file and says why there is none."""

    def at_500(scan: Scan, ppi: float | None) -> np.ndarray:
        grey = image.to_ppi(scan.grey, image.choose_ppi(scan, ppi)[0], PPI)
        if max(grey.shape) > LONGEST_SIDE:
            raise ImageError(f"at {PPI:g} ppi no side may be longer than {LONGEST_SIDE} px")
        return grey

    return image.from_image(record.path, record.ppi, at_500)


def _digest(records: Sequence[Record]) -> tuple[str, dict[int, str]]:
    """A digest of all images, and by index the reasons why images cannot be used. Only a few images are in memory."""

    def read(record: Record) -> bytes | ImageError:
        grey = _grey(record)
        if isinstance(grey, ImageError):
            return grey
        return hashlib.sha256(repr(grey.shape).encode() + grey.tobytes()).digest()

    digest, unusable = hashlib.sha256(), {}
    progress = Progress("reading images for NBIS", len(records))
    with ThreadPoolExecutor() as threads:
        for k, content in enumerate(threads.map(read, records)):
            progress.step()
            if isinstance(content, ImageError):
                unusable[k] = str(content)
            digest.update(b"none" if isinstance(content, ImageError) else content)
    return digest.hexdigest()[:16], unusable


def _minutiae(
    nbis: Nbis, records: Sequence[Record], unusable: dict[int, str], folder: Path
) -> tuple[list[bytes | None], dict[int, str]]:
    """The template of each image, None where it cannot be used, and the reasons by index.

    unusable: reasons that are known already.
    """

    def template_of(k: int) -> tuple[bytes, str]:
        if k in unusable:
            return b"", unusable[k]
        grey = _grey(records[k])
        if isinstance(grey, ImageError):
            return b"", str(grey)
        try:
            return nbis.minutiae(grey), ""
        except NbisFailure as error:
            return b"", f"{records[k].path}: {error}"

    def compute_block(numbers: np.ndarray) -> dict[str, Any]:
        templates, reasons = zip(*nbis.each(template_of, numbers.tolist()), strict=True)
        rows = np.stack([np.frombuffer(template.ljust(TEMPLATE_BYTES, b"\0"), np.uint8) for template in templates])
        return {"template": rows, "size": list(map(len, templates)), "reason": reasons}

    progress = Progress("finding minutiae (mindtct)", len(records))
    templates: list[bytes | None] = []
    reasons: dict[int, str] = {}
    for block in Blocks(folder, MINUTIAE, IMAGES).read_or_compute(len(records), compute_block, progress):
        for row, size, reason in zip(*(block[name] for name in MINUTIAE), strict=True):
            if reason:
                reasons[len(templates)] = str(reason)
            templates.append(None if reason else row[:size].tobytes())
    return templates, reasons | unusable  # the stored reasons are cut to 200 characters, these are not


def _scores(
    nbis: Nbis, templates: Sequence[bytes | None], pairs: PairList, folder: Path
) -> tuple[np.ndarray, np.ndarray]:
    """The score of each pair, float (P,), and whether it failed, bool (P,)."""

    def scored(pair: tuple[int, int]) -> float:
        first, second = (templates[k] for k in pair)
        if first is None or second is None:
            return np.nan
        try:
            return nbis.score(first, second)
        except NbisFailure:
            return np.nan

    def compute_block(numbers: np.ndarray) -> dict[str, Any]:
        sides = zip(pairs.first[numbers].tolist(), pairs.second[numbers].tolist(), strict=True)
        score = np.array(list(nbis.each(scored, sides)), float)
        return {"score": np.nan_to_num(score), "failed": np.isnan(score)}

    progress = Progress("comparing pairs (bozorth3)", len(pairs))
    blocks = list(Blocks(folder, SCORES, PAIRS).read_or_compute(len(pairs), compute_block, progress))
    score, failed = (np.concatenate([block[name] for block in blocks]) for name in SCORES)
    return score, failed
