"""Prints by formula: what their minutiae are and how they are aligned is known exactly.

Ridges are a wave of a phase that grows by a turn for each `PERIOD` px away from a core. A minutia adds the angle about
its place to the phase, so that there is a ridge more on one side of it.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import NamedTuple

import jax
import numpy as np

from ifvit.enhancement.minutiae import find_minutiae
from ifvit.image import PpiFrom
from ifvit.registration.elastic import ElasticMap
from ifvit.registration.ridge_print import RidgePrint

PERIOD = 9.0  # px
SIDE = 288  # px, of a print
FRAME = (SIDE, SIDE)
MIDDLE = (SIDE - 1) / 2

Map = Callable[[np.ndarray], np.ndarray]  # points (..., 2) px to points


class Finger(NamedTuple):
    """Ridges in the plane.

    places: float (N, 2) px, the minutiae. signs: (N,), 1 or -1, which way each points. core: (2,) px.
    ripple: how far the ridges swing, so that they can be told apart along their length, too.
    """

    places: np.ndarray
    signs: np.ndarray
    core: tuple[float, float] = (150.0, 170.0)
    ripple: float = 2.0

    def phase(self, points: np.ndarray) -> np.ndarray:
        """Of the ridges at points (..., 2) px, rad; a whole number of turns on a ridge."""
        phase = self._smooth_phase(points)
        for (x, y), sign in zip(self.places, self.signs, strict=True):
            phase = phase + sign * np.arctan2(points[..., 1] - y, points[..., 0] - x)
        return phase

    def directions(self) -> np.ndarray:
        """Which way the minutiae point, rad (N,): along the ridges, to the side that has more of them."""
        along = [self._smooth_phase(self.places + step) - self._smooth_phase(self.places - step) for step in np.eye(2)]
        return np.arctan2(-self.signs * along[0], self.signs * along[1])

    def _smooth_phase(self, points: np.ndarray) -> np.ndarray:
        x, y = points[..., 0], points[..., 1]
        swing = self.ripple * (np.sin(x / 15 + y / 40) + np.sin(y / 17 - x / 50))
        # Ellipses about the core: circles would look alike however they are turned.
        return 2 * np.pi / PERIOD * np.hypot(0.85 * (x - self.core[0]), y - self.core[1]) + swing


@lru_cache
def finger(seed: int) -> Finger:
    """A finger with about as many minutiae as skin has."""
    rng = np.random.default_rng(seed)
    return Finger(rng.uniform(35, SIDE - 35, (26, 2)), rng.choice([-1, 1], 26), tuple(rng.uniform(130, 170, 2)))


def pixels() -> np.ndarray:
    """The points (x, y) of a print's pixels, (SIDE, SIDE, 2)."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(float)
    return np.stack([x, y], axis=-1)


def disc(x: float = MIDDLE, y: float = MIDDLE, radius: float = 132.0) -> np.ndarray:
    """Where a round print shows ridges, bool (SIDE, SIDE)."""
    return np.hypot(*np.moveaxis(pixels() - (x, y), -1, 0)) < radius


def map_to_a(turn_deg: float = 0.0, shift: tuple[float, float] = (0.0, 0.0), bend: float = 0.0) -> Map:
    """A map from B to A: a turn about the middle, then a shift, px; and a smooth bend of at most `bend` px an axis."""
    c, s = np.cos(np.deg2rad(turn_deg)), np.sin(np.deg2rad(turn_deg))

    def to_a(points: np.ndarray) -> np.ndarray:
        x, y = points[..., 0], points[..., 1]
        turned = (points - MIDDLE) @ np.array([[c, s], [-s, c]]) + MIDDLE + shift
        return turned + bend * np.stack([np.sin(2 * np.pi * y / 260), np.cos(2 * np.pi * x / 230)], axis=-1)

    return to_a


def homography(turn_deg: float, shift: tuple[float, float]) -> np.ndarray:
    """The matrix of `map_to_a` without a bend, float32 (3, 3)."""
    corner, right, down = map_to_a(turn_deg, shift)(np.array([(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)]))
    return np.array([*np.stack([right - corner, down - corner, corner], axis=-1), (0, 0, 1)], np.float32)


def drawn(of: Finger, to_finger: Map | None = None, shown: np.ndarray | None = None, sign: int = 1) -> RidgePrint:
    """The print whose point x shows the finger's point `to_finger`(x). sign: -1 has ridges for valleys."""
    points = pixels() if to_finger is None else to_finger(pixels())
    shown = disc() if shown is None else shown
    grey = np.where(shown, 127.5 * (1 - sign * np.cos(of.phase(points))), 255).round().astype(np.uint8)
    return RidgePrint(grey, grey, shown, find_minutiae(grey, shown), 0, 0, 500.0, PpiFrom.given, False)


def both_show(shown_a: np.ndarray, shown_b: np.ndarray, to_a: Map) -> np.ndarray:
    """At which pixels of B both prints have ridges, bool (SIDE, SIDE)."""
    col, row = np.moveaxis(np.rint(to_a(pixels())).astype(int), -1, 0)
    inside = (row >= 0) & (row < SIDE) & (col >= 0) & (col < SIDE)
    return shown_b & inside & shown_a[np.where(inside, row, 0), np.where(inside, col, 0)]


def errors(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """How far points (..., 2) lie from where they belong, px (...)."""
    return np.linalg.norm(np.asarray(found) - true, axis=-1)


def ridge_errors(of: Finger, found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """How far points (..., 2) lie beside the ridge where they belong, px (...), at most half a period.

    A shift along the ridge does not count; `errors` tells what is a ridge off.
    """
    return turned_apart(of.phase(np.asarray(found)), of.phase(true)) * PERIOD / (2 * np.pi)


def turned_apart(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The angle between directions, rad, in [0, pi]."""
    return np.abs(np.angle(np.exp(1j * (np.asarray(first) - second))))


def carried(elastic: ElasticMap, points: np.ndarray, back: bool = False) -> np.ndarray:
    """Where a map, or its inverse (`back`), takes points (..., 2)."""
    x, y = (points[..., k].astype(np.float32) for k in (0, 1))
    return np.stack(_carried(elastic, x, y, back), axis=-1).astype(float)


@partial(jax.jit, static_argnames="back")
def _carried(elastic: ElasticMap, x: jax.Array, y: jax.Array, back: bool) -> tuple[jax.Array, jax.Array]:
    return elastic.inverse(x, y) if back else elastic(x, y)
