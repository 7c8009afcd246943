"""Fingerprint images: read a file, resample it, find the ridges, and crop or pad it to a frame.

Read `reading` first: it turns a file into grey levels. `headers` and `tiff` (with `exif` for the tags) read and check
the file's header. Then `decoding` or `wsq_file` decodes the pixels, and `polarity` finds out whether dark and light are
inverted. `in_memory` does the same for NumPy arrays and Pillow images. `canvas` resamples the grey levels and places
the print in a frame; `ridge_ground` finds where the ridges are. `each_image` computes something from each of many
files, and names those that cannot be used.

Grey means uint8 (H, W), dark ridges on a light ground. Lengths are px of the image in question unless stated otherwise.
"""

from ifvit.image.canvas import (
    DEFAULT_PPI,
    Canvas,
    PpiFrom,
    canvas_of,
    choose_ppi,
    framed,
    load_canvas,
    place,
    to_ppi,
)
from ifvit.image.each_image import attempt, from_files, from_image, usable
from ifvit.image.errors import SMALLEST_SIDE, ImageError
from ifvit.image.polarity import is_inverted
from ifvit.image.reading import Scan, read, read_grey, scan_of
from ifvit.image.ridge_ground import RIDGE_PERIOD_MM, background_level, ridge_mask

__all__ = [
    "DEFAULT_PPI",
    "RIDGE_PERIOD_MM",
    "SMALLEST_SIDE",
    "Canvas",
    "ImageError",
    "PpiFrom",
    "Scan",
    "attempt",
    "background_level",
    "canvas_of",
    "choose_ppi",
    "framed",
    "from_files",
    "from_image",
    "is_inverted",
    "load_canvas",
    "place",
    "read",
    "read_grey",
    "ridge_mask",
    "scan_of",
    "to_ppi",
    "usable",
]
