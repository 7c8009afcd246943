"""The task of an evaluation: the run, the records, the pairs. It is complete before any image is decoded."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ifvit import program
from ifvit.calibration import counted
from ifvit.config import DataConfig, Enhancement, Source
from ifvit.config.run_config import open_run
from ifvit.databases.protocols import PairList, Protocol, protocol_pairs
from ifvit.databases.records import Record, by_identity
from ifvit.databases.sources import find
from ifvit.databases.splits import read_split
from ifvit.databases.synthetic_sets import any_synthetic
from ifvit.databases.yearless import as_known
from ifvit.errors import DataError
from ifvit.storage.checkpoint import MODULE1_FOLDER

USUAL = {Source.fvc: Protocol.fvc, Source.sd4: Protocol.sd4}
LONGEST = 60  # characters of a folder's name


class Task(NamedTuple):
    """A planned evaluation."""

    run_dir: Path | None  # None compares by the ridges alone
    data: DataConfig
    protocol: Protocol
    impostors: int | None  # pairs to draw; None takes all
    score: str  # a value of `run_calibration.Score`
    records: list[Record]
    pairs: PairList

    @property
    def databases(self) -> list[str]:
        """The names of the databases, each once."""
        return list(dict.fromkeys(record.database for record in self.records))

    def heading(self) -> list[str]:
        """Lines for people."""
        genuine = int(self.pairs.genuine.sum())
        impostor = counted(len(self.pairs) - genuine, "impostor")
        return [
            f"run      {self.run_dir or 'none: ridges and minutiae alone'}",
            f"data     {', '.join(self.databases)}: {len(self.records)} images of {len(by_identity(self.records))} "
            "fingers",
            *(["         synthetic fingers: real prints are harder"] if any_synthetic(self.records) else []),
            f"pairs    {counted(genuine, 'genuine')} and {impostor} (protocol {self.protocol})",
        ]

    def folder(self) -> str:
        """The name of the folder of its report: the databases, and the settings that are not the usual ones."""
        names = self.databases
        if names == [str(self.data.source)] and self.data.root:  # data=folder: the name of the folder says more
            names = [Path(self.data.root).absolute().name]
        unusual = [
            str(self.protocol) if self.protocol is not usual_protocol(self.data) else "",
            f"{self.impostors}_impostors" if self.impostors else "",
            self.score if self.score != "fused" else "",
            str(self.data.ridge_mask) if self.run_dir is None and self.data.ridge_mask is Enhancement.pyfing else "",
        ]
        return "-".join([joined_name(names), *filter(None, unusual)])


def usual_protocol(data: DataConfig) -> Protocol:
    """The published protocol of such data; all pairs where there is none."""
    return USUAL.get(data.source, Protocol.all)


def plan(
    run_dir: Path | None, data: DataConfig, protocol: Protocol | None, impostors: int | None, score: str = "fused"
) -> Task:
    """The task of these settings. protocol: None takes the usual one of the data.

    Raises:
        DataError: no image is found, the data do not suit the protocol, or the run trained or validated on a subject.
        CheckpointError: `run_dir` is not a run directory.
    """
    if run_dir is not None:
        open_run(run_dir)  # an error before the images are read
    records = [record for part in find(data).values() for record in part]
    if not records:
        raise DataError(
            "data: name the prints, like data=fvc data.root=FOLDER; synthetic fingers are evaluated as a set "
            f"({program.command('synthesize')}), with data=fvc"
        )
    refuse_seen(run_dir, records)
    protocol = protocol or usual_protocol(data)
    return Task(run_dir, data, protocol, impostors, score, records, protocol_pairs(records, protocol, impostors))


def refuse_seen(run_dir: Path | None, records: Sequence[Record]) -> None:
    """Refuse subjects that the run, or the Module 1 it started from, trained or validated on.

    Raises:
        DataError: there are such subjects; the message names them.
    """
    for folder in () if run_dir is None else (run_dir, run_dir / MODULE1_FOLDER):
        table = folder / "split.csv"
        if table.exists():
            databases = open_run(folder).content.get("databases")
            read_split(table, "split.csv").refuse_seen(as_known(records, databases), "the data")


def joined_name(names: Sequence[str]) -> str:
    """One file name for several databases: FVC2002_DB1_B+DB2_B for FVC2002/DB1_B and FVC2002/DB2_B.

    Other characters than letters, digits and -_+. are replaced. A long name becomes the first database, how many more
    there are, and a digest.
    """
    parts: dict[str, list[str]] = {}
    for name in names:
        collection, _, part = name.rpartition("/")
        parts.setdefault(collection, []).append(part)
    words = [f"{collection}_{'+'.join(part)}" if collection else "+".join(part) for collection, part in parts.items()]
    name = _plain("+".join(words))
    if len(name) <= LONGEST:
        return name
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()[:8]
    more = f"+{len(names) - 1}_more" if len(names) > 1 else ""
    return f"{_plain(names[0])[: LONGEST - 20]}{more}-{digest}"


def _plain(name: str) -> str:
    return re.sub(r"[^\w+.-]", "_", name).lstrip(".-") or "data"
