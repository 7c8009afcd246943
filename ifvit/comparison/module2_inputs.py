"""What Module 2 sees of a pair, A laid on B; in training and in use the same. Pure JAX."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ifvit.geometry import at_cells, mask_at, pixel_grid, sample
from ifvit.models.matcher import BranchInput
from ifvit.registration.elastic import ElasticMap

ROI_SIDE = 90  # px (IFViT's local input)


class BranchImages(NamedTuple):
    """B pairs in B's frame, A laid on B.

    enhanced_a, enhanced_b, grey_a, grey_b: float32 (B, H, W) in [0, 1]; overlap: bool (B, H, W), where both show
    ridges.
    """

    enhanced_a: jax.Array
    enhanced_b: jax.Array
    grey_a: jax.Array
    grey_b: jax.Array
    overlap: jax.Array


class SeenAreas(NamedTuple):
    """A print at some points (H, W, 2).

    grey, enhanced: float32 (H, W) in [0, 1]. ridges: bool (H, W), where it shows ridges.
    """

    grey: jax.Array
    enhanced: jax.Array
    ridges: jax.Array


def seen_at(
    grey: jax.Array, enhanced: jax.Array, ridges: jax.Array, background: jax.Array, points: jax.Array
) -> SeenAreas:
    """A print, grey and enhanced uint8 (H, W), ridges bool (H, W), at points (H2, W2, 2) px.

    Beyond its frame it is `background` uint8 () and white, without ridges.
    """
    seen = sample(grey.astype(jnp.float32), points, background.astype(jnp.float32)) / 255
    lines = sample(enhanced.astype(jnp.float32), points, 255.0) / 255
    return SeenAreas(seen, lines, mask_at(ridges, points))


class CanvasImages(NamedTuple):
    """A print's canvas as the device gets it; of N prints each with a leading axis N.

    grey, enhanced: uint8 (H, W). ridges: bool (H, W). background: uint8 ().
    origin: float32 (2,), the point of the print's ridges, px at 500 ppi, that the canvas's first pixel shows.
    """

    grey: jax.Array
    enhanced: jax.Array
    ridges: jax.Array
    background: jax.Array
    origin: jax.Array


@partial(jax.jit, static_argnames="scale")
def aligned_pairs(
    elastic: ElasticMap, a: CanvasImages, b: CanvasImages, scale: float
) -> tuple[jax.Array, BranchImages]:
    """N pairs, A seen through the map from B's ridges to A's, one after the other, so that all have the same bits in
    any place: for each pixel of B the point of A's canvas, float32 (N, H, W, 2) px, and the images in B's canvas.

    scale: px at 500 ppi of a px of the canvases.
    """

    def aligned(pair: tuple[ElasticMap, CanvasImages, CanvasImages]) -> tuple[jax.Array, BranchImages]:
        elastic, a, b = pair
        points = pixel_grid(*b.grey.shape) * scale + b.origin
        map_ba = (jnp.stack(elastic(points[..., 0], points[..., 1]), axis=-1) - a.origin) / scale
        seen = seen_at(*a[:4], map_ba)
        grey_b, enhanced_b = (image.astype(jnp.float32) / 255 for image in (b.grey, b.enhanced))
        return map_ba, BranchImages(seen.enhanced, enhanced_b, seen.grey, grey_b, seen.ridges & b.ridges)

    return jax.lax.map(aligned, (elastic, a, b))


class Box(NamedTuple):
    """Where the local input lies: top, left int32 (B,), the row and column it begins at, px."""

    top: jax.Array
    left: jax.Array


def branch_inputs(laid: BranchImages, stride: int) -> tuple[BranchInput, BranchInput, Box]:
    """What the global and the local branch see, and where the latter lies.

    Global: the enhanced prints where both show ridges, 0 elsewhere (IFViT). Local: 90x90 px of the prints themselves
    (or the frame, where that is smaller), about the middle of the overlap, padded to multiples of the stride.
    """
    overlap = laid.overlap
    images = (jnp.where(overlap, image, 0.0) for image in (laid.enhanced_a, laid.enhanced_b))
    of_global = BranchInput(*images, _counted(overlap, stride))
    box = local_box(overlap)
    height, width = local_sides(overlap.shape[1:])
    pad = [(0, 0), *((0, -side % stride) for side in (height, width))]

    def padded(images: jax.Array, mode: str) -> jax.Array:
        return jnp.pad(cut(images, box), pad, mode=mode)

    real = at_cells(padded(jnp.ones_like(overlap), "constant"), stride)
    counted = _counted(padded(overlap, "constant"), stride)
    mask = real.reshape(counted.shape).astype(jnp.float32)
    of_local = BranchInput(padded(laid.grey_a, "edge"), padded(laid.grey_b, "edge"), counted, mask)
    return of_global, of_local, box


def local_sides(frame: tuple[int, int]) -> tuple[int, int]:
    """(height, width) px of the local input of a frame (height, width)."""
    return min(ROI_SIDE, frame[0]), min(ROI_SIDE, frame[1])


def local_box(overlap: jax.Array) -> Box:
    """The box of the local input about the middle of each overlap, bool (B, H, W), within the frame."""
    sides = local_sides(overlap.shape[1:])
    count = jnp.maximum(overlap.sum((1, 2)), 1)
    starts = []
    for axis, (whole, side) in enumerate(zip(overlap.shape[1:], sides, strict=True)):
        along = overlap.sum(2 - axis)  # (B, H) or (B, W)
        middle = (along * jnp.arange(whole)).sum(1) / count
        starts.append(jnp.clip(jnp.round(middle - (side - 1) / 2), 0, whole - side).astype(jnp.int32))
    return Box(*starts)


def cut(images: jax.Array, box: Box) -> jax.Array:
    """The box's part of images (B, H, W, ...)."""
    sides = local_sides(images.shape[1:3])

    def one(image: jax.Array, top: jax.Array, left: jax.Array) -> jax.Array:
        start = (top, left, *([0] * (image.ndim - 2)))
        return jax.lax.dynamic_slice(image, start, (*sides, *image.shape[2:]))

    return jax.vmap(one)(images, *box)


def _counted(overlap: jax.Array, stride: int) -> jax.Array:
    """The cells (B, h, w) that show the overlap, as 0 and 1; all, where it is between the cells' pixels."""
    grid = tuple(side // stride for side in overlap.shape[1:])
    cells = at_cells(overlap, stride)
    cells |= ~cells.any(-1, keepdims=True)
    return cells.reshape(-1, *grid).astype(jnp.float32)
