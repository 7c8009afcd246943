"""Comparison of prints that are read already: their alignment and the evidence for one finger.

The ridges are always compared. With a trained run, Module 1's guesses of the registration join those of the ridges, and
Module 2 reads the pair once it is aligned. A pair is computed in one order, which the prints' content decides. So the
score of (A, B) is that of (B, A), to the last bit.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple

from ifvit import backend
from ifvit.comparison.matcher_print import MatcherPrint, Print, matcher_prints
from ifvit.comparison.run_networks import Module2Result, RunNetworks
from ifvit.comparison.score import Evidence, ridge_score
from ifvit.config import Enhancement
from ifvit.enhancement.enhancer import Enhancer
from ifvit.image import ImageError, Scan
from ifvit.registration.module1_search import Guesses
from ifvit.registration.registrar import OF_FLOW, OF_MINUTIAE, GuessSource, Registrar, RidgeAlignment
from ifvit.registration.ridge_print import RidgePrint, ridge_print

Pair = tuple[Print, Print]
RIDGE_PAIRS_AT_ONCE = 64  # pairs in a batch where no network sets the size


class Compared(NamedTuple):
    """The comparison of two prints, A and B."""

    alignment: RidgeAlignment  # of A with B, px of the ridges at 500 ppi
    guesses: Guesses | None = None  # Module 1's, px of the canvases; None without a run
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
        module1_count = {} if self.guesses is None else {GuessSource.module1: self.guesses.count}
        return {GuessSource.flow: OF_FLOW, GuessSource.minutiae: OF_MINUTIAE} | module1_count

    def swapped(self) -> Compared:
        """The comparison of (B, A)."""
        guesses, result = self.guesses, self.module2_result
        return Compared(self.alignment.swapped(), guesses and guesses.swapped(), result and result.swapped())


class Comparer:
    """Compares prints.

    networks: of a trained run; None compares the ridges alone.
    method: the enhancement of the ridges; None takes the run's own, or `gabor`.
    cache_dir: folder for enhanced prints; None takes the user's cache folder.

    Raises:
        BackendError: JAX has no device.
        EnhancementError: the method is not installed.
    """

    def __init__(
        self,
        networks: RunNetworks | None = None,
        method: Enhancement | None = None,
        cache_dir: str | None = None,
    ):
        backend.start()
        if method is None:
            method = Enhancement.gabor if networks is None else networks.ridge_enhancement
        self.networks, self.at_once = networks, RIDGE_PAIRS_AT_ONCE if networks is None else networks.at_once
        self.enhancer = Enhancer(method, cache_dir)
        self._registrar = Registrar()

    def by(self, at_once: int, frame: tuple[int, int] | None = None) -> Comparer:
        """The same comparer with `at_once` pairs in a batch. frame: see `Registrar`."""
        comparer = copy.copy(self)
        comparer.at_once, comparer._registrar = at_once, Registrar(frame)
        comparer.networks = self.networks and self.networks.by(at_once)
        return comparer

    def print_of(self, scan: Scan, ppi: float | None = None) -> Print:
        """The print of a scan.

        ppi: of the scan; overrides the tag in its file. None takes the tag, else 500.

        Raises:
            ImageError: it shows no ridges, or cannot have that ppi. The message names no file.
            EnhancementError: a method is not installed.
        """
        result = next(self.prints_of([scan], [ppi]))
        if isinstance(result, ImageError):
            raise result
        return result

    def prints_of(self, scans: Sequence[Scan], ppis: Sequence[float | None]) -> Iterator[Print | ImageError]:
        """The print of each scan, or the ImageError that says why there is none, in order. Messages name no file.

        Raises:
            EnhancementError: a method is not installed.
        """
        with ThreadPoolExecutor() as pool:
            ridge_prints = pool.map(self._ridge_print, scans, ppis)
            for ridge_side, network_side in zip(ridge_prints, self._matcher_prints(scans, ppis), strict=True):
                if isinstance(ridge_side, ImageError):
                    yield ridge_side
                elif isinstance(network_side, ImageError):
                    yield network_side
                else:
                    yield Print(ridge_side, network_side)

    def _ridge_print(self, scan: Scan, ppi: float | None) -> RidgePrint | ImageError:
        try:
            return ridge_print(scan, ppi, self.enhancer)
        except ImageError as error:
            return error

    def _matcher_prints(
        self, scans: Sequence[Scan], ppis: Sequence[float | None]
    ) -> Iterable[MatcherPrint | ImageError | None]:
        if self.networks is None:
            return [None] * len(scans)
        enhancer = self.enhancer.by(self.networks.enhancement)
        return matcher_prints(scans, ppis, self.networks.module1, enhancer)

    def compare(self, a: Print, b: Print) -> Compared:
        """The comparison of one pair."""
        return next(self.compare_many([(a, b)]))

    def compare_many(self, pairs: Iterable[Pair]) -> Iterator[Compared]:
        """The comparison of each pair, in order. Pairs are read `at_once` at a time."""
        return self._in_order(pairs, self._compare_batch)

    def align_many(self, pairs: Iterable[Pair]) -> Iterator[Compared]:
        """As `compare_many`, without Module 2."""
        return self._in_order(pairs, self._align_batch)

    def _in_order(self, pairs: Iterable[Pair], compare: Callable[[list[Pair]], list[Compared]]) -> Iterator[Compared]:
        """Compare each pair in the order that its content decides; the result is given back in the caller's order."""
        pairs = iter(pairs)
        while batch := list(islice(pairs, self.at_once)):
            swaps = [b.order() < a.order() for a, b in batch]
            results = compare([pair[::-1] if swap else pair for pair, swap in zip(batch, swaps, strict=True)])
            yield from (result.swapped() if swap else result for result, swap in zip(results, swaps, strict=True))

    def _align_batch(self, pairs: list[Pair]) -> list[Compared]:
        ridges = [(a.of_ridges, b.of_ridges) for a, b in pairs]
        if self.networks is None:
            return list(map(Compared, self._registrar.align_many(ridges)))
        guesses = list(self.networks.guesses_many(pairs))
        homographies = [
            self.networks.on_ridges(guess.homographies, *pair) for guess, pair in zip(guesses, pairs, strict=True)
        ]
        return list(map(Compared, self._registrar.align_many(ridges, homographies), guesses))

    def _compare_batch(self, pairs: list[Pair]) -> list[Compared]:
        results = self._align_batch(pairs)
        if self.networks is None or self.networks.module2 is None:
            return results
        of_module2 = self.networks.module2_results(pairs, [result.alignment.elastic for result in results])
        both = zip(results, of_module2, strict=True)
        return [result._replace(module2_result=module2_result) for result, module2_result in both]
