"""Simulated scores of an FVC protocol."""

from itertools import combinations

import numpy as np


def fvc_pairs(fingers, impressions):
    """Every two impressions of a finger, and the first ones of every two fingers: fingers (P,), (P,)."""
    mates = [(f, f) for f in range(fingers) for _ in combinations(range(impressions), 2)]
    return np.array([*mates, *combinations(range(fingers), 2)]).T


def simulated(fingers, impressions, gap, seed):
    """Scores N(gap, 1) of mates and N(0, 1) of others; 0.36 of the variance is the fingers'."""
    rng = np.random.default_rng(seed)
    first, second = fvc_pairs(fingers, impressions)
    genuine = first == second
    quality = 0.6 * rng.normal(size=fingers)
    shared = np.where(genuine, gap + quality[first], (quality[first] + quality[second]) / np.sqrt(2))
    return shared + 0.8 * rng.normal(size=len(first)), genuine, first, second
