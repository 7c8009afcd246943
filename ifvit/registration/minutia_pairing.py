"""The minutiae that two aligned prints have in common. NumPy.

This is evidence beside the agreement of the ridges, and a person can check it: the number of paired minutiae, and the
number of minutiae in the overlap that have no partner.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ifvit.enhancement.minutiae import BORDER, Minutiae, depth_in

DISTANCE = 12.0  # px at 500 ppi, a ridge period and a third
ANGLE = np.deg2rad(25.0)
STEP = 4.0  # px along a minutia's direction, by which its direction in the other print is computed

PointMap = Callable[[np.ndarray], np.ndarray]  # from points (N, 2) px of one print to points of the other


class PairedMinutiae(NamedTuple):
    """The minutiae of A and B in their overlap."""

    first: np.ndarray  # (P,) int, the indices of the paired minutiae in A's list; nearest pairs first
    second: np.ndarray  # (P,) int, the indices of their partners in B's list
    same_kind: np.ndarray  # (P,) bool, both are endings or both are bifurcations
    only_a: np.ndarray  # (K,) int, the indices of A's minutiae without a partner
    only_b: np.ndarray  # (K,) int, the indices of B's minutiae without a partner

    @property
    def counts(self) -> tuple[int, int, int]:
        """The numbers of pairs, of pairs of the same kind, and of minutiae without a partner in both prints."""
        return len(self.first), int(self.same_kind.sum()), len(self.only_a) + len(self.only_b)

    def swapped(self) -> PairedMinutiae:
        """The same for (B, A)."""
        return PairedMinutiae(self.second, self.first, self.same_kind, self.only_b, self.only_a)


def pair_minutiae(
    a: Minutiae, b: Minutiae, ridges_a: np.ndarray, ridges_b: np.ndarray, to_a: PointMap, to_b: PointMap
) -> PairedMinutiae:
    """The minutiae of two prints, paired.

    ridges_a, ridges_b: bool (H, W), where each print shows ridges.
    to_a, to_b: the maps from B to A and from A to B.
    """
    b_in_a, b_directions = _map_minutiae(b, to_a)
    a_in_b, _ = _map_minutiae(a, to_b)
    inside_b = np.flatnonzero(_deep_inside(ridges_a, b_in_a))
    inside_a = np.flatnonzero(_deep_inside(ridges_b, a_in_b))
    distance = np.linalg.norm(a.points[inside_a, None] - b_in_a[inside_b], axis=-1)
    angle = np.abs(np.angle(np.exp(1j * (a.directions[inside_a, None] - b_directions[inside_b]))))
    cost = np.where((distance < DISTANCE) & (angle < ANGLE), distance / DISTANCE + angle / ANGLE, np.inf)
    first, second = _cheapest_pairs(cost)
    paired_a, paired_b = inside_a[first], inside_b[second]
    return PairedMinutiae(
        paired_a, paired_b, a.kinds[paired_a] == b.kinds[paired_b],
        np.setdiff1d(inside_a, paired_a), np.setdiff1d(inside_b, paired_b),
    )  # fmt: skip


def _map_minutiae(minutiae: Minutiae, to_other: PointMap) -> tuple[np.ndarray, np.ndarray]:
    """The points of minutiae in the other print, (N, 2) px, and their directions there, (N,) rad."""
    points = minutiae.points.astype(np.float64)
    step = np.stack([np.cos(minutiae.directions), np.sin(minutiae.directions)], axis=-1)
    mapped = to_other(points)
    direction = to_other(points + STEP * step) - mapped
    return mapped, np.arctan2(direction[:, 1], direction[:, 0])


def _deep_inside(ridges: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Which points (N, 2) are more than `BORDER` px inside the ridges, where minutiae can be found, bool (N,)."""
    depth = depth_in(ridges)
    col, row = np.rint(points).astype(int).T
    within = (row >= 0) & (row < depth.shape[0]) & (col >= 0) & (col < depth.shape[1])
    return within & (depth[np.where(within, row, 0), np.where(within, col, 0)] > BORDER)


def _cheapest_pairs(cost: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (row, column) of a table of costs, cheapest first, each row and column at most once, no infinite costs."""
    rows, cols = np.unravel_index(np.argsort(cost, axis=None, kind="stable"), cost.shape)
    pairs: list[tuple[int, int]] = []
    used_rows, used_cols = set(), set()
    for row, col in zip(rows.tolist(), cols.tolist(), strict=True):
        if not np.isfinite(cost[row, col]):
            break
        if row not in used_rows and col not in used_cols:
            pairs.append((row, col))
            used_rows.add(row)
            used_cols.add(col)
    first, second = np.array(pairs, int).reshape(-1, 2).T
    return first, second
