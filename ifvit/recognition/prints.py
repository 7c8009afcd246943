"""A print as Module 2 needs it, in training and in use the same: the canvas that Module 1 sees, and upon it, to the
pixel, the print's enhanced ridges.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np

from ifvit import image
from ifvit.config import Enhancement
from ifvit.image import Canvas, ImageError, Scan
from ifvit.recognition.enhancement import Enhanced, Enhancer, misfit
from ifvit.recognition.trained import Trained

WHITE = 255
AT_ONCE = 32  # prints held at a time; enough to fill an enhancement's batches


class MatcherPrint(NamedTuple):
    """A print in Module 1's frame (H, W) and at its ppi.

    enhanced: uint8 (H, W), dark ridges, WHITE where the canvas shows none; of the enhancement `none` it is the canvas's
    grey itself.
    """

    canvas: Canvas
    enhanced: np.ndarray


def matcher_print(scan: Scan, ppi: float | None, trained: Trained, enhancer: Enhancer) -> MatcherPrint:
    """The print of a scan.

    ppi: of the scan, over its file's own tag; None takes the tag, else 500. enhancer: what draws the ridges; where they
    are is found as `trained` was taught to find it.

    Raises:
        ImageError: it shows no ridges, or cannot have that ppi (the message names no file).
        EnhancementError: a method is not installed.
    """
    made = next(matcher_prints([scan], [ppi], trained, enhancer))
    if isinstance(made, ImageError):
        raise made
    return made


def matcher_prints(
    scans: Iterable[Scan], ppis: Iterable[float | None], trained: Trained, enhancer: Enhancer
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


def _finder(trained: Trained, enhancer: Enhancer) -> Enhancer | None:
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
    scan: Scan, ppi: float | None, trained: Trained, enhanced: Enhanced | None, ridges: np.ndarray | None
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
