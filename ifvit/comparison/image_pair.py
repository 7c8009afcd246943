"""Two images whose prints were aligned: the result in the images' own pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ifvit import __version__
from ifvit.comparison.compared import Compared
from ifvit.comparison.matcher_print import Print
from ifvit.comparison.picture import NO_PLACES, Head, Places, draw_ridge_comparison
from ifvit.comparison.score import Evidence
from ifvit.console import printable
from ifvit.enhancement.fields import PERIOD_RANGE, USUAL_PERIOD, ridge_period
from ifvit.image import PpiFrom
from ifvit.registration.registrar import GuessSource, RidgeAlignment
from ifvit.registration.ridge_print import PPI, RidgePrint
from ifvit.registration.similarity import PointMatches

MM2 = (25.4 / PPI) ** 2  # of a px
GRID, FINE_GRID = 24, 8  # px at 500 ppi between the points of the map in JSON, and between those for the homography
LEAST_SPREAD = 8.0  # px at 500 ppi, standard deviation: points nearer to a line than this determine no affine map
PPI_FROM = {
    PpiFrom.given: "as given",
    PpiFrom.file: "by its own tag",
    PpiFrom.assumed: "assumed",
}
SOURCES = {GuessSource.flow: "flow", GuessSource.minutiae: "minutiae", GuessSource.module1: "Module 1"}


@dataclass(frozen=True, eq=False)  # has arrays: equal to itself alone, so that it can be hashed
class ImagePair:
    """Two images and their comparison. Points are (x, y) px of the files, where nothing else is named."""

    name_a: str  # its path, or A
    name_b: str  # its path, or B
    print_a: Print
    print_b: Print
    compared: Compared
    seconds: float  # to read, enhance and compare
    network_ppi: float | None = None  # of the networks' canvases; None without a run
    run: str | None = field(default=None, kw_only=True)  # the run and its state, in words; None without a run

    @property
    def names(self) -> str:
        """Both names, in words."""
        return printable(f"{self.name_a} and {self.name_b}")

    @property
    def alignment(self) -> RidgeAlignment:
        """The alignment of A with B, px of the ridges at 500 ppi."""
        return self.compared.alignment

    @property
    def evidence(self) -> Evidence:
        """The evidence of the ridges and minutiae."""
        return self.compared.evidence

    @property
    def overlap(self) -> float:
        """The share of the smaller print's ridges that the other print shows too, [0, 1]."""
        return min(1.0, float(self.alignment.agreement.share))  # sampled, so that it may come out above 1

    @property
    def matches(self) -> PointMatches | None:
        """Module 2's matches, best first; None without a Module 2."""
        result = self.compared.module2_result
        return None if result is None else self._in_files(result.matches)

    @cached_property
    def homography(self) -> np.ndarray | None:
        """The affine map from px of A to px of B that fits the alignment best over the overlap, float64 (3, 3).

        None where the overlap is too small or too narrow for a fit.
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
        """The sources of evidence, in words."""
        if self.compared.guess is None:
            return "ridges and minutiae alone, without a run"
        modules = "Module 1" if self.compared.module2_result is None else "Modules 1 and 2"
        return f"ridges, minutiae and {modules} of {self.run or 'a run'}"

    def guesses_text(self) -> str:
        """The guesses that were tried, and how well the ridges agree under the best one, in words."""
        counts, agreement = self.compared.guess_counts, self.alignment.agreement
        parts = ", ".join(f"{SOURCES[source]} {count}" for source, count in counts.items())
        text = (
            f"the best of {sum(counts.values())} guesses ({parts}) leaves ridges agreeing at {agreement.mean:.2f} over "
            f"{agreement.area * MM2:.0f} mm2"
        )
        return text if self.compared.ridge_score >= 0 else f"{text}, as those of different fingers do"

    def agreement_dict(self) -> dict[str, Any]:
        """The agreement of the ridges, for JSON."""
        agreement = self.alignment.agreement
        return {
            "mean": round(float(agreement.mean), 4),
            "share_that_agrees": round(float(agreement.agrees), 4),
            "area_mm2": round(float(agreement.area) * MM2, 1),
            "share_of_smaller_print": round(self.overlap, 4),
            "guess": str(self.alignment.source),
        }

    def map_list(self) -> list[dict[str, list[float]]]:
        """Points of B in the overlap, `GRID` px at 500 ppi apart, and the points of A that they map to, for JSON."""
        in_a, in_b = self._sides_in_files(self._overlap_points(GRID))
        return [{"a": a, "b": b} for a, b in zip(rounded_points(in_a), rounded_points(in_b), strict=True)]

    def files_dict(self) -> dict[str, Any]:
        """Resolution and polarity of the images, and the time, for JSON."""
        return {
            "ppi": {
                name: {"value": float(print_.ppi), "from": print_.ppi_from.value, "doubt": self.ppi_doubts.get(name)}
                for name, print_ in self._prints()
            },
            "inverted": {name: print_.inverted for name, print_ in self._prints()},
            "seconds": round(self.seconds, 3),
        }

    def registration_list(self) -> list[dict[str, Any]]:
        """Module 1's matches, each with whether it agrees with its guess, for JSON."""
        guess = self.compared.guess
        assert guess is not None
        matches = matches_list(self._in_files(guess.matches))
        return [match | {"inlier": bool(agrees)} for match, agrees in zip(matches, guess.agree, strict=True)]

    def files_text(self) -> list[str]:
        """Ridge area, minutiae and resolution of the images, and the time, in lines."""
        lines = []
        for name, print_ in self._prints():
            remedy = ", as nothing says it: --ppi N does" if print_.ppi_from is PpiFrom.assumed else ""
            lines.append(f"{name.upper()}: {description(print_)}{remedy}")
        return [*lines, *self.ppi_doubts.values(), f"in {self.seconds:.2f} s"]

    @cached_property
    def ppi_doubts(self) -> dict[str, str]:
        """By 'a' and 'b': why the resolution of an image looks wrong, in words; only of images where it does."""
        doubts = {}
        for name, print_ in self._prints():
            period = ridge_period(print_.grey, print_.ridges)
            if period is not None and not PERIOD_RANGE[0] <= period <= PERIOD_RANGE[1]:
                distance, usual = (25.4 / PPI * length for length in (period, USUAL_PERIOD))
                doubts[name] = (
                    f"{name.upper()}: at {print_.ppi:g} ppi its ridges are {distance:.2f} mm apart, those of "
                    f"adults about {usual:.2f}; the image looks like {print_.ppi * period / USUAL_PERIOD:.0f} ppi"
                )
        return doubts

    def draw(self, title: str, lines: Sequence[str], day: date | None) -> np.ndarray:
        """The picture of the pair (`draw_ridge_comparison`), uint8 RGB (H, W, 3).

        title: the answer. lines: what it rests on. day: the date on the picture; None takes today.
        """
        paths = self.name_a, self.name_b
        facts = [
            *(
                (name.upper(), f"{Path(path).name}: {description(print_)}")
                for path, (name, print_) in zip(paths, self._prints(), strict=True)
            ),
            *(("", doubt) for doubt in self.ppi_doubts.values()),
            ("compared by", f"{self.compared_by}; IFViT {__version__}"),
            ("date", (day or date.today()).isoformat()),
        ]
        (_, a), (_, b) = self._prints()
        return draw_ridge_comparison(a, b, self.alignment, Head(title, lines, facts), self._places())

    def _places(self) -> Places:
        """The points of Module 2's matches, px of the ridges at 500 ppi; none without a Module 2."""
        if self.compared.module2_result is None:
            return NO_PLACES
        matches = self.compared.module2_result.matches
        a, b, ppi = self.print_a, self.print_b, self.network_ppi
        assert ppi is not None
        return a.to_ridges(matches.points_a, ppi), b.to_ridges(matches.points_b, ppi)

    def _prints(self) -> tuple[tuple[str, RidgePrint], ...]:
        return ("a", self.print_a.of_ridges), ("b", self.print_b.of_ridges)

    def _overlap_points(self, step: int) -> np.ndarray:
        """Points (N, 2) of B's ridges, px at 500 ppi, `step` px apart, where both prints show ridges."""
        height, width = self.print_b.of_ridges.ridges.shape
        y, x = np.mgrid[step // 2 : height : step, step // 2 : width : step]
        points = np.stack([x, y], axis=-1).reshape(-1, 2)
        return points[self.alignment.agreement_at(points) != 0]

    def _sides_in_files(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points (N, 2) of B's ridges, as points of A's and of B's image."""
        (_, a), (_, b) = self._prints()
        return a.to_file(self.alignment.to_a(points)), b.to_file(points)

    def _in_files(self, matches: PointMatches) -> PointMatches:
        """Matches in px of the canvases, converted to px of the images."""
        a, b, ppi = self.print_a.network_side.canvas, self.print_b.network_side.canvas, self.network_ppi
        assert ppi is not None
        return PointMatches(a.to_file(matches.points_a, ppi), b.to_file(matches.points_b, ppi), matches.confidence)


def description(print_: RidgePrint) -> str:
    """A print's ridge area, minutiae, resolution and polarity, in words."""
    inversion = "; light ridges, turned over" if print_.inverted else ""
    return (
        f"{print_.area:.0f} mm2 of ridges, {len(print_.minutiae.points)} minutiae; {print_.ppi:g} ppi, "
        f"{PPI_FROM[print_.ppi_from]}{inversion}"
    )


def rounded_points(points: np.ndarray) -> list:
    """Points (..., 2) px as lists, to two decimals, for JSON."""
    return np.round(np.asarray(points, np.float64), 2).tolist()


def matches_list(matches: PointMatches) -> list[dict[str, Any]]:
    """Matches, for JSON."""
    sides = rounded_points(matches.points_a), rounded_points(matches.points_b)
    return [
        {"a": a, "b": b, "confidence": round(float(sure), 4)}
        for a, b, sure in zip(*sides, matches.confidence, strict=True)
    ]
