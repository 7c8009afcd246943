"""Draws the pictures of docs/synthesis.md:  python docs/pictures.py  (or: make pictures)."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import jax
import numpy as np

from ifvit.config import ImpressionConfig, Sensor
from ifvit.data.finger_set import contact_sheet, render_finger
from ifvit.launch import compose_config
from ifvit.pictures import plots
from ifvit.synthesis.impression import draw_impression, frame_points
from ifvit.synthesis.master import grow_finger

FOLDER = Path(__file__).resolve().parent / "synthesis"
QUALITY = 80  # of JPEG: grain hardly compresses without loss
ZOOM = 0.4
# What each knob is shown at, from left to right; of range keys, which draw within +-, the drawn value grows with them.
KNOBS = {
    "rotation_deg": (0.0, 20.0, 45.0, 90.0),
    "shift_mm": (0.0, 4.0, (6.0, 10.0), (8.0, 12.0)),
    "distortion": (0.0, 0.5, 1.0, 2.0),
    "moisture": (0.0, 0.2, 0.4, 0.7),
    "wear": (0.0, 0.5, 1.0, 2.0),
    "creases": (0.0, 0.5, 1.0, 2.0),
    "breaks": (0.0, 0.5, 1.0, 2.0),
    "noise": (0.0, 1.0, 2.0, 5.0),
}
FINGER, DRY, WET = 70, 1880, 88  # keys whose draws are near an end of most ranges
LOW = {"shift_mm": (6.0, 10.0), "breaks": 0.0}  # DRY presses low then, where the creases of the joint are
GRID = 40  # px of the finger, lines that show how its skin is bent


def main() -> None:
    """Write every picture."""
    FOLDER.mkdir(exist_ok=True)
    settings = compose_config([]).data.impression
    save("classes", contact_sheet(0, 6, settings, zoom=ZOOM))
    finger = grow_finger(jax.random.key(FINGER))
    plain = dataclasses.replace(settings, rotation_deg=0.0, shift_mm=0.0, sensors=(Sensor.optical,))
    rows = {}
    for knob, values in KNOBS.items():
        key, base = (DRY, dataclasses.replace(plain, **LOW)) if knob in ("creases", "breaks") else (WET, plain)
        shown = [pressed(finger, dataclasses.replace(base, **{knob: value}), key) for value in values]
        if knob == "distortion":
            shown = [gridded(image, plain, value) for image, value in zip(shown, values, strict=True)]
        rows[f"data.impression.{knob}: {', '.join(map(typed, values))}"] = np.stack(shown)
    dry = [pressed(finger, dataclasses.replace(plain, moisture=value), DRY) for value in KNOBS["moisture"]]
    rows["data.impression.moisture once more, where the drawn skin is dry"] = np.stack(dry)
    looks = [
        pressed(finger, dataclasses.replace(plain, sensors=(sensor,)), key) for sensor in Sensor for key in (WET, DRY)
    ]
    rows["data.impression.sensors: optical, capacitive, inked, two of each"] = np.stack(looks)
    save("knobs", plots.contact_sheet(rows, "one finger and one impression of it; only the named key changes", ZOOM))


def typed(value: float | tuple[float, ...]) -> str:
    """A value as people type it."""
    return f"[{','.join(f'{part:g}' for part in value)}]" if isinstance(value, tuple) else f"{value:g}"


def pressed(master, settings: ImpressionConfig, key: int) -> np.ndarray:
    """The impression uint8 (480, 400) of a key."""
    impressions = jax.tree.map(lambda leaf: leaf[None], draw_impression(jax.random.key(key), settings))
    return np.asarray(render_finger(master, impressions).image[0])


def gridded(image: np.ndarray, settings: ImpressionConfig, distortion: float) -> np.ndarray:
    """The impression with lines that are straight on the finger."""
    impression = draw_impression(jax.random.key(WET), dataclasses.replace(settings, distortion=distortion))
    at = np.asarray(impression.to_finger(frame_points(*image.shape, 500)))
    return np.where((at % GRID < 1.5).any(-1), 0, image // 2 + 128).astype(np.uint8)


def save(name: str, picture: np.ndarray) -> None:
    """Write it as JPEG."""
    options = [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
    _, content = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), options)
    (FOLDER / f"{name}.jpg").write_bytes(content.tobytes())
    print(f"{FOLDER / name}.jpg: {len(content) / 1000:.0f} KB")


if __name__ == "__main__":
    main()
