"""Prepare real impressions as training data of Module 2: every print as Module 2 sees it, and its pairs aligned once.

The alignment is that of a comparison (`comparison.matcher`, with the hypotheses of a trained Module 1). The files are
described in `data.prepared`.

Every two impressions of a finger are a genuine pair. If their ridges do not agree, the map cannot be trusted, and the
pair is left out. Impostor pairs are drawn: two fingers of one database, both for training or both for validation.

The results are written block by block, and the same command continues where it was stopped.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ifvit.comparison.compared import Compared
from ifvit.comparison.matcher import Matcher
from ifvit.comparison.matcher_print import Print, matcher_prints
from ifvit.comparison.registration_result import is_registered
from ifvit.comparison.run_calibration import RECIPE
from ifvit.comparison.run_networks import RunNetworks, first_method
from ifvit.config import DataConfig, Enhancement
from ifvit.data.impressions import digest_of, refuse_copies, report_assumed, report_damaged
from ifvit.data.prepared import REASON_LENGTH, map_points, pair_blocks, print_blocks
from ifvit.databases.prepared_table import FORMAT, HEADING
from ifvit.databases.protocols import PairList, drawn_pairs
from ifvit.databases.records import Record
from ifvit.databases.sources import find
from ifvit.databases.splits import TRAIN, VALIDATE, Split, split_of
from ifvit.databases.yearless import nameless
from ifvit.enhancement.enhancer import Enhancer
from ifvit.errors import DataError
from ifvit.image import ImageError, PpiFrom, from_files
from ifvit.progress import Progress
from ifvit.registration.module1 import Module1, load_dense
from ifvit.registration.registrar import frame_of
from ifvit.storage.blocks import KEY, claim
from ifvit.storage.csv_text import table
from ifvit.storage.files import write_whole
from ifvit.storage.json_files import write_json

BATCH = 8  # pairs that are aligned together
MIN_OVERLAP = 0.15  # the least overlap, as a share of the smaller print's ridges
REGISTERED = "registered"  # counted beside the causes of pairs that could not be registered


def prepare(
    run_dir: Path, data: DataConfig, out: Path, enhancement: Enhancement, impostors: int | None = None, seed: int = 0
) -> dict[str, Any]:
    """Prepare the configured data in the folder `out`, or what is missing of it. Returns the content of prepared.json.

    impostors: how many pairs of different fingers to draw, with `seed`; None: as many as there are genuine pairs.

    Raises:
        DataError: no impression was found, too many images cannot be used, there is no finger for training or for
            validation, or `out` contains something else.
        CheckpointError: `run_dir` is no run, or a damaged one.
        EnhancementError: a method is not installed.
        OSError: a file cannot be written. The written files are complete, and the same call continues.
    """
    module1 = load_dense(run_dir)
    sources = find(data)
    if not sources:
        raise DataError("data: synthetic fingers need no preparing; name the real ones, like data=fvc data.root=FOLDER")
    split = split_of(data, sources)
    all_records = itertools.chain.from_iterable(sources.values())
    records = [record for record in all_records if split.part[record.subject] in (TRAIN, VALIDATE)]
    enhancer = Enhancer(enhancement, data.cache_dir)
    key = {
        "format": FORMAT, "alignment": RECIPE, "module1": module1.digest(), "frame": list(module1.frame),
        "ppi": module1.ppi,
        "ridges": str(module1.enhancement), "enhancement": str(enhancement), "images": _inputs_digest(records),
        "split": split.digest(), "impostors": impostors, "seed": seed,
    }  # fmt: skip
    _claim(out, key)
    prints = _prepare_prints(out, module1, records, enhancer)
    usable = np.flatnonzero(prints["unusable"] == "")
    report_damaged([reason for reason in prints["unusable"].tolist() if reason], len(records), data.max_damaged)
    report_assumed(int(prints["assumed"].sum()), len(records))
    refuse_copies([records[k] for k in usable], [digest_of(prints["grey"][k], prints["ridges"][k]) for k in usable])
    pairs = _list_pairs(records, usable, split, impostors, seed)
    matcher = matcher_of(module1, enhancement, data.cache_dir)
    summary = key | {
        "state": f"{module1.which}, step {module1.step}",
        "prints": {"listed": len(records), "unusable": len(records) - len(usable)},
        "pairs": {"listed": len(pairs)} | _register_pairs(out, matcher, module1, records, usable, pairs),
    }
    _write_text(out / "prints.csv", table(HEADING, _table_rows(records, prints)))
    _write_text(out / "split.csv", split.text())
    write_json(out / "prepared.json", summary)
    return summary


def _claim(out: Path, key: Mapping[str, Any]) -> None:
    """Write key.json into an empty folder, or check that the folder's key is the same. Other folders are refused."""
    # If the work is killed while it writes the key, a file that ends in .tmp remains.
    is_foreign = out.exists() and (not out.is_dir() or any(path.suffix != ".tmp" for path in out.iterdir()))
    if is_foreign and not (out / KEY).is_file():
        raise DataError(f"{out} holds something else than prepared prints; name a new --out")
    claim(out, key, "what was prepared otherwise")


def _inputs_digest(records: Sequence[Record]) -> str:
    """The digest of the images: the identity, ppi and file size of each, without its path."""
    digest = hashlib.sha256()
    for record in records:
        try:
            size = record.path.stat().st_size
        except OSError:
            size = -1  # reading it will report the reason
        identity = [nameless(record.database), nameless(record.identity), record.impression]
        digest.update(json.dumps([*identity, record.ppi, size]).encode())
    return digest.hexdigest()[:16]


def _prepare_prints(
    out: Path, module1: Module1, records: Sequence[Record], enhancer: Enhancer
) -> dict[str, np.ndarray]:
    """Prepare all prints. Their arrays by name, without the enhanced images, which are not needed here."""
    progress = Progress("preparing prints", len(records))
    with ThreadPoolExecutor() as pool:

        def compute_block(numbers: np.ndarray) -> dict[str, np.ndarray]:
            return _print_block([records[k] for k in numbers], module1, enhancer, pool)

        all_blocks = print_blocks(out, module1.frame).read_or_compute(len(records), compute_block, progress)
        blocks = [_without_enhanced(block) for block in all_blocks]
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def _without_enhanced(block: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: values for name, values in block.items() if name != "enhanced"}


def _print_block(
    records: Sequence[Record], module1: Module1, enhancer: Enhancer, pool: ThreadPoolExecutor
) -> dict[str, np.ndarray]:
    """The arrays of a block of prints. A print that cannot be used has zeros, and the reason in `unusable`."""
    count, (height, width) = len(records), module1.frame
    block: dict[str, np.ndarray] = {
        "grey": np.zeros((count, height, width), np.uint8),
        "enhanced": np.zeros((count, height, width), np.uint8),
        "ridges": np.zeros((count, -(-height * width // 8)), np.uint8),
        "background": np.zeros(count, np.uint8),
        "ppi": np.zeros(count),
        "assumed": np.zeros(count, bool),
        "unusable": np.zeros(count, f"<U{REASON_LENGTH}"),
    }
    compute = partial(matcher_prints, module1=module1, enhancer=enhancer)
    prints = from_files([record.path for record in records], [record.ppi for record in records], compute, pool.map)
    for k, matcher_print in enumerate(prints):
        if isinstance(matcher_print, ImageError):
            block["unusable"][k] = _table_text(matcher_print)
            continue
        canvas = matcher_print.canvas
        block["grey"][k], block["enhanced"][k] = canvas.grey, matcher_print.enhanced
        block["ridges"][k], block["background"][k] = np.packbits(canvas.ridges), canvas.background
        block["ppi"][k], block["assumed"][k] = canvas.ppi, canvas.ppi_from is PpiFrom.assumed
    return block


def _table_text(reason: object) -> str:
    """A reason as the text of a table's cell."""
    return "".join(letter if letter.isprintable() else " " for letter in str(reason))[:REASON_LENGTH]


def _list_pairs(
    records: Sequence[Record], usable: np.ndarray, split: Split, impostors: int | None, seed: int
) -> PairList:
    """The pairs to align; their numbers are positions in `usable`."""
    chosen = [records[k] for k in usable]
    groups = [(record.database, split.part[record.subject]) for record in chosen]
    pairs = drawn_pairs(chosen, groups, impostors, seed)
    if not pairs.genuine.any():
        raise DataError("data: no finger has two impressions that can be used, so that there is no genuine pair")
    return pairs


def matcher_of(module1: Module1, enhancement: Enhancement, cache_dir: str | None) -> Matcher:
    """The matcher that aligns the prints: the one that a Module 2 with this enhancement has in use."""
    return Matcher(RunNetworks(module1), first_method(enhancement, module1.enhancement), cache_dir)


def _register_pairs(
    out: Path,
    matcher: Matcher,
    module1: Module1,
    records: Sequence[Record],
    usable: np.ndarray,
    pairs: PairList,
) -> dict[str, Any]:
    """Align all pairs and write their blocks. Returns the counts of causes, by kind of pair."""
    shape = map_points(module1.frame).shape

    def compute_block(numbers: np.ndarray) -> dict[str, np.ndarray]:
        first, second = usable[pairs.first[numbers]], usable[pairs.second[numbers]]
        prints = _prints_to_align(matcher, records, np.unique([first, second]).tolist())
        comparisons = _align(matcher, prints, list(zip(first.tolist(), second.tolist(), strict=True)))
        genuine = pairs.genuine[numbers]
        causes = [_failure_cause(*pair) for pair in zip(comparisons, genuine.tolist(), strict=True)]
        maps = np.zeros((2, len(numbers), *shape), np.float32)
        for k, (a, b) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
            comparison = comparisons[k]
            if not causes[k]:
                assert comparison is not None
                maps[:, k] = _alignment_maps(comparison, prints[a], prints[b], module1)
        return {
            "first": first,
            "second": second,
            "genuine": genuine,
            "failed": np.array([cause != "" for cause in causes]),
            "cause": np.array(causes),
            "to_first": maps[0],
            "to_second": maps[1],
        }

    counts: dict[str, Counter[str]] = {"genuine": Counter(), "impostor": Counter()}
    blocks = pair_blocks(out, module1.frame)
    for block in blocks.read_or_compute(len(pairs), compute_block, Progress("registering pairs", len(pairs))):
        for kind, chosen in (("genuine", block["genuine"]), ("impostor", ~block["genuine"])):
            counts[kind].update(cause or REGISTERED for cause in block["cause"][chosen].tolist())
    return {kind: dict(sorted(count.items())) for kind, count in counts.items()}


def _prints_to_align(matcher: Matcher, records: Sequence[Record], chosen: list[int]) -> dict[int, Print]:
    """The prints of the chosen records by their numbers, without those that show no ridges at 500 ppi."""
    paths, ppis = [records[k].path for k in chosen], [records[k].ppi for k in chosen]
    with ThreadPoolExecutor() as pool:
        prints = list(from_files(paths, ppis, matcher.prints_of, pool.map))
    return {k: print_ for k, print_ in zip(chosen, prints, strict=True) if not isinstance(print_, ImageError)}


def _align(matcher: Matcher, prints: Mapping[int, Print], pairs: list[tuple[int, int]]) -> list[Compared | None]:
    """The comparison of each pair of numbers of prints; None if a print is missing."""
    complete = [pair for pair in pairs if pair[0] in prints and pair[1] in prints]
    if not complete:
        return [None] * len(pairs)
    batches = matcher.by(BATCH, frame_of(print_.of_ridges for print_ in prints.values()))
    comparisons = iter(batches.compare_prints(((prints[a], prints[b]) for a, b in complete), use_module2=False))
    return [next(comparisons) if a in prints and b in prints else None for a, b in pairs]


def _failure_cause(comparison: Compared | None, genuine: bool) -> str:
    """Why a pair cannot be used for training; empty if it can."""
    if comparison is None:
        return "no_ridges"
    if comparison.alignment.agreement.share < MIN_OVERLAP:
        return "small_overlap"
    return "ridges_disagree" if genuine and not is_registered(comparison.ridge_score) else ""


def _alignment_maps(comparison: Compared, a: Print, b: Print, module1: Module1) -> np.ndarray:
    """The maps at `map_points`, (2, R, C, 2) px: from B's frame to A's, and from A's to B's."""
    points, ppi, alignment = map_points(module1.frame), module1.ppi, comparison.alignment
    to_first = a.to_canvas(alignment.to_a(b.to_ridges(points, ppi)), ppi)
    to_second = b.to_canvas(alignment.to_b(a.to_ridges(points, ppi)), ppi)
    return np.stack([to_first, to_second])


def _table_rows(records: Sequence[Record], prints: Mapping[str, np.ndarray]) -> list[tuple]:
    """The rows of prints.csv."""
    return [
        (r.path.absolute(), r.database, r.subject, r.finger, r.impression, r.device, r.capture, ppi or r.ppi, unusable)
        for r, ppi, unusable in zip(records, prints["ppi"].tolist(), prints["unusable"].tolist(), strict=True)
    ]


def _write_text(path: Path, text: str) -> None:
    write_whole(path, lambda file: file.write(text.encode()))
