"""pyfing's networks on JAX: segmentation (SUFS), orientation (SNFOE), ridge period (SNFFE), enhancement (SNFEN),
minutiae (LEADER).

pyfing is by Raffaele Cappelli, and its wheel contains the networks (SUFS: IEEE Access 11, 144530, 2023; SNFOE: IEEE
Access 12, 55998, 2024; SNFFE: IEEE Access 12, 153605, 2024; SNFEN: arXiv 2603.19004, 2026; LEADER, with M. Ferrara:
arXiv 2602.15493, 2026). It belongs to the extra `enhance`, and is imported only when `PyfingNetworks` is created.

Only its networks and their weights are used. pyfing's own steps around them call `.numpy()` on the results and write
into them, which is impossible with JAX's arrays. Here the networks are compiled and return writable NumPy copies. The
steps between them (padding, and masks and angles as bytes) are written anew, so that several prints of a size can be in
one batch.

Grey means uint8 (H, W) at 500 ppi, dark ridges on a light ground.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import metadata
from typing import Any

import jax
import numpy as np

from ifvit.enhancement.errors import EnhancementError
from ifvit.enhancement.minutiae import Minutiae, MinutiaKind

# For SUFS and for the other networks, px: the least padding, both sides together, and the factor of the padded sides.
# SUFS halves the sides six times, the others five times. The values are pyfing's: others would move the results a bit.
SUFS_FRAME, FRAME = (33, 64), (0, 32)
THRESHOLD = 0.5  # of SUFS's probability of ridges
SURE_MINUTIA, ENDING = (
    0.6,
    0.5,
)  # thresholds of LEADER's confidence and of its probability of an ending; pyfing's values
ACCELERATOR_BATCH = 8  # prints


def pyfing_version() -> str:
    """The installed version of pyfing; nothing is imported.

    Raises:
        EnhancementError: pyfing is not installed.
    """
    try:
        return metadata.version("pyfing")
    except metadata.PackageNotFoundError as error:
        raise EnhancementError("pyfing is not installed: pip install 'ifvit[enhance]'") from error


class PyfingNetworks:
    """The five networks; each is loaded when it is first used.

    Batches have a fixed size and are padded with copies of a print, so that a print has the same bits in any batch. The
    size is 1 on the CPU, where a larger one is no faster, and `ACCELERATOR_BATCH` on accelerators.

    Raises:
        EnhancementError: pyfing or Keras is missing, or Keras already runs on another backend than JAX.
    """

    def __init__(self) -> None:
        pyfing_version()
        os.environ["KERAS_BACKEND"] = "jax"  # Keras reads it at its import
        try:
            import keras
            import pyfing
        except ImportError as error:
            raise EnhancementError(f"pyfing cannot be imported ({error}): pip install 'ifvit[enhance]'") from error
        if keras.backend.backend() != "jax":
            raise EnhancementError(
                f"Keras was already imported with the backend {keras.backend.backend()}; pyfing's networks are needed "
                "on JAX: set KERAS_BACKEND=jax before the program starts"
            )
        self._classes = {
            "mask": pyfing.Sufs, "theta": pyfing.Snfoe, "period": pyfing.Snffe, "ridges": pyfing.Snfen,
            "minutiae": pyfing.Leader,
        }  # fmt: skip
        self._loaded: dict[str, Callable[[np.ndarray], np.ndarray]] = {}
        self._batch = 1 if jax.default_backend() == "cpu" else ACCELERATOR_BATCH

    def masks(self, prints: list[np.ndarray]) -> list[np.ndarray]:
        """Where there are ridges, bool (H, W) of each print."""

        def mask_of(batch: np.ndarray, *_: np.ndarray) -> np.ndarray:
            return self._run("mask", batch[..., None].astype(np.float32))[..., 0] >= THRESHOLD

        return self._in_batches(mask_of, SUFS_FRAME, prints, [np.ones(grey.shape, bool) for grey in prints])

    def enhance(self, prints: list[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        """The ridges of each print, black on white, uint8 (H, W), white outside its mask; and its mask, bool (H, W)."""

        def ridges_of(batch: np.ndarray, mask: np.ndarray, inside: np.ndarray) -> np.ndarray:
            channels = [batch, mask.astype(np.uint8)]
            theta = self._run("theta", _stacked(channels))
            channels.append(_as_bytes(theta % np.pi * (255 / np.pi)) * inside)  # 0 around the print, as in pyfing
            period = self._run("period", _stacked(channels))  # tenths of a px
            channels.append(_as_bytes(period) * inside)
            ridges = self._run("ridges", _stacked(channels))  # 1 on ridges
            return np.where(mask, _as_bytes(255 * (1 - ridges)), 255).astype(np.uint8)

        masks = self.masks(prints)
        return list(zip(self._in_batches(ridges_of, FRAME, prints, masks), masks, strict=True))

    def minutiae(self, prints: list[np.ndarray]) -> list[Minutiae]:
        """The minutiae of each print, from top to bottom. LEADER's own directions have the other sign (y upwards)."""

        def layers_of(batch: np.ndarray, *_: np.ndarray) -> np.ndarray:
            return self._run("minutiae", batch[..., None].astype(np.float32))

        maps = self._in_batches(layers_of, FRAME, prints, [np.ones(grey.shape, bool) for grey in prints])
        return [_minutiae_of(layers) for layers in maps]

    def _in_batches(
        self, compute: Callable, frame: tuple[int, int], prints: list[np.ndarray], masks: list[np.ndarray]
    ) -> list[np.ndarray]:
        """The results of `compute` for each print, cropped to the print's size.

        compute: from prints, masks, and the pixels that belong to a print, (B, H, W) each of one padded size, to
            (B, H, W, ...).
        frame: the least padding and the factor of the padded sides, px.
        masks: bool (H, W) of each print.
        """
        results: list[np.ndarray] = [np.empty(0)] * len(prints)
        sizes: dict[tuple[int, int], list[int]] = {}
        for index, grey in enumerate(prints):
            sizes.setdefault(_padded_size(grey.shape, *frame), []).append(index)
        for size, indices in sizes.items():
            for start in range(0, len(indices), self._batch):
                chosen = indices[start : start + self._batch]
                filled = chosen + chosen[-1:] * (self._batch - len(chosen))
                batch = np.stack([_padded(prints[i], size, prints[i][0, 0]) for i in filled])
                mask = np.stack([_padded(masks[i], size, False) for i in filled])
                inside = np.stack([_padded(np.ones_like(masks[i]), size, False) for i in filled])
                computed = compute(batch, mask, inside)
                for index, result in zip(chosen, computed, strict=False):
                    top, left = _corner(prints[index].shape, size)
                    height, width = prints[index].shape
                    results[index] = result[top : top + height, left : left + width].copy()
        return results

    def _run(self, name: str, inputs: np.ndarray) -> np.ndarray:
        if name not in self._loaded:
            self._loaded[name] = _compiled(self._classes[name]().model)
        return self._loaded[name](inputs)


def _compiled(model: Any) -> Callable[[np.ndarray], np.ndarray]:
    """A Keras model as a compiled function from a NumPy array to a new, writable one."""
    weights = [v.value for v in model.trainable_variables], [v.value for v in model.non_trainable_variables]
    call = jax.jit(lambda trained, other, inputs: model.stateless_call(trained, other, inputs, training=False)[0])
    return lambda inputs: np.array(call(*weights, inputs))


def _minutiae_of(layers: np.ndarray) -> Minutiae:
    """The minutiae in LEADER's output, (H, W, 4): presence, direction in rad, ending, and peaks of the presence."""
    row, col = np.nonzero(layers[..., 3] >= SURE_MINUTIA)
    direction, ending = layers[row, col, 1], layers[row, col, 2]
    kinds = np.where(ending >= ENDING, MinutiaKind.ending, MinutiaKind.bifurcation)
    return Minutiae(np.stack([col, row], -1).astype(np.float32), -direction, kinds.astype(np.int32))


def _padded_size(shape: tuple[int, int], padding: int, factor: int) -> tuple[int, int]:
    """The next size with at least `padding` px more, both sides together, whose sides are multiples of `factor`."""
    height, width = (-(-(side + padding) // factor) * factor for side in shape)
    return height, width


def _corner(shape: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """The row and column of a print's first pixel in its padded frame."""
    return (size[0] - shape[0]) // 2, (size[1] - shape[1]) // 2


def _padded(values: np.ndarray, size: tuple[int, int], fill: int | bool) -> np.ndarray:
    """`values` (H, W) in the middle of a frame of `size`, filled with `fill`; pyfing takes the print's first pixel."""
    frame = np.full(size, fill, values.dtype)
    top, left = _corner(values.shape, size)
    frame[top : top + values.shape[0], left : left + values.shape[1]] = values
    return frame


def _stacked(channels: list[np.ndarray]) -> np.ndarray:
    return np.stack(channels, -1)  # (B, H, W, C) uint8


def _as_bytes(values: np.ndarray) -> np.ndarray:
    return np.clip(np.round(values), 0, 255).astype(np.uint8)
