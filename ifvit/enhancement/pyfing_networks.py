"""pyfing's networks on JAX: segmentation (SUFS), orientation (SNFOE), ridge period (SNFFE), enhancement (SNFEN),
minutiae (LEADER).

pyfing is Raffaele Cappelli's, and its wheel carries the networks (SUFS: IEEE Access 11, 144530, 2023; SNFOE: IEEE
Access 12, 55998, 2024; SNFFE: IEEE Access 12, 153605, 2024; SNFEN: arXiv 2603.19004, 2026; LEADER, with M. Ferrara:
arXiv 2602.15493, 2026).
It belongs to the extra `enhance`, and is imported only when `PyfingNetworks` is created. Its networks and their weights
are used. pyfing's own steps around them call `.numpy()` on what comes back and write into it, which JAX's
arrays do not allow; here the networks are compiled and hand back writable NumPy copies, and the steps between them
(borders, masks and angles as bytes) are ours, so that several prints of a size pass at once.

Grey means uint8 (H, W) at 500 ppi, dark ridges on a light ground.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import metadata

import jax
import numpy as np

from ifvit.enhancement.errors import EnhancementError
from ifvit.enhancement.minutiae import Minutiae, MinutiaKind

# px: what a network wants around a print, both sides together, and what the padded sides are multiples of, for SUFS
# halves them six times and the others five. pyfing's own, since where a pixel falls on those grids shows in the result.
SUFS_FRAME, FRAME = (33, 64), (0, 32)
THRESHOLD = 0.5  # of SUFS's probability of ridges
SURE_MINUTIA, ENDING = 0.6, 0.5  # of LEADER's confidence, and of its probability that a ridge ends; pyfing's own
SIDE_BY_SIDE = 8  # prints an accelerator takes at a time


def pyfing_version() -> str:
    """The version of pyfing that is installed; nothing is imported.

    Raises:
        EnhancementError: none is.
    """
    try:
        return metadata.version("pyfing")
    except metadata.PackageNotFoundError as error:
        raise EnhancementError("pyfing is not installed: pip install 'ifvit[enhance]'") from error


class PyfingNetworks:
    """The five networks; each is loaded when it is first needed.

    Prints pass in batches of a fixed size, filled up where there are too few, so that a print has the same bits
    whatever came with it: one by one on the CPU, which gains nothing by more, SIDE_BY_SIDE on accelerators.

    Raises:
        EnhancementError: pyfing or Keras is missing, or Keras already runs on another backend than JAX.
    """

    def __init__(self) -> None:
        pyfing_version()
        os.environ["KERAS_BACKEND"] = "jax"  # read by Keras when it is imported
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
        self._makers = {
            "mask": pyfing.Sufs, "theta": pyfing.Snfoe, "period": pyfing.Snffe, "ridges": pyfing.Snfen,
            "minutiae": pyfing.Leader,
        }  # fmt: skip
        self._loaded: dict[str, Callable[[np.ndarray], np.ndarray]] = {}
        self._batch = 1 if jax.default_backend() == "cpu" else SIDE_BY_SIDE

    def masks(self, prints: list[np.ndarray]) -> list[np.ndarray]:
        """Where there are ridges, bool (H, W) of each print."""

        def found(batch: np.ndarray, *_: np.ndarray) -> np.ndarray:
            return self._run("mask", batch[..., None].astype(np.float32))[..., 0] >= THRESHOLD

        return self._in_batches(found, SUFS_FRAME, prints, [np.ones(grey.shape, bool) for grey in prints])

    def enhance(self, prints: list[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        """The ridges of each print, black on white, uint8 (H, W), and its mask, bool (H, W); white off the mask."""

        def enhanced(batch: np.ndarray, mask: np.ndarray, inside: np.ndarray) -> np.ndarray:
            seen = [batch, mask.astype(np.uint8)]
            theta = self._run("theta", _channels(seen))
            seen.append(_as_bytes(theta % np.pi * (255 / np.pi)) * inside)  # nothing around the print, as in pyfing
            tenths = self._run("period", _channels(seen))  # of a px
            seen.append(_as_bytes(tenths) * inside)
            bright = self._run("ridges", _channels(seen))  # 1 on ridges
            return np.where(mask, _as_bytes(255 * (1 - bright)), 255).astype(np.uint8)

        masks = self.masks(prints)
        return list(zip(self._in_batches(enhanced, FRAME, prints, masks), masks, strict=True))

    def minutiae(self, prints: list[np.ndarray]) -> list[Minutiae]:
        """The minutiae of each print, in reading order. LEADER's own directions turn from x away from y."""

        def found(batch: np.ndarray, *_: np.ndarray) -> np.ndarray:
            return self._run("minutiae", batch[..., None].astype(np.float32))

        maps = self._in_batches(found, FRAME, prints, [np.ones(grey.shape, bool) for grey in prints])
        return [_peaks(layers) for layers in maps]

    def _in_batches(
        self, compute: Callable, frame: tuple[int, int], prints: list[np.ndarray], masks: list[np.ndarray]
    ) -> list[np.ndarray]:
        """`compute` of prints, masks and where the prints are, (B, H, W) each of one padded size, cut back to sizes."""
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
            self._loaded[name] = _compiled(self._makers[name]().model)
        return self._loaded[name](inputs)


def _compiled(model) -> Callable[[np.ndarray], np.ndarray]:
    """A Keras model as a compiled function of a NumPy array to a new, writable one."""
    weights = [v.value for v in model.trainable_variables], [v.value for v in model.non_trainable_variables]
    call = jax.jit(lambda trained, other, inputs: model.stateless_call(trained, other, inputs, training=False)[0])
    return lambda inputs: np.array(call(*weights, inputs))


def _peaks(layers: np.ndarray) -> Minutiae:
    """The minutiae in what LEADER returns, (H, W, 4): presence, direction in rad, ending, peaks of the presence."""
    row, col = np.nonzero(layers[..., 3] >= SURE_MINUTIA)
    direction, ending = layers[row, col, 1], layers[row, col, 2]
    kinds = np.where(ending >= ENDING, MinutiaKind.ending, MinutiaKind.bifurcation)
    return Minutiae(np.stack([col, row], -1).astype(np.float32), -direction, kinds.astype(np.int32))


def _padded_size(shape: tuple[int, int], border: int, multiple: int) -> tuple[int, int]:
    return tuple(-(-(side + border) // multiple) * multiple for side in shape)


def _corner(shape: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """Where the first row and column of a print come to lie in its padded frame."""
    return (size[0] - shape[0]) // 2, (size[1] - shape[1]) // 2


def _padded(values: np.ndarray, size: tuple[int, int], fill) -> np.ndarray:
    """`values` (H, W) in the middle of a frame of `size`; pyfing fills it with the print's first pixel."""
    frame = np.full(size, fill, values.dtype)
    top, left = _corner(values.shape, size)
    frame[top : top + values.shape[0], left : left + values.shape[1]] = values
    return frame


def _channels(seen: list[np.ndarray]) -> np.ndarray:
    return np.stack(seen, -1)  # (B, H, W, C) uint8


def _as_bytes(values: np.ndarray) -> np.ndarray:
    return np.clip(np.round(values), 0, 255).astype(np.uint8)
