"""The two images of a comparison as the caller gives them, each with its name and its ppi."""

from __future__ import annotations

import math
from os import PathLike
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ifvit.image import ImageError

Image = str | PathLike | np.ndarray | Any  # a path, an array, or Pillow's
Ppi = float | None | tuple[float | None, float | None]  # of both images, or of each
T = TypeVar("T")


class GivenImage(NamedTuple):
    """An image that is compared."""

    source: Image
    name: str  # its path, or A or B
    ppi: float | None  # None takes the tag in its file, else 500

    @property
    def key(self) -> tuple[str | int, float | None]:
        """Equal for the same image at the same ppi."""
        return (self.name if self._is_file else id(self.source)), self.ppi

    def named(self, result: T | ImageError) -> T | ImageError:
        """The result; the message of an ImageError of an image in memory gets its name."""
        is_nameless = isinstance(result, ImageError) and not self._is_file
        return ImageError(f"image {self.name}: {result}") if is_nameless else result

    @property
    def _is_file(self) -> bool:
        return isinstance(self.source, (str, PathLike))


def given_images(a: Image, b: Image, ppi: Ppi) -> tuple[GivenImage, GivenImage]:
    """Both images.

    Raises:
        ValueError: a ppi is not a number above 0.
    """
    given = []
    ppis = ppi if isinstance(ppi, tuple) else (ppi, ppi)
    for source, letter, image_ppi in zip((a, b), "AB", ppis, strict=True):
        if image_ppi is not None and not (math.isfinite(image_ppi) and image_ppi > 0):
            raise ValueError(f"ppi is a number above 0, got {image_ppi}")
        given.append(GivenImage(source, str(source) if isinstance(source, (str, PathLike)) else letter, image_ppi))
    image_a, image_b = given
    return image_a, image_b
