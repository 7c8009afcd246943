"""Colours in pictures."""

import numpy as np


def rgb(colour):
    return np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)])


def like(picture, colour, reach=60):
    return np.abs(picture.astype(int) - rgb(colour)).sum(-1) < reach
