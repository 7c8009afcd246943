"""What a homography leaves of skin distortion: a smooth bend by a thin-plate spline, limited so that it never folds.

A smoothing spline through the errors that the homography leaves at the matches (Bookstein, IEEE PAMI 11, 1989; with
smoothing, Wahba, Spline Models for Observational Data, 1990): the field of least bending energy among those that come
near enough to the errors, as near as the matches are exact. Far from all matches it would go on growing, so it is
drawn back as a whole until the skin is nowhere stretched or squeezed beyond `AREA`.

Points are (x, y) px in one convention of place (`ifvit.geometry`). NumPy, float64.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# Across the first skin bends, beyond a homography, by about the second (what served SFinGe's skin best).
UNIT_MM, USUAL_BEND_MM = 5.0, 0.1
AREA = (0.6, 1.6)  # of bent skin, as a share of what it was; SFinGe's own stays within .75 and 1.35
STEP = 4  # px, of the lattice on which AREA is looked after
SHARES = 16  # of the bend that are tried
FEWEST = 4  # points; three decide no more than an affine map


class Bend(NamedTuple):
    """The field u -> sum_k weights_k U(|u - centres_k| / unit) + affine (1, u), with U(r) = r^2 log r.

    centres (M, 2) px; weights (M, 2) px; affine (3, 2), px and px/px; unit px.
    """

    centres: np.ndarray
    weights: np.ndarray
    affine: np.ndarray
    unit: float

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Where points (..., 2) go: themselves and the field."""
        apart = (points[..., None, :] - self.centres) / self.unit
        kernel = _kernel(np.sum(apart**2, axis=-1))  # (..., M)
        return points + kernel @ self.weights + self.affine[0] + points @ self.affine[1:]

    def jacobians(self, points: np.ndarray) -> np.ndarray:
        """The derivatives (..., 2, 2) at points (..., 2): rows of x' and y', columns along x and y."""
        apart = (points[..., None, :] - self.centres) / self.unit
        square = np.sum(apart**2, axis=-1)
        slope = (np.log(np.where(square > 0, square, 1)) + 1)[..., None] * apart / self.unit  # dU / du
        return np.eye(2) + np.swapaxes(np.swapaxes(slope, -1, -2) @ self.weights + self.affine[1:], -1, -2)

    def inverse(self, points: np.ndarray, steps: int = 5) -> np.ndarray:
        """Where points (..., 2) come from, by `steps` of Newton's method."""
        place = points
        for _ in range(steps):
            left = points - self(place)
            place = place + np.linalg.solve(self.jacobians(place), left[..., None])[..., 0]
        return place

    def scaled(self, share: float) -> Bend:
        """`share` of the field."""
        return self._replace(weights=share * self.weights, affine=share * self.affine)


def bend_of(
    points: np.ndarray, there: np.ndarray, confidence: np.ndarray, noise: float, frame: tuple[int, int], ppi: float
) -> Bend | None:
    """The bend that takes points (M, 2) near to `there` (M, 2), px; None where they are too few or lie in a line.

    Args:
        confidence: (M,) in (0, 1], how much each point counts.
        noise: px, standard deviation of `there` along x and y.
        frame: (height, width) px in which the bend does not fold.
    """
    per_mm = ppi / 25.4
    unit = UNIT_MM * per_mm
    points, move, weight = _merged(points, there - points, confidence)
    count = len(points)
    linear = np.concatenate([np.ones((count, 1)), points], axis=1)
    if count < FEWEST or np.linalg.matrix_rank(linear - linear.mean(0)) < 2:
        return None
    apart = (points[:, None] - points) / unit
    kernel = _kernel(np.sum(apart**2, axis=-1))
    kernel += (noise / (USUAL_BEND_MM * per_mm)) ** 2 * np.diag(weight.mean() / weight)
    system = np.block([[kernel, linear], [linear.T, np.zeros((3, 3))]])
    solved = np.linalg.lstsq(system, np.concatenate([move, np.zeros((3, 2))]), rcond=None)[0]
    return _unfolded(Bend(points, solved[:count], solved[count:], unit), frame)


def _merged(points: np.ndarray, moves: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points of one place as one, with the mean of their moves: two would make the system singular."""
    places, group = np.unique(points, axis=0, return_inverse=True)
    group = group.ravel()
    total = np.bincount(group, weight)
    mean = np.stack([np.bincount(group, weight * along) for along in moves.T], axis=-1) / total[:, None]
    return places, mean, total


def _unfolded(bend: Bend, frame: tuple[int, int]) -> Bend:
    """As much of the bend as leaves every area in the frame within `AREA`."""
    y, x = np.mgrid[0 : frame[0] + STEP : STEP, 0 : frame[1] + STEP : STEP].astype(float)
    field = bend.jacobians(np.stack([x, y], axis=-1)) - np.eye(2)
    for share in np.arange(SHARES, 0, -1) / SHARES:
        area = np.linalg.det(np.eye(2) + share * field)
        if AREA[0] < area.min() and area.max() < AREA[1]:
            return bend.scaled(share)
    return bend.scaled(0.0)


def _kernel(square: np.ndarray) -> np.ndarray:
    """U(r) of r^2."""
    return square * np.log(np.where(square > 0, square, 1)) / 2
