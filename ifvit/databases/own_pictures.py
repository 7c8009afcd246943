"""Find the images under a root that this program drew. They are never data.

Every picture has a signature. Pictures of earlier versions have none: they are known by their names and by the JSON
file of a run or an evaluation in their folder.
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
CHUNK = 4096  # images looked at in one go


def own_pictures(root: Path, files: Sequence[PurePosixPath]) -> set[PurePosixPath]:
    """The images among `files`, which lie under `root`, that this program drew."""
    unsigned = {path.parent / f"{name}.png" for path in files for name in _unsigned_names(root, path)}
    images = [path for path in files if path.suffix.lower() in IMAGE_ENDINGS and path not in unsigned]
    pictures = unsigned.intersection(files)
    with ThreadPoolExecutor() as pool:  # a network disk answers many requests in parallel
        for start in range(0, len(images), CHUNK):
            chunk = images[start : start + CHUNK]
            signed = pool.map(is_signed, [root / path for path in chunk])
            pictures |= {path for path, own in zip(chunk, signed, strict=True) if own}
    return pictures


def _unsigned_names(root: Path, path: PurePosixPath) -> Iterator[str]:
    """The names of pictures without a signature that may lie beside a JSON file of a run or an evaluation."""
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
    """The object in a JSON file; empty where the file holds anything else or cannot be read."""
    try:
        with open(path, "rb") as file:
            tree = json.loads(file.read(LARGEST))
    except (OSError, ValueError, RecursionError):
        return {}
    return tree if isinstance(tree, dict) else {}
