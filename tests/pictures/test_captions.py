"""Text, legends and scale bars of pictures."""

import numpy as np
import pytest

from ifvit.pictures import captions

PAGE_MM, POINT_MM = 170, 25.4 / 72


def inked(block):
    """The columns of a block that have ink."""
    return np.flatnonzero((block < 128).all(-1).any(0))


def test_letters_can_be_read_on_a_page():
    assert captions.TEXT / captions.PAGE * PAGE_MM / POINT_MM > 7.5  # points


def test_a_paragraph_keeps_its_width_and_loses_no_word():
    line = captions.paragraph("ridges agree", 800)
    long = captions.paragraph("ridges agree " * 12, 800)
    assert long.shape[1] == line.shape[1] == 800 and long.shape[0] >= 4 * line.shape[0]
    assert inked(long).max() < 800 - 1
    assert (captions.paragraph("a", 300) != captions.paragraph("b", 300)).any()


@pytest.mark.parametrize("name", ["x" * 300, "два пальца.png", "a\nb\x1b[31m\u202egnp", "\udcff.png", ""])
def test_a_file_may_have_any_name(name):
    block = captions.paragraph(name, 400)
    assert block.shape[1] == 400 and block.dtype == np.uint8
    assert not len(inked(block)) or inked(block).max() < 399


@pytest.mark.parametrize(("px_per_mm", "length_mm"), [(40, 5), (10, 20), (300, 1)])
def test_a_scale_bar_is_as_long_as_it_tells(px_per_mm, length_mm):
    bar = captions.scale_bar(px_per_mm, 300)
    alone = bar[:, : length_mm * px_per_mm + 4]
    assert abs(np.ptp(inked(alone)) + 1 - length_mm * px_per_mm) <= 3
    text = captions.paragraph(f"{length_mm} mm", 200)
    width = np.ptp(inked(text)) + 1
    assert np.ptp(inked(bar[:, alone.shape[1] :])) + 1 == width


def test_a_legend_shows_every_colour_within_its_width():
    colours = [(200, 40, 40), (40, 200, 40), (40, 40, 200)]
    block = captions.legend([(captions.swatch(colour), "what this colour means") for colour in colours], 500)
    assert block.shape[1] <= 500
    for colour in colours:
        assert (block == colour).all(-1).sum() > 500


def test_a_table_has_its_labels_in_a_column():
    block = captions.table([("A", "one.png"), ("compared by", "ridges")], 600)
    longest = captions.font(captions.TEXT).getlength("compared by")
    assert not ((inked(block) > longest + 1) & (inked(block) < longest + captions.TEXT - 1)).any()
    assert inked(block).max() > longest + captions.TEXT


def test_a_colour_bar_keeps_its_colours():
    shades = np.linspace((0, 0, 0), (255, 0, 0), 200).astype(np.uint8)
    bar = captions.colour_bar(shades, [(0.5, ".5")])
    row = bar[3]
    left = 2 * captions.TEXT
    np.testing.assert_array_equal(row[left : left + 90], shades[:90])
