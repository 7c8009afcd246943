"""A set of synthetic prints on disk: images in FVC naming, a manifest, minutiae, and what corresponds to what.

    set.json               what the set is made of; its presence says that the folder is such a set
    manifest.csv           an impression a line; there once the set is complete
    DB1_A/F_I.png          impression I of finger F, 400 x 480 px at 500 ppi
    minutiae/F_I.csv       the finger's minutiae that it shows; `id` is the same on every impression of the finger
    maps/F_I.npz           where every STEP-th pixel lies on the finger, and where the finger's lie on it

Finger F of a seed is finger F - 1 of `data.pool`: to test on what was not trained on, take another seed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import jax
import jax.numpy as jnp
import numpy as np

from ifvit.config import ImpressionConfig, as_tree
from ifvit.data.finger_pool import RECIPE, finger_keys
from ifvit.databases.synthetic_sets import DATABASE, SET
from ifvit.errors import DataError
from ifvit.geometry import inside, pixel_grid
from ifvit.pictures import plots
from ifvit.progress import Progress
from ifvit.storage.csv_text import table
from ifvit.storage.files import write_whole
from ifvit.synthesis.each import each
from ifvit.synthesis.impression import (
    IMAGE_HEIGHT,
    IMAGE_WIDTH,
    Impression,
    creased,
    depth,
    draw_impression,
    frame_points,
    render,
    touched,
)
from ifvit.synthesis.master import Master, grow_finger, grow_fingers, pattern_of
from ifvit.synthesis.minutiae import TipKind, find_minutiae, full_turn
from ifvit.synthesis.orientation import FRAME_HEIGHT, FRAME_PPI, FRAME_WIDTH, Pattern

IMPRESSION_STREAM = 6  # of random numbers under the seed; data.pool grows the fingers from 3
STEP = 4  # px between the places of a map: interpolated between them, it is off by less than 0.1 px
HIDDEN = 1.0  # profiles that a crease takes away, with which a ridge is no longer dark
AT_ONCE = 8  # fingers grown in one go; impressions rendered side by side on an accelerator
README = f"""Synthetic fingerprints, made by `python -m ifvit synthesize`; no person's.

{DATABASE}/F_I.png: impression I of finger F; {IMAGE_WIDTH}x{IMAGE_HEIGHT} px, {FRAME_PPI} ppi, grey, dark ridges.
manifest.csv: path, subject, finger (always 1: every finger is a person of its own), impression, ppi, pattern, sensor.
set.json: the seed and the settings.
minutiae/F_I.csv: id, x, y (px), angle (degrees, from the tip into its ridge or valley, from x towards y, y pointing
  down), kind. One id is one minutia on all impressions of a finger; those under a crease are left out.
maps/F_I.npz: to_finger[r, c] is the place (x, y) on the finger of pixel (x={STEP}c, y={STEP}r); from_finger[r, c] is
  the pixel (x, y) where the place (x={STEP}c, y={STEP}r) of the finger lies, which is {FRAME_WIDTH}x{FRAME_HEIGHT} px;
  shown[r, c]: does the pixel show skin?
  From impression 1 to impression 2: to_finger of 1, then from_finger of 2, each interpolated bilinearly.
"""


class Shown(NamedTuple):
    """The impressions (I of them) of a finger: image uint8 (I, 480, 400); at every STEP-th pixel to_finger float32
    (I, 120, 100, 2) px and shown bool (I, 120, 100); at every STEP-th px of the finger from_finger float32
    (I, 184, 128, 2) px; and per minutia of the finger its place (I, M, 2) px, its angle (I, M) rad in [0, 2 pi), its
    Kind (I, M) and whether it is held (I, M).
    """

    image: jax.Array
    to_finger: jax.Array
    from_finger: jax.Array
    shown: jax.Array
    points: jax.Array
    angle: jax.Array
    kind: jax.Array
    held: jax.Array


def make_set(folder: Path, fingers: int, impressions: int, seed: int, settings: ImpressionConfig) -> None:
    """Write the set, or what is missing of it.

    Raises:
        DataError: the folder holds something else, or a set of other settings.
        OSError: it cannot be written; what was written is whole, and the same call goes on.
    """
    made_of = {"recipe": RECIPE, "seed": seed, "impressions": impressions, "settings": as_tree(settings)}
    _claim(folder, fingers, made_of)
    missing = [finger for finger in range(fingers) if not _is_there(folder, finger, impressions)]
    progress = Progress("making synthetic fingers", len(missing))
    for finger, master in _grown(seed, missing):
        draws = draw_impressions(seed, finger, impressions, settings)
        _write_finger(folder, finger, jax.device_get(show(master, draws)))
        progress.step()
    _write_manifest(folder, seed, fingers, impressions, settings)


def _claim(folder: Path, fingers: int, made_of: dict[str, Any]) -> None:
    """Make the folder a set's, or see that it is this set's."""
    held = folder / SET
    if not held.is_file():
        if folder.exists() and not (folder.is_dir() and all(map(_is_unfinished, folder.iterdir()))):
            raise DataError(f"{folder} holds something else than a synthetic set; name a new or an empty folder")
    else:
        try:
            before = json.loads(held.read_text())
            count, before = int(before.pop("fingers")), {key: before[key] for key in made_of}
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise DataError(f"{held} is not a synthetic set's; name another folder") from error
        differing = [f"{key} {held} there, {asked} asked" for key, held, asked in _differences(before, made_of)]
        if differing:
            raise DataError(f"{folder} holds another set ({'; '.join(differing)}); name another folder")
        if count > fingers:
            raise DataError(f"{folder} holds {count} fingers, more than {fingers}; name another folder")
    _write_text(folder / SET, json.dumps(made_of | {"fingers": fingers}, indent=2) + "\n")
    _write_text(folder / "README.txt", README)
    (folder / "manifest.csv").unlink(missing_ok=True)


def _is_unfinished(path: Path) -> bool:
    """What a kill leaves of `set.json` while it is written."""
    return path.name.startswith(".set.json-") and path.suffix == ".tmp"


def _differences(before: dict[str, Any], now: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for key, value in now.items():
        if isinstance(value, dict) and isinstance(before.get(key), dict):
            yield from _differences(before[key], value)
        elif before.get(key) != value:
            yield key, before.get(key), value


def _names(finger: int, impression: int) -> tuple[str, str, str]:
    """The image's, the minutiae's and the maps' file of an impression, both counted from 0."""
    name = f"{finger + 1}_{impression + 1}"
    return f"{DATABASE}/{name}.png", f"minutiae/{name}.csv", f"maps/{name}.npz"


def _is_there(folder: Path, finger: int, impressions: int) -> bool:
    # The maps are written last.
    return all((folder / _names(finger, i)[2]).is_file() for i in range(impressions))


def _grown(seed: int, fingers: list[int]) -> Iterator[tuple[int, Master]]:
    for start in range(0, len(fingers), AT_ONCE):
        some = fingers[start : start + AT_ONCE]
        # Always as many, so that there is one compilation.
        masters = grow_fingers(finger_keys(seed, np.resize(some, AT_ONCE)))
        for k, finger in enumerate(some):
            yield finger, jax.tree.map(lambda leaf, k=k: leaf[k], masters)


def draw_impressions(seed: int, finger: int, count: int, settings: ImpressionConfig) -> Impression:
    """The `count` impressions of a finger of a seed, led by that axis; each the same whatever the count."""
    return _drawn(jax.random.fold_in(jax.random.key(seed), IMPRESSION_STREAM), finger, count, settings)


@partial(jax.jit, static_argnames=("count", "settings"))
def _drawn(key: jax.Array, finger: int, count: int, settings: ImpressionConfig) -> Impression:
    key = jax.random.fold_in(key, finger)
    keys = jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(count))
    return each(partial(draw_impression, settings=settings), keys)


@jax.jit
def show(master: Master, impressions: Impression) -> Shown:
    """The impressions of one finger, at 500 ppi."""
    points = frame_points(IMAGE_HEIGHT, IMAGE_WIDTH, FRAME_PPI)
    finger = pixel_grid(FRAME_HEIGHT, FRAME_WIDTH)[::STEP, ::STEP]
    minutiae = find_minutiae(master.wave, master.theta, master.period)

    def one(impression: Impression) -> Shown:
        image = render(master.skin, impression, points, FRAME_PPI)
        grid = points[::STEP, ::STEP]
        places = impression.from_finger(minutiae.points)
        ahead = impression.from_finger(minutiae.points + _direction(minutiae.angle)) - places
        held = minutiae.real & (depth(impression, places) > 0) & inside(places, IMAGE_HEIGHT, IMAGE_WIDTH)
        held &= creased(master.creases, impression, minutiae.points) < HIDDEN
        return Shown(
            image=jnp.round(255 * image).astype(jnp.uint8),
            to_finger=impression.to_finger(grid),
            from_finger=impression.from_finger(finger),
            shown=touched(impression, grid),
            points=places,
            angle=full_turn(jnp.arctan2(ahead[:, 1], ahead[:, 0])),
            kind=minutiae.kind,
            held=held,
        )

    return each(one, impressions, AT_ONCE)


def _direction(angle: jax.Array) -> jax.Array:
    return jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=-1)


def _write_finger(folder: Path, finger: int, shown: Shown) -> None:
    for i in range(len(shown.image)):
        image, minutiae, maps = (folder / name for name in _names(finger, i))
        content = cv2.imencode(".png", shown.image[i])[1].tobytes()
        write_whole(image, lambda file, content=content: file.write(content))
        _write_text(minutiae, table(("id", "x", "y", "angle", "kind"), _minutiae_rows(shown, i)))
        held = {name: getattr(shown, name)[i] for name in ("to_finger", "from_finger", "shown")}
        write_whole(maps, lambda file, held=held: np.savez_compressed(file, **held))


def _minutiae_rows(shown: Shown, i: int) -> list[tuple]:
    rows = []
    for k in np.flatnonzero(shown.held[i]):
        (x, y), angle = shown.points[i, k], np.degrees(shown.angle[i, k])
        rows.append((k, f"{x:.2f}", f"{y:.2f}", f"{round(angle, 1) % 360:.1f}", TipKind(shown.kind[i, k]).name.lower()))
    return rows


def _write_manifest(folder: Path, seed: int, fingers: int, impressions: int, settings: ImpressionConfig) -> None:
    patterns = np.asarray(jax.vmap(pattern_of)(finger_keys(seed, np.arange(fingers))))
    rows = []
    for finger in range(fingers):
        sensors = np.asarray(draw_impressions(seed, finger, impressions, settings).sensor)
        for i in range(impressions):
            look = Pattern(patterns[finger]).name.lower(), settings.sensors[sensors[i]]
            rows.append((_names(finger, i)[0], finger + 1, 1, i + 1, FRAME_PPI, *look))
    heading = ("path", "subject", "finger", "impression", "ppi", "pattern", "sensor")
    _write_text(folder / "manifest.csv", table(heading, rows))


def _write_text(path: Path, text: str) -> None:
    write_whole(path, lambda file: file.write(text.encode()))


def contact_sheet(seed: int, impressions: int, settings: ImpressionConfig, zoom: float = 0.5) -> np.ndarray:
    """A finger of each class, a row each with its impressions: uint8 RGB (H, W, 3)."""
    rows = {}
    for pattern in Pattern:
        # Numbers beyond any set's.
        finger = 2**31 - 1 - int(pattern)
        master = grow_finger(finger_keys(seed, np.array([finger]))[0], int(pattern))
        draws = draw_impressions(seed, finger, impressions, settings)
        rows[pattern.name.lower().replace("_", " ")] = np.asarray(show(master, draws).image)
    heading = f"synthetic fingers, one of each class, {impressions} impressions of each; seed {seed}"
    return plots.contact_sheet(rows, heading, zoom)
