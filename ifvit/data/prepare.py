"""Real impressions made into training data of Module 2: every print as Module 2 sees it, and its pairs aligned as in
use (`recognition.comparer`, with a trained Module 1's guesses) once and for all. What is written, and read back, is
`data.prepared`'s.

Genuine are every two impressions of a finger; where their ridges do not agree the map is not the truth, and the pair is
left out. Impostors are drawn, as two fingers of one database that both train or both validate.

All of it is kept block by block, and the same command goes on where it was stopped.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from ifvit.comparison.comparer import Compared, Comparer
from ifvit.comparison.matcher_print import MatcherPrint, Print, matcher_prints
from ifvit.comparison.registration_result import is_registered
from ifvit.comparison.run_calibration import RECIPE
from ifvit.comparison.run_networks import RunNetworks, first_method
from ifvit.config import DataConfig, Enhancement
from ifvit.data.impressions import digest_of, refuse_copies, report_assumed, report_damaged, scan_of
from ifvit.data.prepared import REASON, map_points, pair_blocks, print_blocks
from ifvit.databases.prepared_table import FORMAT, HEADING
from ifvit.databases.protocols import PairList, drawn_pairs
from ifvit.databases.records import Record
from ifvit.databases.sources import find
from ifvit.databases.splits import TRAIN, VALIDATE, Split, split_of
from ifvit.databases.yearless import nameless
from ifvit.enhancement.enhancer import Enhancer
from ifvit.errors import DataError
from ifvit.image import ImageError, PpiFrom, Scan
from ifvit.progress import Progress
from ifvit.registration.module1 import Module1, load_dense
from ifvit.registration.registrar import frame_of
from ifvit.storage.blocks import KEY, claim
from ifvit.storage.csv_text import table
from ifvit.storage.files import write_whole
from ifvit.storage.json_files import write_json

AT_ONCE = 8  # pairs in a batch
LEAST_SHARE = 0.15  # of the smaller print's ridges that the other must show
REGISTERED = "registered"  # among the causes why a pair was not


def prepare(
    run_dir: Path, data: DataConfig, out: Path, enhancement: Enhancement, impostors: int | None = None, seed: int = 0
) -> dict[str, Any]:
    """Prepare the configured data into `out`, or what is missing of it; what prepared.json says then.

    impostors: how many pairs of different fingers to draw, with `seed`; None as many as there are genuine ones.

    Raises:
        DataError: nothing found, too many images unusable, nobody to train or to validate on, or `out` holds something
            else.
        CheckpointError: no run, or a damaged one.
        EnhancementError: a method is not installed.
        OSError: something cannot be written; what was written is whole, and the same call goes on.
    """
    trained = load_dense(run_dir)
    sources = find(data)
    if not sources:
        raise DataError("data: synthetic fingers need no preparing; name the real ones, like data=fvc data.root=FOLDER")
    split = split_of(data, sources)
    records = [
        record for some in sources.values() for record in some if split.part[record.subject] in (TRAIN, VALIDATE)
    ]
    enhancer = Enhancer(enhancement, data.cache_dir)
    key = {
        "format": FORMAT, "alignment": RECIPE, "module1": trained.digest(), "frame": list(trained.frame),
        "ppi": trained.ppi,
        "ridges": str(trained.enhancement), "enhancement": str(enhancement), "images": _listing(records),
        "split": split.digest(), "impostors": impostors, "seed": seed,
    }  # fmt: skip
    _claim(out, key)
    shown = _prints(out, trained, records, enhancer)
    usable = np.flatnonzero(shown["unusable"] == "")
    report_damaged([reason for reason in shown["unusable"].tolist() if reason], len(records), data.max_damaged)
    report_assumed(int(shown["assumed"].sum()), len(records))
    refuse_copies([records[k] for k in usable], [digest_of(shown["grey"][k], shown["ridges"][k]) for k in usable])
    pairs = _listed(records, usable, split, impostors, seed)
    comparer = comparer_of(trained, enhancement, data.cache_dir)
    told = key | {
        "state": f"{trained.which}, step {trained.step}",
        "prints": {"listed": len(records), "unusable": len(records) - len(usable)},
        "pairs": {"listed": len(pairs)} | _registered(out, comparer, trained, records, usable, pairs),
    }
    _write_text(out / "prints.csv", table(HEADING, _rows(records, shown)))
    _write_text(out / "split.csv", split.text())
    write_json(out / "prepared.json", told)
    return told


def _claim(out: Path, key: Mapping[str, Any]) -> None:
    """Make the folder ours, or see that it is. Nothing of somebody else's is written among."""
    # A kill while the key was written leaves a file that ends in .tmp.
    strange = not out.is_dir() or any(path.suffix != ".tmp" for path in out.iterdir()) if out.exists() else False
    if strange and not (out / KEY).is_file():
        raise DataError(f"{out} holds something else than prepared prints; name a new --out")
    claim(out, key, "what was prepared otherwise")


def _listing(records: Sequence[Record]) -> str:
    """What is prepared, wherever it lies: who, at which ppi, and how large each file is."""
    digest = hashlib.sha256()
    for record in records:
        try:
            size = record.path.stat().st_size
        except OSError:
            size = -1  # reading it will say why
        who = [nameless(record.database), nameless(record.identity), record.impression]
        digest.update(json.dumps([*who, record.ppi, size]).encode())
    return digest.hexdigest()[:16]


def _prints(out: Path, trained: Module1, records: Sequence[Record], enhancer: Enhancer) -> dict[str, np.ndarray]:
    """All blocks of the prints in one, but for the enhanced images, which nothing here asks for."""
    progress = Progress("preparing prints", len(records))
    with ThreadPoolExecutor() as pool:

        def made(numbers: np.ndarray) -> dict[str, np.ndarray]:
            return _print_block([records[k] for k in numbers], trained, enhancer, pool)

        stored = print_blocks(out, trained.frame).read_or_compute(len(records), made, progress)
        blocks = list(map(_without_enhanced, stored))
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def _without_enhanced(block: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: values for name, values in block.items() if name != "enhanced"}


def _print_block(
    records: Sequence[Record], trained: Module1, enhancer: Enhancer, pool: ThreadPoolExecutor
) -> dict[str, np.ndarray]:
    """The rows of some records; those of an image that cannot be used are 0, and say why."""
    scans = list(pool.map(scan_of, records))
    good = [k for k, scan in enumerate(scans) if isinstance(scan, Scan)]
    count, (height, width) = len(records), trained.frame
    block = {
        "grey": np.zeros((count, height, width), np.uint8),
        "enhanced": np.zeros((count, height, width), np.uint8),
        "ridges": np.zeros((count, -(-height * width // 8)), np.uint8),
        "background": np.zeros(count, np.uint8),
        "ppi": np.zeros(count),
        "assumed": np.zeros(count, bool),
        "unusable": np.array(["" if k in good else _plain(scan) for k, scan in enumerate(scans)], f"<U{REASON}"),
    }
    made = matcher_prints([scans[k] for k in good], [records[k].ppi for k in good], trained, enhancer)
    for k, one in zip(good, made, strict=True):
        if not isinstance(one, MatcherPrint):
            block["unusable"][k] = _plain(f"{records[k].path}: {one}")
            continue
        canvas = one.canvas
        block["grey"][k], block["enhanced"][k], block["background"][k] = canvas.grey, one.enhanced, canvas.background
        block["ridges"][k] = np.packbits(canvas.ridges)
        block["ppi"][k], block["assumed"][k] = canvas.ppi, canvas.ppi_from is PpiFrom.assumed
    return block


def _plain(reason: object) -> str:
    """A reason as a cell of a table."""
    return "".join(letter if letter.isprintable() else " " for letter in str(reason))[:REASON]


def _listed(records: Sequence[Record], usable: np.ndarray, split: Split, impostors: int | None, seed: int) -> PairList:
    """The pairs, of places in `usable`."""
    chosen = [records[k] for k in usable]
    groups = [(record.database, split.part[record.subject]) for record in chosen]
    pairs = drawn_pairs(chosen, groups, impostors, seed)
    if not pairs.genuine.any():
        raise DataError("data: no finger has two impressions that can be used, so that there is no genuine pair")
    return pairs


def comparer_of(trained: Module1, enhancement: Enhancement, cache_dir: str | None) -> Comparer:
    """What aligns the prints: as a Module 2 with this enhancement will have them aligned."""
    return Comparer(RunNetworks(trained), first_method(enhancement, trained.enhancement), cache_dir)


def _registered(
    out: Path,
    comparer: Comparer,
    trained: Module1,
    records: Sequence[Record],
    usable: np.ndarray,
    pairs: PairList,
) -> dict[str, Any]:
    """Every pair aligned, and how many could not be."""
    shape = map_points(trained.frame).shape

    def made(numbers: np.ndarray) -> dict[str, np.ndarray]:
        first, second = usable[pairs.first[numbers]], usable[pairs.second[numbers]]
        prints = _prints_to_align(comparer, records, np.unique([first, second]).tolist())
        found = _aligned(comparer, prints, list(zip(first.tolist(), second.tolist(), strict=True)))
        causes = [_cause(one, genuine) for one, genuine in zip(found, pairs.genuine[numbers].tolist(), strict=True)]
        maps = np.zeros((2, len(numbers), *shape), np.float32)
        for k, (a, b) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
            if not causes[k]:
                maps[:, k] = _maps(found[k], prints[a], prints[b], trained)
        return {
            "first": first,
            "second": second,
            "genuine": pairs.genuine[numbers],
            "failed": np.array([cause != "" for cause in causes]),
            "cause": np.array(causes),
            "to_first": maps[0],
            "to_second": maps[1],
        }

    counts: dict[str, Counter[str]] = {"genuine": Counter(), "impostor": Counter()}
    blocks = pair_blocks(out, trained.frame)
    for block in blocks.read_or_compute(len(pairs), made, Progress("registering pairs", len(pairs))):
        for kind, chosen in (("genuine", block["genuine"]), ("impostor", ~block["genuine"])):
            counts[kind].update(cause or REGISTERED for cause in block["cause"][chosen].tolist())
    return {kind: dict(sorted(count.items())) for kind, count in counts.items()}


def _prints_to_align(comparer: Comparer, records: Sequence[Record], chosen: list[int]) -> dict[int, Print]:
    """The prints of the chosen records, but for those that show no ridges at 500 ppi."""
    with ThreadPoolExecutor() as pool:
        scans = dict(zip(chosen, pool.map(scan_of, [records[k] for k in chosen]), strict=True))
    chosen = [k for k in chosen if isinstance(scans[k], Scan)]
    found = comparer.prints_of([scans[k] for k in chosen], [records[k].ppi for k in chosen])
    return {k: shown for k, shown in zip(chosen, found, strict=True) if not isinstance(shown, ImageError)}


def _aligned(comparer: Comparer, prints: Mapping[int, Print], pairs: list[tuple[int, int]]) -> list[Compared | None]:
    """What is found of each pair of numbers of prints, None where a print is missing."""
    good = [pair for pair in pairs if pair[0] in prints and pair[1] in prints]
    if not good:
        return [None] * len(pairs)
    batches = comparer.by(AT_ONCE, frame_of(shown.of_ridges for shown in prints.values()))
    found = iter(batches.align_many((prints[a], prints[b]) for a, b in good))
    return [next(found) if a in prints and b in prints else None for a, b in pairs]


def _cause(found: Compared | None, genuine: bool) -> str:
    """Why a pair cannot be trained on; empty where it can."""
    if found is None:
        return "no_ridges"
    if found.alignment.agreement.share < LEAST_SHARE:
        return "small_overlap"
    return "ridges_disagree" if genuine and not is_registered(found.ridge_score) else ""


def _maps(found: Compared, a: Print, b: Print, trained: Module1) -> np.ndarray:
    """Where `map_points` of B's frame lie in A's, and those of A's in B's, (2, R, C, 2) px."""
    points, ppi, alignment = map_points(trained.frame), trained.ppi, found.alignment
    to_first = a.to_canvas(alignment.to_a(b.to_ridges(points, ppi)), ppi)
    to_second = b.to_canvas(alignment.to_b(a.to_ridges(points, ppi)), ppi)
    return np.stack([to_first, to_second])


def _rows(records: Sequence[Record], shown: Mapping[str, np.ndarray]) -> list[tuple]:
    return [
        (r.path.absolute(), r.database, r.subject, r.finger, r.impression, r.device, r.capture, ppi or r.ppi, unusable)
        for r, ppi, unusable in zip(records, shown["ppi"].tolist(), shown["unusable"].tolist(), strict=True)
    ]


def _write_text(path: Path, text: str) -> None:
    write_whole(path, lambda file: file.write(text.encode()))
