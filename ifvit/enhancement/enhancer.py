"""From a print to its enhanced ridges and the region where they are, both with the print's own size and resolution.

There are three methods: `none` finds the region by contrast and does not change the grey levels, `gabor` filters along
the ridges, and `pyfing` is pyfing's networks. The last two work at 500 ppi, and their results are resampled back.
Results are cached on disk under a hash of the print's content, so a machine enhances each print once. Minutiae come
from the enhanced ridges; with pyfing they come from the print itself (LEADER).
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from itertools import islice
from threading import Lock
from typing import Any, NamedTuple, Protocol, cast

import jax
import numpy as np
from PIL import Image

from ifvit.cache_folder import CacheError, cache_folder
from ifvit.config import Enhancement
from ifvit.enhancement.errors import EnhancementError
from ifvit.enhancement.gabor import enhance_gabor, print_fields, sure_ridges
from ifvit.enhancement.minutiae import Minutiae, find_minutiae, inside
from ifvit.enhancement.pyfing_networks import PyfingNetworks, pyfing_version
from ifvit.image import SMALLEST_SIDE, ImageError, ridge_mask, to_ppi
from ifvit.storage.cache import Cache

__all__ = ["Enhanced", "Enhancer", "EnhancementError", "misfit"]

RECIPE = 2  # increase it when the results change, so that cached results of older versions are not used
PPI = 500.0  # of the methods
LARGEST = 2**24  # px at 500 ppi, a square of 20 cm; a larger print has a wrong ppi
CHUNK = 32  # prints at a time: enough to fill batches, and few enough for the memory
# Kinds of cache files and their limits, bytes: enough for the masks and the greys of 50,000 prints of 388x374 px.
RIDGES_KIND, RIDGES_LIMIT = "ridges", 2**30
ENHANCED_KIND, ENHANCED_LIMIT = "enhanced", 8 * 2**30
MINUTIAE_KIND, MINUTIAE_LIMIT = "minutiae", 2**28


class Enhanced(NamedTuple):
    """A print's ridges."""

    grey: np.ndarray  # uint8 (H, W), dark ridges on a light ground; 255 outside the ridges, except by the method `none`
    ridges: np.ndarray  # bool (H, W), where there are ridges


class Enhancer:
    """Enhances prints by one method. Several threads may use it, and several processes may share its cache folder.

    A print has the same bits, whichever prints are in its batch, and from the cache or not. This holds for one kind of
    device and one version of JAX; the cache distinguishes these.

    method: `none`, `gabor` or `pyfing`.
    cache_dir: the folder of the cache; None is the user's cache folder (`ifvit.cache_folder`). The method
        `none` caches nothing, because it is as fast as reading a file.

    Raises:
        EnhancementError: the method is pyfing and it is not installed, or there is no folder for the cache.
    """

    def __init__(self, method: Enhancement, cache_dir: str | None = None):
        self.method, self.cache_dir = Enhancement(method), cache_dir
        self._loaded: _Method | None = None
        self._by_method: dict[Enhancement, Enhancer] = {}  # of other methods
        # Networks are loaded once, and one thread at a time runs them.
        self._turn = Lock() if self.method is Enhancement.pyfing else nullcontext()
        self._lock, self._running = Lock(), dict[str, Future[dict[str, np.ndarray]]]()
        if self.method is Enhancement.none:
            return
        self._version = f"{self.method} {RECIPE} {jax.default_backend()} jax{jax.__version__}"
        if self.method is Enhancement.pyfing:
            self._version += f" pyfing{pyfing_version()}"
        try:
            folder = cache_folder(cache_dir)
        except CacheError as error:
            raise EnhancementError(str(error)) from error
        self._ridges = Cache(folder, RIDGES_KIND, RIDGES_LIMIT)
        self._enhanced = Cache(folder, ENHANCED_KIND, ENHANCED_LIMIT)
        self._minutiae = Cache(folder, MINUTIAE_KIND, MINUTIAE_LIMIT)

    def by(self, method: Enhancement) -> Enhancer:
        """The enhancer of another method with the same cache folder; created at the first call."""
        if method is self.method:
            return self
        if method not in self._by_method:
            self._by_method[method] = Enhancer(method, self.cache_dir)
        return self._by_method[method]

    def enhance(self, grey: np.ndarray, ppi: float) -> Enhanced:
        """The ridges of one print, uint8 (H, W). Raises as `enhance_many`."""
        return next(self.enhance_many([grey], [ppi]))

    def enhance_many(self, images: Iterable[np.ndarray], ppis: Iterable[float]) -> Iterator[Enhanced]:
        """The ridges of each print, in order; `CHUNK` images are read at a time.

        A print without ridges is not an error: its `ridges` is False everywhere.

        images: uint8 (H, W), dark ridges. ppis: of the images, in the same order.

        Raises:
            EnhancementError: an image is not uint8 (H, W), a ppi is no resolution or makes the print smaller than a
                fingerprint or larger than a hand, or pyfing cannot be used. The message counts images from 0.
        """
        for prints in _chunks(images, ppis):
            if self.method is Enhancement.none:
                yield from (Enhanced(p.grey, ridge_mask(p.grey, p.ppi)) for p in prints)
                continue
            for p, arrays in zip(prints, self._cached(self._enhanced, prints, self._enhance_prints), strict=True):
                yield Enhanced(arrays["grey"], _unpacked(arrays["ridges"], p.grey.shape))

    def ridges_many(self, images: Iterable[np.ndarray], ppis: Iterable[float]) -> Iterator[np.ndarray]:
        """Where there are ridges, bool (H, W) of each print: the same as of `enhance_many`, in less time.

        Raises as `enhance_many`.
        """
        for prints in _chunks(images, ppis):
            if self.method is Enhancement.none:
                yield from (ridge_mask(p.grey, p.ppi) for p in prints)
                continue
            for p, arrays in zip(prints, self._cached(self._ridges, prints, self._find_ridges), strict=True):
                yield _unpacked(arrays["ridges"], p.grey.shape)

    def minutiae(self, grey: np.ndarray, enhanced: Enhanced) -> Minutiae:
        """The minutiae of a print at 500 ppi, px; grey: uint8 (H, W), dark ridges. Raises as `enhance_many`."""
        if self.method is not Enhancement.pyfing:
            return find_minutiae(enhanced.grey, enhanced.ridges)
        return inside(self._by_leader(_Print(0, grey, PPI)), enhanced.ridges)

    def _by_leader(self, p: _Print) -> Minutiae:
        """The minutiae of a print by pyfing's network LEADER, from the cache if they are there."""

        def find(prints: list[_Print]) -> list[dict[str, np.ndarray]]:
            networks = cast(PyfingNetworks, self._load_method())
            return [minutiae._asdict() for minutiae in networks.minutiae([p.grey for p in prints])]

        return Minutiae(**self._cached(self._minutiae, [p], find)[0])

    def _cached(
        self, cache: Cache, prints: list[_Print], compute: Callable[[list[_Print]], list[dict[str, np.ndarray]]]
    ) -> list[dict[str, np.ndarray]]:
        """The results of the prints, from the cache or by `compute`, which gets only prints without cached results.

        What another thread is computing is awaited: with a run, a print's ridges are wanted twice at the same time.
        """
        names = [f"{cache.kind}-{self._name(p)}" for p in prints]
        with self._lock:
            own = {name: p for name, p in zip(names, prints, strict=True) if name not in self._running}
            self._running.update({name: Future() for name in own})
            futures = {name: self._running[name] for name in names}
        try:
            results = self._computed(cache, list(own.values()), compute)
        except BaseException as error:
            for name in own:
                futures[name].set_exception(error)
            raise
        else:
            for name, arrays in zip(own, results, strict=True):
                futures[name].set_result(arrays)
        finally:
            with self._lock:
                for name in own:
                    del self._running[name]
        return [futures[name].result() for name in names]

    def _computed(
        self, cache: Cache, prints: list[_Print], compute: Callable[[list[_Print]], list[dict[str, np.ndarray]]]
    ) -> list[dict[str, np.ndarray]]:
        """As `_cached`, of prints that no other thread is computing."""
        names = [self._name(p) for p in prints]
        results = [cache.read(name) for name in names]
        missing = [index for index, arrays in enumerate(results) if arrays is None]
        if missing:
            with self._turn:
                computed = compute([prints[i] for i in missing])
            for index, arrays in zip(missing, computed, strict=True):
                cache.write(names[index], **arrays)
                results[index] = arrays
        return cast(list[dict[str, np.ndarray]], results)

    def _name(self, p: _Print) -> str:
        """The name of the cache file, with a hash of everything that the result depends on."""
        digest = hashlib.sha256(f"{self._version} {p.grey.shape} {p.ppi!r}".encode())
        digest.update(np.ascontiguousarray(p.grey).data)
        return f"{self.method}-{digest.hexdigest()}"

    def _find_ridges(self, prints: list[_Print]) -> list[dict[str, np.ndarray]]:
        masks = self._load_method().masks([p.resampled() for p in prints])
        return [{"ridges": np.packbits(p.mask_back(mask))} for p, mask in zip(prints, masks, strict=True)]

    def _enhance_prints(self, prints: list[_Print]) -> list[dict[str, np.ndarray]]:
        enhanced = self._load_method().enhance([p.resampled() for p in prints])
        return [p.back(grey, mask) for p, (grey, mask) in zip(prints, enhanced, strict=True)]

    def _load_method(self) -> _Method:
        if self._loaded is None:  # the import of pyfing takes seconds, so it waits for a print that is not cached
            self._loaded = PyfingNetworks() if self.method is Enhancement.pyfing else _Gabor()
        return self._loaded


class _Method(Protocol):
    """A method: it computes masks, bool (H, W), or enhanced greys and masks, from greys, uint8 (H, W) at 500 ppi."""

    def masks(self, prints: list[np.ndarray]) -> list[np.ndarray]: ...

    def enhance(self, prints: list[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]: ...


class _Gabor:
    """The Gabor filters, a print on each core."""

    def masks(self, prints: list[np.ndarray]) -> list[np.ndarray]:
        return self._each(lambda grey: sure_ridges(print_fields(grey), ridge_mask(grey, PPI)), prints)

    def enhance(self, prints: list[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        return self._each(self._enhanced, prints)

    def _each(self, function: Callable[[np.ndarray], Any], prints: list[np.ndarray]) -> list[Any]:
        if len(prints) == 1:
            return [function(prints[0])]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return list(pool.map(function, prints))

    def _enhanced(self, grey: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        fields = print_fields(grey)
        mask = sure_ridges(fields, ridge_mask(grey, PPI))
        return enhance_gabor(grey, mask, fields), mask


class _Print(NamedTuple):
    index: int  # type: ignore[assignment]  # in the caller's list; takes the place of tuple's method
    grey: np.ndarray  # uint8 (H, W)
    ppi: float

    def resampled(self) -> np.ndarray:
        """The grey levels at 500 ppi.

        Raises:
            EnhancementError: they are too small or too large there.
        """
        try:
            return to_ppi(self.grey, self.ppi, PPI)
        except ImageError as error:
            raise EnhancementError(f"image {self.index}: {error}") from error

    def mask_back(self, mask: np.ndarray) -> np.ndarray:
        """A mask at 500 ppi, resampled to the print's own pixels."""
        return self._on_own_pixels(mask.astype(np.uint8) * 255, Image.Resampling.BILINEAR) > 127

    def back(self, grey: np.ndarray, mask: np.ndarray) -> dict[str, np.ndarray]:
        """Enhanced grey levels and mask at 500 ppi, resampled to the print's own pixels: the arrays of the cache."""
        ridges = self.mask_back(mask)
        grey = np.where(ridges, self._on_own_pixels(grey, Image.Resampling.BICUBIC), 255).astype(np.uint8)
        return {"grey": grey, "ridges": np.packbits(ridges)}

    def _on_own_pixels(self, values: np.ndarray, method: Image.Resampling) -> np.ndarray:
        """The inverse of `to_ppi`, whose scale is exact; the part of a pixel that it cuts off is filled at the edge."""
        if self.ppi == PPI:
            return values
        height, width = self.grey.shape
        box = (0, 0, width * PPI / self.ppi, height * PPI / self.ppi)
        filled = Image.fromarray(np.pad(values, ((0, 1), (0, 1)), mode="edge"))
        return np.asarray(filled.resize((width, height), method, box))


def _unpacked(packed: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    return np.unpackbits(packed, count=math.prod(shape)).astype(bool).reshape(shape)


def _chunks(images: Iterable[np.ndarray], ppis: Iterable[float]) -> Iterator[list[_Print]]:
    """The prints, checked, in lists of `CHUNK`. Raises as `Enhancer.enhance_many`."""
    pairs = enumerate(zip(images, ppis, strict=True))
    while chunk := [_checked(index, grey, ppi) for index, (grey, ppi) in islice(pairs, CHUNK)]:
        yield chunk


def misfit(grey: np.ndarray, ppi: float) -> str | None:
    """Why a print, uint8 (H, W), of `ppi` > 0 cannot be enhanced (mostly a wrong ppi); None if it can be enhanced."""
    if _too_large(grey, ppi):
        return "larger than a hand at its ppi, which must be wrong (file_ppi, or --ppi, sets it)"
    if int(min(grey.shape) * (PPI / ppi) + 1e-6) < SMALLEST_SIDE:
        return "too small for a fingerprint at its ppi (file_ppi, or --ppi, sets it)"
    return None


def _too_large(grey: np.ndarray, ppi: float) -> bool:
    return grey.size * (PPI / ppi) * (PPI / ppi) > LARGEST


def _checked(index: int, grey: np.ndarray, ppi: float) -> _Print:
    if not isinstance(grey, np.ndarray) or grey.dtype != np.uint8 or grey.ndim != 2:
        actual = f"{grey.dtype} {grey.shape}" if isinstance(grey, np.ndarray) else type(grey).__name__
        raise EnhancementError(f"image {index}: expected grey uint8 (H, W), got {actual}")
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
