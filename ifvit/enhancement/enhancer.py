"""The front of this room: a print goes in, its ridges and where they are come out, in its own geometry and size.

What finds the ridges is a choice: their contrast alone, which leaves the grey as it is (`none`), the Gabor bank
(`gabor`), or pyfing's networks (`pyfing`). The latter two see every print at 500 ppi and are resampled back. What they
found is kept on disk under the print's own content, so that each print is enhanced once on a machine. Minutiae come
from the enhanced ridges, with pyfing from the print itself (LEADER).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator
from itertools import islice
from threading import Lock
from typing import NamedTuple, Protocol

import jax
import numpy as np
from PIL import Image

from ifvit.config import Enhancement
from ifvit.enhancement.errors import EnhancementError
from ifvit.enhancement.gabor import enhance_gabor, print_fields, sure_ridges
from ifvit.enhancement.minutiae import Minutiae, find_minutiae, inside
from ifvit.enhancement.pyfing_networks import PyfingNetworks, pyfing_version
from ifvit.image import SMALLEST_SIDE, ImageError, ridge_mask, to_ppi
from ifvit.storage.cache import Cache, CacheError, cache_folder

__all__ = ["Enhanced", "Enhancer", "EnhancementError", "misfit"]

RECIPE = 1  # raise it when a print comes out otherwise: what older versions kept is then not taken for it
PPI = 500.0  # what the methods were made for
LARGEST = 2**24  # px at 500 ppi, 2 decimetres square; more is a wrong ppi
CHUNK = 32  # prints at a time: enough to fill batches, few enough to hold
# Kinds of cache file, and the bytes they may take: of prints of 388x374 px the masks of 50,000, the greys of 50,000.
RIDGES_KIND, RIDGES_LIMIT = "ridges", 2**30
ENHANCED_KIND, ENHANCED_LIMIT = "enhanced", 8 * 2**30
MINUTIAE_KIND, MINUTIAE_LIMIT = "minutiae", 2**28


class Enhanced(NamedTuple):
    """A print's ridges. grey: uint8 (H, W), dark ridges on a light ground; ridges: bool (H, W), where there are any.

    Unless the method is `none`, grey is 255 where there are no ridges.
    """

    grey: np.ndarray
    ridges: np.ndarray


class Enhancer:
    """Enhances prints by one method; safe with several threads, and with several processes on one cache folder.

    Whatever came with it, from the cache or not, a print has the same bits (on one kind of device and version of JAX;
    the cache keeps these apart).

    method: what finds the ridges. cache_dir: where results are kept; None is the user's cache folder
    (`ifvit.storage.cache.cache_folder`). Nothing is kept for `none`, which takes no longer than reading it back.

    Raises:
        EnhancementError: the method is pyfing and it is not installed, or there is no folder to cache in.
    """

    def __init__(self, method: Enhancement, cache_dir: str | None = None):
        self.method, self.cache_dir = Enhancement(method), cache_dir
        self._finder: _Finder | None = None
        self._others: dict[Enhancement, Enhancer] = {}
        self._finding = Lock()  # networks are loaded once, and not run by two threads at a time
        if self.method is Enhancement.none:
            return
        self._made_by = f"{self.method} {RECIPE} {jax.default_backend()} jax{jax.__version__}"
        if self.method is Enhancement.pyfing:
            self._made_by += f" pyfing{pyfing_version()}"
        try:
            folder = cache_folder(cache_dir)
        except CacheError as error:
            raise EnhancementError(str(error)) from error
        self._ridges = Cache(folder, RIDGES_KIND, RIDGES_LIMIT)
        self._enhanced = Cache(folder, ENHANCED_KIND, ENHANCED_LIMIT)
        self._minutiae = Cache(folder, MINUTIAE_KIND, MINUTIAE_LIMIT)

    def by(self, method: Enhancement) -> Enhancer:
        """The enhancer of a method on the same cache: this one, or one that is made when it is first asked for."""
        if method is self.method:
            return self
        if method not in self._others:
            self._others[method] = Enhancer(method, self.cache_dir)
        return self._others[method]

    def enhance(self, grey: np.ndarray, ppi: float) -> Enhanced:
        """One print, uint8 (H, W), of `ppi`. Errors as in `enhance_many`."""
        return next(self.enhance_many([grey], [ppi]))

    def enhance_many(self, images: Iterable[np.ndarray], ppis: Iterable[float]) -> Iterator[Enhanced]:
        """Each print, uint8 (H, W), of its ppi, in order; taken in by and by, some at a time.

        A print without ridges is not an error: its `ridges` is False everywhere.

        Raises:
            EnhancementError: an image is not uint8 (H, W), a ppi is no resolution or makes the print smaller than a
                fingerprint or larger than a hand, or pyfing cannot be used. The message counts images from 0.
        """
        for prints in _chunks(images, ppis):
            if self.method is Enhancement.none:
                yield from (Enhanced(p.grey, ridge_mask(p.grey, p.ppi)) for p in prints)
                continue
            for p, held in zip(prints, self._remembered(self._enhanced, prints, self._find_all), strict=True):
                yield Enhanced(held["grey"], _unpacked(held["ridges"], p.grey.shape))

    def ridges_many(self, images: Iterable[np.ndarray], ppis: Iterable[float]) -> Iterator[np.ndarray]:
        """Only where there are ridges, bool (H, W), the same as `enhance_many` finds, in a part of the time.

        Errors as in `enhance_many`.
        """
        for prints in _chunks(images, ppis):
            if self.method is Enhancement.none:
                yield from (ridge_mask(p.grey, p.ppi) for p in prints)
                continue
            for p, held in zip(prints, self._remembered(self._ridges, prints, self._find_ridges), strict=True):
                yield _unpacked(held["ridges"], p.grey.shape)

    def minutiae(self, grey: np.ndarray, enhanced: Enhanced) -> Minutiae:
        """The minutiae of a print at 500 ppi, px; grey: uint8 (H, W), dark ridges. Errors as in `enhance_many`."""
        if self.method is not Enhancement.pyfing:
            return find_minutiae(enhanced.grey, enhanced.ridges)
        return inside(self._by_leader(_Print(0, grey, PPI)), enhanced.ridges)

    def _by_leader(self, p: _Print) -> Minutiae:
        def find(prints: list[_Print]) -> list[dict[str, np.ndarray]]:
            return [found._asdict() for found in self._methods().minutiae([p.grey for p in prints])]

        return Minutiae(**self._remembered(self._minutiae, [p], find)[0])

    def _remembered(self, cache: Cache, prints: list[_Print], find) -> list[dict[str, np.ndarray]]:
        names = [self._name(p) for p in prints]
        results = [cache.read(name) for name in names]
        missing = [index for index, held in enumerate(results) if held is None]
        if not missing:
            return results
        with self._finding:
            fresh = find([prints[i] for i in missing])
        for index, found in zip(missing, fresh, strict=True):
            cache.write(names[index], **found)
            results[index] = found
        return results

    def _name(self, p: _Print) -> str:
        """Of the cache file: what the result follows from."""
        digest = hashlib.sha256(f"{self._made_by} {p.grey.shape} {p.ppi!r}".encode())
        digest.update(np.ascontiguousarray(p.grey).data)
        return f"{self.method}-{digest.hexdigest()}"

    def _find_ridges(self, prints: list[_Print]) -> list[dict[str, np.ndarray]]:
        masks = self._methods().masks([p.resampled() for p in prints])
        return [{"ridges": np.packbits(p.mask_back(mask))} for p, mask in zip(prints, masks, strict=True)]

    def _find_all(self, prints: list[_Print]) -> list[dict[str, np.ndarray]]:
        found = self._methods().enhance([p.resampled() for p in prints])
        return [p.back(grey, mask) for p, (grey, mask) in zip(prints, found, strict=True)]

    def _methods(self) -> _Finder:
        if self._finder is None:  # pyfing takes seconds to import, so not where all is cached
            self._finder = PyfingNetworks() if self.method is Enhancement.pyfing else _Gabor()
        return self._finder


class _Finder(Protocol):
    """A method: of greys, uint8 (H, W) at 500 ppi, the masks, bool (H, W), or enhanced greys and masks."""

    def masks(self, prints: list[np.ndarray]) -> list[np.ndarray]: ...

    def enhance(self, prints: list[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]: ...


class _Gabor:
    """The Gabor bank, one print after the other."""

    def masks(self, prints: list[np.ndarray]) -> list[np.ndarray]:
        return [sure_ridges(print_fields(grey), ridge_mask(grey, PPI)) for grey in prints]

    def enhance(self, prints: list[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        return [self._enhanced(grey) for grey in prints]

    def _enhanced(self, grey: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        fields = print_fields(grey)
        mask = sure_ridges(fields, ridge_mask(grey, PPI))
        return enhance_gabor(grey, mask, fields), mask


class _Print(NamedTuple):
    index: int  # among those given
    grey: np.ndarray
    ppi: float

    def resampled(self) -> np.ndarray:
        try:
            return to_ppi(self.grey, self.ppi, PPI)
        except ImageError as error:
            raise EnhancementError(f"image {self.index}: {error}") from error

    def mask_back(self, mask: np.ndarray) -> np.ndarray:
        """A mask at 500 ppi on the print's own pixels."""
        return self._on_own_pixels(mask.astype(np.uint8) * 255, Image.Resampling.BILINEAR) > 127

    def back(self, grey: np.ndarray, mask: np.ndarray) -> dict[str, np.ndarray]:
        """What was found at 500 ppi on the print's own pixels, as it is kept."""
        ridges = self.mask_back(mask)
        grey = np.where(ridges, self._on_own_pixels(grey, Image.Resampling.BICUBIC), 255).astype(np.uint8)
        return {"grey": grey, "ridges": np.packbits(ridges)}

    def _on_own_pixels(self, values: np.ndarray, method: Image.Resampling) -> np.ndarray:
        """The way back of `to_ppi`, whose scale is exact: a part of a pixel that it cut off at the end is filled up."""
        if self.ppi == PPI:
            return values
        height, width = self.grey.shape
        box = (0, 0, width * PPI / self.ppi, height * PPI / self.ppi)
        filled = Image.fromarray(np.pad(values, ((0, 1), (0, 1)), mode="edge"))
        return np.asarray(filled.resize((width, height), method, box))


def _unpacked(packed: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    return np.unpackbits(packed, count=math.prod(shape)).astype(bool).reshape(shape)


def _chunks(images: Iterable[np.ndarray], ppis: Iterable[float]) -> Iterator[list[_Print]]:
    prints = enumerate(zip(images, ppis, strict=True))
    while chunk := [_checked(index, *one) for index, one in islice(prints, CHUNK)]:
        yield chunk


def misfit(grey: np.ndarray, ppi: float) -> str | None:
    """Why a print, uint8 (H, W), of `ppi` > 0 cannot be enhanced, which may be a wrong ppi; None where it can."""
    if _too_large(grey, ppi):
        return "larger than a hand at its ppi, which must be wrong (file_ppi, or --ppi, sets it)"
    if int(min(grey.shape) * (PPI / ppi) + 1e-6) < SMALLEST_SIDE:
        return "too small for a fingerprint at its ppi (file_ppi, or --ppi, sets it)"
    return None


def _too_large(grey: np.ndarray, ppi: float) -> bool:
    return grey.size * (PPI / ppi) * (PPI / ppi) > LARGEST


def _checked(index: int, grey: np.ndarray, ppi: float) -> _Print:
    if not isinstance(grey, np.ndarray) or grey.dtype != np.uint8 or grey.ndim != 2:
        what = f"{grey.dtype} {grey.shape}" if isinstance(grey, np.ndarray) else type(grey).__name__
        raise EnhancementError(f"image {index}: expected grey uint8 (H, W), got {what}")
    height, width = grey.shape
    if min(height, width) < SMALLEST_SIDE:
        raise EnhancementError(f"image {index}: {width}x{height} px is too small for a fingerprint")
    if not (math.isfinite(ppi) and ppi > 0):
        raise EnhancementError(f"image {index}: {ppi} is no resolution in pixels per inch")
    if _too_large(grey, ppi):
        raise EnhancementError(
            f"image {index}: {width}x{height} px at {ppi:g} ppi is larger than a hand; is the ppi right?"
        )
    return _Print(index, grey, float(ppi))
