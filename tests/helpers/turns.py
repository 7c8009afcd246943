"""Homographies that turn."""

import numpy as np

from ifvit.registration.similarity import similarity


def turned_about(angle: float, middle: np.ndarray) -> np.ndarray:
    """The turn by `angle` rad, from x towards y, about the point `middle` (2,), as a homography."""
    turn = np.exp(1j * angle)
    return similarity(turn, (1 - turn) * complex(*middle))
