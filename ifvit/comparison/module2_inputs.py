"""Module 2's inputs of an aligned pair: the overlap of the whole prints, and a 90x90 px region of it.

For the training step (`training.matcher_step`) and for comparisons (`run_networks`): both cut their inputs with these
functions, so that the network reads the same pixels in training and in use. Pure JAX.
"""

from __future__ import annotations

from functools import partial
from typing import Generic, NamedTuple

import jax
import jax.numpy as jnp

from ifvit.geometry import at_cells, mask_at, pixel_grid, sample
from ifvit.models.matcher import BranchInput
from ifvit.pair import Arrays, Pair
from ifvit.registration.elastic import ElasticMap

ROI_SIDE = 90  # px (IFViT's local input)


class BranchImages(NamedTuple):
    """B pairs in B's frame (H, W), A aligned with B."""

    enhanced: Pair[jax.Array]  # (B, H, W) float32, [0, 1]
    grey: Pair[jax.Array]  # (B, H, W) float32, [0, 1]
    overlap: jax.Array  # (B, H, W) bool, where both prints show ridges


class PrintSamples(NamedTuple):
    """The values of a print at a grid of points (H, W, 2)."""

    grey: jax.Array  # (H, W) float32, [0, 1]
    enhanced: jax.Array  # (H, W) float32, [0, 1]
    ridges: jax.Array  # (H, W) bool, where the print shows ridges


class PrintImages(NamedTuple, Generic[Arrays]):
    """The images of a print. Of N prints each field has a leading axis N."""

    grey: Arrays  # (H, W) uint8
    enhanced: Arrays  # (H, W) uint8
    ridges: Arrays  # (H, W) bool
    background: Arrays  # () uint8


def sample_print(images: PrintImages[jax.Array], points: jax.Array) -> PrintSamples:
    """The values of a print at points (H2, W2, 2) px.

    Outside of the frame grey is `background`, enhanced is white, and there are no ridges.
    """
    grey = sample(images.grey.astype(jnp.float32), points, images.background.astype(jnp.float32)) / 255
    enhanced = sample(images.enhanced.astype(jnp.float32), points, 255.0) / 255
    return PrintSamples(grey, enhanced, mask_at(images.ridges, points))


class CanvasImages(NamedTuple):
    """A print's canvas on the device. Of N prints each field has a leading axis N."""

    images: PrintImages[jax.Array]
    origin: jax.Array  # (2,) float32, the canvas's first pixel as a point of the print's ridges, px at 500 ppi


@partial(jax.jit, static_argnames="scale")
def align_images(elastic: ElasticMap, a: CanvasImages, b: CanvasImages, scale: float) -> tuple[jax.Array, BranchImages]:
    """The images of N pairs in B's canvases, A seen through the map from B's ridges to A's.

    scale: px at 500 ppi in a px of the canvases.

    Returns the point of A's canvas at each pixel of B's, float32 (N, H, W, 2) px, and the images. Pairs are computed
    one after the other, so that a pair has the same bits at any place in the batch.
    """

    def align_pair(pair: tuple[ElasticMap, CanvasImages, CanvasImages]) -> tuple[jax.Array, BranchImages]:
        elastic, a, b = pair
        points = pixel_grid(*b.images.grey.shape) * scale + b.origin
        map_ba = (jnp.stack(elastic(points[..., 0], points[..., 1]), axis=-1) - a.origin) / scale
        samples = sample_print(a.images, map_ba)
        grey_b, enhanced_b = (image.astype(jnp.float32) / 255 for image in (b.images.grey, b.images.enhanced))
        overlap = samples.ridges & b.images.ridges
        return map_ba, BranchImages(Pair(samples.enhanced, enhanced_b), Pair(samples.grey, grey_b), overlap)

    return jax.lax.map(align_pair, (elastic, a, b))


class Box(NamedTuple):
    """Where the local input begins in the frame."""

    top: jax.Array  # (B,) int32, row, px
    left: jax.Array  # (B,) int32, column, px


def branch_inputs(images: BranchImages, stride: int) -> tuple[BranchInput, BranchInput, Box]:
    """The inputs of the global and of the local branch, and the box of the local one.

    Global: the enhanced prints where both show ridges, 0 elsewhere (IFViT).
    Local: 90x90 px of the grey prints (or the frame, where that is smaller) about the middle of the overlap, padded to
    multiples of the stride.
    """
    overlap = images.overlap
    enhanced = images.enhanced.map(lambda image: jnp.where(overlap, image, 0.0))
    of_global = BranchInput(enhanced, _overlap_cells(overlap, stride))
    box = local_box(overlap)
    height, width = local_sides(overlap.shape[1:])
    pad = [(0, 0), *((0, -side % stride) for side in (height, width))]

    def cut_and_pad(values: jax.Array, mode: str) -> jax.Array:
        return jnp.pad(cut(values, box), pad, mode=mode)

    real = at_cells(cut_and_pad(jnp.ones_like(overlap), "constant"), stride)
    cells = _overlap_cells(cut_and_pad(overlap, "constant"), stride)
    mask = real.reshape(cells.shape).astype(jnp.float32)
    of_local = BranchInput(images.grey.map(lambda image: cut_and_pad(image, "edge")), cells, mask)
    return of_global, of_local, box


def local_sides(frame: tuple[int, ...]) -> tuple[int, int]:
    """(height, width) px of the local input in a frame (height, width)."""
    return min(ROI_SIDE, frame[0]), min(ROI_SIDE, frame[1])


def local_box(overlap: jax.Array) -> Box:
    """The box of the local input about the middle of each overlap, bool (B, H, W), inside the frame."""
    sides = local_sides(overlap.shape[1:])
    count = jnp.maximum(overlap.sum((1, 2)), 1)
    starts = []
    for axis, (length, side) in enumerate(zip(overlap.shape[1:], sides, strict=True)):
        profile = overlap.sum(2 - axis)  # (B, H) or (B, W)
        middle = (profile * jnp.arange(length)).sum(1) / count
        starts.append(jnp.clip(jnp.round(middle - (side - 1) / 2), 0, length - side).astype(jnp.int32))
    return Box(*starts)


def cut(images: jax.Array, box: Box) -> jax.Array:
    """The box's part of images (B, H, W, ...)."""
    sides = local_sides(images.shape[1:3])

    def cut_image(image: jax.Array, top: jax.Array, left: jax.Array) -> jax.Array:
        start: tuple[jax.Array | int, ...] = (top, left, *([0] * (image.ndim - 2)))
        return jax.lax.dynamic_slice(image, start, (*sides, *image.shape[2:]))

    return jax.vmap(cut_image)(images, *box)


def _overlap_cells(overlap: jax.Array, stride: int) -> jax.Array:
    """Which cells show the overlap, float32 (B, h, w), 0 or 1; all cells, where the overlap meets no cell's pixel."""
    grid = tuple(side // stride for side in overlap.shape[1:])
    cells = at_cells(overlap, stride)
    cells |= ~cells.any(-1, keepdims=True)
    return cells.reshape(-1, *grid).astype(jnp.float32)
