"""What a comparison of two images answers, and why: for a person, a program or a picture.

import ifvit
c = ifvit.load().compare("a.png", "b.png")  # by the ridges; ifvit.load("checkpoints/matcher") adds a run's networks
c.score, c.decision(), c.save("pair.png"), c.to_dict()
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ifvit.calibration import Calibration
from ifvit.comparison.image_pair import MM2, ImagePair, listed, matches_tree
from ifvit.comparison.run_calibration import Score
from ifvit.comparison.synthetic_calibration import synthetic_calibration
from ifvit.comparison.verdict import OTHER, SAME, Basis, Verdict, pairs_of, too_few, verdict
from ifvit.enhancement.minutiae import MinutiaKind
from ifvit.pictures import picture_files

FMR = 0.001  # at which `Comparison.decision` decides unless another is named
SMALL_PRINT = 50.0  # mm2 of ridges; a print of less may not show enough to be told from others


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(ImagePair):
    """A comparison of two images.

    score_of: which score decides. calibration: of that score, where the run has one.
    """

    score_of: Score = Score.fused
    calibration: Calibration | None = None

    @cached_property
    def score(self) -> float:
        """Higher for one finger.

        fused: the log-likelihood ratio, base 10, of the same finger over different fingers (`ridge_score`). cosines:
        Module 2's, [-1, 1].
        """
        return self.compared.score if self.score_of is Score.fused else self.compared.opinion.score

    @property
    def score_global(self) -> float | None:
        """The cosine of Module 2's global vectors, [-1, 1]; None without a Module 2."""
        return self.compared.opinion and self.compared.opinion.cosines.of_global

    @property
    def score_local(self) -> float | None:
        """The cosine of Module 2's local vectors, [-1, 1]; None without a Module 2."""
        return self.compared.opinion and self.compared.opinion.cosines.of_local

    @property
    def score_cosines(self) -> float | None:
        """The mean of both cosines, weighted as the run says; None without a Module 2."""
        return self.compared.opinion and self.compared.opinion.score

    @property
    def reason(self) -> str | None:
        """Why too little is seen to say that the fingers differ; None where enough is."""
        small = [(name.upper(), shown.area) for name, shown in self._prints() if shown.area < SMALL_PRINT]
        if not small:
            return None
        parts = " and ".join(f"{name} shows {area:.0f} mm2 of ridges" for name, area in small)
        return f"{parts}; {SMALL_PRINT:.0f} are needed to tell that two fingers differ; {self.tried()}"

    def verdict(self, fmr: float = FMR) -> Verdict:
        """Whether the score speaks for one finger at an FMR, and what tells so."""
        fused = self.score_of is Score.fused
        synthetic = synthetic_calibration(self.compared.opinion is not None) if fused else None
        return verdict(self.score, fmr, self.calibration, synthetic)

    def decision(self, fmr: float = FMR) -> str:
        """'same finger' where different fingers reach the score in at most a share `fmr` of cases (`verdict`).

        Otherwise 'not the same finger, as far as these prints show', or why that cannot be said.
        """
        found = self.verdict(fmr)
        if found.accepted:
            return SAME
        if self.cannot_say(fmr):
            return f"cannot say: {self.reason}"
        return OTHER if found.accepted is not None else f"undecided: {found.why}"

    def cannot_say(self, fmr: float = FMR) -> bool:
        """Whether the prints show too little for an answer."""
        return self.reason is not None and not self.verdict(fmr).accepted

    @property
    def decided(self) -> bool:
        """Whether the prints show enough for either answer."""
        return not self.cannot_say()

    @property
    def fmr(self) -> float | None:
        """How often two different fingers score as high, at most; None where nothing tells."""
        table = self.verdict().calibration
        return None if table is None else table.fmr_at(self.score)

    def to_dict(self, fmr: float = FMR) -> dict[str, Any]:
        """For JSON; lengths in px of the images as given, angles in degrees. fmr: as of `decision`."""
        return {
            "a": self.name_a,
            "b": self.name_b,
            **self._decision_tree(fmr),
            "score": round(self.score, 4),
            "score_is": "log10 of the likelihood ratio of the same finger over different fingers"
            if self.score_of is Score.fused
            else "weighted mean of the cosines of Module 2's vectors",
            "cause": "small_print" if self.cannot_say(fmr) else None,
            "reason": self.reason if self.cannot_say(fmr) else None,
            "agreement": self.agreement_tree(),
            "minutiae": self._minutiae_tree(),
            "map": self.map_tree(),
            "homography": None if self.homography is None else self.homography.tolist(),
            "ridges_mm2": {name: round(shown.area, 1) for name, shown in self._prints()},
            **self.files_tree(),
            **self._networks_tree(),
        }

    def _decision_tree(self, fmr: float) -> dict[str, Any]:
        """The decision, what decided, and how often different fingers score as high, for JSON."""
        found = self.verdict(fmr)
        table, basis = found.calibration, self._basis(fmr)
        return {
            "decision": self.decision(fmr),
            "same_finger": None if self.cannot_say(fmr) else found.accepted,
            "decided_at_fmr": fmr,
            "decided_from": basis,
            "decided_by": basis and found.why,
            "extrapolated": basis is Basis.fit,
            "fmr": None if table is None else table.fmr_at(self.score),
            "calibration": table and {"impostors": table.impostors, "least_fmr": table.least_fmr, "of": table.of},
        }

    def _basis(self, fmr: float) -> Basis | None:
        """What decided; None where there is no decision."""
        return None if self.cannot_say(fmr) else self.verdict(fmr).basis

    def _minutiae_tree(self) -> dict[str, Any]:
        paired, (a, b) = self.alignment.paired, (shown for _, shown in self._prints())
        return {
            "paired": [
                {
                    "a": listed(a.to_file(a.minutiae.points[i])),
                    "b": listed(b.to_file(b.minutiae.points[j])),
                    "kind_a": MinutiaKind(a.minutiae.kinds[i]).name,
                    "kind_b": MinutiaKind(b.minutiae.kinds[j]).name,
                }
                for i, j in zip(paired.first, paired.second, strict=True)
            ],
            "only_a": listed(a.to_file(a.minutiae.points[paired.only_a])),
            "only_b": listed(b.to_file(b.minutiae.points[paired.only_b])),
        }

    def _networks_tree(self) -> dict[str, Any]:
        """What a run adds, for JSON; nothing without one."""
        if self.compared.guesses is None:
            return {}
        tree = {"registration": self.registration_tree()}
        if self.matches is None:
            return tree
        return tree | {
            "score_cosines": round(self.score_cosines, 6),
            "score_global": round(self.score_global, 6),
            "score_local": round(self.score_local, 6),
            "matches": matches_tree(self.matches),
        }

    def text(self, fmr: float = FMR) -> str:
        """A few lines for a person; `fmr` as of `decision`."""
        answer = f"{self.decision(fmr)} ({self._at(fmr)})"
        return "\n".join([answer, *self.reasons(fmr), *self.files_text()])

    def __repr__(self) -> str:
        """The answer in a line, not the arrays."""
        answer = self.decision().partition(":")[0]
        return f"<Comparison of {self.names}: {answer} at an FMR of {100 * FMR:g} %, score {self.score:.2f}>"

    def _repr_png_(self) -> bytes:
        """What a notebook shows."""
        return picture_files.for_notebook(self.picture())

    def reasons(self, fmr: float = FMR) -> list[str]:
        """What the answer at an FMR rests on, in lines."""
        paired, alike, alone = self.alignment.paired.counts
        agreement = self.alignment.agreement
        lines = [
            self.headline(),
            f"ridges agree at {agreement.mean:.2f} (1 is the same, different fingers have about .3) over "
            f"{agreement.area * MM2:.0f} mm2, {self.overlap:.0%} of the smaller print",
            f"minutiae: {paired} paired ({alike} of one kind), {alone} without a partner where both prints show them",
        ]
        if self.matches is not None:
            lines.append(
                f"Module 2: cosines {self.score_global:.3f} (global) and {self.score_local:.3f} (local), together "
                f"{self.score_cosines:.3f}; {len(self.matches.confidence)} places correspond"
            )
        return [*lines, *self._whose(fmr)]

    def _whose(self, fmr: float) -> list[str]:
        """How often different fingers score as high, by whose pairs, and what else decided, in lines."""
        found, own, lines = self.verdict(fmr), self.calibration, []
        if found.calibration is not None:
            pairs = pairs_of(Basis.run if found.calibration is own else Basis.synthetic, found.calibration)
            share = f"{100 * found.calibration.fmr_at(self.score):.3g} %"
            lines.append(f"two different fingers score as high in at most {share} of cases, by {pairs}")
        if basis := self._basis(fmr):
            few = own is not None and not own.tells(fmr)
            by = found.why if basis in (Basis.fit, Basis.score) else "these pairs"
            lines.append(f"decided by {by}{', few but enough for a no' if few and basis is Basis.run else ''}")
            if few and basis is not Basis.run:
                lines.append(f"{too_few(own, fmr)}, so they do not decide")
        if found.accepted is None:
            fused = replace(self, score_of=Score.fused, calibration=None)
            lines.append(f"by all evidence, without --score cosines: {fused.decision(fmr)}, score {fused.score:.2f}")
        return lines

    def _at(self, fmr: float) -> str:
        """The FMR of the decision, in words."""
        beyond = ", extrapolated beyond what pairs can tell" if self._basis(fmr) is Basis.fit else ""
        return f"at an FMR of {100 * fmr:g} %{beyond}"

    def headline(self) -> str:
        """The score, and what it means."""
        if self.score_of is Score.cosines:
            return f"score {self.score:.3f}: the weighted mean of Module 2's cosines"
        times = 10 ** min(abs(self.score), 9)
        shown = f"{float(f'{times:.2g}'):,.0f}" if times >= 10 else f"{times:.1f}"
        which = "one finger than of two" if self.score >= 0 else "two fingers than of one"
        return f"score {self.score:.2f}: {shown} times more likely of {which}, by synthetic fingers"

    def picture(self, fmr: float = FMR, day: date | None = None) -> np.ndarray:
        """The answer, both prints, the overlay, the agreement and the bent grid; uint8 RGB (H, W, 3).

        fmr: as of `decision`. day: that stands on it; None takes today.
        """
        answer, _, why = self.decision(fmr).partition(": ")
        lines = [self._at(fmr), *([why] if why else []), *self.reasons(fmr)]
        return self.drawn(answer, lines, day)

    def save(self, path: str | PathLike, fmr: float = FMR, day: date | None = None) -> None:
        """Write the picture, in the format that the ending of `path` names (`ifvit.pictures.picture_files`).

        Raises:
            OSError: it cannot be written.
            ValueError: the ending names no format.
        """
        picture_files.save(Path(path), self.picture(fmr, day))
