"""What is computed from an image, or the ImageError that says why there is nothing and names the file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

from ifvit.image.errors import ImageError
from ifvit.image.reading import Scan, read, scan_of

T = TypeVar("T")


def attempt(function: Callable[..., T], *arguments: Any) -> T | ImageError:
    """The result of a function, or the ImageError that it raises."""
    try:
        return function(*arguments)
    except ImageError as error:
        return error


def usable(result: T | ImageError) -> T:
    """The result.

    Raises:
        ImageError: the result is one.
    """
    if isinstance(result, ImageError):
        raise result
    return result


def from_image(source: Any, ppi: float | None, compute: Callable[[Scan, float | None], T]) -> T | ImageError:
    """The result of `compute(scan, ppi)` for the scan of an image, or the ImageError that says why there is none.

    source: a path, or an image in memory (`scan_of`). The message names a file, but no image in memory.
    """
    if not isinstance(source, (str, PathLike)):
        return attempt(lambda: compute(scan_of(source), ppi))
    return next(from_files([Path(source)], [ppi], lambda scans, ppis: map(partial(attempt, compute), scans, ppis)))


def from_files(
    paths: Sequence[Path],
    ppis: Sequence[float | None],
    compute: Callable[[list[Scan], list[float | None]], Iterable[T | ImageError]],
    map_function: Callable[..., Iterable[Any]] = map,
) -> Iterator[T | ImageError]:
    """The result of `compute(scans, ppis)` for each file, or the ImageError that names it and says why there is none.

    ppis: of the files; None takes the file's own tag. compute: takes the scans of all files that can be read; its
    ImageErrors name no file. map_function: `map`, or the method of a thread pool, for the reading.
    """
    scans = list(map_function(partial(attempt, read), paths))
    readable = {k: scan for k, scan in enumerate(scans) if isinstance(scan, Scan)}
    results = dict(zip(readable, compute(list(readable.values()), [ppis[k] for k in readable]), strict=True))
    for k, path in enumerate(paths):
        result = results.get(k, scans[k])
        yield ImageError(f"{path}: {result}") if k in results and isinstance(result, ImageError) else result
