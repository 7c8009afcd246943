"""Is a database what it is said to be? Everything that can be seen without a matcher, before anybody trains on it.

Counts against the published ones, files that are no images, blank or damaged ones, one image under two names, a
resolution that the ridges contradict, fingers without mates, people shared between databases, files of other names.
A finding is a problem, which makes the check fail, or a note.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ifvit import image, plots
from ifvit.data import layouts
from ifvit.data.discovery import recognise
from ifvit.data.findings import Database, Finding, Report
from ifvit.data.records import DataError, Record, by_identity, listed
from ifvit.data.splits import Split
from ifvit.progress import Progress
from ifvit.recognition.fields import USUAL_PERIOD, ridge_period

# Of the databases' medians at 500 ppi; those of FVC2002 B lie between 7.0 and 9.0 px. Half or twice the true ppi lies
# outside for each of them.
PERIODS = (6.0, 12.5)
APART = 1.55  # of an image's period from its database's median; fingers differ by less
LEAST_CONTRAST = 12  # grey levels between the 1st and the 99th percentile: an empty sensor's noise has fewer
AT_ONCE = 256  # images
SHEET_IMAGES, SHEET_PPI, SHEET_SIDE = 8, 250, 256


class Seen(NamedTuple):
    """What a file's image showed: its pixels' digest, ridge period in px and the ppi in use; or why it is unusable."""

    record: Record
    digest: bytes | None = None
    contrast: float = 0.0  # grey levels between nearly the darkest and nearly the lightest pixels
    period: float | None = None
    ppi: float = 0.0
    ppi_from: image.PpiFrom | None = None
    inverted: bool = False
    error: str | None = None


def examine(roots: Sequence[Path], ppi: float | None = None, split: Split | None = None) -> tuple[Report, list[Record]]:
    """The report on everything under the roots, and the records of all that are impressions of fingers.

    ppi: of all files, over what names and tags say. split: of a run; subjects that it trained or validated on are a
    problem, as if the data were to test it.

    Raises:
        DataError: a root is absent or holds no images at all.
    """
    findings: list[Finding] = []
    records: list[Record] = []
    for root in roots:
        records += recognise(root, ppi, findings)
    if split:
        try:
            split.refuse_seen(records, "the data")
        except DataError as error:
            findings.append(Finding("leakage", True, "", str(error)))
    databases = _databases(records, findings)
    seen = list(_look_at(records))
    _judge_images(seen, findings)
    _judge_copies(seen, findings)
    for database in databases:
        _judge_resolution(database, [one for one in seen if one.record.database == database.name], findings)
        database.findings = dict(Counter(finding.kind for finding in findings if finding.database == database.name))
    return Report(databases, findings), records


def _databases(records: Sequence[Record], findings: list[Finding]) -> list[Database]:
    """The databases, their counts held against the published ones, their identities looked at."""
    made = []
    for name in dict.fromkeys(record.database for record in records):
        mine = [record for record in records if record.database == name]
        fingers = by_identity(mine)
        each = Counter(len(mates) for mates in fingers.values())
        ppis = sorted({f"{record.ppi:g}" if record.ppi else "?" for record in mine})
        whole = layouts.published(name)
        database = Database(
            name=name,
            subjects=len({record.subject for record in mine}),
            fingers=len(fingers),
            images=len(mine),
            impressions=str(min(each)) if len(each) == 1 else f"{min(each)}-{max(each)}",
            ppi=",".join(ppis),
            published=whole._asdict(),
        )
        made.append(database)
        _judge_counts(database, whole, findings)
        _judge_identities(database, mine, fingers, whole, findings)
    _judge_shared(records, findings)
    return made


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
            text = f"{len(odd)} fingers have another number of impressions than {whole.impressions}: {listed(odd)}"
            findings.append(Finding("impressions", True, database.name, text))
    else:
        alone = [name for name, mates in fingers.items() if len(mates) == 1]
        if alone:
            text = f"{len(alone)} fingers have one impression, and so no genuine pair: {listed(alone)}"
            findings.append(Finding("no mate", False, database.name, text))
    claims = Counter((record.identity, record.impression) for record in mine)
    twice = [f"{impression} of {identity}" for (identity, impression), count in claims.items() if count > 1]
    if twice:
        text = (
            f"{len(twice)} impressions have two files each, so that one print may stand on both sides: {listed(twice)}"
        )
        findings.append(Finding("same impression", True, database.name, text))
    if database.name.startswith("FVC/"):
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


def _look_at(records: Sequence[Record]) -> Iterator[Seen]:
    progress = Progress("looking at images", len(records))
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(records), AT_ONCE):
            for one in pool.map(_seen, records[start : start + AT_ONCE]):
                progress.step()
                yield one


def _seen(record: Record) -> Seen:
    try:
        scan = image.read(record.path)
    except image.ImageError as error:
        return Seen(record, error=str(error))
    ppi, ppi_from = image.choose_ppi(scan, record.ppi)
    digest = hashlib.sha256(f"{scan.grey.shape}".encode())
    digest.update(np.ascontiguousarray(scan.grey).data)
    contrast = float(np.ptp(np.percentile(scan.grey, (1, 99))))
    return Seen(record, digest.digest(), contrast, ridge_period(scan.grey), ppi, ppi_from, scan.inverted)


def _judge_images(seen: Sequence[Seen], findings: list[Finding]) -> None:
    assumed, inverted = Counter(), Counter()
    unclear: dict[str, list[Path]] = defaultdict(list)
    for one in seen:
        name = one.record.database
        if one.error:
            kind = "blank" if ": blank" in one.error else "unreadable"
            findings.append(Finding(kind, True, name, one.error))
            continue
        if one.contrast < LEAST_CONTRAST:
            text = f"{one.record.path}: blank, its grey levels differ by {one.contrast:.0f}"
            findings.append(Finding("blank", True, name, text))
        elif one.period is None:
            unclear[name].append(one.record.path)
        assumed[name] += one.ppi_from is image.PpiFrom.assumed
        inverted[name] += one.inverted
    for name, paths in unclear.items():
        text = f"in {len(paths)} images no regular ridges were found, look at them: {listed(paths)}"
        findings.append(Finding("no clear ridges", False, name, text))
    for name, count in assumed.items():
        if count:
            text = f"{count} files say nowhere what their ppi is; {image.DEFAULT_PPI:g} is assumed"
            findings.append(Finding("ppi assumed", False, name, text))
    for name, count in inverted.items():
        if count:
            findings.append(Finding("inverted", False, name, f"{count} images have light ridges; they are turned over"))


def _judge_copies(seen: Sequence[Seen], findings: list[Finding]) -> None:
    """The same pixels under two names."""
    copies: dict[bytes, list[Record]] = defaultdict(list)
    for one in seen:
        if one.digest:
            copies[one.digest].append(one.record)
    for records in copies.values():
        if len(records) > 1:
            fingers = dict.fromkeys(record.identity for record in records)
            whose = (
                f"of {len(fingers)} fingers ({listed(fingers)})" if len(fingers) > 1 else f"of {records[0].identity}"
            )
            text = f"{len(records)} files {whose} are one image: {listed([record.path for record in records])}"
            findings.append(Finding("duplicate", True, records[0].database, text))


def _judge_resolution(database: Database, seen: Sequence[Seen], findings: list[Finding]) -> None:
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
                f"ridges lie {one.period:.1f} px apart, those of the others {median * one.ppi / 500:.1f}"
            )
            findings.append(Finding("ppi", True, database.name, text))


def sample_sheet(records: Sequence[Record]) -> np.ndarray:
    """Some impressions of each database, spread over it, as they come to the network: uint8 RGB (H, W, 3).

    Raises:
        DataError: none can be used.
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
            shown.append(canvas.grey)
            if len(shown) == SHEET_IMAGES:
                break
        if shown:
            rows[name] = np.stack(shown)
    if not rows:
        raise DataError("no image can be shown")
    return plots.contact_sheet(rows, f"samples of each database at {SHEET_PPI} ppi", 0.6)
