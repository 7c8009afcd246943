"""Is a database what it is said to be? Everything that can be seen without a matcher, before anybody trains on it.

Counts against the published ones, files that are no images, blank or damaged ones, one image under two names, a
resolution that the ridges contradict, fingers without mates, people shared between databases, files of other names.
A finding is a problem, which makes the check fail, or a note.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from ifvit import image
from ifvit.config import Source
from ifvit.databases import layouts
from ifvit.databases.discovery import recognise
from ifvit.databases.findings import Database, DoctorReport, Finding, counted
from ifvit.databases.records import Record, by_identity, listed
from ifvit.databases.splits import Split
from ifvit.databases.yearless import is_yearless
from ifvit.enhancement.fields import USUAL_PERIOD, ridge_period
from ifvit.errors import DataError
from ifvit.pictures import plots
from ifvit.progress import Progress

# Of the databases' medians at 500 ppi; those of FVC2002 B lie between 7.0 and 9.0 px. Half or twice the true ppi lies
# outside for each of them.
PERIODS = (6.0, 12.5)
APART = 1.55  # of an image's period from its database's median; fingers differ by less
BLANK = re.compile(r": blank, every pixel is \d+$")  # what reading an image says of one
LEAST_CONTRAST = 12  # grey levels between the 1st and the 99th percentile: an empty sensor's noise has fewer
AT_ONCE = 256  # images
SHEET_IMAGES, SHEET_PPI, SHEET_SIDE = 8, 250, 256


class SeenImage(NamedTuple):
    """What a file's image showed: its pixels' digest, ridge period in px and the ppi in use; or why it is unusable."""

    record: Record
    digest: bytes | None = None
    contrast: float = 0.0  # grey levels between nearly the darkest and nearly the lightest pixels
    period: float | None = None
    ppi: float = 0.0
    ppi_from: image.PpiFrom | None = None
    inverted: bool = False
    error: str | None = None


def examine(
    roots: Sequence[Path], source: Source | None = None, ppi: float | None = None, split: Split | None = None
) -> tuple[DoctorReport, list[Record]]:
    """The report on everything under the roots, and the records of all that are impressions of fingers.

    source: what the roots are, if it is known. ppi: of all files, over what names and tags say. split: of a run;
    subjects that it trained or validated on are a problem, as if the data were to test it.

    Raises:
        DataError: a root is absent, holds no images at all, or is given twice.
    """
    findings: list[Finding] = []
    records: list[Record] = []
    check_roots(roots)
    for root in roots:
        records += recognise(root, findings, source, ppi)
    if split:
        _judge_split(split, records, findings)
    by_database: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_database[record.database].append(record)
    databases = [_database(name, mine, findings) for name, mine in sorted(by_database.items())]
    _judge_shared(records, findings)
    seen: dict[str, list[SeenImage]] = defaultdict(list)
    for one in _look_at(records):
        seen[one.record.database].append(one)
    _judge_copies([one for some in seen.values() for one in some], findings)
    for database in databases:
        _judge_images(database.name, seen[database.name], findings)
        _judge_resolution(database, seen[database.name], findings)
    kinds = Counter((finding.database, finding.kind) for finding in findings)
    for database in databases:
        database.findings = {kind: count for (name, kind), count in kinds.items() if name == database.name}
    return DoctorReport(databases, findings), records


def check_roots(roots: Sequence[Path]) -> None:
    """Refuse a root that is given twice, or lies in another.

    Raises:
        DataError: naming both.
    """
    real = [root.resolve() for root in roots]
    for k, one in enumerate(real):
        for other in real[:k]:
            if one.is_relative_to(other) or other.is_relative_to(one):
                raise DataError(f"{one} and {other} hold the same files; name each folder once")


def _judge_split(split: Split, records: Sequence[Record], findings: list[Finding]) -> None:
    people = {record.subject for record in records}
    known = len(people & split.named_as(records).part.keys())
    text = f"the split knows {known} of the data's {counted(len(people), 'subject')}"
    if known == 0:
        text += ", so it says nothing of them: were they named otherwise in that run (--source)?"
    findings.append(Finding("split", known == 0, "", text))
    try:
        split.refuse_seen(records, "the data")
    except DataError as error:
        findings.append(Finding("leakage", True, "", str(error)))


def _database(name: str, mine: Sequence[Record], findings: list[Finding]) -> Database:
    """A database, its counts held against the published ones, its identities looked at."""
    fingers = by_identity(mine)
    each = Counter(len(mates) for mates in fingers.values())
    whole = layouts.published(name)
    database = Database(
        name=name,
        subjects=len({record.subject for record in mine}),
        fingers=len(fingers),
        images=len(mine),
        impressions=str(min(each)) if len(each) == 1 else f"{min(each)}-{max(each)}",
        ppi=",".join(sorted({f"{record.ppi:g}" if record.ppi else "?" for record in mine})),
        published=whole._asdict(),
    )
    _judge_counts(database, whole, findings)
    _judge_identities(database, mine, fingers, whole, findings)
    return database


def _judge_counts(database: Database, whole: layouts.Published, findings: list[Finding]) -> None:
    for what in ("subjects", "fingers", "images"):
        there, expected = getattr(database, what), getattr(whole, what)
        if expected and there != expected:
            findings.append(Finding("count", True, database.name, f"{there} {what}, published are {expected}"))


def _judge_identities(
    database: Database, mine: Sequence[Record], fingers: dict[str, list[int]], whole: layouts.Published, findings
) -> None:
    if whole.impressions:
        odd = [f"{name} has {len(mates)}" for name, mates in fingers.items() if len(mates) != whole.impressions]
        if odd:
            text = f"{counted(len(odd), 'finger')} of other than {whole.impressions} impressions: {listed(odd)}"
            findings.append(Finding("impressions", True, database.name, text))
    else:
        alone = [name for name, mates in fingers.items() if len(mates) == 1]
        if alone:
            text = f"{counted(len(alone), 'finger')} of one impression, and so without a genuine pair: {listed(alone)}"
            findings.append(Finding("no mate", False, database.name, text))
    claims = Counter((record.identity, record.impression) for record in mine)
    twice = [f"impression {impression} of {identity}" for (identity, impression), count in claims.items() if count > 1]
    if twice:
        text = (
            f"{len(twice)} impressions have two files each, so that one print may stand on both sides: {listed(twice)}"
        )
        findings.append(Finding("same impression", True, database.name, text))
    if is_yearless(database.name) and database.ppi == "?":
        text = "the path does not say which competition it is, and so not the ppi; name it like FVC2002 or set --ppi"
        findings.append(Finding("unknown year", True, database.name, text))


def _judge_shared(records: Sequence[Record], findings: list[Finding]) -> None:
    """People who are in two databases: a split must be by subject, over all of them."""
    people: dict[str, set[str]] = defaultdict(set)
    for record in records:
        people[record.subject].add(record.database)
    shared = Counter(tuple(sorted(databases)) for databases in people.values() if len(databases) > 1)
    for databases, count in shared.items():
        text = f"{count} subjects are in all of {', '.join(databases)}: a split by database would leak them"
        findings.append(Finding("shared subjects", False, "", text))


def _look_at(records: Sequence[Record]) -> Iterator[SeenImage]:
    progress = Progress("looking at images", len(records))
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(records), AT_ONCE):
            for one in pool.map(_seen, records[start : start + AT_ONCE]):
                progress.step()
                yield one


def _seen(record: Record) -> SeenImage:
    try:
        scan = image.read(record.path)
    except image.ImageError as error:
        return SeenImage(record, error=str(error))
    ppi, ppi_from = image.choose_ppi(scan, record.ppi)
    digest = hashlib.sha256(f"{scan.grey.shape}".encode())
    digest.update(np.ascontiguousarray(scan.grey).data)
    contrast = float(np.ptp(np.percentile(scan.grey, (1, 99))))
    return SeenImage(record, digest.digest(), contrast, ridge_period(scan.grey), ppi, ppi_from, scan.inverted)


def _judge_images(name: str, seen: Sequence[SeenImage], findings: list[Finding]) -> None:
    unclear: list[Path] = []
    for one in seen:
        if one.error:
            kind = "blank" if BLANK.search(one.error) else "unreadable"
            findings.append(Finding(kind, True, name, one.error))
        elif one.contrast < LEAST_CONTRAST:
            text = f"{one.record.path}: its grey levels differ by {one.contrast:.0f}"
            findings.append(Finding("blank", True, name, text))
        elif one.period is None:
            unclear.append(one.record.path)
    if unclear:
        text = f"no regular ridges were found in {counted(len(unclear), 'image')}, look at them: {listed(unclear)}"
        findings.append(Finding("no clear ridges", False, name, text))
    if count := sum(one.ppi_from is image.PpiFrom.assumed for one in seen):
        text = f"nothing says what the ppi of {counted(count, 'file')} is; {image.DEFAULT_PPI:g} is assumed"
        findings.append(Finding("ppi assumed", False, name, text))
    if inverted := [one.record.path for one in seen if one.inverted]:
        text = f"light ridges on a dark ground, turned over: {counted(len(inverted), 'image')}, {listed(inverted)}"
        findings.append(Finding("inverted", False, name, text))


def _judge_copies(seen: Sequence[SeenImage], findings: list[Finding]) -> None:
    """The same pixels under two names; told together for each two databases, which may be copies as a whole."""
    first: dict[bytes, Record] = {}
    found: dict[tuple[str, str, bool], list[str]] = defaultdict(list)
    for one in seen:
        if one.digest:
            held = first.setdefault(one.digest, one.record)
            if held is not one.record:
                key = held.database, one.record.database, held.identity == one.record.identity
                found[key].append(f"{held.path} = {one.record.path}")
    for (one, other, same), copies in found.items():
        whose = "of one finger" if same else "of different fingers"
        text = f"{counted(len(copies), 'image')} under two names, {whose}: {listed(copies)}"
        findings.append(Finding("duplicate", True, one, text if one == other else f"also in {other}, {text}"))


def _judge_resolution(database: Database, seen: Sequence[SeenImage], findings: list[Finding]) -> None:
    """The ppi against the ridges, which lie about 9 px apart at 500 ppi: first the database's, then each image's."""
    known = [one for one in seen if one.period]
    if not known:
        return
    periods = np.array([one.period for one in known])
    normal = periods * np.array([500 / one.ppi for one in known])  # px at 500 ppi
    median = float(np.median(normal))
    database.ridge_period_px = float(np.median(periods))
    used = float(np.median([one.ppi for one in known]))
    database.ridge_ppi = used * median / USUAL_PERIOD
    if database.ppi == "?":
        database.ppi = f"{used:g}?"
    if not PERIODS[0] <= median <= PERIODS[1]:
        text = (
            f"at {used:g} ppi the ridges would lie {median:.1f} px apart on a 500 ppi scale, those of adults lie "
            f"about {USUAL_PERIOD:g}; the images look like {database.ridge_ppi:.0f} ppi"
        )
        findings.append(Finding("ppi", True, database.name, text))
    for one, period in zip(known, normal, strict=True):
        if not 1 / APART <= period / median <= APART:
            text = (
                f"{one.record.path} looks like {one.ppi * period / median:.0f} ppi instead of {one.ppi:g}: its "
                f"ridges lie {one.period:.1f} px apart, at {one.ppi:g} ppi they would {median * one.ppi / 500:.1f}"
            )
            findings.append(Finding("ppi", True, database.name, text))


def sample_sheet(records: Sequence[Record]) -> np.ndarray | None:
    """Some impressions of each database, spread over it, as they come to the network: uint8 RGB (H, W, 3); None where
    no image can be shown.
    """
    rows = {}
    for name in dict.fromkeys(record.database for record in records):
        mine = [record for record in records if record.database == name]
        shown = []
        spread = np.linspace(0, len(mine) - 1, 2 * SHEET_IMAGES).astype(int).tolist()
        for k in dict.fromkeys(spread[::2] + spread[1::2]):  # the latter stand in for what cannot be used
            try:
                canvas = image.load_canvas(mine[k].path, mine[k].ppi, SHEET_PPI, SHEET_SIDE, SHEET_SIDE)
            except image.ImageError:
                continue
            shown.append(cv2.copyMakeBorder(canvas.grey, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=160))  # white on white
            if len(shown) == SHEET_IMAGES:
                break
        if shown:
            rows[name] = np.stack(shown)
    return plots.contact_sheet(rows, f"samples of each database at {SHEET_PPI} ppi", 0.6) if rows else None
