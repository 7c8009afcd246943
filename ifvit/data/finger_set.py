"""A set of synthetic prints on disk: images with FVC names, a manifest, minutiae, and maps between impressions.

    set.json               seed and settings of the set; it marks the folder as such a set
    manifest.csv           one impression per line; exists only if the set is complete
    DB1_A/F_I.png          impression I of finger F, 400 x 480 px at 500 ppi
    minutiae/F_I.csv       the finger's minutiae that it shows; `id` is the same on every impression of the finger
    maps/F_I.npz           the maps from the impression to the finger and back, at every STEP-th pixel

Finger F of a seed is finger F - 1 of `data.finger_pool`. So a test on unseen fingers needs another seed than training.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Generic, NamedTuple

import cv2
import jax
import jax.numpy as jnp
import numpy as np

from ifvit.config import ImpressionConfig, to_dict
from ifvit.data.finger_pool import RECIPE, finger_keys
from ifvit.data.warped_pairs import Arrays
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

IMPRESSION_STREAM = 6  # stream of random numbers under the seed; fingers use stream 3 (`data.finger_pool`)
STEP = 4  # px between the points of a map; its error after interpolation is less than 0.1 px
HIDDEN_DEPTH = 1.0  # crease depth, in ridge profiles, from which a ridge is no longer dark
BATCH = 8  # fingers grown together, and impressions rendered together on an accelerator
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


class ShownImpressions(NamedTuple, Generic[Arrays]):
    """I impressions of a finger with M minutiae."""

    image: Arrays  # (I, 480, 400) uint8
    to_finger: Arrays  # (I, 120, 100, 2) float32, px of the finger, at every STEP-th pixel of the image
    from_finger: Arrays  # (I, 184, 128, 2) float32, px of the image, at every STEP-th px of the finger
    shown: Arrays  # (I, 120, 100) bool, whether every STEP-th pixel of the image shows skin
    points: Arrays  # (I, M, 2) px of the image, the minutiae
    angle: Arrays  # (I, M) rad in [0, 2 pi)
    kind: Arrays  # (I, M) int, `TipKind`
    visible: Arrays  # (I, M) bool, whether the image shows the minutia


def make_set(folder: Path, fingers: int, impressions: int, seed: int, settings: ImpressionConfig) -> None:
    """Write a set, or what is missing of it.

    Raises:
        DataError: the folder contains something else, or a set with other settings.
        OSError: a file cannot be written. The written files are complete, and the same call continues.
    """
    set_key = {"recipe": RECIPE, "seed": seed, "impressions": impressions, "settings": to_dict(settings)}
    _claim(folder, fingers, set_key)
    missing = [finger for finger in range(fingers) if not _is_complete(folder, finger, impressions)]
    progress = Progress("making synthetic fingers", len(missing))
    for finger, master in _grow_masters(seed, missing):
        draws = draw_impressions(seed, finger, impressions, settings)
        _write_finger(folder, finger, jax.device_get(render_finger(master, draws)))
        progress.step()
    _write_manifest(folder, seed, fingers, impressions, settings)


def _claim(folder: Path, fingers: int, set_key: dict[str, Any]) -> None:
    """Write set.json and README.txt into an empty folder, or check that the folder has this set."""
    path = folder / SET
    if not path.is_file():
        if folder.exists() and not (folder.is_dir() and all(map(_is_unfinished, folder.iterdir()))):
            raise DataError(f"{folder} holds something else than a synthetic set; name a new or an empty folder")
    else:
        try:
            stored = json.loads(path.read_text())
            count, stored = int(stored.pop("fingers")), {name: stored[name] for name in set_key}
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise DataError(f"{path} is not a synthetic set's; name another folder") from error
        differences = [f"{name} {old} there, {new} asked" for name, old, new in _differences(stored, set_key)]
        if differences:
            raise DataError(f"{folder} holds another set ({'; '.join(differences)}); name another folder")
        if count > fingers:
            raise DataError(f"{folder} holds {count} fingers, more than {fingers}; name another folder")
    _write_text(folder / SET, json.dumps(set_key | {"fingers": fingers}, indent=2) + "\n")
    _write_text(folder / "README.txt", README)
    (folder / "manifest.csv").unlink(missing_ok=True)


def _is_unfinished(path: Path) -> bool:
    """Whether a path is an unfinished `set.json`, as a killed process leaves it."""
    return path.name.startswith(".set.json-") and path.suffix == ".tmp"


def _differences(stored: dict[str, Any], settings: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """The settings that differ: (name, stored value, new value)."""
    for name, value in settings.items():
        if isinstance(value, dict) and isinstance(stored.get(name), dict):
            yield from _differences(stored[name], value)
        elif stored.get(name) != value:
            yield name, stored.get(name), value


def _names(finger: int, impression: int) -> tuple[str, str, str]:
    """The files of an impression: image, minutiae and maps. `finger` and `impression` count from 0."""
    name = f"{finger + 1}_{impression + 1}"
    return f"{DATABASE}/{name}.png", f"minutiae/{name}.csv", f"maps/{name}.npz"


def _is_complete(folder: Path, finger: int, impressions: int) -> bool:
    """Whether all impressions of a finger are written."""
    # The maps are written last.
    return all((folder / _names(finger, i)[2]).is_file() for i in range(impressions))


def _grow_masters(seed: int, fingers: list[int]) -> Iterator[tuple[int, Master]]:
    """Grow the masters of fingers (numbers from 0), BATCH at a time."""
    for start in range(0, len(fingers), BATCH):
        block = fingers[start : start + BATCH]
        # Always the same number, so that there is one compilation.
        masters = grow_fingers(finger_keys(seed, np.resize(block, BATCH)))
        for k, finger in enumerate(block):
            yield finger, jax.tree.map(lambda leaf, k=k: leaf[k], masters)


def draw_impressions(seed: int, finger: int, count: int, settings: ImpressionConfig) -> Impression:
    """Draw `count` impressions of a finger of a seed, with a leading axis. Each does not depend on the count."""
    return _draw(jax.random.fold_in(jax.random.key(seed), IMPRESSION_STREAM), finger, count, settings)


@partial(jax.jit, static_argnames=("count", "settings"))
def _draw(key: jax.Array, finger: int, count: int, settings: ImpressionConfig) -> Impression:
    key = jax.random.fold_in(key, finger)
    keys = jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(count))
    return each(partial(draw_impression, settings=settings), keys)


@jax.jit
def render_finger(master: Master, impressions: Impression) -> ShownImpressions[jax.Array]:
    """Render the impressions of one finger at 500 ppi."""
    points = frame_points(IMAGE_HEIGHT, IMAGE_WIDTH, FRAME_PPI)
    finger = pixel_grid(FRAME_HEIGHT, FRAME_WIDTH)[::STEP, ::STEP]
    minutiae = find_minutiae(master.wave, master.theta, master.period)

    def render_one(impression: Impression) -> ShownImpressions[jax.Array]:
        image = render(master.skin, impression, points, FRAME_PPI)
        grid = points[::STEP, ::STEP]
        places = impression.from_finger(minutiae.points)
        offset = impression.from_finger(minutiae.points + _direction(minutiae.angle)) - places
        visible = minutiae.real & (depth(impression, places) > 0) & inside(places, IMAGE_HEIGHT, IMAGE_WIDTH)
        visible &= creased(master.creases, impression, minutiae.points) < HIDDEN_DEPTH
        return ShownImpressions(
            image=jnp.round(255 * image).astype(jnp.uint8),
            to_finger=impression.to_finger(grid),
            from_finger=impression.from_finger(finger),
            shown=touched(impression, grid),
            points=places,
            angle=full_turn(jnp.arctan2(offset[:, 1], offset[:, 0])),
            kind=minutiae.kind,
            visible=visible,
        )

    return each(render_one, impressions, BATCH)


def _direction(angle: jax.Array) -> jax.Array:
    """The unit vectors (..., 2) at angles (...), rad."""
    return jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=-1)


def _write_finger(folder: Path, finger: int, shown: ShownImpressions[np.ndarray]) -> None:
    """Write the files of a finger's impressions; the maps of each last."""
    for i in range(len(shown.image)):
        image, minutiae, maps = (folder / name for name in _names(finger, i))
        content = cv2.imencode(".png", shown.image[i])[1].tobytes()
        _write_bytes(image, content)
        _write_text(minutiae, table(("id", "x", "y", "angle", "kind"), _minutiae_rows(shown, i)))
        arrays = {name: getattr(shown, name)[i] for name in ("to_finger", "from_finger", "shown")}
        write_whole(maps, partial(np.savez_compressed, **arrays))


def _minutiae_rows(shown: ShownImpressions[np.ndarray], i: int) -> list[tuple]:
    """The rows of the minutiae table of impression i."""
    rows = []
    for k in np.flatnonzero(shown.visible[i]):
        (x, y), angle = shown.points[i, k], np.degrees(shown.angle[i, k])
        rows.append((k, f"{x:.2f}", f"{y:.2f}", f"{round(angle, 1) % 360:.1f}", TipKind(shown.kind[i, k]).name.lower()))
    return rows


def _write_manifest(folder: Path, seed: int, fingers: int, impressions: int, settings: ImpressionConfig) -> None:
    """Write manifest.csv, which completes the set."""
    patterns = np.asarray(jax.vmap(pattern_of)(finger_keys(seed, np.arange(fingers))))
    rows = []
    for finger in range(fingers):
        sensors = np.asarray(draw_impressions(seed, finger, impressions, settings).sensor)
        for i in range(impressions):
            labels = Pattern(patterns[finger]).name.lower(), settings.sensors[sensors[i]]
            rows.append((_names(finger, i)[0], finger + 1, 1, i + 1, FRAME_PPI, *labels))
    heading = ("path", "subject", "finger", "impression", "ppi", "pattern", "sensor")
    _write_text(folder / "manifest.csv", table(heading, rows))


def _write_text(path: Path, text: str) -> None:
    _write_bytes(path, text.encode())


def _write_bytes(path: Path, content: bytes) -> None:
    write_whole(path, lambda file: file.write(content))


def contact_sheet(seed: int, impressions: int, settings: ImpressionConfig, zoom: float = 0.5) -> np.ndarray:
    """A picture with a row for each pattern: the impressions of one finger, (H, W, 3) uint8 RGB."""
    rows = {}
    for pattern in Pattern:
        # Numbers that no set has.
        finger = 2**31 - 1 - int(pattern)
        master = grow_finger(finger_keys(seed, np.array([finger]))[0], int(pattern))
        draws = draw_impressions(seed, finger, impressions, settings)
        rows[pattern.name.lower().replace("_", " ")] = np.asarray(render_finger(master, draws).image)
    heading = f"synthetic fingers, one of each class, {impressions} impressions of each; seed {seed}"
    return plots.contact_sheet(rows, heading, zoom)
