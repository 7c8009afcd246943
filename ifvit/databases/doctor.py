"""Check databases before a training, without a matcher.

The checks: counts against the published ones, files that are no images, blank or damaged images, one image under two
names, a resolution that the ridges contradict, fingers with one impression, people shared between databases, files of
other names. Each result is a finding: a problem, which makes the check fail, or a note.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ifvit import image
from ifvit.config import Source
from ifvit.databases import layouts
from ifvit.databases.discovery import recognise
from ifvit.databases.findings import Database, DoctorReport, Finding, quantity
from ifvit.databases.records import Record, by_identity, name_list
from ifvit.databases.splits import Split
from ifvit.databases.yearless import is_yearless
from ifvit.enhancement.fields import PERIOD_RANGE, USUAL_PERIOD, ridge_period
from ifvit.errors import DataError
from ifvit.progress import Progress

PERIOD_FACTOR = 1.55  # between an image's period and its database's median, at most; fingers differ by less
BLANK = re.compile(r": blank, every pixel is \d+$")  # end of the message of `image.read` for a blank image
LEAST_CONTRAST = 12  # grey levels between the 1st and the 99th percentile: an empty sensor's noise has fewer
CHUNK = 256  # images read in one go


class ImageFacts(NamedTuple):
    """What was measured in the image of a record, or why it cannot be used."""

    record: Record
    digest: bytes | None = None  # of the pixels; None where the image cannot be used
    contrast: float = 0.0  # grey levels between the 1st and the 99th percentile
    period: float | None = None  # px between ridges; None where no regular ridges were found
    ppi: float = 0.0  # the resolution in use
    ppi_from: image.PpiFrom | None = None
    inverted: bool = False  # light ridges on a dark ground
    error: str | None = None


def examine(
    roots: Sequence[Path], source: Source | None = None, ppi: float | None = None, split: Split | None = None
) -> tuple[DoctorReport, list[Record]]:
    """The report on everything under the roots, and the records of all impressions there.

    source: the layout of the roots, if it is known. ppi: of all files, over what names and tags say. split: of a run;
    subjects that it trained or validated on are a problem, because the data are taken for test data.

    Raises:
        DataError: a root is absent, holds no images at all, or is given twice.
    """
    findings: list[Finding] = []
    records: list[Record] = []
    check_roots(roots)
    for root in roots:
        records += recognise(root, findings, source, ppi)
    if split:
        _check_split(split, records, findings)
    by_database: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_database[record.database].append(record)
    databases = [_database(name, group, findings) for name, group in sorted(by_database.items())]
    _check_shared_subjects(records, findings)
    images: dict[str, list[ImageFacts]] = defaultdict(list)
    for facts in _read_images(records):
        images[facts.record.database].append(facts)
    _check_copies([facts for group in images.values() for facts in group], findings)
    for database in databases:
        _check_images(database.name, images[database.name], findings)
        _check_resolution(database, images[database.name], findings)
    kinds = Counter((finding.database, finding.kind) for finding in findings)
    for database in databases:
        database.findings = {kind: count for (name, kind), count in kinds.items() if name == database.name}
    return DoctorReport(databases, findings), records


def check_roots(roots: Sequence[Path]) -> None:
    """Refuse a root that is given twice, or that lies in another one.

    Raises:
        DataError: there is such a root; the message names both.
    """
    real_roots = [root.resolve() for root in roots]
    for k, root in enumerate(real_roots):
        for other in real_roots[:k]:
            if root.is_relative_to(other) or other.is_relative_to(root):
                raise DataError(f"{root} and {other} hold the same files; name each folder once")


def _check_split(split: Split, records: Sequence[Record], findings: list[Finding]) -> None:
    subjects = {record.subject for record in records}
    known = len(subjects & split.named_as(records).part.keys())
    text = f"the split knows {known} of the data's {quantity(len(subjects), 'subject')}"
    if known == 0:
        text += ", so it says nothing of them: were they named otherwise in that run (--source)?"
    findings.append(Finding("split", known == 0, "", text))
    try:
        split.refuse_seen(records, "the data")
    except DataError as error:
        findings.append(Finding("leakage", True, "", str(error)))


def _database(name: str, records: Sequence[Record], findings: list[Finding]) -> Database:
    """The summary of a database; checks its counts against the published ones, and its identities."""
    fingers = by_identity(records)
    impressions = Counter(len(indices) for indices in fingers.values())
    published = layouts.published(name)
    database = Database(
        name=name,
        subjects=len({record.subject for record in records}),
        fingers=len(fingers),
        images=len(records),
        impressions=str(min(impressions)) if len(impressions) == 1 else f"{min(impressions)}-{max(impressions)}",
        ppi=",".join(sorted({f"{record.ppi:g}" if record.ppi else "?" for record in records})),
        published=published._asdict(),
    )
    _check_counts(database, published, findings)
    _check_identities(database, records, fingers, published, findings)
    return database


def _check_counts(database: Database, published: layouts.Published, findings: list[Finding]) -> None:
    for name in ("subjects", "fingers", "images"):
        count, expected = getattr(database, name), getattr(published, name)
        if expected and count != expected:
            findings.append(Finding("count", True, database.name, f"{count} {name}, published are {expected}"))


def _check_identities(
    database: Database,
    records: Sequence[Record],
    fingers: dict[str, list[int]],
    published: layouts.Published,
    findings: list[Finding],
) -> None:
    """Check how many impressions each finger has, and whether two files are of one impression.

    fingers: the indices of the records of each identity.
    """
    if published.impressions:
        counts = {name: len(indices) for name, indices in fingers.items()}
        wrong = [f"{name} has {count}" for name, count in counts.items() if count != published.impressions]
        if wrong:
            text = (
                f"{quantity(len(wrong), 'finger')} of other than {published.impressions} impressions: "
                f"{name_list(wrong)}"
            )
            findings.append(Finding("impressions", True, database.name, text))
    else:
        single = [name for name, indices in fingers.items() if len(indices) == 1]
        if single:
            text = (
                f"{quantity(len(single), 'finger')} of one impression, and so without a genuine pair: "
                f"{name_list(single)}"
            )
            findings.append(Finding("no mate", False, database.name, text))
    files = Counter((record.identity, record.impression) for record in records)
    doubles = [f"impression {impression} of {identity}" for (identity, impression), count in files.items() if count > 1]
    if doubles:
        text = (
            f"{len(doubles)} impressions have two files each, so that one print may stand on both sides: "
            f"{name_list(doubles)}"
        )
        findings.append(Finding("same impression", True, database.name, text))
    if is_yearless(database.name) and database.ppi == "?":
        text = "the path does not say which competition it is, and so not the ppi; name it like FVC2002 or set --ppi"
        findings.append(Finding("unknown year", True, database.name, text))


def _check_shared_subjects(records: Sequence[Record], findings: list[Finding]) -> None:
    """Note subjects that are in several databases: a split must be by subject, over all of them."""
    databases_of: dict[str, set[str]] = defaultdict(set)
    for record in records:
        databases_of[record.subject].add(record.database)
    shared = Counter(tuple(sorted(databases)) for databases in databases_of.values() if len(databases) > 1)
    for databases, count in shared.items():
        text = f"{count} subjects are in all of {', '.join(databases)}: a split by database would leak them"
        findings.append(Finding("shared subjects", False, "", text))


def _read_images(records: Sequence[Record]) -> Iterator[ImageFacts]:
    """The facts of each record's image, in order."""
    progress = Progress("looking at images", len(records))
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(records), CHUNK):
            for facts in pool.map(_image_facts, records[start : start + CHUNK]):
                progress.step()
                yield facts


def _image_facts(record: Record) -> ImageFacts:
    def facts_of(scan: image.Scan, given_ppi: float | None) -> ImageFacts:
        ppi, ppi_from = image.choose_ppi(scan, given_ppi)
        digest = hashlib.sha256(f"{scan.grey.shape}".encode())
        digest.update(np.ascontiguousarray(scan.grey).data)
        contrast = float(np.ptp(np.percentile(scan.grey, (1, 99))))
        return ImageFacts(record, digest.digest(), contrast, ridge_period(scan.grey), ppi, ppi_from, scan.inverted)

    facts = image.from_image(record.path, record.ppi, facts_of)
    return ImageFacts(record, error=str(facts)) if isinstance(facts, image.ImageError) else facts


def _check_images(database: str, images: Sequence[ImageFacts], findings: list[Finding]) -> None:
    """Check the images of one database for damage, contrast, ridges, a known ppi and polarity."""
    unclear: list[Path] = []
    for facts in images:
        if facts.error:
            kind = "blank" if BLANK.search(facts.error) else "unreadable"
            findings.append(Finding(kind, True, database, facts.error))
        elif facts.contrast < LEAST_CONTRAST:
            text = f"{facts.record.path}: its grey levels differ by {facts.contrast:.0f}"
            findings.append(Finding("blank", True, database, text))
        elif facts.period is None:
            unclear.append(facts.record.path)
    if unclear:
        text = f"no regular ridges were found in {quantity(len(unclear), 'image')}, look at them: {name_list(unclear)}"
        findings.append(Finding("no clear ridges", False, database, text))
    if count := sum(facts.ppi_from is image.PpiFrom.assumed for facts in images):
        text = f"nothing says what the ppi of {quantity(count, 'file')} is; {image.DEFAULT_PPI:g} is assumed"
        findings.append(Finding("ppi assumed", False, database, text))
    if inverted := [facts.record.path for facts in images if facts.inverted]:
        text = f"light ridges on a dark ground, turned over: {quantity(len(inverted), 'image')}, {name_list(inverted)}"
        findings.append(Finding("inverted", False, database, text))


def _check_copies(images: Sequence[ImageFacts], findings: list[Finding]) -> None:
    """Find images with the same pixels. The copies between two databases are one finding."""
    originals: dict[bytes, Record] = {}
    copies: dict[tuple[str, str, bool], list[str]] = defaultdict(list)
    for facts in images:
        if facts.digest:
            original = originals.setdefault(facts.digest, facts.record)
            if original is not facts.record:
                same_finger = original.identity == facts.record.identity
                key = original.database, facts.record.database, same_finger
                copies[key].append(f"{original.path} = {facts.record.path}")
    for (database, other, same_finger), paths in copies.items():
        whose = "of one finger" if same_finger else "of different fingers"
        text = f"{quantity(len(paths), 'image')} under two names, {whose}: {name_list(paths)}"
        findings.append(Finding("duplicate", True, database, text if database == other else f"also in {other}, {text}"))


def _check_resolution(database: Database, images: Sequence[ImageFacts], findings: list[Finding]) -> None:
    """Check the ppi by the ridge period, about 9 px at 500 ppi: first of the database, then of each image."""
    measured = [facts for facts in images if facts.period]
    if not measured:
        return
    periods = np.array([facts.period for facts in measured])
    periods_at_500 = periods * np.array([500 / facts.ppi for facts in measured])  # px at 500 ppi
    median = float(np.median(periods_at_500))
    database.ridge_period_px = float(np.median(periods))
    ppi = float(np.median([facts.ppi for facts in measured]))
    database.ridge_ppi = ppi * median / USUAL_PERIOD
    if database.ppi == "?":
        database.ppi = f"{ppi:g}?"
    if not PERIOD_RANGE[0] <= median <= PERIOD_RANGE[1]:
        text = (
            f"at {ppi:g} ppi the ridges would lie {median:.1f} px apart on a 500 ppi scale, those of adults lie "
            f"about {USUAL_PERIOD:g}; the images look like {database.ridge_ppi:.0f} ppi"
        )
        findings.append(Finding("ppi", True, database.name, text))
    for facts, period in zip(measured, periods_at_500, strict=True):
        if not 1 / PERIOD_FACTOR <= period / median <= PERIOD_FACTOR:
            expected = median * facts.ppi / 500  # px
            text = (
                f"{facts.record.path} looks like {facts.ppi * period / median:.0f} ppi instead of {facts.ppi:g}: its "
                f"ridges lie {facts.period:.1f} px apart, at {facts.ppi:g} ppi they would {expected:.1f}"
            )
            findings.append(Finding("ppi", True, database.name, text))
