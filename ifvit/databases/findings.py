"""The report of the doctor: a table of the databases, the findings as text, and whether one of them is a problem."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from ifvit.console import printable
from ifvit.table_text import aligned


def quantity(count: int, noun: str) -> str:
    """A count with its noun: '1 image', '2 images'."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


@dataclass
class Database:
    """What was found in one database."""

    name: str
    subjects: int
    fingers: int
    images: int
    impressions: str  # of a finger: one number, or the lowest and the highest
    ppi: str  # of the files; '?' where it is unknown, '500?' where it is assumed
    published: dict[str, int | None]  # the fields of `layouts.Published`
    ridge_period_px: float | None = None  # median over the images, px
    ridge_ppi: float | None = None  # at which the ridges would have the usual period
    findings: dict[str, int] = field(default_factory=dict)  # count of findings of each kind


class Finding(NamedTuple):
    """A problem of the data, or a note about them."""

    kind: str  # a word or two, like 'duplicate'
    problem: bool  # makes the check fail; else it is a note
    database: str  # '' where it belongs to no single database
    text: str  # one sentence for people


@dataclass
class DoctorReport:
    """All databases and all findings of one check."""

    databases: list[Database]
    findings: list[Finding]

    @property
    def healthy(self) -> bool:
        """Whether there is no problem."""
        return not any(finding.problem for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """The report for JSON."""
        return {
            "healthy": self.healthy,
            "databases": [asdict(database) for database in self.databases],
            "findings": [finding._asdict() for finding in self.findings],
        }

    def text(self) -> str:
        """A table of the databases, then the findings, problems first."""
        heading = ("database", "subjects", "fingers", "each", "images", "published", "ppi", "ridges say", "problems")
        rows = [heading, *(_row(database, self.findings) for database in self.databases)]
        lines = aligned(rows)
        for finding in sorted(self.findings, key=lambda finding: not finding.problem):
            prefix = f"{finding.database}: " if finding.database else ""
            lines.append(f"{'PROBLEM' if finding.problem else 'note'}  {finding.kind}: {prefix}{finding.text}")
        count = sum(finding.problem for finding in self.findings)
        lines.append(quantity(count, "problem") if count else "no problems")
        # Names of files come from outside: control characters in them would act on a terminal.
        return "\n".join(map(printable, lines))


def _row(database: Database, findings: Sequence[Finding]) -> tuple[str, ...]:
    published = database.published["images"]
    ridges = "-" if database.ridge_ppi is None else f"{database.ridge_ppi:.0f} ({database.ridge_period_px:.1f} px)"
    problems = sum(finding.problem and finding.database == database.name for finding in findings)
    numbers = map(str, (database.subjects, database.fingers, database.impressions, database.images, published or "-"))
    return (database.name, *numbers, database.ppi, ridges, str(problems or ""))
