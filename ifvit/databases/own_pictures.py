"""Which images under a root this program drew itself. They are never data, wherever a run directory lies.

Every picture bears a signature. Those of versions before it are known by the run's or the evaluation's own file beside
them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from ifvit.databases.layouts import IMAGE_ENDINGS
from ifvit.pictures.signature import is_signed

RUN_PICTURES = ("matches", "placements", "scores")
RUN_KEYS = {"run_dir", "dense", "data", "trainer"}  # of the config in a run's config.json
EVALUATION_PICTURES = ("det", "robustness", *(f"worst/{k:02d}" for k in range(100)))
EVALUATION_KEYS = {"protocol", "score", "images", "databases"}  # of an evaluation's results.json
LARGEST = 2**24  # bytes of either file
AT_ONCE = 4096  # images


def own_pictures(root: Path, files: Sequence[PurePosixPath]) -> set[PurePosixPath]:
    """The images among `files`, which lie under `root`, that this program drew."""
    unsigned = {path.parent / f"{name}.png" for path in files for name in _unsigned(root, path)}
    images = [path for path in files if path.suffix.lower() in IMAGE_ENDINGS and path not in unsigned]
    found = unsigned.intersection(files)
    with ThreadPoolExecutor() as pool:  # a disk far away answers many questions at once
        for start in range(0, len(images), AT_ONCE):
            some = images[start : start + AT_ONCE]
            signed = pool.map(is_signed, [root / path for path in some])
            found |= {path for path, own in zip(some, signed, strict=True) if own}
    return found


def _unsigned(root: Path, path: PurePosixPath) -> Iterator[str]:
    """The names of pictures that may lie beside a file, if it is a run's or an evaluation's."""
    if path.name == "config.json":
        config = _tree(root / path).get("config")
        if isinstance(config, dict) and config.keys() >= RUN_KEYS:
            yield from RUN_PICTURES
    elif path.name == "results.json":
        results = _tree(root / path)
        if results.keys() >= EVALUATION_KEYS and isinstance(results["databases"], dict):
            yield from EVALUATION_PICTURES
            yield from (name.replace("/", "_") for name in results["databases"])


def _tree(path: Path) -> dict:
    """A JSON file's object; an empty one for whatever else a stranger's file holds."""
    try:
        with open(path, "rb") as file:
            tree = json.loads(file.read(LARGEST))
    except (OSError, ValueError, RecursionError):
        return {}
    return tree if isinstance(tree, dict) else {}
