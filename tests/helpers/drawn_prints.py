"""Prints to enhance: gratings, and a synthetic finger with and without noise."""

from typing import NamedTuple

import jax
import numpy as np
import pytest

from ifvit.synthesis.master import grow_finger


class Drawn(NamedTuple):
    """A print of 300x260 px (H x W) at 500 ppi, the same with noise, and what is true of both."""

    grey: np.ndarray
    worn: np.ndarray
    wave: np.ndarray  # 1 on ridges to -1 in valleys
    theta: np.ndarray
    period: np.ndarray
    ridges: np.ndarray


def grating(height, width, theta, period):
    """A print of straight ridges of direction theta, rad, dark where the wave is 1."""
    y, x = np.mgrid[:height, :width]
    phase = 2 * np.pi / period * (-x * np.sin(theta) + y * np.cos(theta))
    return (128 - 80 * np.cos(phase)).round().astype(np.uint8)


@pytest.fixture(scope="session")
def finger() -> Drawn:
    master = jax.tree.map(np.asarray, jax.jit(grow_finger)(jax.random.key(6)))
    part = np.s_[186:486, 126:386]
    wave, theta, period = master.wave[part], master.theta[part], master.period[part]
    y, x = np.mgrid[:300, :260]
    ridges = ((y - 150) / 125) ** 2 + ((x - 130) / 105) ** 2 < 1
    grey = np.where(ridges, 140 - 70 * np.tanh(1.5 * wave), 225)
    worn = grey + np.random.default_rng(0).normal(0, 60, grey.shape)
    return Drawn(*(np.clip(g, 0, 255).astype(np.uint8) for g in (grey, worn)), wave, theta, period, ridges)
