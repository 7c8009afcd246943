"""`Matcher`, the public interface: it compares and registers images, and prints that are read already.

The ridges are always compared. With a trained run, Module 1's guess of the registration joins those of the ridges, and
Module 2 reads the pair once it is aligned. A pair is computed in one order, which the prints' content decides. So the
score of (A, B) is that of (B, A), to the last bit.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from os import PathLike
from pathlib import Path

from ifvit import backend, image
from ifvit.calibration import Calibration
from ifvit.comparison.compared import Compared
from ifvit.comparison.given_images import GivenImage, Image, Ppi, given_images
from ifvit.comparison.matcher_print import MatcherPrint, Print, matcher_prints
from ifvit.comparison.registration_result import Registration
from ifvit.comparison.result import Comparison
from ifvit.comparison.run_calibration import Score, check_score, read_calibration, score_key
from ifvit.comparison.run_networks import RunNetworks, load_networks
from ifvit.config import Enhancement
from ifvit.console import printable
from ifvit.enhancement.enhancer import Enhancer
from ifvit.image import ImageError, Scan
from ifvit.registration.registrar import Registrar
from ifvit.registration.ridge_print import ridge_print

AT_ONCE = 8  # pairs of images in a batch
RIDGE_PAIRS_AT_ONCE = 64  # pairs of prints in a batch where no network sets the size

Pair = tuple[Print, Print]


class Matcher:
    """Compares and registers images. `ifvit.load` makes one.

    networks: of a trained run; None compares the ridges alone.
    method: the enhancement of the ridges; None takes the run's own, or `gabor`.
    cache_dir: folder for enhanced prints; None takes the user's cache folder.
    score: which of a comparison's scores decides.
    run_dir: of the run whose networks take part; None without one.

    Attributes:
        calibration: of the score; None without one.
        run: the run whose networks take part, and the state that they have, in words; None without one.

    Raises:
        BackendError: JAX has no device.
        EnhancementError: the method is not installed.
        ScoreError: the networks give no such score.
    """

    def __init__(
        self,
        networks: RunNetworks | None = None,
        method: Enhancement | None = None,
        cache_dir: str | None = None,
        *,
        score: Score = Score.fused,
        run_dir: Path | None = None,
    ):
        backend.start()
        if method is None:
            method = Enhancement.gabor if networks is None else networks.ridge_enhancement
        self.networks, self.at_once = networks, RIDGE_PAIRS_AT_ONCE if networks is None else networks.at_once
        self.enhancer = Enhancer(method, cache_dir)
        check_score(networks, score)
        self.score, self.run_dir, self.run = score, run_dir, _run_text(networks, run_dir)
        self.calibration: Calibration | None = None
        self._registrar = Registrar()
        self._batches: Matcher | None = None

    def __repr__(self) -> str:
        """The sources of evidence, the score and its calibration."""
        parts = "ridges and minutiae"
        if self.networks is not None:
            modules = "Module 1" if self.networks.module2 is None else "Modules 1 and 2"
            parts = f"ridges, minutiae and {modules} of {printable(self.run or 'a run')}"
        calibrated = "" if self.calibration is None else f", calibrated by {self.calibration.basis()}"
        return f"<Matcher by {parts}; enhancement {self.enhancer.method}, score {self.score}{calibrated}>"

    def compare(self, a: Image, b: Image, ppi: Ppi = None) -> Comparison:
        """Compare two images of prints.

        a, b: paths, arrays (grey, RGB or RGBA) or Pillow images; `ifvit.image.scan_of` has the rules.
        ppi: of both images, or (of a, of b). It overrides the files' tags. Without either it is 500, and the result
            says that it was assumed.

        Raises:
            ImageError: an image cannot be used; the message names it.
            EnhancementError: the enhancement is not installed.
        """
        return self._compare(given_images(a, b, ppi), use_module2=True)

    def register(self, a: Image, b: Image, ppi: Ppi = None) -> Registration:
        """Align two images of prints, of one finger or of two. Arguments and errors as of `compare`."""
        return Registration(self._compare(given_images(a, b, ppi), use_module2=False))

    def _compare(self, given: tuple[GivenImage, GivenImage], use_module2: bool) -> Comparison:
        """The comparison of two images. Errors as of `compare`."""
        start = time.perf_counter()
        a, b = (image.usable(side.named(image.from_image(side.source, side.ppi, self.print_of))) for side in given)
        (compared,) = self.compare_prints([(a, b)], use_module2)
        return self._comparison(given, (a, b), compared, time.perf_counter() - start)

    def _comparison(
        self, given: tuple[GivenImage, GivenImage], prints: Pair, compared: Compared, seconds: float
    ) -> Comparison:
        """The comparison of two images, from that of their prints. seconds: to read, enhance and compare."""
        a, b = given
        ppi = None if self.networks is None else self.networks.module1.ppi
        evidence = (self.score, self.calibration)
        return Comparison(a.name, b.name, *prints, compared, seconds, ppi, *evidence, run=self.run)

    def compare_many(self, pairs: Iterable[tuple[Image, Image]], ppi: Ppi = None) -> Iterator[Comparison | ImageError]:
        """Compare pairs of images, in order, `AT_ONCE` in a batch. Arguments as of `compare`.

        Where an image cannot be used, its pair gives an ImageError instead of a comparison. It is not raised, so that
        the other pairs are compared. An image that several pairs of a batch share is read once.
        """
        pairs = iter(pairs)
        while batch := [given_images(a, b, ppi) for a, b in islice(pairs, AT_ONCE)]:
            start = time.perf_counter()
            images = {side.key: side for given in batch for side in given}
            prints = {key: image.from_image(side.source, side.ppi, self.print_of) for key, side in images.items()}
            sides = [[side.named(prints[side.key]) for side in given] for given in batch]
            errors = [next((side for side in pair if isinstance(side, ImageError)), None) for pair in sides]
            usable = [(a, b) for a, b in sides if isinstance(a, Print) and isinstance(b, Print)]
            results = zip(usable, self._compare_batch(usable), strict=True)
            seconds = (time.perf_counter() - start) / len(batch)
            for given, error in zip(batch, errors, strict=True):
                yield error or self._comparison(given, *next(results), seconds)

    def _compare_batch(self, pairs: Sequence[Pair]) -> list[Compared]:
        """The comparison of each of at most `AT_ONCE` pairs of prints."""
        if len(pairs) < 2:
            return list(self.compare_prints(pairs))
        if self._batches is None:
            self._batches = self.by(AT_ONCE)
        return list(self._batches.compare_prints(pairs))

    def by(self, at_once: int, frame: tuple[int, int] | None = None) -> Matcher:
        """The same matcher with `at_once` pairs of prints in a batch. frame: see `Registrar`."""
        matcher = copy.copy(self)
        matcher.at_once, matcher._registrar, matcher._batches = at_once, Registrar(frame), None
        matcher.networks = self.networks and self.networks.by(at_once)
        return matcher

    def print_of(self, scan: Scan, ppi: float | None = None) -> Print:
        """The print of a scan.

        ppi: of the scan; overrides the tag in its file. None takes the tag, else 500.

        Raises:
            ImageError: it shows no ridges, or cannot have that ppi. The message names no file.
            EnhancementError: a method is not installed.
        """
        return image.usable(next(self.prints_of([scan], [ppi])))

    def prints_of(self, scans: Sequence[Scan], ppis: Sequence[float | None]) -> Iterator[Print | ImageError]:
        """The print of each scan, or the ImageError that says why there is none, in order. Messages name no file.

        Raises:
            EnhancementError: a method is not installed.
        """
        network_sides: Iterable[MatcherPrint | ImageError | None] = [None] * len(scans)
        with ThreadPoolExecutor() as pool:
            enhancers = [self.enhancer] * len(scans)
            ridge_sides = pool.map(partial(image.attempt, ridge_print), scans, ppis, enhancers)
            if self.networks is not None:
                enhancer = self.enhancer.by(self.networks.enhancement)
                network_sides = matcher_prints(scans, ppis, self.networks.module1, enhancer)
            for ridge_side, network_side in zip(ridge_sides, network_sides, strict=True):
                if isinstance(ridge_side, ImageError):
                    yield ridge_side
                elif isinstance(network_side, ImageError):
                    yield network_side
                else:
                    yield Print(ridge_side, network_side)

    def compare_prints(self, pairs: Iterable[Pair], use_module2: bool = True) -> Iterator[Compared]:
        """The comparison of each pair, in order. Pairs are read `at_once` at a time.

        Each is computed in the order that its content decides, and given back in the caller's.
        use_module2: whether Module 2 takes part, where there is one; without it prints are aligned alone.
        """
        pairs = iter(pairs)
        while batch := list(islice(pairs, self.at_once)):
            swaps = [b.order() < a.order() for a, b in batch]
            results = self._compare_ordered(
                [pair[::-1] if swap else pair for pair, swap in zip(batch, swaps, strict=True)], use_module2
            )
            yield from (result.swapped() if swap else result for result, swap in zip(results, swaps, strict=True))

    def _compare_ordered(self, pairs: list[Pair], use_module2: bool) -> list[Compared]:
        """The comparison of each pair, computed in the order of its prints."""
        ridges, networks = [(a.of_ridges, b.of_ridges) for a, b in pairs], self.networks
        if networks is None:
            return list(map(Compared, self._registrar.align_many(ridges)))
        guesses = list(networks.guess_many(pairs))
        homographies = [
            networks.on_ridges(guess.homography, *pair)[None] for guess, pair in zip(guesses, pairs, strict=True)
        ]
        alignments = list(self._registrar.align_many(ridges, homographies))
        if networks.module2 is None or not use_module2:
            return list(map(Compared, alignments, guesses))
        of_module2 = networks.module2_results(pairs, [alignment.elastic for alignment in alignments])
        return list(map(Compared, alignments, guesses, of_module2))


def _run_text(networks: RunNetworks | None, run_dir: Path | None) -> str | None:
    """The run whose networks take part, and the state that they have, in words; None without one."""
    if networks is None or run_dir is None:
        return None
    state = networks.module2 or networks.module1
    return f"{run_dir} ({state.which}, step {state.step})"


def load(
    run_dir: str | PathLike | None = None, cache_dir: str | None = None, score: str | Score = Score.fused
) -> Matcher:
    """A matcher that compares the ridges, and uses the networks of a run directory. Nothing is written into that.

    run_dir: None compares the ridges alone.
    cache_dir: folder for enhanced prints; None takes the user's cache folder.
    score: which score decides (`Score`).

    Raises:
        CheckpointError: the run_dir is no run, has no state yet, or is damaged.
        EnhancementError: the run's enhancement is not installed.
        ScoreError: the run has no such score.
        BackendError: JAX has no device.
    """
    score = Score(score)
    if run_dir is None:
        return Matcher(cache_dir=cache_dir, score=score)
    matcher = Matcher(load_networks(Path(run_dir)), cache_dir=cache_dir, score=score, run_dir=Path(run_dir))
    matcher.calibration = read_calibration(Path(run_dir), score_key(matcher.networks, matcher.enhancer.method, score))
    return matcher
