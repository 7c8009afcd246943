"""Fingerprint images: read a file, bring it to a resolution, find the ridges, place it in a frame.

`reading` takes a file to grey levels: `headers` and `tiff`, with `exif` for the tags, see what it claims before
`decoding` or `wsq_file` trusts it, `polarity` tells which way round it is; `in_memory` brings in arrays and Pillow's
images, by the same rules. `canvas` takes those to a frame, with `ridges` to say where the print is.
Grey means uint8 (H, W), dark ridges on a light ground. Lengths are px of the image at hand unless said otherwise.
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
    "background_level",
    "canvas_of",
    "choose_ppi",
    "framed",
    "is_inverted",
    "load_canvas",
    "place",
    "read",
    "read_grey",
    "ridge_mask",
    "scan_of",
    "to_ppi",
]
