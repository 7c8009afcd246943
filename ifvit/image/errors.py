"""The error for images that cannot be used, and the limits of their size."""

from ifvit.errors import UserError

SMALLEST_SIDE = 16  # px; a smaller image is no fingerprint
MAX_PIXELS = 2**26  # a card of ten prints at 1000 ppi; a larger image is refused before memory is used
MAX_BYTES = 2**28  # of a file


class ImageError(UserError, ValueError):
    """An image that cannot be used; the message names the file and says why."""


def check_size(width: int, height: int) -> None:
    """Check the size of an image, px.

    Raises:
        ImageError: the image is too small or too large (the message names no file).
    """
    if min(width, height) < SMALLEST_SIDE:
        raise ImageError(f"{width}x{height} px is too small for a fingerprint")
    if width * height > MAX_PIXELS:
        raise ImageError(f"{width}x{height} px is too large, {MAX_PIXELS} px are the most")
