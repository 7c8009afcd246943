"""How far off does a trained Module 1 lay the impressions of synthetic fingers on one another?

    python -m ifvit synthesize --fingers 100 --impressions 8 --seed 1000 --out SET
    python benchmarks/registration.py RUN_DIR SET

RUN_DIR is a run of either stage, SET a set of fingers that it has not seen. Impressions 1 and 2, 3 and 4, and so on of
every finger are laid on one another and held against the set's exact maps. The error of a pair is the mean distance, px
of the run's ppi, of where a place of A is laid from where it lies, over the places that both prints show; a refused
pair has none and is counted.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from ifvit.data.fingerset import DATABASE, STEP
from ifvit.image import Canvas
from ifvit.recognition.enhancement import Enhancer
from ifvit.recognition.registration import Registered
from ifvit.recognition.trained import Trained, load_dense

EVERY = 4  # px between the places that are looked at
LOST = 15.0  # px; a pair laid worse than this shows nothing in its place


def main() -> None:
    """Print the median and the 95th percentile of the pairs' errors, and how many pairs were refused or lost."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("set", type=Path)
    arguments = parser.parse_args()
    trained, folder = load_dense(arguments.run_dir), arguments.set
    pairs = list(_mates(folder))
    if not pairs:
        raise SystemExit(f"{folder}/{DATABASE} holds no two impressions of a finger; `synthesize` makes such a set")
    registrar = trained.registrar(at_once=8)
    enhancer = trained.enhancer()
    canvases = [tuple(_canvas(trained, enhancer, folder, name) for name in pair) for pair in pairs]
    laid = list(registrar.register_many(canvases))
    errors = np.array([
        error_of(one, *sides, _maps(folder, a, "to_finger"), _maps(folder, b, "from_finger"), trained.ppi)
        for one, sides, (a, b) in zip(laid, canvases, pairs, strict=True)
        if one.refusal is None
    ])  # fmt: skip
    median, most = np.nanpercentile(errors, [50, 95])
    print(f"{len(pairs)} pairs at {trained.ppi:g} ppi: median {median:.2f} px, 95 % within {most:.2f} px,")
    print(f"{(errors > LOST).sum()} off by more than {LOST:g} px, {len(pairs) - len(errors)} refused")


def _mates(folder: Path) -> Iterator[tuple[str, str]]:
    """The names F_I of impressions 1 and 2, 3 and 4, ... of each finger."""
    names = {path.stem for path in (folder / DATABASE).glob("*.png")}
    for name in sorted(names):
        finger, impression = name.split("_")
        mate = f"{finger}_{int(impression) + 1}"
        if int(impression) % 2 and mate in names:
            yield name, mate


def _canvas(trained: Trained, enhancer: Enhancer, folder: Path, name: str) -> Canvas:
    return trained.canvas(folder / DATABASE / f"{name}.png", 500.0, enhancer)


def _maps(folder: Path, name: str, which: str) -> np.ndarray:
    with np.load(folder / "maps" / f"{name}.npz") as held:
        return held[which].astype(np.float32)


def error_of(
    laid: Registered, a: Canvas, b: Canvas, to_finger: np.ndarray, from_finger: np.ndarray, ppi: float
) -> float:
    """The mean error of a laid pair, px; nan where its prints share nothing. The maps are A's and B's, (R, C, 2)."""
    rows, columns = (values * EVERY for values in np.nonzero(a.ridges[::EVERY, ::EVERY]))
    places = np.stack([columns, rows], axis=-1).astype(np.float64)
    on_finger = _at(to_finger, a.to_file(places, ppi))
    in_file = _at(from_finger, on_finger)
    truth = (in_file + 0.5) * (ppi / b.ppi) - 0.5 - (b.left, b.top)
    near = np.nan_to_num(np.round(truth), nan=-1).astype(int)
    height, width = b.ridges.shape
    seen = (near >= 0).all(-1) & (near[:, 0] < width) & (near[:, 1] < height)
    seen[seen] = b.ridges[near[seen, 1], near[seen, 0]]
    off = np.linalg.norm(laid.to_b(places[seen]) - truth[seen], axis=-1)
    return float(off.mean()) if len(off) else float("nan")


def _at(values: np.ndarray, points: np.ndarray) -> np.ndarray:
    """A map that knows every STEP-th pixel, at points (N, 2) px; nan outside of it."""
    x, y = (points / STEP).astype(np.float32).T
    planes = [
        cv2.remap(np.ascontiguousarray(values[..., k]), x[:, None], y[:, None], cv2.INTER_LINEAR,
                  borderMode=cv2.BORDER_CONSTANT, borderValue=float("nan"))[:, 0]
        for k in (0, 1)
    ]  # fmt: skip
    return np.stack(planes, axis=-1).astype(np.float64)


if __name__ == "__main__":
    main()
