"""The one error of this room, the place where a file's name is put in front of it, and lists that stay short."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from os import PathLike

from ifvit.console import printable
from ifvit.errors import UserError

LONGEST = 120  # characters of an item in a message's list


class WeightsError(UserError, ValueError):
    """Weights cannot be read, named, written or merged.

    Its text is one plain message: the file, key or shape, what was expected, and what to do.
    """


@contextmanager
def naming(path: str | PathLike[str]) -> Iterator[None]:
    """Turn anything that goes wrong inside into one `WeightsError` that begins with `path`."""
    try:
        yield
    except WeightsError as err:
        raise WeightsError(f"{path}: {err}") from err
    except OSError as err:
        reason = err.strerror or str(err)
        raise WeightsError(f"{path}: cannot be read ({reason}). Check the path and your rights there") from err
    except MemoryError as err:
        raise WeightsError(f"{path}: memory ran out while it was read; the file may be whole") from err
    except Exception as err:  # a damaged or hostile file may break any library call on the way
        raise WeightsError(
            f"{path}: cannot be read: the file is damaged, incomplete or not what its name says "
            f"({type(err).__name__}: {str(err)[:200]}). Download or copy it again."
        ) from err


def listed(items: Iterable[str], most: int = 4, separator: str = ", ") -> str:
    """The first few items, each cut short and without what acts on a terminal, and how many more there are."""
    items = list(items)
    shown = [printable(item[:LONGEST]) for item in items[:most]]
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return separator.join(shown) + more
