"""The similarity with which most matched points agree. NumPy.

Skin is nearly rigid, and `elastic` follows its distortion later; so a guess of the alignment is a similarity. Each two
matches define one, and the one with which most matches agree is taken (`consensus`). All pairs of matches are tried, so
there are no random numbers, and the result depends only on the matches. Then it is fitted to all matches that agree
(`fitted`).

Points are (x, y) px, as in `ifvit.geometry`; a homography is float64 (3, 3), with lower right 1.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ifvit.registration.sampling import project

VOTERS = 100  # most confident matches that define similarities: 4,950 pairs
BASELINE = 1.5  # tolerances; two matches that are closer to each other define no direction
SCALES = (0.8, 1.25)  # the range of the scale from A to B, at equal ppi
ROUNDS = 10  # of reweighted least squares
BIWEIGHT = 4.0  # median errors at which a match's weight is 0: Tukey's 4.685 deviations, for errors in two dimensions
SMALLEST_NOISE = 0.1  # px


class PointMatches(NamedTuple):
    """M matches of points."""

    points_a: np.ndarray  # (M, 2) float64 px
    points_b: np.ndarray  # (M, 2) float64 px
    confidence: np.ndarray  # (M,) float64 in (0, 1]

    def swapped(self) -> PointMatches:
        """The same for (B, A)."""
        return PointMatches(self.points_b, self.points_a, self.confidence)


def transform(homography: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (..., 2), mapped by a homography; not finite on its horizon."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.stack(project(homography, points[..., 0], points[..., 1]), axis=-1)


def errors(homography: np.ndarray, matches: PointMatches) -> np.ndarray:
    """The distance of each match's A point, mapped by a homography from A to B, from its B point, (M,) px."""
    return np.linalg.norm(transform(homography, matches.points_a) - matches.points_b, axis=-1)


def agreement(homography: np.ndarray, matches: PointMatches, tolerance: float) -> float:
    """How well matches agree with a homography: the sum of confidence * max(0, 1 - (error / tolerance)^2)."""
    return float(_nearness(errors(homography, matches), tolerance) @ matches.confidence)


def _nearness(error: np.ndarray, tolerance: float) -> np.ndarray:
    """1 for an error of 0, falling to 0 at the tolerance and beyond."""
    return np.maximum(1 - (error / tolerance) ** 2, 0)


def consensus(matches: PointMatches, tolerance: float) -> np.ndarray | None:
    """The similarity (3, 3) from A to B with which most matches agree.

    None if no two matches are far enough from each other, or no scale is within `SCALES`. tolerance: px.
    """
    z_a, z_b = (_complex(points) for points in (matches.points_a, matches.points_b))
    first, second = np.triu_indices(min(len(z_a), VOTERS), 1)  # the matches are sorted, best first
    is_far = np.minimum(np.abs(z_a[second] - z_a[first]), np.abs(z_b[second] - z_b[first])) > BASELINE * tolerance
    first, second = first[is_far], second[is_far]
    turn = (z_b[second] - z_b[first]) / (z_a[second] - z_a[first])  # its modulus is the scale, its argument the angle
    plausible = (np.abs(turn) > SCALES[0]) & (np.abs(turn) < SCALES[1])
    turn, first = turn[plausible], first[plausible]
    if not len(turn):
        return None
    shift = z_b[first] - turn * z_a[first]
    error = np.abs(turn[:, None] * z_a + shift[:, None] - z_b)
    k = int(np.argmax(_nearness(error, tolerance) @ matches.confidence))
    return similarity(turn[k], shift[k])


def fitted(start: np.ndarray, matches: PointMatches, tolerance: float) -> np.ndarray:
    """The similarity from A to B that fits the matches best, found from a first one.

    It is fitted in rounds of least squares, weighted by confidence and by Tukey's biweight. The result is `start` if
    fewer than two matches agree with it, or the fitted scale is outside `SCALES`. tolerance: px.
    """
    fit, width = start, tolerance
    z_a, z_b = (_complex(points) for points in (matches.points_a, matches.points_b))
    for _ in range(ROUNDS):
        error = errors(fit, matches)
        nearness = _nearness(error, width)
        if (nearness > 0).sum() < 2:
            return start
        turn, shift = least_squares(z_a, z_b, matches.confidence * nearness**2)
        if not SCALES[0] < abs(turn) < SCALES[1]:
            return start
        fit = similarity(turn, shift)
        # If the correct matches are exact, wrong ones that are near to them get no weight.
        width = min(tolerance, BIWEIGHT * max(np.median(error[nearness > 0]), SMALLEST_NOISE))
    return fit


def least_squares(z_a: np.ndarray, z_b: np.ndarray, weight: np.ndarray) -> tuple[complex, complex]:
    """The turn and the shift of the similarity z -> turn z + shift that maps z_a to z_b, complex (M,), best."""
    weight = weight / weight.sum()
    middle_a, middle_b = weight @ z_a, weight @ z_b
    spread = weight @ np.abs(z_a - middle_a) ** 2
    turn = (weight * np.conj(z_a - middle_a)) @ (z_b - middle_b) / max(spread, 1e-12)
    return turn, middle_b - turn * middle_a


def similarity(turn: complex, shift: complex) -> np.ndarray:
    """The map z -> turn z + shift of z = x + iy as a homography."""
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag], [0, 0, 1]])


def _complex(points: np.ndarray) -> np.ndarray:
    """Points (..., 2) as complex numbers x + iy."""
    return points[..., 0] + 1j * points[..., 1]
