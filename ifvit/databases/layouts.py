"""How the databases of the field name their files, and what they contain: one table, a line a database.

A layout is a pattern on a file's path below the root, in any letter case; folders above those in the pattern are free,
so that `Dbs/`, `images/500/png/roll/` or the folders that an upload added change nothing. Sources: the README files of
the databases, the competitions' sites (Maltoni et al., FVC2000-2006), NIST TN 1993 (SD300), TN 2002 (SD301), TN 2007
(SD302), Engelsma et al. 2022 (PrintsGAN), Shoshan et al. 2024 (FPGAN-Control), Sankaran et al. 2015 (MOLF).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from ifvit.config import Source
from ifvit.databases.records import Record, finger_of
from ifvit.databases.yearless import collection_of

IMAGE = r"\.(?:png|tiff?|bmp|jpe?g|wsq|pgm)"
IMAGE_ENDINGS = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".tif", ".tiff", ".wsq")

FVC_YEARS = (2000, 2002, 2004, 2006)
# ppi of databases 1-4 of each competition (the FVC sites' tables; 2006 is to be checked by ridge period).
FVC_PPI = {
    2000: (500, 500, 500, 500),
    2002: (500, 569, 500, 500),
    2004: (500, 500, 512, 500),
    2006: (250, 569, 500, 500),
}


class Published(NamedTuple):
    """What a complete database holds; None where nobody published it. impressions: of every finger."""

    subjects: int | None = None
    fingers: int | None = None
    impressions: int | None = None
    images: int | None = None


@dataclass(frozen=True)
class Layout:
    """How the files of one source are named.

    title: as people know it; example: a path, for messages; pattern: of a path's end, with the groups subject and,
    where the name says them, part, finger, impression, session, device, capture, ppi; people: the name space of its
    subjects; ppi: of all files, where it is one.
    """

    title: str
    example: str
    pattern: re.Pattern
    people: str
    ppi: float | None = None


def _pattern(text: str) -> re.Pattern:
    return re.compile(rf"(?:^|/){text}{IMAGE}$", re.IGNORECASE | re.ASCII)


LAYOUTS = {
    Source.fvc: Layout(
        "FVC2000-2006",
        "DB1_A/101_1.tif",
        _pattern(r"db(?P<part>[1-4]_?[ab])/(?P<subject>\d+)_(?P<impression>\d+)"),
        "FVC",
    ),
    Source.sd4: Layout(
        "NIST SD4",
        "figs_0/f0001_01.png",
        _pattern(r"(?P<impression>[fs])(?P<subject>\d{4})_(?P<finger>\d\d)"),
        "SD4",
        ppi=500,
    ),
    Source.sd300: Layout(
        "NIST SD300",
        "images/500/png/roll/00001000_roll_500_01.png",
        _pattern(r"(?P<subject>\d{8})_(?P<capture>[a-z-]+)_(?P<ppi>\d+)_(?P<finger>\d\d)"),
        "SD300",
    ),
    Source.sd301a: Layout(
        "NIST SD301a",
        "images/friction-ridge/dryrun-A/500/roll/png/00002201_01_A_500_roll_01.png",
        _pattern(
            r"(?P<subject>\d{8})_(?P<session>[a-z0-9]+)_(?P<device>[a-z0-9]+)_(?P<ppi>\d+)_(?P<capture>[a-z-]+)_"
            r"(?P<finger>\d\d)"
        ),
        "SD301",
    ),
    Source.sd302a: Layout(
        "NIST SD302a",
        "images/challengers/A/roll/png/00002302_A_roll_01.png",
        _pattern(r"(?P<subject>\d{8})_(?P<device>[a-h])_(?P<capture>[a-z-]+)_(?P<finger>\d\d)"),
        "SD302",
    ),
    Source.sd302b: Layout(
        "NIST SD302b",
        "images/baseline/R/500/roll/png/00002302_R_500_roll_01.png",
        _pattern(r"(?P<subject>\d{8})_(?P<device>[rsuv])_(?P<ppi>\d+)_(?P<capture>[a-z-]+)_(?P<finger>\d\d)"),
        "SD302",
    ),
    Source.fpgan: Layout(
        "FPGAN-Control",
        "ID_0000001/x_im000_y.png",
        _pattern(r"ID_(?P<subject>\d+)/[^/]*im(?P<impression>\d+)[^/]*"),
        "FPGAN-Control",
        ppi=500,
    ),
}
# Whose files lie in a folder for each finger, with the database's name and the files' ppi.
FOLDERS = {Source.printsgan: ("PrintsGAN", 500.0), Source.molf: ("MOLF", None)}
SINGLE = {"roll", "plain", "slap-segmented"}  # captures that show one finger
OTHER_PARTS = "slaps, palms and whatever else is no single finger"
# Whose people a database shows, where that is not its own name: those of one collection are the same.
PEOPLE = {"SD302a": "SD302", "SD302b": "SD302", "SD301a": "SD301"}
# What a complete database holds, by its name.
PUBLISHED = {
    "SD4": Published(2000, 2000, 2, 4000),
    "SD300": Published(subjects=888),
    "SD302a": Published(subjects=200),
    "SD302b": Published(subjects=200),
    "PrintsGAN": Published(35000, 35000, 15, 525000),
    "MOLF": Published(fingers=1000),
}
FVC_A, FVC_B = Published(100, 100, 8, 800), Published(10, 10, 8, 80)
FVC2006_A, FVC2006_B = Published(140, 140, 12, 1680), Published(10, 10, 12, 120)


class Named(NamedTuple):
    """What a file's name says: a record, or None and why it is no impression of a finger."""

    record: Record | None
    left_out: str | None = None


def by_name(source: Source, root: Path, relative: PurePosixPath, year: Callable[[Path], int | None]) -> Named | None:
    """What the file `root / relative` is in the layout of `source`; None when it is not named like one of its files.

    year: the competition of an FVC folder, None if unknown.
    """
    layout = LAYOUTS[source]
    # The root's own name counts: it may be the database's folder itself.
    home = _home(root)
    found = layout.pattern.search(f"{home.name}/{relative}")
    if not found:
        return None
    told = {name: value.lower() for name, value in found.groupdict().items() if value}
    finger = None
    if "finger" in told:
        finger = finger_of(int(told["finger"]))
        if finger is None:
            return Named(None, OTHER_PARTS)
    if told.get("capture", "roll") not in SINGLE:
        return Named(None, OTHER_PARTS)
    subject, path = found["subject"], root / relative
    if source is Source.fvc:
        return Named(_fvc_record(path, told, year(path.parent), home / relative.parent))
    ppi = float(told["ppi"]) if "ppi" in told else layout.ppi
    if ppi == 0:
        return Named(None, "files that name 0 ppi")
    parts = [told.get(name) for name in ("impression", "session", "device", "capture")]
    # A plain thumb (11, 12) beside a thumb cut from a slap is another impression of it.
    parts.append(told["finger"] if "finger" in told and int(told["finger"]) != finger else None)
    device = told.get("device")
    return Named(
        Record(
            path=path,
            database=database_of(source),
            subject=f"{layout.people}/{subject}",
            finger=finger,
            impression="-".join(part for part in parts if part),
            device=device.upper() if device else None,
            capture=told.get("capture"),
            ppi=ppi,
        )
    )


@lru_cache(maxsize=8)
def _home(root: Path) -> Path:
    return root.resolve()


def database_of(source: Source) -> str:
    """The name that the records of a source bear; FVC's say which of its databases they are from."""
    return f"SD{source[2:]}" if source.startswith("sd") else LAYOUTS[source].people


def _fvc_record(path: Path, told: Mapping[str, str], year: int | None, folder: Path) -> Record:
    number, letter = told["part"][0], told["part"][-1].upper()
    collection = f"FVC{year}" if year else collection_of(folder)
    database = f"{collection}/DB{number}_{letter}"
    return Record(
        path=path,
        database=database,
        subject=f"{database}/{told['subject']}",
        finger=None,
        impression=told["impression"],
        ppi=FVC_PPI[year][int(number) - 1] if year else None,
    )


def published(database: str) -> Published:
    """What the complete database holds, by the name that records bear."""
    fvc = re.fullmatch(r"FVC(\d{4})/DB[1-4]_([AB])", database)
    if fvc:
        if fvc[1] == "2006":
            return FVC2006_A if fvc[2] == "A" else FVC2006_B
        return FVC_A if fvc[2] == "A" else FVC_B
    return PUBLISHED.get(database, Published())


def fvc_year(folder: Path) -> int | None:
    """The competition that a folder's path names, like .../FVC2004/DB1_A."""
    years = re.findall(r"fvc[ _-]?(20\d\d)", str(folder), re.IGNORECASE)
    return int(years[-1]) if years and int(years[-1]) in FVC_YEARS else None
