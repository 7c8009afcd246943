"""The result of a comparison of two images, and the reasons for it, as text, JSON or a picture.

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
from ifvit.comparison.image_pair import MM2, ImagePair, matches_list, rounded_points
from ifvit.comparison.run_calibration import Score
from ifvit.comparison.synthetic_calibration import synthetic_calibration
from ifvit.comparison.verdict import OTHER, SAME, Basis, Verdict, pairs_of, too_few, verdict
from ifvit.enhancement.minutiae import MinutiaKind
from ifvit.pictures import picture_files

FMR = 0.001  # of `Comparison.decision`, where no other is named
SMALL_PRINT = 50.0  # mm2 of ridges; a smaller print may not show enough to be distinguished from others


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(ImagePair):
    """The comparison of two images."""

    score_of: Score = Score.fused  # which score decides
    calibration: Calibration | None = None  # of that score; None where the run has none

    @cached_property
    def score(self) -> float:
        """The score that decides, higher for one finger.

        fused: the log-likelihood ratio, base 10, of the same finger over different fingers (`ridge_score`).
        cosines: the weighted mean of Module 2's cosines, [-1, 1].
        """
        if self.score_of is Score.fused:
            return self.compared.score
        assert self.compared.module2_result is not None
        return self.compared.module2_result.score

    @property
    def score_global(self) -> float | None:
        """The cosine of Module 2's global vectors, [-1, 1]; None without a Module 2."""
        result = self.compared.module2_result
        return None if result is None else float(result.cosines.of_global)

    @property
    def score_local(self) -> float | None:
        """The cosine of Module 2's local vectors, [-1, 1]; None without a Module 2."""
        result = self.compared.module2_result
        return None if result is None else float(result.cosines.of_local)

    @property
    def score_cosines(self) -> float | None:
        """The mean of both cosines, weighted as the run says; None without a Module 2."""
        result = self.compared.module2_result
        return None if result is None else result.score

    @property
    def reason(self) -> str | None:
        """Why the prints show too little to say that the fingers differ; None where they show enough."""
        small = [(name.upper(), print_.area) for name, print_ in self._prints() if print_.area < SMALL_PRINT]
        if not small:
            return None
        parts = " and ".join(f"{name} shows {area:.0f} mm2 of ridges" for name, area in small)
        return f"{parts}; {SMALL_PRINT:.0f} are needed to tell that two fingers differ; {self.guesses_text()}"

    def verdict(self, fmr: float = FMR) -> Verdict:
        """Whether the score speaks for one finger at an FMR, and the basis of that."""
        fused = self.score_of is Score.fused
        synthetic = synthetic_calibration(self.compared.module2_result is not None) if fused else None
        return verdict(self.score, fmr, self.calibration, synthetic)

    def decision(self, fmr: float = FMR) -> str:
        """The decision, in words.

        'same finger' where different fingers reach the score in at most a share `fmr` of cases (`verdict`). Otherwise
        'not the same finger, as far as these prints show', or why there is no decision.
        """
        answer = self.verdict(fmr)
        if answer.accepted:
            return SAME
        if self.cannot_say(fmr):
            return f"cannot say: {self.reason}"
        return OTHER if answer.accepted is not None else f"undecided: {answer.why}"

    @property
    def same_finger(self) -> bool | None:
        """The decision at `FMR`; None where the prints show too little, or nothing can decide."""
        return None if self.cannot_say() else self.verdict().accepted

    def cannot_say(self, fmr: float = FMR) -> bool:
        """Whether the prints show too little for a decision."""
        return self.reason is not None and not self.verdict(fmr).accepted

    @property
    def decided(self) -> bool:
        """Whether the prints show enough for a decision, at `FMR`."""
        return not self.cannot_say()

    @property
    def fmr(self) -> float | None:
        """The FMR at this score, as an upper limit: how often different fingers score as high. None where unknown."""
        table = self.verdict().calibration
        return None if table is None else table.fmr_at(self.score)

    def to_dict(self, fmr: float = FMR) -> dict[str, Any]:
        """The comparison, for JSON; lengths in px of the files, angles in degrees. fmr: as of `decision`."""
        return {
            "a": self.name_a,
            "b": self.name_b,
            **self._decision_dict(fmr),
            "score": round(self.score, 4),
            "score_is": "log10 of the likelihood ratio of the same finger over different fingers"
            if self.score_of is Score.fused
            else "weighted mean of the cosines of Module 2's vectors",
            "cause": "small_print" if self.cannot_say(fmr) else None,
            "reason": self.reason if self.cannot_say(fmr) else None,
            "agreement": self.agreement_dict(),
            "minutiae": self._minutiae_dict(),
            "map": self.map_list(),
            "homography": None if self.homography is None else self.homography.tolist(),
            "ridges_mm2": {name: round(print_.area, 1) for name, print_ in self._prints()},
            **self.files_dict(),
            **self._networks_dict(),
        }

    def _decision_dict(self, fmr: float) -> dict[str, Any]:
        """The decision, its basis, and how often different fingers score as high, for JSON."""
        answer = self.verdict(fmr)
        table, basis = answer.calibration, self._basis(fmr)
        return {
            "decision": self.decision(fmr),
            "same_finger": None if self.cannot_say(fmr) else answer.accepted,
            "decided_at_fmr": fmr,
            "decided_from": basis,
            "decided_by": basis and answer.why,
            "extrapolated": basis is Basis.fit,
            "fmr": None if table is None else table.fmr_at(self.score),
            "calibration": table and {"impostors": table.impostors, "least_fmr": table.least_fmr, "of": table.of},
        }

    def _basis(self, fmr: float) -> Basis | None:
        """The basis of the decision; None where there is no decision."""
        return None if self.cannot_say(fmr) else self.verdict(fmr).basis

    def _minutiae_dict(self) -> dict[str, Any]:
        """The minutiae, paired and alone, for JSON."""
        paired, (a, b) = self.alignment.paired, (print_ for _, print_ in self._prints())
        return {
            "paired": [
                {
                    "a": rounded_points(a.to_file(a.minutiae.points[i])),
                    "b": rounded_points(b.to_file(b.minutiae.points[j])),
                    "kind_a": MinutiaKind(a.minutiae.kinds[i]).name,
                    "kind_b": MinutiaKind(b.minutiae.kinds[j]).name,
                }
                for i, j in zip(paired.first, paired.second, strict=True)
            ],
            "only_a": rounded_points(a.to_file(a.minutiae.points[paired.only_a])),
            "only_b": rounded_points(b.to_file(b.minutiae.points[paired.only_b])),
        }

    def _networks_dict(self) -> dict[str, Any]:
        """The results of a run's networks, for JSON; empty without a run."""
        if self.compared.guess is None:
            return {}
        tree = {"registration": self.registration_list()}
        result, matches = self.compared.module2_result, self.matches
        if result is None or matches is None:
            return tree
        return tree | {
            "score_cosines": round(result.score, 6),
            "score_global": round(float(result.cosines.of_global), 6),
            "score_local": round(float(result.cosines.of_local), 6),
            "matches": matches_list(matches),
        }

    def text(self, fmr: float = FMR) -> str:
        """The comparison in a few lines, for people. fmr: as of `decision`."""
        answer = f"{self.decision(fmr)} ({self._fmr_text(fmr)})"
        return "\n".join([answer, *self.reasons(fmr), *self.files_text()])

    def __repr__(self) -> str:
        """The decision and the score, without the arrays."""
        answer = self.decision().partition(":")[0]
        return f"<Comparison of {self.names}: {answer} at an FMR of {100 * FMR:g} %, score {self.score:.2f}>"

    def _repr_png_(self) -> bytes:
        """The picture as a PNG, for notebooks."""
        return picture_files.for_notebook(self.picture())

    def reasons(self, fmr: float = FMR) -> list[str]:
        """The evidence for the decision at an FMR, in lines."""
        paired, alike, alone = self.alignment.paired.counts
        agreement = self.alignment.agreement
        lines = [
            self.headline(),
            f"ridges agree at {agreement.mean:.2f} (1 is the same, different fingers have about 0.3) over "
            f"{agreement.area * MM2:.0f} mm2, {self.overlap:.0%} of the smaller print",
            f"minutiae: {paired} paired ({alike} of one kind), {alone} without a partner where both prints show them",
        ]
        if self.matches is not None:
            lines.append(
                f"Module 2: cosines {self.score_global:.3f} (global) and {self.score_local:.3f} (local), together "
                f"{self.score_cosines:.3f}; {len(self.matches.confidence)} places correspond"
            )
        return [*lines, *self._calibration_text(fmr)]

    def _calibration_text(self, fmr: float) -> list[str]:
        """How often different fingers score as high, by which pairs, and the basis of the decision, in lines."""
        answer, run_calibration, lines = self.verdict(fmr), self.calibration, []
        if answer.calibration is not None:
            basis_of_table = Basis.run if answer.calibration is run_calibration else Basis.synthetic
            pairs = pairs_of(basis_of_table, answer.calibration)
            share = f"{100 * answer.calibration.fmr_at(self.score):.3g} %"
            source = "" if self._basis(fmr) is basis_of_table else f", by {pairs}"
            lines.append(f"two different fingers score as high in at most {share} of cases{source}")
        if basis := self._basis(fmr):
            few = run_calibration is not None and not run_calibration.tells(fmr)
            lines.append(f"decided by {answer.why}{', few but enough for a no' if few and basis is Basis.run else ''}")
            if run_calibration is not None and few and basis is not Basis.run:
                lines.append(f"{too_few(run_calibration, fmr)}, so they do not decide")
        if answer.accepted is None:
            fused = replace(self, score_of=Score.fused, calibration=None)
            lines.append(f"by all evidence, without --score cosines: {fused.decision(fmr)}, score {fused.score:.2f}")
        return lines

    def _fmr_text(self, fmr: float) -> str:
        """The FMR of the decision, in words."""
        note = ", extrapolated beyond what pairs can tell" if self._basis(fmr) is Basis.fit else ""
        return f"at an FMR of {100 * fmr:g} %{note}"

    def headline(self) -> str:
        """The score and its meaning, in words."""
        if self.score_of is Score.cosines:
            return f"score {self.score:.3f}: the weighted mean of Module 2's cosines"
        times = 10 ** min(abs(self.score), 9)
        factor = f"{float(f'{times:.2g}'):,.0f}" if times >= 10 else f"{times:.1f}"
        likelier = "one finger than of two" if self.score >= 0 else "two fingers than of one"
        return f"score {self.score:.2f}: {factor} times more likely of {likelier}, by synthetic fingers"

    def picture(self, fmr: float = FMR, day: date | None = None) -> np.ndarray:
        """The decision, both prints, the overlay, the agreement and the bent grid; uint8 RGB (H, W, 3).

        fmr: as of `decision`. day: the date on the picture; None takes today.
        """
        answer, _, reason = self.decision(fmr).partition(": ")
        lines = [self._fmr_text(fmr), *([reason] if reason else []), *self.reasons(fmr)]
        return self.draw(answer, lines, day)

    def save(self, path: str | PathLike, fmr: float = FMR, day: date | None = None) -> None:
        """Write the picture, in the format that the ending of `path` names (`ifvit.pictures.picture_files`).

        fmr, day: as of `picture`.

        Raises:
            WriteError: the file cannot be written.
            PictureError: the ending names no format, or the format cannot hold so large a picture.
        """
        picture_files.save(Path(path), self.picture(fmr, day))
