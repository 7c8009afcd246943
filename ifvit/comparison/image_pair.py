"""Two images whose prints were laid on one another: what was found, in the images' own pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ifvit import __version__
from ifvit.comparison.comparer import Compared
from ifvit.comparison.matcher_print import Print
from ifvit.comparison.picture import NO_PLACES, Head, Places, draw_ridge_comparison
from ifvit.comparison.score import Evidence
from ifvit.console import printable
from ifvit.image import PpiFrom
from ifvit.registration.registrar import GuessSource, RidgeAlignment
from ifvit.registration.ridge_print import PPI, RidgePrint
from ifvit.registration.similarity import PointMatches

MM2 = (25.4 / PPI) ** 2  # of a px
GRID, FINE_GRID = 24, 8  # px at 500 ppi between the points of the map that JSON lists, and of those for the homography
LEAST_SPREAD = 8.0  # px at 500 ppi, standard deviation across: points nearer to a line than this tell no affine map
PPI_FROM = {
    PpiFrom.given: "as given",
    PpiFrom.file: "by its own tag",
    PpiFrom.assumed: "assumed, as nothing says it: --ppi N does",
}
SOURCES = {GuessSource.flow: "flow", GuessSource.minutiae: "minutiae", GuessSource.module1: "Module 1"}


@dataclass(frozen=True, eq=False)  # it holds arrays: equal to itself alone, so that it hashes
class ImagePair:
    """Two images. Points are (x, y) px of the images as given, unless said otherwise.

    name_a, name_b: their paths, or A and B.
    print_a, print_b: as they were compared.
    compared: what was found.
    seconds: reading, enhancing and comparing.
    network_ppi: of the canvases that networks saw, None without a run.
    run: whose networks took part, in words; None without a run, or where nobody names it.
    """

    name_a: str
    name_b: str
    print_a: Print
    print_b: Print
    compared: Compared
    seconds: float
    network_ppi: float | None = None
    run: str | None = field(default=None, kw_only=True)

    @property
    def names(self) -> str:
        """Both, in words."""
        return printable(f"{self.name_a} and {self.name_b}")

    @property
    def alignment(self) -> RidgeAlignment:
        """A on B, px of the ridges at 500 ppi."""
        return self.compared.alignment

    @property
    def evidence(self) -> Evidence:
        """What the ridges say."""
        return self.compared.evidence

    @property
    def overlap(self) -> float:
        """The share of the smaller print that the other shows, [0, 1]."""
        return float(self.alignment.agreement.share)

    @property
    def matches(self) -> PointMatches | None:
        """Which places of A Module 2 finds in which of B, surest first; None without a Module 2."""
        return self.compared.opinion and self._in_files(self.compared.opinion.matches)

    @cached_property
    def homography(self) -> np.ndarray | None:
        """The affine map from px of A to px of B that comes nearest to the alignment over the overlap, float64 (3, 3);
        None where the overlap is too small or narrow to tell one.
        """
        points = self._overlap_points(FINE_GRID)
        if len(points) < 3 or np.linalg.eigvalsh(np.cov(points.T))[0] < LEAST_SPREAD**2:
            return None
        in_a, in_b = self._sides_in_files(points)
        middle = in_a.mean(0)
        rows, *_ = np.linalg.lstsq(np.c_[in_a - middle, np.ones(len(in_a))], in_b, rcond=None)
        linear, shift = rows[:2].T, rows[2]
        return np.array([*np.c_[linear, shift - linear @ middle], (0, 0, 1)])

    @property
    def compared_by(self) -> str:
        """What took part, in words."""
        if self.compared.guesses is None:
            return "ridges and minutiae alone, without a run"
        modules = "Module 1" if self.compared.opinion is None else "Modules 1 and 2"
        return f"ridges, minutiae and {modules} of {self.run or 'a run'}"

    def tried(self) -> str:
        """How many ways to lay one print on the other were tried, and how near the best one came, in words."""
        tried, agreement = self.compared.tried, self.alignment.agreement
        parts = ", ".join(f"{SOURCES[source]} {count}" for source, count in tried.items())
        text = (
            f"the best of {sum(tried.values())} guesses ({parts}) leaves ridges agreeing at {agreement.mean:.2f} over "
            f"{agreement.area * MM2:.0f} mm2"
        )
        return text if self.compared.ridge_score >= 0 else f"{text}, as those of different fingers do"

    def agreement_tree(self) -> dict[str, Any]:
        """How well the ridges agree, for JSON."""
        agreement = self.alignment.agreement
        return {
            "mean": round(float(agreement.mean), 4),
            "share_that_agrees": round(float(agreement.agrees), 4),
            "area_mm2": round(float(agreement.area) * MM2, 1),
            "share_of_smaller_print": round(self.overlap, 4),
            "guess": str(self.alignment.source),
        }

    def map_tree(self) -> list[dict[str, list[float]]]:
        """Points of B in the overlap, `GRID` px at 500 ppi apart, and where they lie in A, for JSON."""
        in_a, in_b = self._sides_in_files(self._overlap_points(GRID))
        return [{"a": a, "b": b} for a, b in zip(listed(in_a), listed(in_b), strict=True)]

    def files_tree(self) -> dict[str, Any]:
        """What the images are, and how long it took, for JSON."""
        return {
            "ppi": {name: {"value": shown.ppi, "from": shown.ppi_from.value} for name, shown in self._prints()},
            "inverted": {name: shown.inverted for name, shown in self._prints()},
            "seconds": round(self.seconds, 3),
        }

    def registration_tree(self) -> list[dict[str, Any]]:
        """Module 1's matches, and which of them agree with its guess, for JSON."""
        guesses = self.compared.guesses
        matches = matches_tree(self._in_files(guesses.matches))
        return [match | {"inlier": bool(agrees)} for match, agrees in zip(matches, guesses.agree, strict=True)]

    def files_text(self) -> list[str]:
        """What the images are, and how long it took, in lines."""
        lines = [f"{name.upper()}: {described(shown)}" for name, shown in self._prints()]
        return [*lines, f"in {self.seconds:.2f} s"]

    def drawn(self, title: str, lines: Sequence[str], day: date | None) -> np.ndarray:
        """The picture of the pair (`draw_ridge_comparison`) below the answer and what it rests on, uint8 RGB (H, W, 3).

        day: that stands on it; None takes today.
        """
        paths = self.name_a, self.name_b
        facts = [
            *(
                (name.upper(), f"{Path(path).name}: {described(shown)}")
                for path, (name, shown) in zip(paths, self._prints(), strict=True)
            ),
            ("compared by", f"{self.compared_by}; IFViT {__version__}"),
            ("date", (day or date.today()).isoformat()),
        ]
        (_, a), (_, b) = self._prints()
        return draw_ridge_comparison(a, b, self.alignment, Head(title, lines, facts), self._places())

    def _places(self) -> Places:
        """The places that Module 2 finds to correspond, px of the ridges at 500 ppi; none without it."""
        if self.compared.opinion is None:
            return NO_PLACES
        matches = self.compared.opinion.matches
        a, b = self.print_a, self.print_b
        return a.to_ridges(matches.points_a, self.network_ppi), b.to_ridges(matches.points_b, self.network_ppi)

    def _prints(self) -> tuple[tuple[str, RidgePrint], ...]:
        return ("a", self.print_a.of_ridges), ("b", self.print_b.of_ridges)

    def _overlap_points(self, step: int) -> np.ndarray:
        """Points (N, 2) of B's ridges, px at 500 ppi, `step` px apart, where both prints show ridges."""
        height, width = self.print_b.of_ridges.ridges.shape
        y, x = np.mgrid[step // 2 : height : step, step // 2 : width : step]
        points = np.stack([x, y], axis=-1).reshape(-1, 2)
        return points[self.alignment.agreement_at(points) != 0]

    def _sides_in_files(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where points (N, 2) of B's ridges lie in the images of A and of B."""
        (_, a), (_, b) = self._prints()
        return a.to_file(self.alignment.to_a(points)), b.to_file(points)

    def _in_files(self, matches: PointMatches) -> PointMatches:
        """Matches of the canvases in px of the images."""
        a, b = (shown.of_networks.canvas for shown in (self.print_a, self.print_b))
        return PointMatches(
            a.to_file(matches.points_a, self.network_ppi), b.to_file(matches.points_b, self.network_ppi),
            matches.confidence,
        )  # fmt: skip


def described(shown: RidgePrint) -> str:
    """What an image shows, in words."""
    turned = "; light ridges, turned over" if shown.inverted else ""
    return (
        f"{shown.area:.0f} mm2 of ridges, {len(shown.minutiae.points)} minutiae; {shown.ppi:g} ppi, "
        f"{PPI_FROM[shown.ppi_from]}{turned}"
    )


def listed(points: np.ndarray) -> list:
    return np.round(np.asarray(points, np.float64), 2).tolist()


def matches_tree(matches: PointMatches) -> list[dict[str, Any]]:
    sides = listed(matches.points_a), listed(matches.points_b)
    return [
        {"a": a, "b": b, "confidence": round(float(sure), 4)}
        for a, b, sure in zip(*sides, matches.confidence, strict=True)
    ]
