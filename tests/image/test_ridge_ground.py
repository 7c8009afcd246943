import numpy as np
import pytest

from ifvit import image
from tests.helpers.images import print_like


@pytest.mark.parametrize("scale", [0.25, 0.5, 1, 2])
def test_the_ridge_mask_is_the_print(scale):
    grey, inside = print_like(int(300 * scale), int(280 * scale), 9 * scale)
    mask = image.ridge_mask(grey, 500 * scale)
    assert mask.shape == grey.shape and mask.dtype == bool
    assert (mask & inside).sum() / (mask | inside).sum() > 0.85


def test_a_lesser_region_and_a_hole_are_not_kept():
    grey, inside = print_like(400, 280)
    grey = np.vstack([grey, np.full((200, 280), 230, np.uint8)])
    grey[500:560, 100:160] = grey[200:260, 100:160]
    grey[190:210, 130:150] = 230
    mask = image.ridge_mask(grey, 500)
    assert not mask[450:].any() and mask[180:220, 120:160].all()


def test_the_background_is_off_the_ridges_or_else_at_the_border():
    grey, inside = print_like()
    assert abs(image.background_level(grey, inside) - 230) <= 1
    framed = np.full((100, 100), 50, np.uint8)
    framed[[0, -1]], framed[:, [0, -1]] = 200, 200
    assert image.background_level(framed, np.ones((100, 100), bool)) == 200
