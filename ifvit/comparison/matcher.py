"""Pairs of images in, comparisons out: reading, naming and batching."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ifvit import image
from ifvit.calibration import Calibration
from ifvit.comparison.comparer import Compared, Comparer
from ifvit.comparison.matcher_print import Print
from ifvit.comparison.registration_result import Registration
from ifvit.comparison.result import Comparison
from ifvit.comparison.run_calibration import Score, check_score, read_calibration, score_key
from ifvit.comparison.run_networks import load_networks
from ifvit.console import printable
from ifvit.image import ImageError

AT_ONCE = 8  # pairs in a batch of `compare_many`

Image = str | PathLike | np.ndarray | Any  # a path, an array, or Pillow's
Ppi = float | None | tuple[float | None, float | None]  # of both images, or of each


class Matcher:
    """Compares images; made by `load`.

    comparer: what compares their prints.
    score: which of a comparison's scores decides. calibration: of that score.
    run_dir: whose networks take part, None without.

    Raises:
        ScoreError: the comparer has no such score.
    """

    def __init__(
        self,
        comparer: Comparer,
        score: Score = Score.fused,
        calibration: Calibration | None = None,
        run_dir: Path | None = None,
    ):
        check_score(comparer, score)
        self.comparer, self.score, self.calibration, self.run_dir = comparer, score, calibration, run_dir
        self._many: Comparer | None = None

    @property
    def run(self) -> str | None:
        """The run whose networks take part, and which of its states, in words; None without one."""
        networks = self.comparer.networks
        if networks is None:
            return None
        state = networks.module_2 or networks.module_1
        return f"{self.run_dir} ({state.which}, step {state.step})"

    def __repr__(self) -> str:
        """What compares, by which score, and by whose impostors that is decided."""
        parts = "ridges and minutiae"
        if (networks := self.comparer.networks) is not None:
            modules = "Module 1" if networks.module_2 is None else "Modules 1 and 2"
            parts = f"ridges, minutiae and {modules} of {printable(self.run)}"
        calibrated = "" if self.calibration is None else f", calibrated by {self.calibration.basis()}"
        return f"<Matcher by {parts}; enhancement {self.comparer.enhancer.method}, score {self.score}{calibrated}>"

    def compare_prints(self, pairs: Sequence[tuple[Print, Print]]) -> list[Compared]:
        """What is found of each of at most `AT_ONCE` pairs of prints."""
        if len(pairs) == 1:
            return [self.comparer.compare(*pairs[0])]
        if self._many is None:
            self._many = self.comparer.by(AT_ONCE)
        return list(self._many.compare_many(pairs))

    def comparison(
        self, names: tuple[str, str], prints: tuple[Print, Print], found: Compared, seconds: float
    ) -> Comparison:
        """The comparison to hand out."""
        networks = self.comparer.networks
        ppi = None if networks is None else networks.module_1.ppi
        evidence = (self.score, self.calibration)
        return Comparison(*names, *prints, found, seconds, ppi, *evidence, run=self.run)

    def compare(self, a: Image, b: Image, ppi: Ppi = None) -> Comparison:
        """Two prints: paths, arrays (grey, RGB or RGBA) or Pillow images, by the rules of `ifvit.image.scan_of`.

        ppi: of both images or (of a, of b), over their own tags; 500 where nobody says it, and the result says so.

        Raises:
            ImageError: an image cannot be used; names it.
            EnhancementError: the enhancement is not installed.
        """
        started = time.perf_counter()
        prints = self._both(a, b, ppi)
        (found,) = self.compare_prints([prints])
        return self.comparison(_names(a, b), prints, found, time.perf_counter() - started)

    def register(self, a: Image, b: Image, ppi: Ppi = None) -> Registration:
        """How one print lies on the other, whoever's they are; images, ppi and errors as of `compare`."""
        started = time.perf_counter()
        prints = self._both(a, b, ppi)
        (found,) = self.comparer.align_many([prints])  # Module 2 has no say in it
        return Registration(self.comparison(_names(a, b), prints, found, time.perf_counter() - started))

    def compare_many(self, pairs: Iterable[tuple[Image, Image]], ppi: Ppi = None) -> Iterator[Comparison | ImageError]:
        """The comparison of each pair, in order, `AT_ONCE` in a batch.

        An image that cannot be used does not end it: in that pair's place comes, not raised, the ImageError that says
        why (`isinstance(found, ImageError)`). An image that several pairs of a batch share is read once.
        """
        pairs = iter(pairs)
        while batch := list(islice(pairs, AT_ONCE)):
            started = time.perf_counter()
            read: dict[Any, Any] = {}
            sides = []
            for a, b in batch:
                for shown, name, own in _sides(a, b, ppi):
                    key = (str(shown) if _is_file(shown) else id(shown)), own
                    if key not in read:
                        read[key] = self._print(shown, own)
                    sides.append(_named(read[key], shown, name))
            prints = list(zip(sides[::2], sides[1::2], strict=True))
            errors = [next((side for side in pair if isinstance(side, ImageError)), None) for pair in prints]
            good = [pair for pair, error in zip(prints, errors, strict=True) if error is None]
            found = iter(self.compare_prints(good) if good else [])
            seconds = (time.perf_counter() - started) / len(batch)
            for (a, b), pair, error in zip(batch, prints, errors, strict=True):
                yield error or self.comparison(_names(a, b), pair, next(found), seconds)

    def _both(self, a: Image, b: Image, ppi: Ppi) -> tuple[Print, Print]:
        """Both prints, or the ImageError of the first that cannot be used, raised."""
        prints = [_named(self._print(shown, own), shown, name) for shown, name, own in _sides(a, b, ppi)]
        for found in prints:
            if isinstance(found, ImageError):
                raise found
        return tuple(prints)

    def _print(self, shown: Image, ppi: float | None) -> Any:
        """An image's print, or the ImageError that says why there is none, naming it where it is a file."""
        try:
            if not _is_file(shown):
                return self.comparer.print_of(image.scan_of(shown), ppi)
            scan = image.read(Path(shown))
        except ImageError as error:
            return error
        try:
            return self.comparer.print_of(scan, ppi)
        except ImageError as error:
            return ImageError(f"{shown}: {error}")


def _sides(a: Image, b: Image, ppi: Ppi) -> Iterator[tuple[Image, str, float | None]]:
    """Each image, its name and its ppi."""
    for shown, name, own in zip((a, b), _names(a, b), ppi if isinstance(ppi, tuple) else (ppi, ppi), strict=True):
        if own is not None and not (math.isfinite(own) and own > 0):
            raise ValueError(f"ppi is a number above 0, got {own}")
        yield shown, name, own


def _is_file(shown: Image) -> bool:
    return isinstance(shown, (str, PathLike))


def _names(a: Image, b: Image) -> tuple[str, str]:
    """Their paths, or A and B."""
    return tuple(str(shown) if _is_file(shown) else name for shown, name in ((a, "A"), (b, "B")))


def _named(found: Any, shown: Image, name: str) -> Any:
    """A print, or the error that names the image."""
    return ImageError(f"image {name}: {found}") if isinstance(found, ImageError) and not _is_file(shown) else found


def load(
    run_dir: str | PathLike | None = None, cache_dir: str | None = None, score: str | Score = Score.fused
) -> Matcher:
    """What compares prints: by the ridges, and with the networks of a run directory, which is only read.

    run_dir: None compares by the ridges alone.
    cache_dir: for enhanced prints; None takes the user's cache folder.
    score: which score decides, as of `Score`.

    Raises:
        CheckpointError: it is no run, holds no state yet, or is damaged.
        EnhancementError: the run's enhancement is not installed.
        ScoreError: the run has no such score.
        BackendError: JAX has no device.
    """
    score = Score(score)
    run_dir = None if run_dir is None else Path(run_dir)
    comparer = Comparer(None if run_dir is None else load_networks(run_dir), cache_dir=cache_dir)
    check_score(comparer, score)
    calibration = None if run_dir is None else read_calibration(run_dir, score_key(comparer, score))
    return Matcher(comparer, score, calibration, run_dir)
