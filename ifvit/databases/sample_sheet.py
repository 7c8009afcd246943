"""A picture of some impressions of each database."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from ifvit import image
from ifvit.databases.records import Record
from ifvit.pictures import plots

SHEET_IMAGES, SHEET_PPI, SHEET_SIDE = 8, 250, 256


def sample_sheet(records: Sequence[Record]) -> np.ndarray | None:
    """Impressions of each database, spread over it, as canvases of the network: uint8 RGB (H, W, 3).

    None where no image can be shown.
    """
    rows = {}
    for name in dict.fromkeys(record.database for record in records):
        group = [record for record in records if record.database == name]
        tiles = []
        spread = np.linspace(0, len(group) - 1, 2 * SHEET_IMAGES).astype(int).tolist()
        for k in dict.fromkeys(spread[::2] + spread[1::2]):  # the second half replaces images that cannot be used
            try:
                canvas = image.load_canvas(group[k].path, group[k].ppi, SHEET_PPI, SHEET_SIDE, SHEET_SIDE)
            except image.ImageError:
                continue
            # A grey line around each: the canvases are white on a white sheet.
            tiles.append(cv2.copyMakeBorder(canvas.grey, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=160))
            if len(tiles) == SHEET_IMAGES:
                break
        if tiles:
            rows[name] = np.stack(tiles)
    return plots.contact_sheet(rows, f"samples of each database at {SHEET_PPI} ppi", 0.6) if rows else None
