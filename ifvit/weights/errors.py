"""The error of this package, the context that puts a file's name in front of it, and short lists for messages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from os import PathLike

from ifvit.console import printable
from ifvit.errors import UserError

LONGEST = 120  # characters of an item in a message's list


class WeightsError(UserError, ValueError):
    """Weights cannot be read, renamed, written or merged.

    The message names the file, key or shape, what was expected, and what to do.
    """


@contextmanager
def prefix_errors(path: str | PathLike[str]) -> Iterator[None]:
    """Turn every exception within the block into a `WeightsError` whose message begins with `path`."""
    try:
        yield
    except WeightsError as err:
        raise WeightsError(f"{path}: {err}") from err
    except OSError as err:
        reason = err.strerror or str(err)
        raise WeightsError(f"{path}: cannot be read ({reason}). Check the path and your rights there") from err
    except MemoryError as err:
        raise WeightsError(f"{path}: memory ran out while it was read; the file may be whole") from err
    except Exception as err:  # a damaged or hostile file may break any library call
        raise WeightsError(
            f"{path}: cannot be read: the file is damaged, incomplete or not what its name says "
            f"({type(err).__name__}: {str(err)[:200]}). Download or copy it again."
        ) from err


def short_list(items: Iterable[str], limit: int = 4, separator: str = ", ") -> str:
    """The first `limit` items, each cut to LONGEST and without control characters, and the number of further items."""
    items = list(items)
    texts = [printable(item[:LONGEST]) for item in items[:limit]]
    more = f" and {len(items) - limit} more" if len(items) > limit else ""
    return separator.join(texts) + more
