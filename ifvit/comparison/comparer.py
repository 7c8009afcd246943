"""Prints in, alignments and scores out: by the ridges always, with the networks of a trained run where there is one.

A pair is compared in one order, which the prints' content decides, whichever way it is asked for: so a score does not
depend on the order, to the last bit. Module 1's guesses of how the prints lie join those of the ridges; Module 2 looks
at the pair once it is aligned along the skin's bend.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple

from ifvit import backend
from ifvit.comparison.matcher_print import MatcherPrint, Print, matcher_prints
from ifvit.comparison.run_networks import Opinion, RunNetworks
from ifvit.comparison.score import Evidence, ridge_score
from ifvit.config import Enhancement
from ifvit.enhancement.enhancer import Enhancer
from ifvit.image import ImageError, Scan
from ifvit.registration.module1_search import Guesses
from ifvit.registration.registrar import OF_FLOW, OF_MINUTIAE, GuessSource, Registrar, RidgeAlignment
from ifvit.registration.ridge_print import RidgePrint, ridge_print

Pair = tuple[Print, Print]
SIDE_BY_SIDE = 64  # pairs that are taken in together where no network has a batch of its own


class Compared(NamedTuple):
    """A pair, A and B.

    alignment: A on B, px of the ridges at 500 ppi.
    guesses: Module 1's, px of the canvases; None without a run.
    opinion: Module 2's; None without one.
    """

    alignment: RidgeAlignment
    guesses: Guesses | None = None
    opinion: Opinion | None = None

    @property
    def evidence(self) -> Evidence:
        """What the ridges' score rests on."""
        agreement, (paired, _, alone) = self.alignment.agreement, self.alignment.paired.counts
        return Evidence(float(agreement.mean), float(agreement.area), paired, alone)

    @property
    def ridge_score(self) -> float:
        """The log-likelihood ratio, base 10, by the ridges and minutiae alone."""
        return float(ridge_score(self.evidence))

    @property
    def score(self) -> float:
        """The log-likelihood ratio, base 10, by all that is known (`ridge_score`)."""
        return float(ridge_score(self.evidence, self.opinion and self.opinion.cosines))

    @property
    def tried(self) -> dict[GuessSource, int]:
        """How many guesses of how the prints lie there were, by where they came from."""
        of_network = {} if self.guesses is None else {GuessSource.module1: self.guesses.count}
        return {GuessSource.flow: OF_FLOW, GuessSource.minutiae: OF_MINUTIAE} | of_network

    def swapped(self) -> Compared:
        """The same of (B, A)."""
        return Compared(
            self.alignment.swapped(), self.guesses and self.guesses.swapped(), self.opinion and self.opinion.swapped()
        )


class Comparer:
    """Compares prints.

    networks: of a trained run; None compares by the ridges alone.
    method: what enhances the ridges; None takes the run's own, or `gabor`.
    cache_dir: for enhanced prints; None takes the user's cache folder.

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
        self.networks, self.at_once = networks, SIDE_BY_SIDE if networks is None else networks.at_once
        self.enhancer = Enhancer(method, cache_dir)
        self._matcher = Registrar()

    def by(self, at_once: int, frame: tuple[int, int] | None = None) -> Comparer:
        """The same with so many pairs in a batch. frame: as of `Registrar`."""
        other = copy.copy(self)
        other.at_once, other._matcher = at_once, Registrar(frame)
        other.networks = self.networks and self.networks.by(at_once)
        return other

    def print_of(self, scan: Scan, ppi: float | None = None) -> Print:
        """A scan's print.

        ppi: of the scan, over its file's own tag; None takes the tag, else 500.

        Raises:
            ImageError: it shows no ridges, or cannot have that ppi (the message names no file).
            EnhancementError: a method is not installed.
        """
        found = next(self.prints_of([scan], [ppi]))
        if isinstance(found, ImageError):
            raise found
        return found

    def prints_of(self, scans: Sequence[Scan], ppis: Sequence[float | None]) -> Iterator[Print | ImageError]:
        """Each scan's print, or why there is none (the message names no file), in order.

        Raises:
            EnhancementError: a method is not installed.
        """
        with ThreadPoolExecutor() as pool:
            of_ridges = pool.map(self._ridge_print, scans, ppis)
            for ridges, networks in zip(of_ridges, self._matcher_prints(scans, ppis), strict=True):
                errors = (found for found in (ridges, networks) if isinstance(found, ImageError))
                yield next(errors, None) or Print(ridges, networks)

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
        return matcher_prints(scans, ppis, self.networks.module_1, enhancer)

    def compare(self, a: Print, b: Print) -> Compared:
        """One pair."""
        return next(self.compare_many([(a, b)]))

    def compare_many(self, pairs: Iterable[Pair]) -> Iterator[Compared]:
        """Each pair, in order; taken in by and by, `at_once` at a time."""
        return self._in_order(pairs, self._compared)

    def align_many(self, pairs: Iterable[Pair]) -> Iterator[Compared]:
        """The same without Module 2's opinion."""
        return self._in_order(pairs, self._aligned)

    def _in_order(self, pairs: Iterable[Pair], work: Callable[[list[Pair]], list[Compared]]) -> Iterator[Compared]:
        """What `work` finds of each pair in the order that its content decides, presented in the order asked for."""
        pairs = iter(pairs)
        while batch := list(islice(pairs, self.at_once)):
            swaps = [b.order() < a.order() for a, b in batch]
            found = work([pair[::-1] if swap else pair for pair, swap in zip(batch, swaps, strict=True)])
            yield from (one.swapped() if swap else one for one, swap in zip(found, swaps, strict=True))

    def _aligned(self, pairs: list[Pair]) -> list[Compared]:
        ridges = [(a.of_ridges, b.of_ridges) for a, b in pairs]
        if self.networks is None:
            return list(map(Compared, self._matcher.align_many(ridges)))
        guesses = list(self.networks.guesses_many(pairs))
        on_ridges = [
            self.networks.on_ridges(guess.homographies, *pair) for guess, pair in zip(guesses, pairs, strict=True)
        ]
        return list(map(Compared, self._matcher.align_many(ridges, on_ridges), guesses))

    def _compared(self, pairs: list[Pair]) -> list[Compared]:
        found = self._aligned(pairs)
        if self.networks is None or self.networks.module_2 is None:
            return found
        opinions = self.networks.opinions(pairs, [compared.alignment.elastic for compared in found])
        return [compared._replace(opinion=opinion) for compared, opinion in zip(found, opinions, strict=True)]
