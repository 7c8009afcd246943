"""A print as it is compared: its ridges at 500 ppi, and, where networks look at it too, as these need it, in training
and in use the same: the canvas that Module 1 sees, and upon it, to the pixel, the print's enhanced ridges.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np

from ifvit import image
from ifvit.config import Enhancement
from ifvit.enhancement.enhancer import Enhanced, Enhancer, misfit
from ifvit.image import Canvas, ImageError, Scan
from ifvit.registration.module1 import Module1
from ifvit.registration.ridge_print import PPI, RidgePrint

WHITE = 255
AT_ONCE = 32  # prints held at a time; enough to fill an enhancement's batches


class MatcherPrint(NamedTuple):
    """A print in Module 1's frame (H, W) and at its ppi.

    enhanced: uint8 (H, W), dark ridges, WHITE where the canvas shows none; of the enhancement `none` it is the canvas's
    grey itself.
    """

    canvas: Canvas
    enhanced: np.ndarray


class Print(NamedTuple):
    """A print to compare; of_networks is None where no network looks at it."""

    of_ridges: RidgePrint
    of_networks: MatcherPrint | None = None

    def content(self) -> tuple[bytes, ...]:
        """What it shows."""
        ridges, networks = self.of_ridges, self.of_networks
        images = [ridges.enhanced, ridges.ridges]
        if networks is not None:
            images += [networks.canvas.grey, networks.enhanced]
        return tuple(image.tobytes() for image in images)

    def order(self) -> tuple:
        """By which any two prints have one order: how large they are, then what they show."""
        return self.of_ridges.ridges.shape, self.content()

    def to_ridges(self, points: np.ndarray, ppi: float) -> np.ndarray:
        """Where points (..., 2) px of the canvas, which is at `ppi`, lie among the print's ridges, px at 500 ppi."""
        ridges = self.of_ridges
        return ridges.from_file(self.of_networks.canvas.to_file(points, ppi))

    def to_canvas(self, points: np.ndarray, ppi: float) -> np.ndarray:
        """The way back of `to_ridges`."""
        return (points - self.to_ridges(np.zeros(2), ppi)) * (ppi / PPI)


def matcher_prints(
    scans: Iterable[Scan], ppis: Iterable[float | None], trained: Module1, enhancer: Enhancer
) -> Iterator[MatcherPrint | ImageError]:
    """Each scan's print, or why there is none (the message names no file), in order; taken in by and by.

    Raises:
        EnhancementError: a method is not installed.
    """
    both = zip(scans, ppis, strict=True)
    finder = _finder(trained, enhancer)
    while some := list(islice(both, AT_ONCE)):
        used = [image.choose_ppi(scan, ppi)[0] for scan, ppi in some]
        whys = [misfit(scan.grey, own) for (scan, _), own in zip(some, used, strict=True)]
        good = [k for k, why in enumerate(whys) if why is None]
        found = zip(*_found([some[k][0].grey for k in good], [used[k] for k in good], enhancer, finder), strict=True)
        seen = dict(zip(good, found, strict=True))
        for k, (scan, ppi) in enumerate(some):
            if k in seen:
                yield _print(scan, ppi, trained, *seen[k])
            else:
                yield ImageError(whys[k])


def _finder(trained: Module1, enhancer: Enhancer) -> Enhancer | None:
    """What finds where the ridges are; None where their contrast does, on the canvas."""
    if trained.enhancement is Enhancement.none:
        return None
    return enhancer.by(trained.enhancement)


def _found(
    greys: list[np.ndarray], ppis: list[float], enhancer: Enhancer, finder: Enhancer | None
) -> tuple[list[Enhanced | None], list[np.ndarray | None]]:
    """Of each print its enhanced image, None for `none`, and where its ridges are, None where the canvas says it."""
    nothing = [None] * len(greys)
    enhanced = nothing if enhancer.method is Enhancement.none else list(enhancer.enhance_many(greys, ppis))
    if finder is enhancer:
        return enhanced, [one.ridges for one in enhanced]
    return enhanced, nothing if finder is None else list(finder.ridges_many(greys, ppis))


def _print(
    scan: Scan, ppi: float | None, trained: Module1, enhanced: Enhanced | None, ridges: np.ndarray | None
) -> MatcherPrint | ImageError:
    try:
        canvas = image.canvas_of(scan, ridges, ppi, trained.ppi, *trained.frame)
        if enhanced is None:
            return MatcherPrint(canvas, canvas.grey)
        grey = image.to_ppi(enhanced.grey, canvas.ppi, trained.ppi)
    except ImageError as error:
        return error
    lines = image.framed(grey, canvas.left, canvas.top, *trained.frame, WHITE)
    return MatcherPrint(canvas, np.where(canvas.ridges, lines, np.uint8(WHITE)))
