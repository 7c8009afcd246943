"""What makes an image unusable: the error, and the sizes that are refused."""

from ifvit.errors import UserError

SMALLEST_SIDE = 16  # px; anything smaller is no fingerprint
MAX_PIXELS = 2**26  # a card of ten prints at 1000 ppi; more is refused before memory is taken
MAX_BYTES = 2**28  # of a file


class ImageError(UserError, ValueError):
    """An image that cannot be used; the message names the file and says why."""


def check_size(width: int, height: int) -> None:
    """Raises ImageError, without the file's name, where an image of so many px is too small or too large."""
    if min(width, height) < SMALLEST_SIDE:
        raise ImageError(f"{width}x{height} px is too small for a fingerprint")
    if width * height > MAX_PIXELS:
        raise ImageError(f"{width}x{height} px is too large, {MAX_PIXELS} px are the most")
