"""Text, legends and scale bars of pictures, as uint8 RGB (H, W, 3) blocks, readable on a printed page.

A picture `PAGE` px wide is for a page's width, 170 mm. There `TEXT` is a letter size of 8 points.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ifvit.console import printable

PAGE, TEXT, TITLE = 2000, 34, 56  # px
INK, GREY, PAPER = (30, 30, 30), (105, 105, 105), (255, 255, 255)  # RGB
LINE = 1.3  # height of a line, as a multiple of the letters' size
BAR_MM = (50, 20, 10, 5, 2, 1, 0.5)  # lengths of a scale bar

Colour = tuple[int, int, int]


@lru_cache
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which is part of matplotlib and has the letters of most alphabets."""
    import matplotlib

    name = f"DejaVuSans{'-Bold' if bold else ''}.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", name)), size)


def paragraph(text: str, width: int, size: int = TEXT, bold: bool = False, colour: Colour = INK) -> np.ndarray:
    """Text in lines of at most `width` px, broken between words; a longer word is broken too."""
    face = font(size, bold)
    lines = _lines(printable(text), width, face)
    step = round(LINE * size)
    sheet = Image.new("RGB", (width, step * len(lines)), PAPER)
    drawing = ImageDraw.Draw(sheet)
    for k, line in enumerate(lines):
        drawing.text((0, step * k), line, colour, face)
    return np.array(sheet)


def table(rows: Sequence[tuple[str, str]], width: int, size: int = TEXT) -> np.ndarray:
    """Rows of (label, text); the grey labels are in a column as wide as the longest."""
    column = round(max(font(size).getlength(printable(label)) for label, _ in rows)) + size
    lines = []
    for label, text in rows:
        label_block = paragraph(label, column, size, colour=GREY)
        lines.append(beside([label_block, paragraph(text, width - column, size)], 0))
    return stacked(lines, size // 4)


def legend(entries: Sequence[tuple[np.ndarray, str]], width: int, size: int = TEXT) -> np.ndarray:
    """Marks, each with its meaning behind it, in lines of at most `width` px."""
    lines: list[list[np.ndarray]] = [[]]
    for mark, text in entries:
        text_space = width - mark.shape[1] - size // 2
        text_width = min(text_space, int(np.ceil(font(size).getlength(text))) + 1)
        entry = beside([mark, paragraph(text, text_width, size)], size // 2, middle=True)
        line_width = sum(block.shape[1] + size for block in lines[-1])
        if lines[-1] and line_width + entry.shape[1] > width:
            lines.append([])
        lines[-1].append(entry)
    return stacked([beside(line, size, middle=True) for line in lines], size // 5)


def swatch(colour: Colour | None = None, size: int = TEXT) -> np.ndarray:
    """A field of a colour, for a legend; empty where the colour is None."""
    mark = np.full((size, round(1.5 * size), 3), PAPER, np.uint8)
    if colour is not None:
        mark[3:-3, 2:-2] = colour
    return mark


def scale_bar(px_per_mm: float, widest: int, size: int = TEXT, note: str = "") -> np.ndarray:
    """A bar of a round length of at most `widest` px, with its length in mm and a note."""
    length = next((mm for mm in BAR_MM if mm * px_per_mm <= widest), BAR_MM[-1])
    end = round(length * px_per_mm)
    bar = np.full((size, end + 1, 3), PAPER, np.uint8)
    middle = size // 2
    cv2.line(bar, (0, middle), (end, middle), INK, 4)
    for x in (1, end - 1):
        cv2.line(bar, (x, middle - size // 3), (x, middle + size // 3), INK, 4)
    label = f"{length:g} mm{note}"
    text = paragraph(label, int(np.ceil(font(size).getlength(label))) + 1, size)
    return beside([bar, text], size // 3, middle=True)


def colour_bar(colours: np.ndarray, ticks: Sequence[tuple[float, str]], size: int = TEXT) -> np.ndarray:
    """Colours (N, 3) from left to right, and labels below them. ticks: (position in [0, 1], label)."""
    width = len(colours)
    sheet = Image.new("RGB", (width + 4 * size, round(2.3 * size)), PAPER)
    drawing = ImageDraw.Draw(sheet)
    margin = 2 * size
    sheet.paste(Image.fromarray(np.repeat(colours[None].astype(np.uint8), round(0.8 * size), axis=0)), (margin, 0))
    for place, label in ticks:
        x = margin + round(place * (width - 1))
        drawing.line([(x, 0), (x, round(1.0 * size))], INK, 3)
        drawing.text((x, round(1.0 * size)), label, INK, font(size), anchor="ma")
    return np.array(sheet)


def stacked(blocks: Sequence[np.ndarray], gap: int = 0) -> np.ndarray:
    """Blocks one below the other, aligned at the left, `gap` px apart."""
    width = max(block.shape[1] for block in blocks)
    rows = [np.pad(block, ((0, gap), (0, width - block.shape[1]), (0, 0)), constant_values=255) for block in blocks]
    return np.vstack(rows)[: -gap or None]


def beside(blocks: Sequence[np.ndarray], gap: int = 0, middle: bool = False) -> np.ndarray:
    """Blocks side by side, aligned at their tops or middles, `gap` px apart."""
    height = max(block.shape[0] for block in blocks)
    columns = []
    for block in blocks:
        above = (height - block.shape[0]) // 2 if middle else 0
        padding = (above, height - block.shape[0] - above), (0, gap), (0, 0)
        columns.append(np.pad(block, padding, constant_values=255))
    return np.hstack(columns)[:, : -gap or None]


def centred(block: np.ndarray, width: int, height: int) -> np.ndarray:
    """A block in the middle of `width` px, at the top of `height` px."""
    margin = (width - block.shape[1]) // 2
    return np.pad(
        block, ((0, height - block.shape[0]), (margin, width - block.shape[1] - margin), (0, 0)), constant_values=255
    )


def framed(block: np.ndarray, margin: int) -> np.ndarray:
    """A block with a white margin, px."""
    return np.pad(block, ((margin, margin), (margin, margin), (0, 0)), constant_values=255)


def _lines(text: str, width: int, face: ImageFont.FreeTypeFont) -> list[str]:
    """The text's lines, each at most `width` px long."""
    lines, line = [], ""
    for word in text.split(" "):
        longer = f"{line} {word}" if line else word
        if face.getlength(longer) <= width:
            line = longer
            continue
        if line:
            lines.append(line)
        while face.getlength(word) > width and len(word) > 1:
            fits = next(n for n in range(len(word) - 1, 0, -1) if n == 1 or face.getlength(word[:n]) <= width)
            lines.append(word[:fits])
            word = word[fits:]
        line = word
    return [*lines, line]
