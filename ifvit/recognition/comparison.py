"""Two prints in, a `Comparison` out: the score and what it rests on, for a person, a program or a picture.

import ifvit
m = ifvit.load("checkpoints/matcher")
c = m.compare("a.png", "b.png")
c.score, c.reason, c.save("pair.png"), c.to_dict()
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ifvit import pictures, plots
from ifvit.calibration import Calibration, pairs_needed
from ifvit.image import Scan
from ifvit.recognition.alignment import Matches
from ifvit.recognition.comparer import Comparer, Scored, load_comparer
from ifvit.recognition.image_matcher import AT_ONCE, ImageMatcher
from ifvit.recognition.pair import SAID, between_files
from ifvit.recognition.prints import MatcherPrint
from ifvit.recognition.registration import Aligned

FMR = 0.01  # at which `Comparison.decision` decides unless another is named


@dataclass(frozen=True)
class Comparison:
    """A comparison of two prints. Points are (x, y) px of the images as given.

    name_a, name_b: their paths, or A and B; print_a, print_b: as the modules saw them, in frames at `ppi`; scored: in
    px of those frames; calibration: of the model, where it has one; seconds: reading, enhancing and comparing.
    """

    name_a: str
    name_b: str
    print_a: MatcherPrint
    print_b: MatcherPrint
    ppi: float
    scored: Scored
    calibration: Calibration | None
    seconds: float

    @property
    def score(self) -> float | None:
        """How alike the prints are, the weighted mean of two cosines, higher for mates; None if not registered."""
        return None if math.isnan(self.scored.score) else self.scored.score

    @property
    def score_global(self) -> float | None:
        """The cosine of the global vectors, [-1, 1]."""
        return None if self.score is None else self.scored.of_global

    @property
    def score_local(self) -> float | None:
        """The cosine of the local vectors, [-1, 1]."""
        return None if self.score is None else self.scored.of_local

    @property
    def reason(self) -> str | None:
        """Why the prints could not be compared; None where they were."""
        refusal = self.scored.registered.refusal
        return refusal and refusal.text

    @property
    def aligned(self) -> Aligned | None:
        """A laid on B in B's frame, with the overlap and the region of interest."""
        return self.scored.registered.aligned

    @property
    def homography(self) -> np.ndarray | None:
        """From pixels of A to pixels of B, float64 (3, 3) with lower right 1."""
        homography = self.scored.registered.homography
        if homography is None:
            return None
        return between_files(homography, self.print_a.canvas, self.print_b.canvas, self.ppi)

    @property
    def overlap(self) -> float | None:
        """The share of the smaller print that the other shows, (0, 1]."""
        return self.aligned and self.aligned.share

    @property
    def matches(self) -> Matches:
        """Which places of A Module 2 finds in which of B, best first, with its confidence in each."""
        found = self.scored.matches
        return Matches(*self._in_files(found.points_a, found.points_b), found.confidence)

    @property
    def decided(self) -> bool:
        """Whether the prints could be compared."""
        return self.score is not None

    @property
    def fmr(self) -> float | None:
        """How often two different fingers score as high, at most; None without a calibration or a score."""
        return None if self.calibration is None or self.score is None else self.calibration.fmr_at(self.score)

    def decision(self, fmr: float = FMR) -> str:
        """'same finger' where the score is reached by different fingers in at most a share `fmr` of cases, else 'not
        shown to be the same finger', or why it cannot be decided.
        """
        if self.score is None:
            return f"not compared: {self.reason}"
        if self.calibration is None:
            return "undecided: this model is not calibrated (python -m ifvit evaluate calibrates it)"
        if self.calibration.fmr.min() > fmr:
            return (
                f"undecided: the model was calibrated with {self.calibration.basis()}, too few to tell an FMR of "
                f"{100 * fmr:g} %: it takes {pairs_needed(fmr)}"
            )
        return "same finger" if self.fmr <= fmr else "not shown to be the same finger"

    def to_dict(self) -> dict[str, Any]:
        """For JSON; lengths in px of the images as given."""
        registered, matches, homography = self.scored.registered, self.matches, self.homography
        found = registered.matches
        laid_by = self._in_files(found.points_a, found.points_b)
        roi = self._roi()
        return {
            "a": self.name_a,
            "b": self.name_b,
            "score": _rounded(self.score),
            "score_global": _rounded(self.score_global),
            "score_local": _rounded(self.score_local),
            "fmr": self.fmr,
            "calibration": self.calibration and {"impostors": self.calibration.impostors, "of": self.calibration.of},
            "registered": self.score is not None,
            "cause": registered.refusal and str(registered.refusal.cause),
            "reason": self.reason,
            "homography": None if homography is None else homography.tolist(),
            "overlap": _rounded(self.overlap),
            "roi": None if roi is None else {"a": _listed(roi[0]), "b": _listed(roi[1])},
            "matches": [
                {"a": a, "b": b, "confidence": round(float(c), 4)}
                for a, b, c in zip(
                    _listed(matches.points_a), _listed(matches.points_b), matches.confidence, strict=True
                )
            ],
            "registration": [
                {"a": a, "b": b, "confidence": round(float(c), 4), "inlier": bool(right)}
                for a, b, c, right in zip(*map(_listed, laid_by), found.confidence, registered.inliers, strict=True)
            ],
            "ppi": {name: {"value": one.canvas.ppi, "from": one.canvas.ppi_from.value} for name, one in self._prints()},
            "inverted": {name: one.canvas.inverted for name, one in self._prints()},
            "seconds": round(self.seconds, 3),
        }

    def text(self, fmr: float = FMR) -> str:
        """A few lines for a person; `fmr` as of `decision`."""
        lines = [self.headline()]
        if self.score is not None:
            agree, made = int(self.scored.registered.inliers.sum()), len(self.scored.registered.inliers)
            lines.append(
                f"laid on one another by {agree} of {made} matches; {self.overlap:.0%} of the smaller print overlaps; "
                f"{len(self.scored.matches.confidence)} places correspond"
            )
        if self.fmr is not None:
            lines.append(
                f"two different fingers score as high in at most {100 * self.fmr:.3g} % of cases, by "
                f"{self.calibration.basis()}"
            )
        decided = self.calibration is not None and self.score is not None and self.calibration.fmr.min() <= fmr
        if self.score is not None:  # else the headline says why
            lines.append(self.decision(fmr) + (f" (at an FMR of {100 * fmr:g} %)" if decided else ""))
        for name, one in self._prints():
            turned = "; light ridges, turned over" if one.canvas.inverted else ""
            lines.append(f"{name.upper()}: {one.canvas.ppi:g} ppi, {SAID[one.canvas.ppi_from]}{turned}")
        return "\n".join([*lines, f"in {self.seconds:.2f} s"])

    def headline(self) -> str:
        """The score, or why there is none."""
        if self.score is None:
            return f"not compared: {self.reason}"
        return f"score {self.score:.3f} (global {self.score_global:.3f}, local {self.score_local:.3f})"

    def picture(self) -> np.ndarray:
        """Both prints, what corresponds in them and the overlay, or what was tried; uint8 RGB (H, W, 3)."""
        registered, aligned = self.scored.registered, self.aligned
        greys = self.print_a.canvas.grey, self.print_b.canvas.grey
        heading = [f"A: {Path(self.name_a).name}   B: {Path(self.name_b).name}", self.headline()]
        if aligned is None:
            found = registered.matches
            return plots.draw_refused(
                *greys, found.points_a, found.points_b, found.confidence, registered.inliers, heading
            )
        matches = self.scored.matches
        laid = plots.Laid(
            *greys, self.scored.enhanced_a, aligned.ridges_a, self.print_b.canvas.ridges, matches.points_a,
            matches.points_b, matches.confidence, np.ones(len(matches.confidence), bool), tuple(aligned.roi),
        )  # fmt: skip
        if self.fmr is not None:
            heading[1] += f"   FMR at it: at most {100 * self.fmr:.3g} %"
        heading[1] += f"   overlap {self.overlap:.0%} of the smaller print"
        return plots.draw_comparison(laid, self.print_b.enhanced, heading)

    def save(self, path: str | PathLike) -> None:
        """Write the picture, in the format that the ending of `path` names (`ifvit.pictures`).

        Raises:
            OSError: it cannot be written.
            ValueError: the ending names no format.
        """
        pictures.save(Path(path), self.picture())

    def _prints(self) -> tuple[tuple[str, MatcherPrint], ...]:
        return ("a", self.print_a), ("b", self.print_b)

    def _in_files(self, points_a: np.ndarray, points_b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.print_a.canvas.to_file(points_a, self.ppi), self.print_b.canvas.to_file(points_b, self.ppi)

    def _roi(self) -> tuple[np.ndarray, np.ndarray] | None:
        """The corners (4, 2) of the region of interest in A and in B, clockwise from the upper left of B's."""
        if self.aligned is None:
            return None
        top, left, height, width = self.aligned.roi
        right, bottom = left + width - 1, top + height - 1
        corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)], np.float64)
        return self._in_files(self.aligned.map_ba[corners[:, 1].astype(int), corners[:, 0].astype(int)], corners)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), 6)


def _listed(points: np.ndarray) -> list[list[float]]:
    return np.round(np.asarray(points, np.float64), 2).tolist()


class Matcher(ImageMatcher):
    """A trained run, ready to compare; made by `load`. The model, its frame and its enhancement are the run's."""

    def __init__(self, run_dir: Path, cache_dir: str | None = None):
        self.comparer = load_comparer(run_dir, cache_dir=cache_dir)
        self._many: Comparer | None = None

    def print_of(self, scan: Scan, ppi: float | None) -> MatcherPrint:
        return self.comparer.print_of(scan, ppi)

    def compare_prints(self, pairs: Sequence[tuple[MatcherPrint, MatcherPrint]]) -> list[Scored]:
        if len(pairs) == 1:
            return [self.comparer.score(*pairs[0])]
        if self._many is None:
            self._many = self.comparer.by(AT_ONCE)
        return list(self._many.score_many(pairs))

    def comparison(
        self, names: tuple[str, str], prints: tuple[MatcherPrint, MatcherPrint], found: Scored, seconds: float
    ) -> Comparison:
        comparer = self.comparer
        return Comparison(*names, *prints, comparer.module_1.ppi, found, comparer.calibration, seconds)


def load(run_dir: str | PathLike, cache_dir: str | None = None) -> Matcher:
    """The trained Module 2 of a run directory, which is only read.

    cache_dir: for enhanced prints; None takes the user's cache folder.

    Raises:
        CheckpointError: it is no Module 2's run, holds no state yet, or is damaged.
    """
    return Matcher(Path(run_dir), cache_dir)
