"""What Module 2 sees of an aligned pair: the enhanced overlap, and a box of the prints about its middle."""

import jax.numpy as jnp
import numpy as np
import pytest

from ifvit.comparison.module2_inputs import BranchImages, branch_inputs, cut, local_box
from ifvit.pair import Pair

pytestmark = pytest.mark.slow


STRIDE = 16


def blobs(count=4, height=128, width=112):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    masks = []
    for _ in range(count):
        row, column, radius = rng.uniform(20, height - 20), rng.uniform(20, width - 20), rng.uniform(12, 50)
        masks.append((y - row) ** 2 + (x - column) ** 2 < radius**2)
    return np.stack(masks)


def aligned_pair(overlap):
    images = np.random.default_rng(1).uniform(0.1, 1, (4, *overlap.shape)).astype(np.float32)
    enhanced, grey = images.reshape(2, 2, *overlap.shape)
    return BranchImages(Pair(*map(jnp.array, enhanced)), Pair(*map(jnp.array, grey)), jnp.array(overlap))


def test_the_global_branch_sees_the_enhanced_overlap_and_0_outside():
    overlap = blobs()
    pair = aligned_pair(overlap)
    of_global, _, _ = branch_inputs(pair, STRIDE)
    for seen, enhanced in zip(of_global.images, pair.enhanced, strict=True):
        np.testing.assert_array_equal(np.asarray(seen)[~overlap], 0)
        np.testing.assert_array_equal(np.asarray(seen)[overlap], np.asarray(enhanced)[overlap])
    np.testing.assert_array_equal(of_global.cells > 0, overlap[:, ::STRIDE, ::STRIDE])
    assert of_global.mask is None


def test_the_local_box_is_about_the_overlaps_middle():
    overlap = blobs(40)
    box = local_box(jnp.array(overlap))
    for k, mask in enumerate(overlap):
        row, column = np.argwhere(mask).mean(0)
        wanted = [int(np.clip(round(at - 89 / 2), 0, side - 90)) for at, side in ((row, 128), (column, 112))]
        assert [int(box.top[k]), int(box.left[k])] == wanted
    assert len(set(box.top.tolist())) > 10 and {0, 38} <= set(box.top.tolist())  # some at either end of the frame


def test_the_local_branch_sees_the_prints_themselves_padded_to_the_stride():
    pair = aligned_pair(blobs())
    _, of_local, box = branch_inputs(pair, STRIDE)
    assert of_local.images.a.shape == (4, 96, 96) and of_local.mask.shape == of_local.cells.shape == (4, 6, 6)
    for k in range(4):
        top, left = int(box.top[k]), int(box.left[k])
        for seen, grey in zip(of_local.images, pair.grey, strict=True):
            np.testing.assert_array_equal(seen[k, :90, :90], grey[k, top : top + 90, left : left + 90])
        shown = np.asarray(pair.overlap[k, top : top + 90, left : left + 90])
        np.testing.assert_array_equal(of_local.cells[k] > 0, shown[::STRIDE, ::STRIDE])
    for image in of_local.images:  # its edge goes on
        np.testing.assert_array_equal(image[:, 90:], np.broadcast_to(image[:, 89:90], (4, 6, 96)))
        np.testing.assert_array_equal(image[:, :, 90:], np.broadcast_to(image[:, :, 89:90], (4, 96, 6)))


@pytest.mark.parametrize("stride", [8, 16])
def test_a_cell_is_real_where_its_pixel_is(stride):
    """A cell stands for the pixel at its upper left, which padding to the next multiple never takes away."""
    _, of_local, _ = branch_inputs(aligned_pair(blobs()), stride)
    side = -(-90 // stride)
    assert of_local.mask.shape == of_local.cells.shape == (4, side, side)
    np.testing.assert_array_equal(of_local.mask, np.arange(side)[:, None] * stride * np.ones((4, 1, side)) < 90)


def test_an_empty_overlap_is_answered():
    """There is no such pair in use, but a batch's padding must be numbers."""
    of_global, of_local, box = branch_inputs(aligned_pair(np.zeros((1, 128, 112), bool)), STRIDE)
    assert (of_global.images.a == 0).all() and (of_global.cells == 1).all() and (of_local.cells == 1).all()
    assert (int(box.top[0]), int(box.left[0])) == (0, 0)


def test_a_frame_smaller_than_the_box_is_seen_whole():
    pair = aligned_pair(np.ones((1, 64, 64), bool))
    _, of_local, box = branch_inputs(pair, STRIDE)
    np.testing.assert_array_equal(of_local.images.a, pair.grey.a)
    assert (int(box.top[0]), int(box.left[0])) == (0, 0)


def test_where_the_overlap_lies_between_the_cells_all_count():
    overlap = np.zeros((1, 128, 112), bool)
    overlap[0, 3:9, 3:9] = True
    of_global, _, _ = branch_inputs(aligned_pair(overlap), STRIDE)
    assert (of_global.cells == 1).all()


@pytest.mark.parametrize("trailing", [(), (2,)])
def test_cutting(trailing):
    values = np.arange(2 * 100 * 100 * int(np.prod(trailing))).reshape(2, 100, 100, *trailing)
    box = local_box(jnp.ones((2, 100, 100), bool))
    np.testing.assert_array_equal(cut(jnp.array(values), box)[1], values[1, 5:95, 5:95])
