"""`Compared`, the comparison of two prints: their alignment and the evidence for one finger."""

from __future__ import annotations

from typing import NamedTuple

from ifvit.comparison.run_networks import Module2Result
from ifvit.comparison.score import Evidence, ridge_score
from ifvit.registration.module1_search import Guess
from ifvit.registration.registrar import OF_FLOW, OF_MINUTIAE, GuessSource, RidgeAlignment


class Compared(NamedTuple):
    """The comparison of two prints, A and B."""

    alignment: RidgeAlignment  # of A with B, px of the ridges at 500 ppi
    guess: Guess | None = None  # Module 1's, px of the canvases; None without a run
    module2_result: Module2Result | None = None  # None without a Module 2

    @property
    def evidence(self) -> Evidence:
        """The evidence of the ridges and minutiae, which the score is computed from."""
        agreement, (paired, _, alone) = self.alignment.agreement, self.alignment.paired.counts
        return Evidence(float(agreement.mean), float(agreement.area), paired, alone)

    @property
    def ridge_score(self) -> float:
        """The log-likelihood ratio, base 10, by the ridges and minutiae alone."""
        return float(ridge_score(self.evidence))

    @property
    def score(self) -> float:
        """The log-likelihood ratio, base 10, by all evidence, with Module 2's cosines where there is one."""
        return float(ridge_score(self.evidence, self.module2_result and self.module2_result.cosines))

    @property
    def guess_counts(self) -> dict[GuessSource, int]:
        """The number of guesses of the registration that were tried, by their source."""
        module1_count = {} if self.guess is None else {GuessSource.module1: int(self.guess.found)}
        return {GuessSource.flow: OF_FLOW, GuessSource.minutiae: OF_MINUTIAE} | module1_count

    def swapped(self) -> Compared:
        """The comparison of (B, A)."""
        guess, result = self.guess, self.module2_result
        return Compared(self.alignment.swapped(), guess and guess.swapped(), result and result.swapped())
