"""Two prints compared by their ridges, with nothing trained: a score, and what it rests on.

import ifvit
c = ifvit.load().compare("a.png", "b.png")
c.score, c.decision(), c.save("pair.png"), c.to_dict()
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ifvit import backend, pictures
from ifvit.config import Enhancement
from ifvit.image import Scan
from ifvit.recognition.enhancement import Enhancer
from ifvit.recognition.image_matcher import ImageMatcher
from ifvit.recognition.minutiae import Kind
from ifvit.recognition.pair import SAID
from ifvit.recognition.ridge_matcher import RidgeAlignment, RidgeMatcher
from ifvit.recognition.ridge_picture import draw_ridge_comparison
from ifvit.recognition.ridge_print import PPI, RidgePrint, ridge_print
from ifvit.recognition.ridge_score import Evidence, ridge_score

FMR = 0.01  # at which `RidgeComparison.decision` decides unless another is named
MM2 = (25.4 / PPI) ** 2  # of a px
SMALL_PRINT = 50.0  # mm2 of ridges; a print of less may not show enough to be told from others
GRID = 24  # px between the points of the map that JSON lists


@dataclass(frozen=True)
class RidgeComparison:
    """A comparison of two prints. Points are (x, y) px of the images as given, unless said otherwise.

    name_a, name_b: their paths, or A and B.
    print_a, print_b: their ridges at 500 ppi.
    alignment: A on B, px at 500 ppi.
    seconds: reading, enhancing and comparing.
    """

    name_a: str
    name_b: str
    print_a: RidgePrint
    print_b: RidgePrint
    alignment: RidgeAlignment
    seconds: float

    @property
    def evidence(self) -> Evidence:
        """What the score rests on."""
        agreement, (paired, _, alone) = self.alignment.agreement, self.alignment.paired.counts
        return Evidence(float(agreement.mean), float(agreement.area), paired, alone)

    @cached_property
    def score(self) -> float:
        """The log-likelihood ratio, base 10, of the same finger over different fingers (`ridge_score`)."""
        return float(ridge_score(self.evidence))

    @property
    def reason(self) -> str | None:
        """Why too little is seen to say that the fingers differ; None where enough is."""
        small = [(name.upper(), shown.area) for name, shown in self._prints() if shown.area < SMALL_PRINT]
        if not small:
            return None
        parts = " and ".join(f"{name} shows {area:.0f} mm2 of ridges" for name, area in small)
        return f"{parts}; {SMALL_PRINT:.0f} are needed to tell that two fingers differ"

    @property
    def overlap(self) -> float:
        """The share of the smaller print that the other shows, [0, 1]."""
        return float(self.alignment.agreement.share)

    def decision(self, fmr: float = FMR) -> str:
        """'same finger' where different fingers reach the score in at most a share `fmr` of cases, by the fit of
        `ridge_score`; else 'not the same finger, as far as these prints show', or why that cannot be said.
        """
        if self.score >= -np.log10(fmr):
            return "same finger"
        return f"cannot say: {self.reason}" if self.reason else "not the same finger, as far as these prints show"

    @property
    def decided(self) -> bool:
        """Whether the prints show enough for either answer."""
        return self.decision().partition(":")[0] != "cannot say"

    def to_dict(self) -> dict[str, Any]:
        """For JSON; lengths in px of the images as given, angles in degrees."""
        agreement, paired = self.alignment.agreement, self.alignment.paired
        minutiae_a, minutiae_b = self.print_a.minutiae, self.print_b.minutiae
        return {
            "a": self.name_a,
            "b": self.name_b,
            "score": round(self.score, 4),
            "score_is": "log10 of the likelihood ratio of the same finger over different fingers",
            "cause": None if self.decided else "small_print",
            "reason": None if self.decided else self.reason,
            "agreement": {
                "mean": round(float(agreement.mean), 4),
                "share_that_agrees": round(float(agreement.agrees), 4),
                "area_mm2": round(float(agreement.area) * MM2, 1),
                "share_of_smaller_print": round(self.overlap, 4),
                "guess": str(self.alignment.source),
            },
            "minutiae": {
                "paired": [
                    {
                        "a": _listed(self.print_a.to_file(minutiae_a.points[i])),
                        "b": _listed(self.print_b.to_file(minutiae_b.points[j])),
                        "kind_a": Kind(minutiae_a.kinds[i]).name,
                        "kind_b": Kind(minutiae_b.kinds[j]).name,
                    }
                    for i, j in zip(paired.first, paired.second, strict=True)
                ],
                "only_a": _listed(self.print_a.to_file(minutiae_a.points[paired.only_a])),
                "only_b": _listed(self.print_b.to_file(minutiae_b.points[paired.only_b])),
            },
            "map": self._map(),
            "ridges_mm2": {name: round(shown.area, 1) for name, shown in self._prints()},
            "ppi": {name: {"value": shown.ppi, "from": shown.ppi_from.value} for name, shown in self._prints()},
            "inverted": {name: shown.inverted for name, shown in self._prints()},
            "seconds": round(self.seconds, 3),
        }

    def _map(self) -> list[dict[str, list[float]]]:
        """Points of B in the overlap, `GRID` px at 500 ppi apart, and where they lie in A."""
        height, width = self.print_b.ridges.shape
        y, x = np.mgrid[GRID // 2 : height : GRID, GRID // 2 : width : GRID]
        points = np.stack([x, y], axis=-1).reshape(-1, 2)
        points = points[self.alignment.agreement_at(points) != 0]
        in_a, in_b = self.print_a.to_file(self.alignment.to_a(points)), self.print_b.to_file(points)
        return [{"a": a, "b": b} for a, b in zip(_listed(in_a), _listed(in_b), strict=True)]

    def text(self, fmr: float = FMR) -> str:
        """A few lines for a person; `fmr` as of `decision`."""
        paired, alike, alone = self.alignment.paired.counts
        agreement = self.alignment.agreement
        lines = [
            f"{self.decision(fmr)} (at an FMR of {100 * fmr:g} %)",
            self.headline(),
            f"ridges agree at {agreement.mean:.2f} (1 is the same, different fingers have about .3) over "
            f"{agreement.area * MM2:.0f} mm2, {self.overlap:.0%} of the smaller print",
            f"minutiae: {paired} paired ({alike} of one kind), {alone} without a partner where both prints show them",
        ]
        for name, shown in self._prints():
            turned = "; light ridges, turned over" if shown.inverted else ""
            lines.append(
                f"{name.upper()}: {shown.area:.0f} mm2 of ridges, {len(shown.minutiae.points)} minutiae; "
                f"{shown.ppi:g} ppi, {SAID[shown.ppi_from]}{turned}"
            )
        return "\n".join([*lines, f"in {self.seconds:.2f} s"])

    def headline(self) -> str:
        """The score, and what it means."""
        if self.score >= 0:
            meaning = f"{10 ** min(self.score, 9):.3g} times more likely of one finger than of two"
        else:
            meaning = f"{10 ** min(-self.score, 9):.3g} times more likely of two fingers than of one"
        return f"score {self.score:.2f}: {meaning}, by synthetic fingers"

    def picture(self) -> np.ndarray:
        """Both prints with their paired minutiae, the overlay, the agreement and the bent grid; uint8 RGB (H, W, 3)."""
        names = f"A: {Path(self.name_a).name}   B: {Path(self.name_b).name}"
        heading = [names, f"{self.decision()}.  {self.headline()}", *self.text().split("\n")[2:4]]
        return draw_ridge_comparison(self.print_a, self.print_b, self.alignment, heading)

    def save(self, path: str | PathLike) -> None:
        """Write the picture, in the format that the ending of `path` names (`ifvit.pictures`).

        Raises:
            OSError: it cannot be written.
            ValueError: the ending names no format.
        """
        pictures.save(Path(path), self.picture())

    def _prints(self) -> tuple[tuple[str, RidgePrint], ...]:
        return ("a", self.print_a), ("b", self.print_b)


def _listed(points: np.ndarray) -> list:
    return np.round(np.asarray(points, np.float64), 2).tolist()


class RidgeComparer(ImageMatcher):
    """Compares images by their ridges.

    method: what enhances them. cache_dir: for enhanced prints; None takes the user's cache folder.

    Raises:
        BackendError: JAX has no device.
        EnhancementError: the method is not installed.
    """

    def __init__(self, method: Enhancement = Enhancement.gabor, cache_dir: str | None = None):
        backend.start()
        self.enhancer = Enhancer(method, cache_dir)
        self._matcher = RidgeMatcher()

    def print_of(self, scan: Scan, ppi: float | None) -> RidgePrint:
        return ridge_print(scan, ppi, self.enhancer)

    def compare_prints(self, pairs: Sequence[tuple[RidgePrint, RidgePrint]]) -> list[RidgeAlignment]:
        return list(self._matcher.align_many(pairs))

    def comparison(
        self, names: tuple[str, str], prints: tuple[RidgePrint, RidgePrint], found: RidgeAlignment, seconds: float
    ) -> RidgeComparison:
        return RidgeComparison(*names, *prints, found, seconds)
