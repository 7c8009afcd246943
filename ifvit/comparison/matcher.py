"""`Matcher`, the public interface: images are read and named, their prints compared, one by one or in batches."""

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
    """Compares and registers images. `ifvit.load` makes one.

    comparer: of prints.
    score: which of a comparison's scores decides.
    calibration: of that score; None without one.
    run_dir: of the run whose networks take part; None without one.

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
        self._batch_comparer: Comparer | None = None

    @property
    def run(self) -> str | None:
        """The run whose networks take part, and the state that they have, in words; None without one."""
        networks = self.comparer.networks
        if networks is None:
            return None
        state = networks.module2 or networks.module1
        return f"{self.run_dir} ({state.which}, step {state.step})"

    def __repr__(self) -> str:
        """The sources of evidence, the score and its calibration."""
        parts = "ridges and minutiae"
        networks, run = self.comparer.networks, self.run
        if networks is not None and run is not None:
            modules = "Module 1" if networks.module2 is None else "Modules 1 and 2"
            parts = f"ridges, minutiae and {modules} of {printable(run)}"
        calibrated = "" if self.calibration is None else f", calibrated by {self.calibration.basis()}"
        return f"<Matcher by {parts}; enhancement {self.comparer.enhancer.method}, score {self.score}{calibrated}>"

    def compare_prints(self, pairs: Sequence[tuple[Print, Print]]) -> list[Compared]:
        """The comparison of each of at most `AT_ONCE` pairs of prints."""
        if len(pairs) == 1:
            return [self.comparer.compare(*pairs[0])]
        if self._batch_comparer is None:
            self._batch_comparer = self.comparer.by(AT_ONCE)
        return list(self._batch_comparer.compare_many(pairs))

    def comparison(
        self, names: tuple[str, str], prints: tuple[Print, Print], compared: Compared, seconds: float
    ) -> Comparison:
        """The comparison of two images, from that of their prints. seconds: to read, enhance and compare."""
        networks = self.comparer.networks
        ppi = None if networks is None else networks.module1.ppi
        evidence = (self.score, self.calibration)
        return Comparison(*names, *prints, compared, seconds, ppi, *evidence, run=self.run)

    def compare(self, a: Image, b: Image, ppi: Ppi = None) -> Comparison:
        """Compare two images of prints.

        a, b: paths, arrays (grey, RGB or RGBA) or Pillow images; `ifvit.image.scan_of` has the rules.
        ppi: of both images, or (of a, of b). It overrides the files' tags. Without either it is 500, and the result
            says that it was assumed.

        Raises:
            ImageError: an image cannot be used; the message names it.
            EnhancementError: the enhancement is not installed.
        """
        start = time.perf_counter()
        prints = self._print_pair(a, b, ppi)
        (compared,) = self.compare_prints([prints])
        return self.comparison(_names(a, b), prints, compared, time.perf_counter() - start)

    def register(self, a: Image, b: Image, ppi: Ppi = None) -> Registration:
        """Align two images of prints, of one finger or of two. Arguments and errors as of `compare`."""
        start = time.perf_counter()
        prints = self._print_pair(a, b, ppi)
        (compared,) = self.comparer.align_many([prints])  # Module 2 takes no part in it
        return Registration(self.comparison(_names(a, b), prints, compared, time.perf_counter() - start))

    def compare_many(self, pairs: Iterable[tuple[Image, Image]], ppi: Ppi = None) -> Iterator[Comparison | ImageError]:
        """Compare pairs of images, in order, `AT_ONCE` in a batch. Arguments as of `compare`.

        Where an image cannot be used, its pair gives an ImageError instead of a comparison. It is not raised, so that
        the other pairs are compared. An image that several pairs of a batch share is read once.
        """
        pairs = iter(pairs)
        while batch := list(islice(pairs, AT_ONCE)):
            start = time.perf_counter()
            cache: dict[Any, Any] = {}
            sides = []
            for a, b in batch:
                for source, name, image_ppi in _sides(a, b, ppi):
                    key = (str(source) if _is_file(source) else id(source)), image_ppi
                    if key not in cache:
                        cache[key] = self._print(source, image_ppi)
                    sides.append(_name_error(cache[key], source, name))
            prints = list(zip(sides[::2], sides[1::2], strict=True))
            errors = [next((side for side in pair if isinstance(side, ImageError)), None) for pair in prints]
            usable = [pair for pair, error in zip(prints, errors, strict=True) if error is None]
            results = iter(self.compare_prints(usable) if usable else [])
            seconds = (time.perf_counter() - start) / len(batch)
            for (a, b), pair, error in zip(batch, prints, errors, strict=True):
                yield error or self.comparison(_names(a, b), pair, next(results), seconds)

    def _print_pair(self, a: Image, b: Image, ppi: Ppi) -> tuple[Print, Print]:
        """The prints of both images.

        Raises:
            ImageError: an image cannot be used; the message names the first such one.
        """
        sides = _sides(a, b, ppi)
        prints = [_name_error(self._print(source, image_ppi), source, name) for source, name, image_ppi in sides]
        for print_ in prints:
            if isinstance(print_, ImageError):
                raise print_
        of_a, of_b = prints
        return of_a, of_b

    def _print(self, source: Image, ppi: float | None) -> Any:
        """The print of an image, or the ImageError that says why there is none. The message names a file."""
        try:
            if not isinstance(source, (str, PathLike)):
                return self.comparer.print_of(image.scan_of(source), ppi)
            scan = image.read(Path(source))
        except ImageError as error:
            return error
        try:
            return self.comparer.print_of(scan, ppi)
        except ImageError as error:
            return ImageError(f"{source}: {error}")


def _sides(a: Image, b: Image, ppi: Ppi) -> Iterator[tuple[Image, str, float | None]]:
    """Each image, its name and its ppi.

    Raises:
        ValueError: a ppi is not a number above 0.
    """
    ppis = ppi if isinstance(ppi, tuple) else (ppi, ppi)
    for source, name, image_ppi in zip((a, b), _names(a, b), ppis, strict=True):
        if image_ppi is not None and not (math.isfinite(image_ppi) and image_ppi > 0):
            raise ValueError(f"ppi is a number above 0, got {image_ppi}")
        yield source, name, image_ppi


def _is_file(source: Image) -> bool:
    return isinstance(source, (str, PathLike))


def _names(a: Image, b: Image) -> tuple[str, str]:
    """The images' paths, or A and B."""
    name_a, name_b = (str(source) if _is_file(source) else name for source, name in ((a, "A"), (b, "B")))
    return name_a, name_b


def _name_error(result: Any, source: Image, name: str) -> Any:
    """The print, or the error with the image's name added where it is no file."""
    return ImageError(f"image {name}: {result}") if isinstance(result, ImageError) and not _is_file(source) else result


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
    run_dir = None if run_dir is None else Path(run_dir)
    comparer = Comparer(None if run_dir is None else load_networks(run_dir), cache_dir=cache_dir)
    check_score(comparer, score)
    calibration = None if run_dir is None else read_calibration(run_dir, score_key(comparer, score))
    return Matcher(comparer, score, calibration, run_dir)
