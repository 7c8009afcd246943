"""How known databases name their files, and what a complete copy contains.

A layout is a pattern of the end of a file's path below the root, in any letter case. The folders above the pattern may
have any names, like `Dbs/`, `images/500/png/roll/` or folders that an upload added. Sources: the README files of
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
    """The published counts of a complete database; None where a count is not published."""

    subjects: int | None = None
    fingers: int | None = None
    impressions: int | None = None  # of every finger
    images: int | None = None


@dataclass(frozen=True)
class Layout:
    """How the files of one source are named.

    The pattern has the group `subject` and, where the path says them, the groups `part`, `finger`, `impression`,
    `session`, `device`, `capture` and `ppi`.
    """

    title: str  # the common name of the database
    example: str  # a path, for messages
    pattern: re.Pattern  # of a path's end
    people: str  # prefix of the names of its subjects
    ppi: float | None = None  # of all files; None where it differs or is unknown


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
# Sources with a folder for each finger: the database's name, and the ppi of the files.
FOLDERS = {Source.printsgan: ("PrintsGAN", 500.0), Source.molf: ("MOLF", None)}
SINGLE_FINGER = {"roll", "plain", "slap-segmented"}  # captures that show one finger
OTHER_PARTS = "slaps, palms and whatever else is no single finger"
# The collection whose people a database shows, where its name is not the database's: its databases share their people.
PEOPLE = {"SD302a": "SD302", "SD302b": "SD302", "SD301a": "SD301"}
# The published counts of a complete database, by its name.
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


class ParsedName(NamedTuple):
    """What the path of a file says about it."""

    record: Record | None  # None where the file is not an impression of a single finger
    reason: str | None = None  # why there is no record


def parse_name(
    source: Source, root: Path, relative: PurePosixPath, year: Callable[[Path], int | None]
) -> ParsedName | None:
    """What the path `root / relative` says in the layout of `source`; None where the path does not have this layout.

    year: gives the year of the competition of an FVC folder, None if it is unknown.
    """
    layout = LAYOUTS[source]
    # The root's own name is part of the path: the root may be the folder of the database.
    home = _home(root)
    match = layout.pattern.search(f"{home.name}/{relative}")
    if not match:
        return None
    groups = {name: value.lower() for name, value in match.groupdict().items() if value}
    finger = None
    if "finger" in groups:
        finger = finger_of(int(groups["finger"]))
        if finger is None:
            return ParsedName(None, OTHER_PARTS)
    if groups.get("capture", "roll") not in SINGLE_FINGER:
        return ParsedName(None, OTHER_PARTS)
    subject, path = match["subject"], root / relative
    if source is Source.fvc:
        return ParsedName(_fvc_record(path, groups, year(path.parent), home / relative.parent))
    ppi = float(groups["ppi"]) if "ppi" in groups else layout.ppi
    if ppi == 0:
        return ParsedName(None, "files that name 0 ppi")
    parts = [groups.get(name) for name in ("impression", "session", "device", "capture")]
    # A plain thumb (codes 11, 12) and the same thumb cut from a slap are two impressions.
    parts.append(groups["finger"] if "finger" in groups and int(groups["finger"]) != finger else None)
    device = groups.get("device")
    return ParsedName(
        Record(
            path=path,
            database=database_of(source),
            subject=f"{layout.people}/{subject}",
            finger=finger,
            impression="-".join(part for part in parts if part),
            device=device.upper() if device else None,
            capture=groups.get("capture"),
            ppi=ppi,
        )
    )


@lru_cache(maxsize=8)
def _home(root: Path) -> Path:
    return root.resolve()


def database_of(source: Source) -> str:
    """The database name in the records of a source other than FVC (`_fvc_record` names those)."""
    return f"SD{source[2:]}" if source.startswith("sd") else LAYOUTS[source].people


def _fvc_record(path: Path, groups: Mapping[str, str], year: int | None, folder: Path) -> Record:
    number, letter = groups["part"][0], groups["part"][-1].upper()
    collection = f"FVC{year}" if year else collection_of(folder)
    database = f"{collection}/DB{number}_{letter}"
    return Record(
        path=path,
        database=database,
        subject=f"{database}/{groups['subject']}",
        finger=None,
        impression=groups["impression"],
        ppi=FVC_PPI[year][int(number) - 1] if year else None,
    )


def published(database: str) -> Published:
    """The published counts of a database, by its name in the records."""
    fvc = re.fullmatch(r"FVC(\d{4})/DB[1-4]_([AB])", database)
    if fvc:
        if fvc[1] == "2006":
            return FVC2006_A if fvc[2] == "A" else FVC2006_B
        return FVC_A if fvc[2] == "A" else FVC_B
    return PUBLISHED.get(database, Published())


def fvc_year(folder: Path) -> int | None:
    """The year of the competition in a folder's path, like .../FVC2004/DB1_A; None where there is none."""
    years = re.findall(r"fvc[ _-]?(20\d\d)", str(folder), re.IGNORECASE)
    return int(years[-1]) if years and int(years[-1]) in FVC_YEARS else None
