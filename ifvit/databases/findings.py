"""What the doctor says of databases: a table, findings in plain words, and whether there is a problem among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from ifvit.console import printable
from ifvit.table_text import aligned


def counted(count: int, what: str) -> str:
    """'1 image', '2 images'."""
    return f"{count} {what}{'' if count == 1 else 's'}"


@dataclass
class Database:
    """What one database is found to be."""

    name: str
    subjects: int
    fingers: int
    images: int
    impressions: str  # of a finger: one number, or the fewest and the most
    ppi: str
    published: dict[str, int | None]
    ridge_period_px: float | None = None  # median
    ridge_ppi: float | None = None  # that the ridges speak for
    findings: dict[str, int] = field(default_factory=dict)  # how many of each kind


class Finding(NamedTuple):
    """kind: a word; problem: whether it makes the check fail; database: '' where it is none's; text: in plain words."""

    kind: str
    problem: bool
    database: str
    text: str


@dataclass
class DoctorReport:
    databases: list[Database]
    findings: list[Finding]

    @property
    def healthy(self) -> bool:
        """Whether there is no problem."""
        return not any(finding.problem for finding in self.findings)

    def tree(self) -> dict[str, Any]:
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
            where = f"{finding.database}: " if finding.database else ""
            lines.append(f"{'PROBLEM' if finding.problem else 'note'}  {finding.kind}: {where}{finding.text}")
        count = sum(finding.problem for finding in self.findings)
        lines.append(counted(count, "problem") if count else "no problems")
        # Names from a stranger's disk, without what would act on a terminal.
        return "\n".join(map(printable, lines))


def _row(database: Database, findings: Sequence[Finding]) -> tuple[str, ...]:
    whole = database.published["images"]
    said = "-" if database.ridge_ppi is None else f"{database.ridge_ppi:.0f} ({database.ridge_period_px:.1f} px)"
    problems = sum(finding.problem and finding.database == database.name for finding in findings)
    numbers = map(str, (database.subjects, database.fingers, database.impressions, database.images, whole or "-"))
    return (database.name, *numbers, database.ppi, said, str(problems or ""))
