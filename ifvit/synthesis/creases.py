"""The creases of a finger: lines that interrupt its ridges on every impression, unless the finger is pressed too hard.

The flexion creases of the last joint are one or two broad lines across the finger. White lines are thin and run at any
angle; most fingers have a few of them and some have many. Some fingers have a scar. Each crease is a slightly bent line
with a round cross-section and tapered ends. Creases are drawn on a raster of the finger frame.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ifvit.synthesis.orientation import FRAME_HEIGHT, FRAME_PPI, FRAME_WIDTH, Finger, frame_coordinates

CREASE_PPI = 250  # resolution of the raster
RASTER = (FRAME_HEIGHT * CREASE_PPI // FRAME_PPI, FRAME_WIDTH * CREASE_PPI // FRAME_PPI)  # (height, width), px
DEEPEST = 255  # the raster's value for a depth of 1
PX_PER_MM = FRAME_PPI / 25.4

# (lowest, highest), mm, of uniform distributions. A flexion crease is 1 to 2 mm broad in prints that contain it.
FLEXION_HALF_WIDTH, FLEXION_APART = (0.5, 1.0), (1.6, 2.6)
SECOND_FLEXION = 0.5  # share of fingers whose joint has a second crease
WHITE_LINES = 14  # largest number; a finger has u^2 of it, u uniform in [0, 1): half of the fingers have 3 or fewer
WHITE_HALF_WIDTH, WHITE_HALF_LENGTH = (0.1, 0.22), (1.5, 7.0)  # mm
WHITE_DEPTH = (0.3, 1.0)
SCARRED = 0.15  # share of fingers with a scar
SCAR_HALF_WIDTH, SCAR_HALF_LENGTH = (0.2, 0.45), (2.0, 6.0)  # mm
# per px, largest absolute bend: at t px along its tangent a line is bend * t^2 px away from the tangent
BEND = 0.0015
FLEXION_BEND = 0.0003  # the same for a flexion crease
TAPER = 20.0  # px, the length over which the depth falls to 0 at a line's ends


class Lines(NamedTuple):
    """N creases; lengths are px at 500 ppi."""

    middle: jax.Array  # (N, 2) px, (x, y) of the finger frame
    angle: jax.Array  # (N,) rad, of the line, from x towards y
    bend: jax.Array  # (N,) per px, as BEND
    half_length: jax.Array  # (N,) px
    half_width: jax.Array  # (N,) px
    depth: jax.Array  # (N,) in [0, 1]; 0 is no crease


def draw_creases(key: jax.Array, finger: Finger) -> jax.Array:
    """Draw the random creases of a finger: depth, uint8 (H, W) = RASTER, from 0 (no crease) to DEEPEST."""
    flexion_key, white_key, scar_key = jax.random.split(key, 3)
    parts = _flexion(flexion_key, finger), _white_lines(white_key), _scar(scar_key)
    depth = line_depth(Lines(*(jnp.concatenate(values) for values in zip(*parts, strict=True))))
    return jnp.round(DEEPEST * depth).astype(jnp.uint8)


def line_depth(lines: Lines) -> jax.Array:
    """The depth of the lines on the raster, float32 (H, W) = RASTER in [0, 1]; where lines cross, the deepest."""
    x, y = frame_coordinates(*RASTER, CREASE_PPI)

    def add_line(deepest: jax.Array, line: Lines) -> tuple[jax.Array, None]:
        c, s = jnp.cos(line.angle), jnp.sin(line.angle)
        right, down = x - line.middle[0], y - line.middle[1]
        along = c * right + s * down
        across = c * down - s * right - line.bend * along * along
        section = jnp.maximum(1 - (across / line.half_width) ** 2, 0)
        end = jnp.clip((line.half_length - jnp.abs(along)) / TAPER, 0, 1)
        return jnp.maximum(deepest, line.depth * end * section), None

    return jax.lax.scan(add_line, jnp.zeros(RASTER), lines)[0]


def _between(draw: jax.Array, limits: tuple[float, float]) -> jax.Array:
    """A length in px: the draw in [0, 1) scaled to the limits, which are in mm."""
    return PX_PER_MM * (limits[0] + (limits[1] - limits[0]) * draw)


def _flexion(key: jax.Array, finger: Finger) -> Lines:
    """The two creases of the joint, across the finger; the second has depth 0 in some fingers."""
    draw = jax.random.uniform(key, (6,))
    apart = _between(draw[0], FLEXION_APART)
    middle = jnp.stack([jnp.full(2, FRAME_WIDTH / 2), finger.joint + jnp.stack([jnp.zeros(()), apart])], -1)
    return Lines(
        middle=middle,
        angle=jnp.full(2, finger.tilt),
        bend=FLEXION_BEND * (2 * draw[1:3] - 1),
        half_length=jnp.full(2, float(FRAME_WIDTH)),
        half_width=_between(draw[3:5], FLEXION_HALF_WIDTH),
        depth=jnp.stack([jnp.ones(()), (draw[5] < SECOND_FLEXION).astype(jnp.float32)]),
    )


def _white_lines(key: jax.Array) -> Lines:
    """The white lines, N = WHITE_LINES; those beyond the finger's number have depth 0."""
    count_key, key = jax.random.split(key)
    count = WHITE_LINES * jax.random.uniform(count_key) ** 2
    draw = jax.random.uniform(key, (7, WHITE_LINES))
    depth = WHITE_DEPTH[0] + (WHITE_DEPTH[1] - WHITE_DEPTH[0]) * draw[6]
    depth = jnp.where(jnp.arange(WHITE_LINES) + 0.5 < count, depth, 0.0)
    return _random_lines(draw, WHITE_HALF_LENGTH, WHITE_HALF_WIDTH, depth)


def _scar(key: jax.Array) -> Lines:
    """The scar, N = 1; its depth is 0 in a finger without one."""
    draw = jax.random.uniform(key, (7, 1))
    return _random_lines(draw, SCAR_HALF_LENGTH, SCAR_HALF_WIDTH, (draw[6] < SCARRED).astype(jnp.float32))


def _random_lines(
    draw: jax.Array, half_length: tuple[float, float], half_width: tuple[float, float], depth: jax.Array
) -> Lines:
    """N lines at any place of the frame and at any angle.

    Args:
        draw: uniform in [0, 1), float32 (at least 6, N).
        half_length, half_width: (lowest, highest), mm.
        depth: float32 (N,) in [0, 1].
    """
    return Lines(
        middle=draw[:2].T * jnp.array([FRAME_WIDTH, FRAME_HEIGHT], jnp.float32),
        angle=jnp.pi * draw[2],
        bend=BEND * (2 * draw[3] - 1),
        half_length=_between(draw[4], half_length),
        half_width=_between(draw[5], half_width),
        depth=depth,
    )
