"""A finger's creases, which interrupt its ridges for good and show on every impression that is pressed lightly enough.

The flexion creases of the last joint are one or two broad lines across the finger. White lines are thin and run at any
angle; most fingers have a few of them and some have many. Some fingers have a scar. Each is a slightly bent line with a
round cross-section and tapered ends, drawn on a raster that lies on the finger as its ridges do.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ifvit.synthesis.orientation import FRAME_HEIGHT, FRAME_PPI, FRAME_WIDTH, Finger, frame_coordinates

CREASE_PPI = 250  # of the raster
RASTER = (FRAME_HEIGHT * CREASE_PPI // FRAME_PPI, FRAME_WIDTH * CREASE_PPI // FRAME_PPI)  # (height, width), px
DEEPEST = 255
PX_PER_MM = FRAME_PPI / 25.4

# Low and high, in mm. A flexion crease is 1 to 2 mm broad in prints that reach it.
FLEXION_HALF_WIDTH, FLEXION_APART = (0.5, 1.0), (1.6, 2.6)
SECOND_FLEXION = 0.5  # share of fingers whose joint has a second crease
WHITE_LINES = 14  # at most; u^2 of them, u uniform: half of the fingers have three or fewer
WHITE_HALF_WIDTH, WHITE_HALF_LENGTH, WHITE_DEPTH = (0.1, 0.22), (1.5, 7.0), (0.3, 1.0)
SCARRED = 0.15  # share of fingers
SCAR_HALF_WIDTH, SCAR_HALF_LENGTH = (0.2, 0.45), (2.0, 6.0)
BEND = 0.0015  # per px, within +-, of a line: it leaves its tangent by BEND times the square of the way along it
FLEXION_BEND = 0.0003
TAPER = 20.0  # px, over which a line's ends run out


class Lines(NamedTuple):
    """N creases, px at 500 ppi."""

    middle: jax.Array  # (N, 2)
    angle: jax.Array  # (N,) rad, of the line, from x towards y
    bend: jax.Array  # (N,) per px
    half_length: jax.Array  # (N,)
    half_width: jax.Array  # (N,)
    depth: jax.Array  # (N,), 0: there is none, to 1


def draw_creases(key: jax.Array, finger: Finger) -> jax.Array:
    """The creases of a finger, uint8 (H, W) = RASTER: 0 where there is none to DEEPEST."""
    flexion_key, white_key, scar_key = jax.random.split(key, 3)
    parts = _flexion(flexion_key, finger), _white_lines(white_key), _scar(scar_key)
    depth = drawn(Lines(*(jnp.concatenate(values) for values in zip(*parts, strict=True))))
    return jnp.round(DEEPEST * depth).astype(jnp.uint8)


def drawn(lines: Lines) -> jax.Array:
    """Depth of the lines on the raster, float32 (H, W) = RASTER in [0, 1]; the deepest counts where they cross."""
    x, y = frame_coordinates(*RASTER, CREASE_PPI)

    def with_line(deepest: jax.Array, line: Lines) -> tuple[jax.Array, None]:
        c, s = jnp.cos(line.angle), jnp.sin(line.angle)
        right, down = x - line.middle[0], y - line.middle[1]
        along = c * right + s * down
        across = c * down - s * right - line.bend * along * along
        section = jnp.maximum(1 - (across / line.half_width) ** 2, 0)
        end = jnp.clip((line.half_length - jnp.abs(along)) / TAPER, 0, 1)
        return jnp.maximum(deepest, line.depth * end * section), None

    return jax.lax.scan(with_line, jnp.zeros(RASTER), lines)[0]


def _between(draw: jax.Array, limits: tuple[float, float]) -> jax.Array:
    """A uniform draw in [0, 1) stretched to limits in mm, in px."""
    return PX_PER_MM * (limits[0] + (limits[1] - limits[0]) * draw)


def _flexion(key: jax.Array, finger: Finger) -> Lines:
    """The one or two creases of the joint, from side to side."""
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
    count_key, key = jax.random.split(key)
    count = WHITE_LINES * jax.random.uniform(count_key) ** 2
    draw = jax.random.uniform(key, (7, WHITE_LINES))
    depth = WHITE_DEPTH[0] + (WHITE_DEPTH[1] - WHITE_DEPTH[0]) * draw[6]
    depth = jnp.where(jnp.arange(WHITE_LINES) + 0.5 < count, depth, 0.0)
    return _anywhere(draw, WHITE_HALF_LENGTH, WHITE_HALF_WIDTH, depth)


def _scar(key: jax.Array) -> Lines:
    draw = jax.random.uniform(key, (7, 1))
    return _anywhere(draw, SCAR_HALF_LENGTH, SCAR_HALF_WIDTH, (draw[6] < SCARRED).astype(jnp.float32))


def _anywhere(
    draw: jax.Array, half_length: tuple[float, float], half_width: tuple[float, float], depth: jax.Array
) -> Lines:
    """N lines at any place and angle of the frame.

    draw: uniform in [0, 1), float32 (at least 6, N).
    half_length, half_width: the ranges, mm.
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
