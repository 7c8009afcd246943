"""A print as the program compares it: its ridges at 500 ppi, and the images that a run's networks read.

For `Matcher`, which compares prints, and for `data.prepare`, which writes the prints that Module 2 trains on. Both use
`matcher_prints`, so that the networks read the same pixels in training and in use.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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
AT_ONCE = 32  # prints in memory at a time; enough to fill an enhancement's batches


class MatcherPrint(NamedTuple):
    """What the networks read of a print: two images in Module 1's frame (H, W), at its ppi, pixel for pixel alike."""

    canvas: Canvas  # for Module 1, and for Module 2's local branch
    enhanced: np.ndarray  # (H, W) uint8, dark ridges on WHITE; with enhancement `none` the canvas's grey


class Print(NamedTuple):
    """A print to compare."""

    of_ridges: RidgePrint  # at 500 ppi
    of_networks: MatcherPrint | None = None  # None without a run

    @property
    def network_side(self) -> MatcherPrint:
        """What the networks read of it, where there is a run."""
        assert self.of_networks is not None
        return self.of_networks

    def order(self) -> tuple[tuple[int, ...], tuple[bytes, ...]]:
        """A key that sorts prints: the size, and the bytes of its images."""
        ridges, networks = self.of_ridges, self.of_networks
        images = [ridges.enhanced, ridges.ridges]
        if networks is not None:
            images += [networks.canvas.grey, networks.enhanced]
        return ridges.ridges.shape, tuple(image.tobytes() for image in images)

    def to_ridges(self, points: np.ndarray, ppi: float) -> np.ndarray:
        """Points (..., 2) of the canvas, px at its `ppi`, as points of the print's ridges, px at 500 ppi."""
        ridges = self.of_ridges
        return ridges.from_file(self.network_side.canvas.to_file(points, ppi))

    def to_canvas(self, points: np.ndarray, ppi: float) -> np.ndarray:
        """The inverse of `to_ridges`."""
        return (points - self.to_ridges(np.zeros(2), ppi)) * (ppi / PPI)


def matcher_prints(
    scans: Iterable[Scan], ppis: Iterable[float | None], module1: Module1, enhancer: Enhancer
) -> Iterator[MatcherPrint | ImageError]:
    """The images that the networks read of each scan, or the ImageError that says why there are none, in order.

    ppis: one a scan; None takes the file's own tag, else 500.
    enhancer: of the enhanced image.
    The messages name no file. Scans are read `AT_ONCE` at a time.

    Raises:
        EnhancementError: a method is not installed.
    """
    inputs = zip(scans, ppis, strict=True)
    mask_enhancer = _mask_enhancer(module1, enhancer)
    while batch := list(islice(inputs, AT_ONCE)):
        scan_ppis = [image.choose_ppi(scan, ppi)[0] for scan, ppi in batch]
        problems = [misfit(scan.grey, ppi) for (scan, _), ppi in zip(batch, scan_ppis, strict=True)]
        usable = [k for k, problem in enumerate(problems) if problem is None]
        greys, usable_ppis = [batch[k][0].grey for k in usable], [scan_ppis[k] for k in usable]
        images = zip(*_enhance(greys, usable_ppis, enhancer, mask_enhancer), strict=True)
        images_by_index = dict(zip(usable, images, strict=True))
        for k, (scan, ppi) in enumerate(batch):
            if k in images_by_index:
                yield _print(scan, ppi, module1, *images_by_index[k])
            else:
                yield ImageError(problems[k])


def _mask_enhancer(module1: Module1, enhancer: Enhancer) -> Enhancer | None:
    """The enhancer that finds the ridge mask; None where the mask is found by contrast, on the canvas."""
    if module1.enhancement is Enhancement.none:
        return None
    return enhancer.by(module1.enhancement)


def _enhance(
    greys: list[np.ndarray], ppis: list[float], enhancer: Enhancer, mask_enhancer: Enhancer | None
) -> tuple[Sequence[Enhanced | None], Sequence[np.ndarray | None]]:
    """The enhanced image of each print (None with `none`) and its ridge mask (None without a mask enhancer)."""
    if mask_enhancer is enhancer:  # of a method other than `none`, which finds no mask
        prints = list(enhancer.enhance_many(greys, ppis))
        return prints, [print_.ridges for print_ in prints]
    nothing = [None] * len(greys)
    enhanced = nothing if enhancer.method is Enhancement.none else list(enhancer.enhance_many(greys, ppis))
    return enhanced, nothing if mask_enhancer is None else list(mask_enhancer.ridges_many(greys, ppis))


def _print(
    scan: Scan, ppi: float | None, module1: Module1, enhanced: Enhanced | None, ridges: np.ndarray | None
) -> MatcherPrint | ImageError:
    """The images of one scan, cropped or padded to Module 1's frame."""
    try:
        canvas = image.canvas_of(scan, ridges, ppi, module1.ppi, *module1.frame)
        if enhanced is None:
            return MatcherPrint(canvas, canvas.grey)
        grey = image.to_ppi(enhanced.grey, canvas.ppi, module1.ppi)
    except ImageError as error:
        return error
    ridge_image = image.framed(grey, canvas.left, canvas.top, *module1.frame, WHITE)
    return MatcherPrint(canvas, np.where(canvas.ridges, ridge_image, np.uint8(WHITE)))
