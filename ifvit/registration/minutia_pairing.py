"""Which minutiae of two prints are the same, once one print is laid on the other. NumPy.

A second witness beside the ridges' agreement, and one that a person can check: the number of paired minutiae, and of
those that find no partner although both prints show their place.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ifvit.enhancement.minutiae import BORDER, Minutiae, depth_in

DISTANCE = 12.0  # px at 500 ppi, a ridge period and a third
ANGLE = np.deg2rad(25.0)
STEP = 4.0  # px along a minutia's direction, to see how the map turns it


class PairedMinutiae(NamedTuple):
    """The minutiae of A and B in their overlap.

    first, second: int (P,), the paired ones' places in A's and in B's list; nearest pairs first.
    same_kind: bool (P,), whether both end or both divide.
    only_a, only_b: int (K,), places of those without a partner.
    """

    first: np.ndarray
    second: np.ndarray
    same_kind: np.ndarray
    only_a: np.ndarray
    only_b: np.ndarray

    @property
    def counts(self) -> tuple[int, int, int]:
        """How many are paired, of the same kind, and without a partner in both prints."""
        return len(self.first), int(self.same_kind.sum()), len(self.only_a) + len(self.only_b)

    def swapped(self) -> PairedMinutiae:
        """The same of (B, A)."""
        return PairedMinutiae(self.second, self.first, self.same_kind, self.only_b, self.only_a)


def pair_minutiae(a: Minutiae, b: Minutiae, ridges_a: np.ndarray, ridges_b: np.ndarray, to_a, to_b) -> PairedMinutiae:
    """The minutiae of both prints paired.

    ridges_a, ridges_b: bool (H, W), where either print shows ridges.
    to_a, to_b: functions of points (N, 2) px, from B to A and back.
    """
    b_on_a, b_turned = _carried(b, to_a)
    a_on_b, _ = _carried(a, to_b)
    both_b = np.flatnonzero(_deep_inside(ridges_a, b_on_a))
    both_a = np.flatnonzero(_deep_inside(ridges_b, a_on_b))
    apart = np.linalg.norm(a.points[both_a, None] - b_on_a[both_b], axis=-1)
    turned = np.abs(np.angle(np.exp(1j * (a.directions[both_a, None] - b_turned[both_b]))))
    cost = np.where((apart < DISTANCE) & (turned < ANGLE), apart / DISTANCE + turned / ANGLE, np.inf)
    first, second = _nearest_first(cost)
    paired_a, paired_b = both_a[first], both_b[second]
    return PairedMinutiae(
        paired_a, paired_b, a.kinds[paired_a] == b.kinds[paired_b],
        np.setdiff1d(both_a, paired_a), np.setdiff1d(both_b, paired_b),
    )  # fmt: skip


def _carried(minutiae: Minutiae, there) -> tuple[np.ndarray, np.ndarray]:
    """Where minutiae lie in the other print, (N, 2) px, and which way they point there, rad (N,)."""
    points = minutiae.points.astype(np.float64)
    ahead = np.stack([np.cos(minutiae.directions), np.sin(minutiae.directions)], axis=-1)
    place = there(points)
    along = there(points + STEP * ahead) - place
    return place, np.arctan2(along[:, 1], along[:, 0])


def _deep_inside(ridges: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Which points (N, 2) lie where minutiae of that print are looked for: `BORDER` px inside its ridges."""
    depth = depth_in(ridges)
    col, row = np.rint(points).astype(int).T
    within = (row >= 0) & (row < depth.shape[0]) & (col >= 0) & (col < depth.shape[1])
    return within & (depth[np.where(within, row, 0), np.where(within, col, 0)] > BORDER)


def _nearest_first(cost: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (row, column) of a table of costs, cheapest first, each row and column once; infinite costs never."""
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
    return tuple(np.array(pairs, int).reshape(-1, 2).T)
