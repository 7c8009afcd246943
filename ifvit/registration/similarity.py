"""From matched points to the similarity with which most of them agree. NumPy.

Skin is nearly rigid, and what bends is followed later (`elastic`): so a guess of how two prints lie is a similarity.
One is drawn through every two matches, and the one with which most matches agree is kept (`consensus`). Two points
decide it, so all can be tried, and the result follows from the matches alone, without random numbers. Then it is fitted
to all that agree (`fitted`).

Points are (x, y) px in one convention of place (`ifvit.geometry`); a homography is float64 (3, 3), with lower right 1.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

VOTERS = 100  # most confident matches through which similarities are drawn: 4,950 of them
BASELINE = 1.5  # tolerances; two matches nearer to each other than this do not tell a direction
SCALES = (0.8, 1.25)  # of A's ridges in B, at equal ppi
ROUNDS = 10  # of reweighted least squares
BIWEIGHT = 4.0  # median errors at which a match no longer counts: Tukey's 4.685 deviations, errors in two dimensions
SMALLEST_NOISE = 0.1  # px


class PointMatches(NamedTuple):
    """M matches.

    points_a, points_b: float64 (M, 2) px.
    confidence: float64 (M,) in (0, 1].
    """

    points_a: np.ndarray
    points_b: np.ndarray
    confidence: np.ndarray

    def swapped(self) -> PointMatches:
        """The same of (B, A)."""
        return PointMatches(self.points_b, self.points_a, self.confidence)


def transform(homography: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Where a homography takes points (..., 2); not finite on its horizon."""
    x, y, w = (points[..., 0] * row[0] + points[..., 1] * row[1] + row[2] for row in homography)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.stack([x / w, y / w], axis=-1)


def errors(homography: np.ndarray, matches: PointMatches) -> np.ndarray:
    """How far from its point of B each match lies under a homography from A to B, (M,) px."""
    return np.linalg.norm(transform(homography, matches.points_a) - matches.points_b, axis=-1)


def agreement(homography: np.ndarray, matches: PointMatches, tolerance: float) -> float:
    """How far matches agree with a homography: the sum of confidence * (1 - (error/tolerance)^2), where positive."""
    return float(_nearness(errors(homography, matches), tolerance) @ matches.confidence)


def _nearness(error: np.ndarray, tolerance: float) -> np.ndarray:
    """1 without an error to 0 from the tolerance on."""
    return np.maximum(1 - (error / tolerance) ** 2, 0)


def consensus(matches: PointMatches, tolerance: float) -> np.ndarray | None:
    """The similarity (3, 3) from A to B with which most matches agree.

    None where no two matches are far enough apart to draw one, or none has a scale within `SCALES`.
    """
    z_a, z_b = (_complex(points) for points in (matches.points_a, matches.points_b))
    first, second = np.triu_indices(min(len(z_a), VOTERS), 1)  # the matches come best first
    apart = np.minimum(np.abs(z_a[second] - z_a[first]), np.abs(z_b[second] - z_b[first])) > BASELINE * tolerance
    first, second = first[apart], second[apart]
    turn = (z_b[second] - z_b[first]) / (z_a[second] - z_a[first])  # its length is the scale, its argument the angle
    plausible = (np.abs(turn) > SCALES[0]) & (np.abs(turn) < SCALES[1])
    turn, first = turn[plausible], first[plausible]
    if not len(turn):
        return None
    shift = z_b[first] - turn * z_a[first]
    error = np.abs(turn[:, None] * z_a + shift[:, None] - z_b)
    k = int(np.argmax(_nearness(error, tolerance) @ matches.confidence))
    return similarity(turn[k], shift[k])


def fitted(start: np.ndarray, matches: PointMatches, tolerance: float) -> np.ndarray:
    """The similarity nearest to the matches, from one with which they agree.

    Least squares, weighted by confidence and by Tukey's biweight, in rounds. `start` stays where fewer than two matches
    agree with it, or the fit leaves `SCALES`.
    """
    found, width = start, tolerance
    z_a, z_b = (_complex(points) for points in (matches.points_a, matches.points_b))
    for _ in range(ROUNDS):
        error = errors(found, matches)
        near = _nearness(error, width)
        if (near > 0).sum() < 2:
            return start
        turn, shift = least_squares(z_a, z_b, matches.confidence * near**2)
        if not SCALES[0] < abs(turn) < SCALES[1]:
            return start
        found = similarity(turn, shift)
        # Where the right matches are exact, a wrong one nearby has no say.
        width = min(tolerance, BIWEIGHT * max(np.median(error[near > 0]), SMALLEST_NOISE))
    return found


def least_squares(z_a: np.ndarray, z_b: np.ndarray, weight: np.ndarray) -> tuple[complex, complex]:
    """The turn and the shift of the similarity z -> turn z + shift that takes z_a nearest to z_b, complex (M,)."""
    weight = weight / weight.sum()
    middle_a, middle_b = weight @ z_a, weight @ z_b
    spread = weight @ np.abs(z_a - middle_a) ** 2
    turn = (weight * np.conj(z_a - middle_a)) @ (z_b - middle_b) / max(spread, 1e-12)
    return turn, middle_b - turn * middle_a


def similarity(turn: complex, shift: complex) -> np.ndarray:
    """The map z -> turn z + shift of z = x + iy as a homography."""
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag], [0, 0, 1]])


def turned_about(angle: float, middle: np.ndarray) -> np.ndarray:
    """The turn by `angle` rad, from x towards y, about the point `middle` (2,), as a homography."""
    turn = np.exp(1j * angle)
    return similarity(turn, (1 - turn) * complex(*middle))


def _complex(points: np.ndarray) -> np.ndarray:
    return points[..., 0] + 1j * points[..., 1]
